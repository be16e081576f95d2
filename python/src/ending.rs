//! What ends a run before its time: `horq.CancelToken`, a timeout, and Python's signals.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use horq::RunOptions;
use pyo3::prelude::*;

/// How often a run looks for signals: Ctrl-C is to be answered within 100 ms, and a look waits for the GIL.
const EVERY: Duration = Duration::from_millis(40);

/// Calls runs off: all those that were given it (`run(.., cancel=token)`), of any model and session and on any thread, under way
/// or not begun. They raise `horq.CancelledError` within a millisecond or so. It stays cancelled: make one for each request.
#[pyclass(frozen, module = "horq")]
pub(crate) struct CancelToken(horq::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self(horq::CancelToken::new())
    }

    /// Calls all runs with this token off. Any thread and any signal handler may do it.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn __repr__(&self) -> &'static str {
        if self.0.is_cancelled() { "<horq.CancelToken, cancelled>" } else { "<horq.CancelToken>" }
    }
}

/// What may end one call of `run`.
pub(crate) struct Ending {
    cancel: Option<horq::CancelToken>,
    deadline: Option<Instant>,
    /// When the call began, and after how many milliseconds signals are looked for next.
    began: Instant,
    next: AtomicU64,
    /// Whether this is the main thread, the only one that gets signals, once it is known.
    is_main: OnceLock<bool>,
    /// What a signal handler raised.
    raised: Mutex<Option<PyErr>>,
}

impl Ending {
    /// The ending of a call that begins now.
    pub(crate) fn new(cancel: Option<&Bound<'_, CancelToken>>, timeout: Option<Duration>) -> Self {
        let began = Instant::now();
        Self {
            cancel: cancel.map(|token| token.get().0.clone()),
            // Where the clock cannot count so far, there is no deadline.
            deadline: timeout.and_then(|timeout| began.checked_add(timeout)),
            began,
            next: AtomicU64::new(EVERY.as_millis() as u64),
            is_main: OnceLock::new(),
            raised: Mutex::default(),
        }
    }

    /// Whether a token or the clock ends the call, which the engine then says.
    pub(crate) fn is_over(&self) -> bool {
        self.cancel.as_ref().is_some_and(horq::CancelToken::is_cancelled)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Runs `work` with options that end it.
    ///
    /// # Errors
    /// What a signal handler raised, rather than that the run was ended by it; and what `work` returns.
    pub(crate) fn watch<T>(&self, work: impl FnOnce(&RunOptions<'_>) -> PyResult<T>) -> PyResult<T> {
        let ask = || self.has_signal();
        let mut options = RunOptions::new().poll(EVERY, &ask);
        (options.cancel, options.deadline) = (self.cancel.as_ref(), self.deadline);
        let outcome = work(&options);
        match self.raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(raised) => Err(raised),
            None => outcome,
        }
    }

    /// Lets Python handle its signals if it is time to; whether a handler raised something. For work between two runs.
    pub(crate) fn is_signalled(&self) -> bool {
        let since = self.began.elapsed().as_millis() as u64;
        since >= self.next.load(Relaxed) && self.has_signal()
    }

    /// Lets Python handle its signals; whether a handler raised something.
    fn has_signal(&self) -> bool {
        // The others should not wait for the GIL over and over.
        if self.is_main.get() == Some(&false) {
            return false;
        }
        let raised = Python::attach(|py| {
            if self.is_main.get().is_none() {
                // Python code runs in here, which may be where a signal is handled.
                let _ = self.is_main.set(is_main_thread(py)?);
            }
            py.check_signals()
        });
        self.next.store((self.began.elapsed() + EVERY).as_millis() as u64, Relaxed);
        let Err(raised) = raised else { return false };
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(raised);
        true
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}
