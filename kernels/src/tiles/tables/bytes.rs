//! Tables summed in bytes, of one byte of the index for each filter.
//!
//! A byte shuffle answers as many filters as a register has bytes with one table. Entries reach 4 q, so 255 / (4 q) of them add up
//! in a byte: 63, 21, 9, 4 and 2 at the orders 1 to 5. Then bytes are widened to 16 bits, in which the sums of [`DEPTH`] words
//! stay, and at the end of these added to 32 bits.
//!
//! Weights lie in byte panels of [`Simd::BYTES`] filters, `[word][4][BYTES]`: byte j of a word holds the bits of two groups. The
//! filters of a byte row are in the order in which widening takes them apart: filter r BYTES / 4 + i in byte 4 i + r.

use super::{DEPTH, HALF_BYTES, PARTS, TABLE_BYTES, TableForm, TableOperands, greatest};
use crate::simd::Simd;
use crate::tiles::Job;
use crate::tiles::cover::{Tiled, cover};

/// The highest order whose tables hold bytes, two groups of which add up in a byte.
pub(crate) const MAX_ORDER_OF_BYTES: usize = 5;

// Sums of 16 bits hold the tables of so many words at every order.
const _: () = assert!(DEPTH * 2 * PARTS * greatest(MAX_ORDER_OF_BYTES) <= u16::MAX as usize);

/// How a backend takes tables whose byte sums it widens.
pub(crate) const fn form<S: Simd>() -> TableForm {
    TableForm { lanes: S::BYTES, repacked: true, max_order: MAX_ORDER_OF_BYTES, rows: 8 }
}

/// Adds up the tables of a job with tiles of `MR` x 1 byte panels.
#[inline(always)]
pub(crate) fn bytes<S: Simd, const MR: usize, const VR: usize>(simd: S, job: &Job<TableOperands<'_>>) {
    match job.order {
        ..=2 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 8> { simd, job }),
        3 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 4> { simd, job }),
        4 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 2> { simd, job }),
        _ => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 1> { simd, job }),
    }
}

// Two groups a part: what the numbers above take for granted.
const _: () = assert!(2 * 8 * greatest(2) <= 255 && 2 * 4 * greatest(3) <= 255);
const _: () = assert!(2 * 2 * greatest(4) <= 255 && 2 * greatest(MAX_ORDER_OF_BYTES) <= 255);

/// A job whose bytes hold the sums of `FLUSH` parts of words.
struct Summed<'a, S: Simd, const FLUSH: usize> {
    simd: S,
    job: &'a Job<TableOperands<'a>>,
}

impl<S: Simd, const FLUSH: usize> Tiled<S> for Summed<'_, S, FLUSH> {
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
        let mut cells = Cells::<S, MR, NR> {
            simd,
            rows,
            // SAFETY: `panel + NR <= panel_count`, so every byte row read below lies in the panels that the contract covers.
            weights: unsafe { job.weights.add(panel * job.panel_len) },
            panel_len: job.panel_len,
            bytes: [[simd.no_bytes(); NR]; MR],
            sums: [[simd.no_pairs(); NR]; MR],
        };
        let words_of_flush = FLUSH.div_ceil(PARTS);
        for (i, offsets) in job.offsets.chunks(words_of_flush).enumerate() {
            for (j, &at) in offsets.iter().enumerate() {
                for part in 0..PARTS {
                    // SAFETY: the offset and the word are the job's, which the contract covers.
                    unsafe { cells.part(at as usize * TABLE_BYTES, i * words_of_flush + j, part) };
                    if FLUSH < PARTS && (part + 1).is_multiple_of(FLUSH) {
                        cells.widen();
                    }
                }
            }
            if FLUSH >= PARTS {
                cells.widen();
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the contract covers the counts of every row and panel.
                unsafe {
                    let to = job.counts.add((row + m) * job.stride + (panel + p) * S::BYTES);
                    simd.add_pairs(to, cells.sums[m][p], job.first);
                }
            }
        }
    }
}

/// The registers of a tile.
struct Cells<S: Simd, const MR: usize, const NR: usize> {
    simd: S,
    rows: [*const u32; MR],
    weights: *const u8,
    panel_len: usize,
    bytes: [[S::Bytes; NR]; MR],
    sums: [[S::Pairs; NR]; MR],
}

impl<S: Simd, const MR: usize, const NR: usize> Cells<S, MR, NR> {
    /// The two groups of a part of word `word`, whose tables lie from byte `at` of each row on.
    ///
    /// # Safety
    /// The tables of the word and its byte rows must be readable.
    #[inline(always)]
    unsafe fn part(&mut self, at: usize, word: usize, part: usize) {
        let simd = self.simd;
        let mut indices = [[simd.no_bytes(); 2]; NR];
        for p in 0..NR {
            // SAFETY: the caller guarantees the byte row.
            let weights =
                unsafe { simd.load_bytes(self.weights.add(p * self.panel_len + (word * PARTS + part) * S::BYTES)) };
            indices[p] = simd.nibbles(weights);
        }
        for m in 0..MR {
            // SAFETY: the caller guarantees the tables.
            let table = unsafe { self.rows[m].cast::<u8>().add(at + part * 16) };
            for p in 0..NR {
                // SAFETY: as above; nibbles are less than sixteen.
                unsafe {
                    let low = simd.lookup_bytes(table, indices[p][0]);
                    let high = simd.lookup_bytes(table.add(HALF_BYTES), indices[p][1]);
                    self.bytes[m][p] = simd.sum_bytes(simd.sum_bytes(self.bytes[m][p], low), high);
                }
            }
        }
    }

    #[inline(always)]
    fn widen(&mut self) {
        for m in 0..MR {
            for p in 0..NR {
                self.sums[m][p] = self.simd.widen_pairs(self.sums[m][p], self.bytes[m][p]);
                self.bytes[m][p] = self.simd.no_bytes();
            }
        }
    }
}
