//! How work is handed to threads: the kernels cut it into tasks, the caller decides who runs them.

mod disjoint;
mod grid;
mod pieces;

pub(crate) use disjoint::Disjoint;
pub(crate) use grid::{Grid, ROW_GROUP, ROWS, panels_of_task};
pub(crate) use pieces::is_long;
pub use pieces::{Interrupt, Pieces};

/// Runs independent tasks, in any order, on any threads.
///
/// # Safety
/// [`Self::run`] must call its task exactly once for each number and return after the last call has, because tasks write
/// unchecked to parts of one buffer that their numbers keep apart.
pub unsafe trait Parallel: Sync {
    /// How many tasks can run at once; 1 means the caller's thread alone.
    fn threads(&self) -> usize;
    /// Calls `task(i)` once for each i in `0..tasks` and returns when all are done.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
    /// What can call the work off, if anything can. Every kernel asks it between two pieces of its work, each less than a
    /// millisecond long, and leaves the rest undone; results are then unspecified.
    fn interrupt(&self) -> Option<&dyn Interrupt> {
        None
    }
}

/// Runs every task on the caller's thread, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

// SAFETY: a loop over the numbers.
unsafe impl Parallel for Inline {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            task(i);
        }
    }
}
