//! What calls return, and what the thread's last failed call has to say.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};

use horq::ErrorKind;
use horq::error::{FileError, Interruption, ResourceError};

/// What a call returns.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it says.
    Ok = 0,
    /// A file that is no model, or cannot be read. Get another file.
    File = 1,
    /// A model whose graph breaks a rule. Export it again.
    Graph = 2,
    /// A model whose tensors break a rule. Export it again.
    Tensor = 3,
    /// An argument or a value that does not fit. Call with others; horq_last_error_sample() tells the sample at fault.
    Input = 4,
    /// Memory or threads that cannot be had. Free some, ask for less, or raise a limit.
    Resource = 5,
    /// A layer or a backend that no kernel of this CPU runs. Run elsewhere, or change the layer.
    Cpu = 6,
    /// The run was called off by its cancel token. The session can run again at once.
    Cancelled = 7,
    /// The run was past its deadline. The session can run again at once.
    Deadline = 8,
    /// All sessions of the pool are out, or another thread is using the session. Try again later, or take another.
    Busy = 9,
    /// A fault of the library. Please report it.
    Internal = 10,
}

/// What horq_last_error_sample() returns where no sample is at fault; the header's line for it stands in cbindgen.toml.
pub const HORQ_NO_SAMPLE: usize = usize::MAX;

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
    sample: usize,
    finished: usize,
    os_code: i32,
}

impl Failure {
    /// A mistake in the arguments.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Status::Input, message.into())
    }

    pub(crate) fn new(status: Status, message: String) -> Self {
        Self { status, message, sample: HORQ_NO_SAMPLE, finished: 0, os_code: 0 }
    }

    /// A panic, which would be a fault of ours.
    pub(crate) fn panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let what = horq::escaped(text.unwrap_or("a panic without a text")).to_string();
        let message = format!("internal error: {what}; please report it with the file and the call that led to it");
        Self::new(Status::Internal, message)
    }

    /// Makes this what the thread's last failed call has to say.
    pub(crate) fn keep(self) -> Status {
        let message = CString::new(self.message.replace('\0', "\\0")).unwrap_or_default();
        let last = Last { message, sample: self.sample, finished: self.finished, os_code: self.os_code };
        // A thread that is ending may have no place for it any more.
        let _ = LAST.try_with(|kept| kept.replace(Some(last)));
        self.status
    }
}

impl From<horq::Error> for Failure {
    fn from(error: horq::Error) -> Self {
        let mut failure = Self::new(status(&error), error.to_string());
        failure.sample = error.sample().unwrap_or(HORQ_NO_SAMPLE);
        match &error {
            horq::Error::Interrupted(interrupted) => failure.finished = interrupted.samples,
            horq::Error::File(FileError::Io { source, .. } | FileError::SharedMemory { source }) => {
                failure.os_code = source.raw_os_error().unwrap_or(0);
            }
            _ => {}
        }
        failure
    }
}

fn status(error: &horq::Error) -> Status {
    match error.kind() {
        ErrorKind::File => Status::File,
        ErrorKind::Graph => Status::Graph,
        ErrorKind::Tensor => Status::Tensor,
        ErrorKind::Input => Status::Input,
        ErrorKind::Resource => match error {
            horq::Error::Resource(ResourceError::PoolBusy { .. }) => Status::Busy,
            _ => Status::Resource,
        },
        ErrorKind::Cpu => Status::Cpu,
        ErrorKind::Interrupted => match error {
            horq::Error::Interrupted(error) if error.reason == Interruption::Deadline => Status::Deadline,
            _ => Status::Cancelled,
        },
        _ => Status::Internal,
    }
}

/// What a thread keeps of its last failed call: the only state of this library beside its handles.
struct Last {
    message: CString,
    sample: usize,
    finished: usize,
    os_code: i32,
}

thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });

fn last<T>(default: T, look: impl FnOnce(&Last) -> T) -> T {
    let found = LAST.try_with(|kept| kept.borrow().as_ref().map(look));
    found.ok().flatten().unwrap_or(default)
}

/// What was wrong in the last call of this thread that failed, and what to do: one line of UTF-8, without control characters.
/// Never NULL; "" if none failed. It stays where it is until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn horq_last_error_message() -> *const c_char {
    last(c"".as_ptr(), |last| last.message.as_ptr())
}

/// The sample whose values were at fault in the last call of this thread that failed, counted from first_sample of its
/// horq_run_options on: the first of those that are. The others may be run again without it. HORQ_NO_SAMPLE where no sample's
/// values are at fault.
#[unsafe(no_mangle)]
pub extern "C" fn horq_last_error_sample() -> usize {
    last(HORQ_NO_SAMPLE, |last| last.sample)
}

/// How many samples were finished when the last failed call of this thread was a run that was called off or late; else 0.
#[unsafe(no_mangle)]
pub extern "C" fn horq_last_error_finished_samples() -> usize {
    last(0, |last| last.finished)
}

/// The number that the operating system gave (errno) if the last failed call of this thread could not read a file; else 0.
#[unsafe(no_mangle)]
pub extern "C" fn horq_last_error_os_code() -> i32 {
    last(0, |last| last.os_code)
}
