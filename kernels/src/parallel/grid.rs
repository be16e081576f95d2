//! How the rows of a layer are cut into tasks.

use crate::error::Error;
use crate::parallel::{Parallel, Pieces};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The most rows that a task multiplies at a time; with four panels their results take 8 KiB of the L1 cache.
pub(crate) const ROWS: usize = 32;
/// Panels that a task multiplies at a time: as many as the widest tile, so that they are read once a row tile.
const GROUP: usize = 4;
/// Panels that a task multiplies at a time where a layer has one row: many panels side by side are many streams for the
/// prefetchers.
pub(crate) const ROW_GROUP: usize = 8;

/// Panels of a task of a layer with so many rows.
pub(crate) const fn panels_of_task(rows: usize) -> usize {
    if rows == 1 { ROW_GROUP } else { GROUP }
}

/// How a layer's work is cut: chunks of rows times units (panels of a group).
///
/// Tasks run chunk by chunk, and within a chunk unit by unit: a unit's panels lie in the L1 cache while the chunk's rows
/// pass by from the L2, a few bytes a cycle. Chunks end where rows would leave the L2, or results more pages than the TLB
/// reaches: walking all rows of a 4032 x 4032 x 4032 product for each unit costs a TLB miss a row.
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a> {
    parallel: &'a dyn Parallel,
    tasks: usize,
    units: usize,
    chunks: usize,
    rows: usize,
    /// What a row of a unit costs, in vector operations.
    work: usize,
    threaded: bool,
}

/// Bytes of rows that a chunk may take: a quarter of an L2 cache of 1 MiB. Smaller chunks would reload the panels too often:
/// with 24 KiB, panels from the L3 took a fifth of the time of 4032 x 4032 x 4032 counts, which bypass the caches.
const CHUNK_BYTES: usize = 256 << 10;
/// Work below which a hand-over to threads (a microsecond or less) does not pay, in vector operations. Less than the same
/// time's work: a thread alone has to fetch what the others wrote from their caches.
const MIN_WORK: usize = 2_500;

impl<'a> Grid<'a> {
    /// Cuts `rows` rows of `row_bytes` bytes times `units` units, each row of a unit costing about `work` vector operations.
    pub(crate) fn new(parallel: &'a dyn Parallel, rows: usize, row_bytes: usize, units: usize, work: usize) -> Self {
        let threads = parallel.threads();
        let threaded = threads > 1 && rows.saturating_mul(units).saturating_mul(work) >= MIN_WORK;
        let cached = rows.div_ceil((CHUNK_BYTES / row_bytes.max(1)).max(ROWS));
        // Some four tasks a thread even out unequal cores, and as many chunks for each: a thread works on its part of the
        // rows in layer after layer. Chunks below ROWS would leave tiles half empty.
        let shared = match (4 * threads).div_ceil(units) {
            _ if !threaded => 1,
            1 => 1,
            chunks => chunks.next_multiple_of(threads),
        };
        let most = rows.div_ceil(ROWS).max(1);
        let chunks = match cached.max(shared).min(most) {
            // Equal numbers of chunks for all threads: with 15 on two of them, one would wait for half a chunk.
            chunks if threaded && chunks > 1 && chunks.next_multiple_of(threads) <= most => {
                chunks.next_multiple_of(threads)
            }
            chunks if threaded && chunks > threads => chunks / threads * threads,
            chunks => chunks,
        };
        Self { parallel, tasks: units * chunks, units, chunks, rows, work, threaded }
    }

    /// Cuts lines that no tile takes together (rows of an image to quantize), each costing about `work` vector operations.
    pub(crate) fn lines(parallel: &'a dyn Parallel, lines: usize, work: usize) -> Self {
        let threads = parallel.threads();
        let threaded = threads > 1 && lines.saturating_mul(work) >= MIN_WORK;
        let chunks = if threaded { (4 * threads).min(lines) } else { 1 };
        Self { parallel, tasks: chunks, units: 1, chunks, rows: lines, work, threaded }
    }

    /// These tasks in output pixels that `joined` rows make.
    pub(crate) fn joining(self, joined: usize) -> Self {
        Self { rows: self.rows / joined, work: self.work.saturating_mul(joined), ..self }
    }

    /// Runs every task with its unit and its rows, on threads where there is enough work.
    ///
    /// This is where the work of a layer can be called off: where [`Parallel::interrupt`] is there, a task gets its rows in
    /// pieces, and after it was raised no more of them.
    pub(crate) fn run(&self, task: impl Fn(usize, Range<usize>) + Sync) {
        let interrupt = self.parallel.interrupt();
        let task = |i: usize| {
            let chunk = i / self.units;
            let rows = self.rows * chunk / self.chunks..self.rows * (chunk + 1) / self.chunks;
            for piece in Pieces::under(interrupt, rows, self.work) {
                task(i % self.units, piece);
            }
        };
        if self.threaded && self.tasks > 1 {
            self.parallel.run(self.tasks, &task);
        } else {
            (0..self.tasks).for_each(task);
        }
    }

    /// Runs every task with its rows; each says whether all values that it met are finite.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if one says no.
    pub(crate) fn check(&self, task: impl Fn(Range<usize>) -> bool + Sync) -> Result<(), Error> {
        let finite = AtomicBool::new(true);
        self.run(|_, rows| {
            if !task(rows) {
                finite.store(false, Relaxed);
            }
        });
        if finite.into_inner() { Ok(()) } else { Err(Error::NotFinite) }
    }
}
