//! Who runs the tasks of a layer: the caller's thread, a pool of the session's own, or one that the caller hands over.

use crate::Error;
use horq_kernels::{Inline, Parallel};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;

/// The threads of a session. Results are the same bits whatever is chosen.
#[derive(Clone, Debug, Default)]
pub enum Threads {
    /// The thread that calls [`crate::Session::run`], and no other. The right choice for small networks, and for services that
    /// keep their cores busy with many sessions.
    #[default]
    Inline,
    /// A pool of that many threads that belongs to the session.
    Own(usize),
    /// A pool that the caller keeps and may share among sessions; [`crate::rayon`] makes it. Rayon's global pool is never used.
    Pool(Arc<ThreadPool>),
}

/// Below that many estimated cycles a layer runs on one thread: cutting it up and joining costs some microseconds.
const LAYER_CYCLES: u64 = 40_000;
/// Below that many estimated cycles a whole run stays on the caller's thread: entering a pool whose threads sleep costs
/// tens of microseconds.
const RUN_CYCLES: u64 = 200_000;

/// The threads of a session, ready for work.
#[derive(Debug)]
pub(crate) enum Team {
    Inline,
    Pool(Arc<ThreadPool>),
}

impl Team {
    pub(crate) fn new(threads: Threads) -> Result<Self, Error> {
        Ok(match threads {
            Threads::Inline | Threads::Own(1) => Self::Inline,
            Threads::Own(0) => return Err(Error::NoThreads),
            Threads::Own(count) => {
                let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("horq-{i}")).build();
                Self::Pool(Arc::new(pool.map_err(|error| Error::ThreadPool { count, reason: error.to_string() })?))
            }
            Threads::Pool(pool) => Self::Pool(pool),
        })
    }

    /// Runs `work` where its tasks can be cut: inside the pool if there is one and the estimated cycles of the longest layer
    /// and of the whole run are worth it. Inside, no layer has to enter the pool again.
    pub(crate) fn enter<R: Send>(&self, run: u64, longest: u64, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Pool(pool) if run >= RUN_CYCLES && longest >= LAYER_CYCLES => pool.install(work),
            _ => work(),
        }
    }

    /// Who runs the tasks of a layer of that many estimated cycles in a run of that many.
    pub(crate) fn crew(&self, run: u64, layer: u64) -> &dyn Parallel {
        match self {
            Self::Pool(_) if run >= RUN_CYCLES && layer >= LAYER_CYCLES => self,
            _ => &Inline,
        }
    }
}

// SAFETY: a loop over the numbers, or a parallel iterator over them, which waits for its last call.
unsafe impl Parallel for Team {
    fn threads(&self) -> usize {
        match self {
            Self::Inline => 1,
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match self {
            Self::Inline => Inline.run(tasks, task),
            Self::Pool(pool) => pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::thread::ThreadId;

    fn threads_of(crew: &dyn Parallel, tasks: usize) -> HashSet<ThreadId> {
        let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        let seen = Mutex::new(HashSet::new());
        crew.run(tasks, &|task| {
            runs[task].fetch_add(1, Relaxed);
            seen.lock().unwrap().insert(std::thread::current().id());
        });
        assert!(runs.iter().all(|runs| runs.load(Relaxed) == 1), "each task runs once");
        seen.into_inner().unwrap()
    }

    #[test]
    fn tasks_run_once_each_on_the_threads_that_were_asked_for() {
        let me = HashSet::from([std::thread::current().id()]);
        for tasks in [0, 1, 2, 100] {
            let inline = Team::new(Threads::Inline).unwrap();
            assert!(threads_of(&inline, tasks).is_subset(&me));
            for team in [Team::new(Threads::Own(3)).unwrap(), Team::new(Threads::Own(1)).unwrap()] {
                let Team::Pool(pool) = &team else {
                    assert!(threads_of(&team, tasks).is_subset(&me));
                    continue;
                };
                let pool: HashSet<ThreadId> = pool.broadcast(|_| std::thread::current().id()).into_iter().collect();
                assert!(threads_of(&team, tasks).is_subset(&pool), "only threads of the pool work");
            }
        }
    }

    #[test]
    fn small_work_stays_where_it_is() {
        let team = Team::new(Threads::Own(2)).unwrap();
        let me = std::thread::current().id();
        let here = |run, longest| team.enter(run, longest, || std::thread::current().id()) == me;
        assert!(here(RUN_CYCLES - 1, RUN_CYCLES - 1) && here(RUN_CYCLES, LAYER_CYCLES - 1));
        assert!(!here(RUN_CYCLES, LAYER_CYCLES));
        assert_eq!(team.crew(RUN_CYCLES, LAYER_CYCLES).threads(), 2);
        assert_eq!(team.crew(RUN_CYCLES, LAYER_CYCLES - 1).threads(), 1);
        assert_eq!(team.crew(RUN_CYCLES - 1, RUN_CYCLES).threads(), 1);
    }
}
