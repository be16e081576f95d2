//! Tables summed in 32 bits, of four bytes of the index for each filter.
//!
//! Where an instruction looks bytes up in 64 entries (`vpermb`), these are the tables of four groups, and the four bytes of a
//! filter's word are the indices, each into a table of its own. A dot product of bytes with ones (`vpdpbusd`) adds the four
//! entries to a count: two instructions for sixteen activations and sixteen filters at every order whose entries are bytes, nothing
//! to widen, and the weights are the bit panels as they lie in a file.

use super::{BuildTables, HALF_BYTES, TABLE_BYTES, TABLE_WORDS, TableForm, TableOperands, greatest};
use crate::simd::LANES;
use crate::simd::lookup_dots::LookupDots;
use crate::tiles::Job;
use crate::tiles::cover::{Tiled, cover};

/// The highest order whose tables hold bytes.
pub(crate) const MAX_ORDER_OF_DOTS: usize = 6;
const _: () = assert!(greatest(MAX_ORDER_OF_DOTS) <= 255);

/// How a backend takes tables whose entries it adds to 32 bits at once, in tiles of `rows` rows.
pub(crate) const fn form(rows: usize) -> TableForm {
    TableForm { lanes: LANES, repacked: false, max_order: MAX_ORDER_OF_DOTS, rows }
}

/// Adds up the tables of a job with tiles of `MR` x `NR` panels, one row with `VR` panels.
#[inline(always)]
pub(crate) fn dots<S: LookupDots, const MR: usize, const NR: usize, const VR: usize>(
    simd: S,
    job: &Job<TableOperands<'_>>,
) {
    cover::<_, _, MR, NR, MR, 1, VR>(&Dotted { simd, job });
}

/// Makes tables, as [`BuildTables::build`].
#[inline(always)]
pub(crate) fn build<S: LookupDots>(simd: S, work: BuildTables<'_>) {
    let mut word = work.words.start;
    while word < work.words.end {
        let count = 2.min(work.words.end - word);
        let mut bits = [0; MAX_ORDER_OF_DOTS];
        for k in 0..work.order {
            let words = &work.planes[k * work.plane + word..][..count];
            let high = if count == 2 { words[1] } else { 0 };
            bits[k] = u64::from(words[0]) | u64::from(high) << 32;
        }
        let tables = simd.tables_of(&bits[..work.order]);
        for i in 0..count {
            // SAFETY: the tables hold these of every word of a plane, and the words belong to this task alone.
            unsafe {
                let to = work.tables.at((word + i) * TABLE_WORDS, TABLE_WORDS);
                simd.store_words(to, tables[i][0]);
                simd.store_words(to.add(TABLE_WORDS / 2), tables[i][1]);
            }
        }
        word += count;
    }
}

/// A job of such tables.
struct Dotted<'a, S: LookupDots> {
    simd: S,
    job: &'a Job<TableOperands<'a>>,
}

impl<S: LookupDots> Tiled<S> for Dotted<'_, S> {
    #[inline(always)]
    fn vectorize(&self, f: impl FnOnce()) {
        self.simd.vectorize(f);
    }

    #[inline(always)]
    fn rows(&self) -> usize {
        self.job.rows.len()
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        self.job.panel_count
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job } = *self;
        let rows: [*const u32; MR] = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        // SAFETY: `panel + NR <= panel_count`, so every row of a panel read below lies in the panels that the contract covers.
        let weights = unsafe { job.weights.add(panel * job.panel_len) };
        let mut counts = [[simd.no_counts(); NR]; MR];
        for (word, &at) in job.offsets.iter().enumerate() {
            // One half of the words after the other: their entries take NR registers rather than twice as many, and what is left
            // holds two more rows.
            for half in 0..2 {
                let mut entries = [simd.splat(0); NR];
                for p in 0..NR {
                    // SAFETY: as above; the word is one of the job's.
                    let words = unsafe { simd.load(weights.add(p * job.panel_len + word * 4 * LANES).cast()) };
                    entries[p] = simd.entries(words)[half];
                }
                for m in 0..MR {
                    // SAFETY: the contract covers the tables of each row at each offset, two of 64 bytes.
                    let table = unsafe { simd.load(rows[m].byte_add(at as usize * TABLE_BYTES + half * HALF_BYTES)) };
                    for p in 0..NR {
                        counts[m][p] = simd.add_entries(counts[m][p], table, entries[p]);
                    }
                }
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the contract covers the counts of every row and panel.
                unsafe {
                    let to = job.counts.add((row + m) * job.stride + (panel + p) * LANES);
                    let before = if job.first { simd.no_counts() } else { simd.load_counts(to) };
                    simd.store_counts(to, simd.add_counts(before, counts[m][p]));
                }
            }
        }
    }
}
