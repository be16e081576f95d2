//! Who runs the tasks of a layer: the caller's thread, workers of the session's own, or one that the caller hands over.

mod forks;
mod sync;
mod workers;

use crate::Error;
use crate::error::{InputError, ResourceError};
pub(crate) use forks::Process;
use horq_kernels::float_env::{in_callers, in_default};
use horq_kernels::{Inline, Interrupt, Parallel};
use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use std::sync::Arc;
use workers::Workers;

/// The threads of a session. Results are the same bits whatever is chosen.
///
/// ```
/// use std::sync::Arc;
///
/// use horq::rayon::ThreadPoolBuilder;
/// use horq::{SessionOptions, Threads};
///
/// // Four threads of the session's own, which are the quickest for one stream of requests:
/// let own = SessionOptions::new().threads(Threads::Own(4));
/// // A pool that many sessions share:
/// let pool = Arc::new(ThreadPoolBuilder::new().num_threads(2).build()?);
/// let shared = SessionOptions::new().threads(Threads::Pool(pool.clone()));
/// # Ok::<(), horq::rayon::ThreadPoolBuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Threads {
    /// The thread that calls [`crate::Session::run`], and no other. The right choice for small networks, and for services that
    /// keep their cores busy with many sessions.
    #[default]
    Inline,
    /// That many threads, at most [`MAX_THREADS`]: the one that calls [`crate::Session::run`] and helpers that belong to the
    /// session. The quickest hand-over: after a run the helpers look for the next one for 0.1 ms before they sleep. In a forked
    /// child, which has none of its parent's threads, the first run makes new helpers.
    Own(usize),
    /// A pool that the caller keeps and may share among sessions; [`crate::rayon`] makes it. Rayon's global pool is never used.
    /// In a forked child the pool has no threads left, so a run is refused there: make pool and session after the fork.
    Pool(Arc<ThreadPool>),
}

/// The most threads of a session's own.
pub const MAX_THREADS: usize = 1024;
/// Below that many estimated cycles a whole run stays on the caller's thread: waking a thread that sleeps costs tens of
/// microseconds.
const RUN_CYCLES: u64 = 200_000;
/// Below that many estimated cycles a layer runs on one thread of a pool: cutting it up and joining costs microseconds.
const POOL_CYCLES: u64 = 40_000;
/// Below that many estimated cycles a layer runs on one of a session's own threads, whose hand-over costs about a microsecond.
const OWN_CYCLES: u64 = 10_000;

/// The threads of a session, ready for work.
#[derive(Debug)]
pub(crate) enum Executor {
    Inline,
    Own(Workers),
    Pool(Arc<ThreadPool>, Process),
}

impl Executor {
    pub(crate) fn new(threads: Threads) -> Result<Self, Error> {
        let refusal = |count, reason| Err(ResourceError::ThreadPool { count, reason }.into());
        match threads {
            Threads::Inline | Threads::Own(1) => Ok(Self::Inline),
            Threads::Own(0) => Err(InputError::NoThreads.into()),
            Threads::Own(count) if count > MAX_THREADS => refusal(count, format!("the limit is {MAX_THREADS}")),
            Threads::Own(count) => Workers::new(count)
                .map_or_else(|error| refusal(count, error.to_string()), |workers| Ok(Self::Own(workers))),
            Threads::Pool(pool) => match Process::current() {
                Ok(process) => Ok(Self::Pool(pool, process)),
                Err(error) => refusal(pool.current_num_threads(), error.to_string()),
            },
        }
    }

    /// Makes up for a fork of the process, which leaves all threads but one behind: workers of the session's own get new helpers.
    ///
    /// # Errors
    /// [`ResourceError::ThreadPool`](crate::error::ResourceError::ThreadPool) if they cannot be had; [`ResourceError::PoolLeftBehind`](crate::error::ResourceError::PoolLeftBehind) if the threads are those of a pool, which only
    /// its owner can make again.
    pub(crate) fn follow_fork(&mut self) -> Result<(), Error> {
        match self {
            Self::Own(workers) if workers.is_left_behind() => *self = Self::new(Threads::Own(workers.threads()))?,
            Self::Pool(_, process) if !process.is_current() => {
                return Err(ResourceError::PoolLeftBehind.into());
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs `work` where its tasks can be cut: inside a pool that was handed over if the estimated cycles of the longest
    /// layer and of the whole run are worth it. Inside, no layer has to enter the pool again.
    pub(crate) fn enter<R: Send>(&self, run: u64, longest: u64, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Pool(pool, _) if self.pays(run, longest) => in_callers(|| pool.install(|| in_default(work))),
            _ => work(),
        }
    }

    /// Who runs the tasks of a layer of that many estimated cycles in a run of that many.
    pub(crate) fn of_layer(&self, run: u64, layer: u64) -> &Self {
        static INLINE: Executor = Executor::Inline;
        if self.pays(run, layer) { self } else { &INLINE }
    }

    /// Whether work of that many estimated cycles, of a run of that many, pays for a hand-over.
    pub(crate) fn pays(&self, run: u64, layer: u64) -> bool {
        let least = match self {
            Self::Inline => return false,
            Self::Own(_) => OWN_CYCLES,
            Self::Pool(..) => POOL_CYCLES,
        };
        run >= RUN_CYCLES && layer >= least
    }
}

// SAFETY: a loop over the numbers, workers, or a parallel iterator, which waits for its last call.
unsafe impl Parallel for Executor {
    fn threads(&self) -> usize {
        match self {
            Self::Inline => 1,
            Self::Own(workers) => workers.threads(),
            Self::Pool(pool, _) => pool.current_num_threads(),
        }
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.run_watched(tasks, task, None);
    }
}

impl Executor {
    /// [`Parallel::run`]; a caller who waits for others asks `interrupt` meanwhile, so that it learns what only it can hear of.
    pub(crate) fn run_watched(&self, tasks: usize, task: &(dyn Fn(usize) + Sync), interrupt: Option<&dyn Interrupt>) {
        match self {
            Self::Inline => Inline.run(tasks, task),
            Self::Own(workers) => workers.run_watched(tasks, task, interrupt),
            // A thread that waits for the pool may run tasks that are not ours, which find the environment they expect.
            Self::Pool(pool, _) => in_callers(|| {
                let tasks = (0..tasks).into_par_iter().with_max_len(1);
                pool.install(|| tasks.for_each(|number| in_default(|| task(number))));
            }),
        }
    }
}

/// An executor whose work can be called off.
pub(crate) struct Watched<'a> {
    pub(crate) executor: &'a Executor,
    pub(crate) interrupt: &'a dyn Interrupt,
}

// SAFETY: the executor's own.
unsafe impl Parallel for Watched<'_> {
    fn threads(&self) -> usize {
        self.executor.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.executor.run_watched(tasks, task, Some(self.interrupt));
    }

    fn interrupt(&self) -> Option<&dyn Interrupt> {
        Some(self.interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::thread::ThreadId;
    use std::time::Duration;

    fn threads_of(workers: &dyn Parallel, tasks: usize) -> HashSet<ThreadId> {
        let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        let seen = Mutex::new(HashSet::new());
        workers.run(tasks, &|task| {
            runs[task].fetch_add(1, Relaxed);
            seen.lock().unwrap().insert(std::thread::current().id());
        });
        assert!(runs.iter().all(|runs| runs.load(Relaxed) == 1), "each task runs once");
        seen.into_inner().unwrap()
    }

    fn pool(threads: usize) -> Arc<ThreadPool> {
        Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    #[test]
    fn tasks_run_once_each_on_the_threads_that_were_asked_for() {
        let me = HashSet::from([std::thread::current().id()]);
        let pool = pool(3);
        let members: HashSet<ThreadId> = pool.broadcast(|_| std::thread::current().id()).into_iter().collect();
        let workers = Executor::new(Threads::Own(3)).unwrap();
        for tasks in [0, 1, 2, 100] {
            for alone in [Threads::Inline, Threads::Own(1)] {
                assert!(threads_of(&Executor::new(alone).unwrap(), tasks).is_subset(&me));
            }
            let executor = Executor::new(Threads::Pool(pool.clone())).unwrap();
            assert!(threads_of(&executor, tasks).is_subset(&members), "only threads of the pool work");
            assert!(threads_of(&workers, tasks).len() <= 3);
        }
        assert_eq!(workers.threads(), 3);
    }

    #[test]
    fn workers_work_at_the_same_time_and_are_lent_over_and_over() {
        let workers = Executor::new(Threads::Own(4)).unwrap();
        // Every task waits for three others: four threads must work, the caller among them.
        let barrier = std::sync::Barrier::new(4);
        let seen = Mutex::new(HashSet::new());
        workers.run(4, &|_| {
            seen.lock().unwrap().insert(std::thread::current().id());
            barrier.wait();
        });
        assert!(seen.lock().unwrap().contains(&std::thread::current().id()));
        assert_eq!(seen.lock().unwrap().len(), 4);
        let [rounds, naps] = if cfg!(miri) { [200, 50] } else { [20_000, 5000] };
        for round in 0..rounds {
            let sum = AtomicUsize::new(0);
            let tasks = round % 7;
            workers.run(tasks, &|task| _ = sum.fetch_add(task + 1, Relaxed));
            assert_eq!(sum.into_inner(), tasks * (tasks + 1) / 2);
            if round % naps == 0 {
                std::thread::sleep(Duration::from_millis(2)); // until the helpers sleep
            }
        }
    }

    #[test]
    fn a_task_that_panics_or_cuts_its_work_further_leaves_the_workers_whole() {
        let workers = Executor::new(Threads::Own(3)).unwrap();
        for bad in 0..(if cfg!(miri) { 3 } else { 50 }) {
            let result =
                catch_unwind(AssertUnwindSafe(|| workers.run(50, &|task| assert_ne!(task, bad, "as it should"))));
            assert!(result.is_err(), "the caller hears of it");
            assert!(threads_of(&workers, 50).len() <= 3);
        }
        let inner = AtomicUsize::new(0);
        workers.run(10, &|_| workers.run(10, &|_| _ = inner.fetch_add(1, Relaxed)));
        assert_eq!(inner.into_inner(), 100);
    }

    #[test]
    fn small_work_stays_where_it_is() {
        let executor = Executor::new(Threads::Pool(pool(2))).unwrap();
        let me = std::thread::current().id();
        let here = |run, longest| executor.enter(run, longest, || std::thread::current().id()) == me;
        assert!(here(RUN_CYCLES - 1, RUN_CYCLES - 1) && here(RUN_CYCLES, POOL_CYCLES - 1));
        assert!(!here(RUN_CYCLES, POOL_CYCLES));
        for (executor, least) in [(executor, POOL_CYCLES), (Executor::new(Threads::Own(2)).unwrap(), OWN_CYCLES)] {
            assert_eq!(executor.of_layer(RUN_CYCLES, least).threads(), 2);
            assert_eq!(executor.of_layer(RUN_CYCLES, least - 1).threads(), 1);
            assert_eq!(executor.of_layer(RUN_CYCLES - 1, RUN_CYCLES).threads(), 1);
        }
    }
}
