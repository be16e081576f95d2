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
    /// A pool that the caller keeps and may share among sessions. Rayon's global pool is never used.
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
