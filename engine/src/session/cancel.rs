//! How a caller calls a run off: tokens, deadlines, and the question that a run asks while it works.

use crate::Error;
use crate::error::{InterruptedError, Interruption};
use horq_kernels::Interrupt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Calls runs off: all those that were given a clone of it ([`RunOptions::cancel`]), in any session and on any thread, under
/// way or not begun. It stays cancelled; a request gets a token of its own.
///
/// ```
/// use horq::graph::Shape;
/// use horq::ops::Relu;
/// use horq::{Builder, CancelToken, ErrorKind, Model, RunOptions, Session, SessionOptions};
///
/// let model = Model::from_bytes(&Builder::new("x", Shape::Flat(2)).add("y", &["x"], Relu)?.to_bytes("y")?)?;
/// let mut session = Session::new(&model, SessionOptions::new())?;
/// let (token, mut answer) = (CancelToken::new(), [0.0; 2]);
/// let options = RunOptions::new().cancel(&token);
/// session.run_with(&[1.0, -1.0], &mut answer, &options)?;
///
/// let elsewhere = token.clone(); // for another thread, or a signal handler
/// elsewhere.cancel();
/// let error = session.run_with(&[1.0, -1.0], &mut answer, &options).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Interrupted);
/// session.run(&[1.0, -1.0], &mut answer)?; // the session is as good as before
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls all runs with this token off. One atomic store, so a signal handler may do it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`Self::cancel`] was called on this token or a clone of it.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What may end a run before its time; the default is nothing.
///
/// A run looks at it between layers and, within a layer, between pieces of work that take some 0.05 ms. Looking costs an atomic
/// load, and for a deadline or a poll a reading of the clock. A run without options does not look.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct RunOptions<'a> {
    /// Ends the run when it is cancelled.
    pub cancel: Option<&'a CancelToken>,
    /// Ends the run when it has passed. One that has passed already ends it before it begins.
    pub deadline: Option<Instant>,
    /// Ends the run when it says so; see [`Self::poll`].
    pub poll: Option<Poll<'a>>,
    /// The number that errors give the first sample of the run; 0 by default. For callers who cut a batch of their own into
    /// several runs.
    pub first_sample: usize,
    /// The model's operating point to run at, as [`crate::Session::set_point`]: the session stays at it. None leaves the session as it
    /// is, and lets [`crate::Session::run_within`] choose.
    pub point: Option<&'a str>,
    /// When the request arrived; for [`crate::Session::run_within`], where the time since counts against the session's target.
    pub arrived: Option<Instant>,
}

/// A question that a run asks its caller every now and then.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Poll<'a> {
    /// The least time between two questions.
    pub every: Duration,
    /// Whether the run is to end.
    pub ask: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> RunOptions<'a> {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Self::cancel`].
    pub fn cancel(self, token: &'a CancelToken) -> Self {
        Self { cancel: Some(token), ..self }
    }

    /// Sets [`Self::deadline`].
    pub fn deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Sets [`Self::deadline`] to that time from now on; to none where the clock cannot count so far.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(timeout), ..self }
    }

    /// Sets [`Self::poll`]: `ask` is called about `every` so often while the run works, for the first time after `every`, and
    /// ends the run as a cancelled one when it returns true. It is not called in a run that by its products is over before. For callers whose reason to stop is seen only by asking, such as
    /// the signals of an interpreter.
    ///
    /// It is called on the thread that called the run, with [`Threads::Pool`](crate::Threads::Pool) on the thread of the pool that
    /// leads the run. It must not panic.
    pub fn poll(self, every: Duration, ask: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { poll: Some(Poll { every, ask }), ..self }
    }

    /// Sets [`Self::first_sample`].
    pub fn first_sample(self, first_sample: usize) -> Self {
        Self { first_sample, ..self }
    }

    /// Sets [`Self::point`].
    pub fn point(self, point: &'a str) -> Self {
        Self { point: Some(point), ..self }
    }

    /// Sets [`Self::arrived`].
    pub fn arrived(self, arrived: Instant) -> Self {
        Self { arrived: Some(arrived), ..self }
    }
}

impl std::fmt::Debug for RunOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions")
            .field("cancel", &self.cancel)
            .field("deadline", &self.deadline)
            .field("poll", &self.poll.map(|poll| poll.every))
            .field("first_sample", &self.first_sample)
            .field("point", &self.point)
            .field("arrived", &self.arrived)
            .finish()
    }
}

impl std::fmt::Debug for Poll<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("every", &self.every).finish_non_exhaustive()
    }
}

/// What an estimated cycle takes on a slow machine with the portable backend.
const SLOW_NANOSECONDS: u128 = 20;

/// What may end one run, as all its threads see it.
pub(super) struct Stop<'a> {
    options: RunOptions<'a>,
    /// When the run began, and after how many nanoseconds the caller is asked next.
    began: Instant,
    next: AtomicU64,
    /// The thread that may ask the caller.
    leader: usize,
    /// The [`Interruption`] and 1, once there is one: what has begun to end does not go on.
    raised: AtomicU8,
}

impl<'a> Stop<'a> {
    /// What may end a run with these options that begins now and is led by this thread; none if nothing may.
    pub(super) fn new(options: RunOptions<'a>) -> Option<Self> {
        if options.cancel.is_none() && options.deadline.is_none() && options.poll.is_none() {
            return None;
        }
        let next = AtomicU64::new(options.poll.map_or(u64::MAX, |poll| nanoseconds(poll.every)));
        let (began, leader, raised) = (Instant::now(), this_thread(), AtomicU8::new(0));
        Some(Self { options, began, next, leader, raised })
    }

    /// Lets this thread lead the run from now on, which takes some `cycles` on a fast machine: one that is over before the caller
    /// would be asked does not read the clock for that.
    pub(super) fn led_here(self, cycles: u64) -> Self {
        let short = |poll: &Poll<'_>| u128::from(cycles) * SLOW_NANOSECONDS < poll.every.as_nanos();
        let poll = self.options.poll.filter(|poll| !short(poll));
        Self { leader: this_thread(), options: RunOptions { poll, ..self.options }, ..self }
    }

    /// Why the run ends, if it does.
    pub(super) fn interruption(&self) -> Option<Interruption> {
        match self.raised.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Interruption::Cancelled),
            _ => Some(Interruption::Deadline),
        }
    }

    /// The error of a run that has ended, whose first unfinished samples came through `layer`.
    pub(super) fn error(&self, layer: Option<String>, samples: usize) -> Error {
        let reason = self.interruption().unwrap_or(Interruption::Cancelled);
        InterruptedError { reason, layer, samples, fastest: None }.into()
    }

    /// Ends the run for that reason, unless it ends for another.
    fn raise(&self, reason: Interruption) -> bool {
        let code = match reason {
            Interruption::Cancelled => 1,
            Interruption::Deadline => 2,
        };
        let _ = self.raised.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        true
    }

    /// Looks whether the run is to end now, if nobody has found so yet.
    fn look(&self) -> bool {
        let RunOptions { cancel, deadline, poll, .. } = self.options;
        if cancel.is_some_and(CancelToken::is_cancelled) {
            return self.raise(Interruption::Cancelled);
        }
        if deadline.is_none() && poll.is_none() {
            return false;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return self.raise(Interruption::Deadline);
        }
        let Some(Poll { every, ask }) = poll else { return false };
        let since = nanoseconds(now.duration_since(self.began));
        if since < self.next.load(Ordering::Relaxed) || this_thread() != self.leader {
            return false;
        }
        let ends = ask();
        // The answer may have taken long.
        let next = nanoseconds(self.began.elapsed()).saturating_add(nanoseconds(every));
        self.next.store(next, Ordering::Relaxed);
        ends && self.raise(Interruption::Cancelled)
    }
}

impl Interrupt for Stop<'_> {
    fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed) != 0 || self.look()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// A number that no other thread has meanwhile. `ThreadId` would take memory on threads that are not Rust's.
fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}
