//! The error of this crate, by category.

mod cpu;
mod file;
mod graph;
mod input;
mod interrupted;
mod points;
mod resource;
mod tensor;

pub use cpu::CpuError;
pub use file::FileError;
pub use graph::GraphError;
pub use input::InputError;
pub use interrupted::{InterruptedError, Interruption};
pub use points::PointsError;
pub use resource::ResourceError;
pub use tensor::TensorError;

/// What went wrong: a category, and in it a variant for each rule of the format, of the graph and of a session.
///
/// Its text is one line, whatever a file or a path holds: what comes from outside stands in it as [`crate::escaped`] shows it.
/// The fields hold it as it is.
/// What `main` and `unwrap` print of it is its text as well.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum Error {
    /// A file that is no model, or cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A graph that breaks a rule.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor that breaks a rule.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Arguments or values of the caller's that do not fit the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Memory or threads that cannot be had.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A layer or an instruction set that no kernel of this CPU runs.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// A run that its caller called off, or that was late.
    #[error(transparent)]
    Interrupted(#[from] InterruptedError),
}

/// The category of an [`Error`], by which a service can tell a bad model from a bad request and from a want of means.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// [`Error::File`]: get another file.
    File,
    /// [`Error::Graph`]: export the model again.
    Graph,
    /// [`Error::Tensor`]: export the model again.
    Tensor,
    /// [`Error::Input`]: call with other arguments.
    Input,
    /// [`Error::Resource`]: free memory, ask for less, or raise a limit.
    Resource,
    /// [`Error::Cpu`]: run elsewhere, or change the layer.
    Cpu,
    /// [`Error::Interrupted`]: nothing is wrong; give the run more time if it should have ended.
    Interrupted,
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// The category.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::File(_) => ErrorKind::File,
            Self::Graph(_) => ErrorKind::Graph,
            Self::Tensor(_) => ErrorKind::Tensor,
            Self::Input(_) => ErrorKind::Input,
            Self::Resource(_) => ErrorKind::Resource,
            Self::Cpu(_) => ErrorKind::Cpu,
            Self::Interrupted(_) => ErrorKind::Interrupted,
        }
    }

    /// The sample whose values are at fault, counted from 0 over the call ([`crate::RunOptions::first_sample`] starts
    /// elsewhere): the first of those that are, whatever the threads and the batch. The others of the batch may be run again
    /// without it. None where no value of an input is at fault.
    pub const fn sample(&self) -> Option<usize> {
        match self {
            Self::Input(error) => error.sample(),
            _ => None,
        }
    }
}

impl From<horq_kernels::Error> for Error {
    fn from(error: horq_kernels::Error) -> Self {
        Self::Cpu(CpuError::Kernel(error))
    }
}
