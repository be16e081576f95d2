//! Threads of a session's own: they help the caller with the tasks of a layer and spin for a moment between layers.
//!
//! A layer of a network takes tens of microseconds. A general pool takes as long to hand over its work: the caller sleeps
//! while a thread of the pool runs in its place, and threads that found nothing to do for a few microseconds have to be
//! woken (VGG-small on two cores: 45 to 75 µs a run, some 5 % of it). Here the caller works itself, and whoever helps it
//! looks for the next layer for [`PATIENCE`] before it sleeps. A helper that comes late finds the tasks done, so workers
//! whose cores are taken by others cost little more than none.

use super::forks::Process;
use horq_kernels::float_env::in_default;
use horq_kernels::{Inline, Interrupt, Parallel};
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps: longer than the layers of a network that run on one thread.
const PATIENCE: Duration = Duration::from_micros(100);

/// How often a helper looks at the gate before it looks at the clock; a pause between two looks takes up to 40 ns.
const LOOKS: usize = 32;

/// The caller and its helpers.
pub(crate) struct Workers {
    board: Arc<Board>,
    process: Process,
    helpers: Vec<JoinHandle<()>>,
}

/// What the caller and its helpers share.
struct Board {
    /// The number of the job in the upper half, the helpers at work on it in the lower. Helpers may join while the number
    /// is odd; the caller writes `job` only while it is even and nobody is at work.
    gate: AtomicU64,
    job: UnsafeCell<Job>,
    /// A share of the tasks for each thread, the caller's first: the next task of it.
    shares: Box<[Share]>,
    asleep: Box<[AtomicBool]>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    closed: AtomicBool,
    /// Whether a call of [`Workers::run`] is under way.
    busy: AtomicBool,
    patience: Duration,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Share(AtomicUsize);

#[derive(Clone, Copy)]
struct Job {
    tasks: usize,
    /// The lifetime is the caller's call of [`Workers::run`], which waits for everybody who reads it.
    task: *const (dyn Fn(usize) + Sync),
}

// SAFETY: `job` is written while the gate is closed and read by those who joined (see `gate`); what it points at is Sync.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

const NUMBER: u64 = 1 << 32;

impl Board {
    /// Runs tasks until none is left, those of the share of thread `who` first: threads keep their part of a layer, so
    /// that they find what they wrote in the last layer in their own cache.
    fn work(&self, who: usize, job: Job) {
        // SAFETY: the caller waits for everybody who joined before the task's borrow ends.
        let task = unsafe { &*job.task };
        let threads = self.shares.len();
        for share in (0..threads).map(|i| (who + i) % threads) {
            let end = job.tasks * (share + 1) / threads;
            loop {
                // The tasks write disjoint memory, and the gate orders it; the counter only has to be one.
                let number = self.shares[share].0.fetch_add(1, Relaxed);
                if number >= end {
                    break;
                }
                task(number);
            }
        }
    }

    /// Joins the present job if it is open and not number `last`, helps, and tells its number.
    fn join(&self, who: usize, last: u64) -> Option<u64> {
        let gate = self.gate.load(Acquire);
        let number = gate / NUMBER;
        if number.is_multiple_of(2)
            || number == last
            || self.gate.compare_exchange(gate, gate + 1, AcqRel, Relaxed).is_err()
        {
            return None;
        }
        // SAFETY: this thread has joined, so the caller does not write the job.
        let job = unsafe { *self.job.get() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(who, job))) {
            self.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(panic);
        }
        self.gate.fetch_sub(1, Release);
        Some(number)
    }

    /// The life of a helper.
    fn help(&self, who: usize) {
        let asleep = &self.asleep[who - 1];
        let (mut last, mut since) = (0, Instant::now());
        while !self.closed.load(Acquire) {
            if let Some(number) = self.join(who, last) {
                (last, since) = (number, Instant::now());
            } else if since.elapsed() < self.patience {
                self.watch(last);
            } else {
                // Whoever opens the gate or closes the board looks at `asleep` afterwards, so one of the two sees the other.
                asleep.store(true, SeqCst);
                let number = self.gate.load(SeqCst) / NUMBER;
                if (number.is_multiple_of(2) || number == last) && !self.closed.load(SeqCst) {
                    thread::park();
                }
                asleep.store(false, SeqCst);
                since = Instant::now();
            }
        }
    }

    /// Waits for a job after number `last` for a microsecond or some: a look at the gate costs far less than one at the clock.
    fn watch(&self, last: u64) {
        for _ in 0..LOOKS {
            let number = self.gate.load(Relaxed) / NUMBER;
            if !number.is_multiple_of(2) && number != last {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn wake(&self, helpers: &[JoinHandle<()>]) {
        for (asleep, helper) in self.asleep.iter().zip(helpers) {
            if asleep.load(SeqCst) {
                helper.thread().unpark();
            }
        }
    }
}

impl Workers {
    /// `threads` workers, the caller among them.
    ///
    /// # Errors
    /// If a thread cannot be had.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let board = Board {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(Job { tasks: 0, task: &|_: usize| () }),
            shares: (0..threads).map(|_| Share::default()).collect(),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
            closed: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            // Helpers without a core of their own would take the caller's.
            patience: if threads <= cores { PATIENCE } else { Duration::ZERO },
        };
        let (board, process) = (Arc::new(board), Process::current()?);
        let mut workers = Self { board, process, helpers: Vec::with_capacity(threads - 1) };
        for who in 1..threads {
            let board = workers.board.clone();
            workers.helpers.push(
                thread::Builder::new().name(format!("horq-{who}")).spawn(move || in_default(|| board.help(who)))?,
            );
        }
        Ok(workers)
    }

    /// Whether this process was forked from the one that has the helpers.
    pub(crate) fn is_left_behind(&self) -> bool {
        !self.process.is_current()
    }
}

/// Shuts the gate and waits for those who joined, also if the caller's own task panics.
struct Closing<'a> {
    board: &'a Board,
    /// What is asked while the caller waits.
    interrupt: Option<&'a dyn Interrupt>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.board.gate.fetch_add(NUMBER, AcqRel);
        let mut rounds = 0;
        while !self.board.gate.load(Acquire).is_multiple_of(NUMBER) {
            // A helper whose core was taken away in the middle of a task may need this one.
            rounds += 1;
            if rounds % 4096 != 0 {
                std::hint::spin_loop();
                continue;
            }
            thread::yield_now();
            // Whoever helps asks as well, but some things only the caller's thread hears of.
            let _ = self.interrupt.is_some_and(Interrupt::is_raised);
        }
        self.board.busy.store(false, Release);
    }
}

// SAFETY: every number is drawn from one counter and run by who drew it; `Closing` waits for all who joined.
unsafe impl Parallel for Workers {
    fn threads(&self) -> usize {
        self.board.shares.len()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.run_watched(tasks, task, None);
    }
}

impl Workers {
    /// [`Parallel::run`]; the caller asks `interrupt` while it waits for its helpers.
    pub(crate) fn run_watched(&self, tasks: usize, task: &(dyn Fn(usize) + Sync), interrupt: Option<&dyn Interrupt>) {
        let board = &*self.board;
        if board.busy.swap(true, Acquire) {
            // A task that cuts its own work further; every worker is busy.
            return Inline.run(tasks, task);
        }
        // SAFETY: only the lifetime is changed, and nobody reads the job after this call.
        #[expect(clippy::disallowed_methods, reason = "no cast lengthens the lifetime of a trait object")]
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        let job = Job { tasks, task };
        // SAFETY: `busy` keeps other calls out; the gate is shut and nobody is at work, since the last call waited for that.
        unsafe { *board.job.get() = job };
        for (i, share) in board.shares.iter().enumerate() {
            share.0.store(tasks * i / board.shares.len(), Relaxed);
        }
        board.gate.fetch_add(NUMBER, SeqCst);
        let closing = Closing { board, interrupt };
        board.wake(&self.helpers[..self.helpers.len().min(tasks.saturating_sub(1))]);
        board.work(0, job);
        drop(closing);
        if let Some(panic) = board.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.board.closed.store(true, SeqCst);
        if self.is_left_behind() {
            // There are no such threads here, so they can be neither joined nor detached.
            return std::mem::forget(std::mem::take(&mut self.helpers));
        }
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches the panics of its tasks.
            let _ = helper.join();
        }
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads()).finish_non_exhaustive()
    }
}
