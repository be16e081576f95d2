//! Where output goes: files, and standard output, which a disk can fill and a reader can leave.

use horq::escaped;
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Where tables and lines of JSON go. The first failure is kept, and nothing is printed after it.
pub(crate) struct Output {
    tables_to_stderr: bool,
    failed: RefCell<Option<io::Error>>,
}

impl Output {
    /// Standard output; where it is for JSON, tables go to standard error.
    pub(crate) fn new(tables_to_stderr: bool) -> Self {
        Self { tables_to_stderr, failed: RefCell::default() }
    }

    /// Prints for people.
    pub(crate) fn say(&self, text: &str) {
        if self.tables_to_stderr { complain(text) } else { self.line(text) }
    }

    /// Prints on standard output.
    pub(crate) fn line(&self, text: &str) {
        let mut failed = self.failed.borrow_mut();
        if failed.is_none() {
            let mut out = io::stdout().lock();
            *failed = writeln!(out, "{text}").and_then(|()| out.flush()).err();
        }
    }

    /// Whether everything has been printed so far.
    ///
    /// # Errors
    /// A message if not, with which measuring can stop.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &*self.failed.borrow() {
            None => Ok(()),
            Some(error) => Err(format!("cannot write to standard output: {error}")),
        }
    }

    /// What the program ends with: a reader that has left, as `head` does, is no failure.
    ///
    /// # Errors
    /// The result's, or a message if standard output took not everything.
    pub(crate) fn end(&self, result: Result<ExitCode, String>) -> Result<ExitCode, String> {
        match &*self.failed.borrow() {
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            _ => self.check().and(result),
        }
    }
}

/// Prints on standard error, which may be closed.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Creates a folder and what it lies in.
///
/// # Errors
/// A message that names it.
pub(crate) fn create_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot create the folder {}: {error}", escaped(folder)))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// A message that names it.
pub(crate) fn save(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    horq::replace_file(path, bytes.as_ref()).map_err(|error| error.to_string())
}
