//! Why a command stops, and the exit code that says so.

use std::fmt::Display;
use std::io;
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
        Self::Failed(format!("{}: {what}", path.display()))
    }

    /// Reports on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::ReaderGone => return ExitCode::SUCCESS,
            Self::Failed(message) => (message, 1),
            Self::Usage(message) => (format!("{message}\nsee `horq --help` or `horq help COMMAND`"), 2),
        };
        // Standard error may be closed; the exit code still tells.
        let _ = io::Write::write_all(&mut io::stderr(), format!("error: {message}\n").as_bytes());
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
