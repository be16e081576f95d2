//! Arguments from Python: numbers and paths, refused by name. Numbers of the wrong kind raise `TypeError`, those out of
//! range `horq.Error`; pyo3's own conversions would raise a bare `OverflowError`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt};

use horq::Order;

use crate::errors::{engine, refused};

/// The highest count of anything in memory.
const MOST: usize = isize::MAX as usize;

/// A whole number of that range. Whatever has `__index__` is one, such as numpy's integers; a bool is not, nor a float.
fn whole(value: &Bound<'_, PyAny>, what: &str, range: RangeInclusive<usize>) -> PyResult<usize> {
    let wrong_kind = || {
        let kind = value.get_type().name().map_or_else(|_| "this".into(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be an integer, not {kind}"))
    };
    let number = match value.cast_exact::<PyInt>() {
        Ok(number) => number.clone(),
        Err(_) if value.is_instance_of::<PyBool>() => return Err(wrong_kind()),
        Err(_) => {
            let number = value.call_method0("__index__").map_err(|_| wrong_kind())?;
            number.cast_into().map_err(|_| wrong_kind())?
        }
    };
    number.extract().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (low, high) = range.clone().into_inner();
        let allowed = if high == MOST { format!("at least {low}") } else { format!("{low} to {high}") };
        // Python does not print numbers of thousands of digits.
        let found = number.str().map_or_else(|_| "a huge number".into(), |digits| digits.to_string());
        refused(format!("{what} must be {allowed}, not {found}"))
    })
}

/// The order of a dial: a layer that holds fewer planes runs at its highest, but no layer can hold more than 8.
pub(crate) fn order(value: &Bound<'_, PyAny>) -> PyResult<Order> {
    Order::new(whole(value, "order", 1..=horq::MAX_ORDER)?).map_err(engine)
}

/// The order of a dial, or None for each layer's highest.
pub(crate) fn maybe_order(value: &Bound<'_, PyAny>) -> PyResult<Option<Order>> {
    if value.is_none() { Ok(None) } else { order(value).map(Some) }
}

/// The most samples of a run.
pub(crate) fn batch(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    whole(value, "batch", 1..=MOST)
}

/// The threads of a session.
pub(crate) fn threads(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    whole(value, "threads", 1..=horq::MAX_THREADS)
}

/// How long a run may take, in seconds; None, and what is longer than a clock can count, for as long as it takes.
pub(crate) fn timeout(value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    let wrong_kind = || {
        let kind = value.get_type().name().map_or_else(|_| "this".into(), |name| name.to_string());
        PyTypeError::new_err(format!("timeout must be a number of seconds or None, not {kind}"))
    };
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_kind());
    }
    let seconds: f64 = value.extract().map_err(|_| wrong_kind())?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(refused(format!("timeout must be 0 seconds or more, not {seconds}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// A path as Python's own `open` takes it: str, bytes or os.PathLike.
pub(crate) fn path(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let path: PathBuf = value.py().import("os")?.call_method1("fsdecode", (value,))?.extract()?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(refused(format!(
            "path {path:?} holds a NUL character, which no file name can; check where it comes from"
        )));
    }
    Ok(path)
}

/// The number of a descriptor, or an object that has one.
pub(crate) fn descriptor(value: &Bound<'_, PyAny>) -> PyResult<i32> {
    let number = match value.getattr("fileno") {
        Ok(fileno) => fileno.call0()?,
        Err(_) => value.clone(),
    };
    Ok(whole(&number, "fd", 0..=i32::MAX as usize)? as i32)
}

/// The sizes of a shape.
pub(crate) fn sizes(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    if value.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err("shape must be a tuple of sizes, not bytes"));
    }
    value.try_iter()?.map(|size| whole(&size?, "each size of the shape", 1..=MOST)).collect()
}

/// A count among the fields of a node.
pub(crate) struct Count(pub(crate) usize);

impl FromPyObject<'_, '_> for Count {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        whole(&value, "it", 0..=MOST).map(Self)
    }
}

/// A list of them of any length: whatever can be gone through, such as numpy's arrays.
pub(crate) struct Counts(pub(crate) Vec<usize>);

impl FromPyObject<'_, '_> for Counts {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let counts = value.try_iter()?.map(|count| whole(&count?, "each of them", 0..=MOST));
        counts.collect::<PyResult<_>>().map(Self)
    }
}

/// A byte among them.
pub(crate) struct Byte(pub(crate) u8);

impl FromPyObject<'_, '_> for Byte {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        whole(&value, "it", 0..=255).map(|byte| Self(byte as u8))
    }
}

/// A float among them: also an integer, or a number of numpy's.
pub(crate) struct Real(pub(crate) f32);

impl FromPyObject<'_, '_> for Real {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err("it must be a number, not bool"));
        }
        Ok(Self(value.extract::<f64>()? as f32))
    }
}
