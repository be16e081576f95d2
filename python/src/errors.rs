//! What Python sees when something is refused: `horq.Error`, an `OSError` that is one too, and never a panic.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use horq::error::{InterruptedError, Interruption};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(horq, Error, PyException, "What horq refuses, and what to do about it.");

/// A `horq.Error` with that text.
pub(crate) fn refused(error: impl std::fmt::Display) -> PyErr {
    Error::new_err(error.to_string())
}

/// An error of the engine, its text as it is: what the operating system refuses as the `OSError` of its number (such as
/// `FileNotFoundError`), which is a `horq.Error`, too; all else as a `horq.Error`.
pub(crate) fn engine(error: horq::Error) -> PyErr {
    Python::attach(|py| {
        let (path, number) = match &error {
            horq::Error::File(horq::error::FileError::Io { path, source, .. }) => (path, number(py, source)),
            horq::Error::File(horq::error::FileError::NotReplaceable { path, .. }) => {
                (path, code(py, if path.is_dir() { "EISDIR" } else { "EPERM" }))
            }
            horq::Error::Interrupted(interrupted) => return ended(py, interrupted),
            _ => {
                let made = refused(&error);
                // There is nothing to do for a class that refuses an attribute.
                let _ = error.sample().map(|sample| made.value(py).setattr("sample", sample));
                return made;
            }
        };
        let Some(number) = number else { return refused(error) };
        let made = py
            .import("horq.errors")
            .and_then(|errors| errors.call_method1("file_error", (number, error.to_string(), path.as_os_str())));
        made.map_or_else(|failed| failed, PyErr::from_value)
    })
}

/// The error of a run that ended before its time.
fn ended(py: Python<'_>, error: &InterruptedError) -> PyErr {
    let class = if error.reason == Interruption::Deadline { "DeadlineError" } else { "CancelledError" };
    let made = py.import("horq.errors").and_then(|errors| {
        let made = errors.getattr(class)?.call1((error.to_string(),))?;
        made.setattr("samples", error.samples)?;
        made.setattr("layer", error.layer.as_deref())?;
        Ok(made)
    });
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// The number that the operating system gave, or that of what kind of error it was: an error of a library that wraps the
/// system's, as that of a temporary file does, tells no number.
fn number(py: Python<'_>, error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let name = match error.kind() {
            io::ErrorKind::NotFound => "ENOENT",
            io::ErrorKind::PermissionDenied => "EACCES",
            io::ErrorKind::NotADirectory => "ENOTDIR",
            io::ErrorKind::IsADirectory => "EISDIR",
            io::ErrorKind::ReadOnlyFilesystem => "EROFS",
            io::ErrorKind::StorageFull => "ENOSPC",
            _ => return None,
        };
        code(py, name)
    })
}

/// The number of an error by its name in Python's module `errno`.
fn code(py: Python<'_>, name: &str) -> Option<i32> {
    py.import("errno").and_then(|errno| errno.getattr(name)?.extract()).ok()
}

/// Runs the body of an entry point; a panic inside becomes a `horq.Error`. pyo3 would raise a `BaseException`, which
/// passes by every `except Exception`.
///
/// What a panic leaves half done is never seen: sessions and builders lie behind mutexes, which are poisoned by it.
pub(crate) fn guard<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = message(&*panic);
        Err(refused(format!("internal error: {what}; please report it with the file and the call that led to it")))
    })
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}
