//! The threads that run what is measured.

use horq::Threads;
use horq_kernels::{Inline, Parallel};
use rayon::prelude::*;
use std::sync::Arc;

/// Who runs the work: the caller's thread, or a pool of its own.
pub(crate) struct Workers(Option<Arc<rayon::ThreadPool>>);

impl Workers {
    /// So many.
    ///
    /// # Errors
    /// A message if the system does not start their threads.
    pub(crate) fn new(threads: usize) -> Result<Self, String> {
        if threads == 1 {
            return Ok(Self(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self(Some(Arc::new(pool.map_err(|error| format!("cannot start {threads} threads: {error}"))?))))
    }

    /// These workers as a session of the engine takes them.
    pub(crate) fn for_session(&self) -> Threads {
        self.0.clone().map_or(Threads::Inline, Threads::Pool)
    }

    /// Runs `work` on a thread of the pool, so that rayon inside it means this pool.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

// SAFETY: a loop over the numbers, or a parallel iterator over them, which waits for its last call.
unsafe impl Parallel for Workers {
    fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match &self.0 {
            Some(pool) => pool.install(|| (0..tasks).into_par_iter().for_each(task)),
            None => Inline.run(tasks, task),
        }
    }
}
