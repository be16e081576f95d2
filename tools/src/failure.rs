//! Why a command stops, and the exit code that says so.

use horq::escaped;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What ends a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments cannot be what the user meant: exit code 2.
    Usage(String),
    /// A file, a check or the run itself failed: exit code 1.
    Failed(String),
    /// Whoever read our output has left, as `head` does; nothing is wrong.
    ReaderGone,
}

impl Failure {
    /// A failure that a file is to blame for.
    pub(crate) fn file(path: &Path, what: impl Display) -> Self {
        Self::Failed(format!("{}: {what}", escaped(path)))
    }

    /// Reports on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, advice, code) = match self {
            Self::ReaderGone => return ExitCode::SUCCESS,
            Self::Failed(message) => (message, "", 1),
            Self::Usage(message) => (message, "see `horq --help` or `horq help COMMAND`\n", 2),
        };
        // Standard error may be closed; the exit code still tells.
        let _ = io::stderr().write_all(format!("error: {}\n{advice}", escaped(&message)).as_bytes());
        ExitCode::from(code)
    }
}

/// Only writing to standard output gives a bare `io::Error`; reading names its file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}
