//! The register tile of byte tables: products of all planes at once, one lookup for four activations and many filters.
//!
//! Where the scales of planes halve ([`crate::ScaleMode::Halving`]), an activation is an integer u = sum_k 2^(K-k) bit_k of its
//! K sign bits, 0 <= u <= q = 2^K - 1, and what the tiles of bits would count, C = sum_k 2^(K-k) (bits of plane k that differ
//! from the weights), is a sum over activations: u where the weight's bit is 0, q - u where it is 1. For each group of four
//! activations a table of sixteen bytes holds that sum under all choices of four weight bits, and four bits of a filter are the
//! index: a byte shuffle answers as many filters as a register has bytes.
//!
//! A table of the order K follows from those of its planes: T = sum_k 2^(K-k) popcount(bits of plane k ^ index). Its bytes reach
//! 4 q, so 255 / (4 q) of them add up in a byte: 63, 21, 9, 4 and 2 at the orders 1 to 5. Then bytes are widened to 16 bits,
//! in which the sums of [`DEPTH`] words stay, and at the end of these added to 32 bits.
//!
//! Weights lie in byte panels of [`Simd::BYTES`] filters, `[word][4][BYTES]`: byte j of a word holds the bits of two groups. The
//! filters of a byte row are in the order in which widening takes them apart: filter r BYTES / 4 + i in byte 4 i + r.

use crate::parallel::Disjoint;
use crate::simd::{LANES, Simd};
use crate::tiles::Job;
use crate::tiles::cover::{Tiled, cover};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// The highest order whose tables hold bytes, two groups of which add up in a byte.
pub(crate) const MAX_TABLE_ORDER: usize = 5;
/// Bytes of the tables of a word: eight groups of four activations.
pub(crate) const TABLE_BYTES: usize = 128;
/// The same in words of scratch.
pub(crate) const TABLE_WORDS: usize = TABLE_BYTES / size_of::<u32>();
/// Bytes of a word of a plane, each of two groups.
const PARTS: usize = 4;
/// Words of a window that are taken before the next panel: the tables of some eight neighbouring windows of 3 x 3 taps stay in
/// an L1 cache of 32 KiB for all panels.
pub(crate) const DEPTH: usize = 36;
/// Rows of windows that a task takes at a time.
pub(crate) const TABLE_ROWS: usize = 8;

// Sums of 16 bits hold the tables of so many words at every order.
const _: () = assert!(DEPTH * 2 * PARTS * greatest(MAX_TABLE_ORDER) <= u16::MAX as usize);

/// The greatest entry of a table.
const fn greatest(order: usize) -> usize {
    4 * ((1 << order) - 1)
}

/// Operands and results of some rows times some byte panels.
///
/// # Contract
/// Each row is readable for [`TABLE_BYTES`] bytes at each of the offsets, `weights` for `offsets.len() * 4 * BYTES` bytes from each
/// of the first `panel_count` multiples of `panel_len` on, and `counts` writable for `panel_count * BYTES` values at each of the
/// first `rows.len()` multiples of `stride`; it overlaps no operand, and holds values unless `first`. `order` is 1 to
/// [`MAX_TABLE_ORDER`], and there are up to [`DEPTH`] offsets.
pub(crate) struct TableOperands<'a> {
    /// The tables of the first word of each row.
    pub rows: &'a [*const u32],
    /// Where the tables of the words of a row lie, in words of planes from its first.
    pub offsets: &'a [u32],
    /// The first byte panel, from the first of these words on.
    pub weights: *const u8,
    /// Bytes between neighbouring panels.
    pub panel_len: usize,
    /// How many byte panels.
    pub panel_count: usize,
    /// The order that the tables were made for.
    pub order: usize,
    /// C of each row and filter.
    pub counts: *mut i32,
    /// Values between neighbouring rows of `counts`.
    pub stride: usize,
    /// Whether the counts are written rather than added to.
    pub first: bool,
}

/// Adds up the tables of a job with tiles of `MR` x 1 byte panels.
#[inline(always)]
pub(crate) fn tables<S: Simd, const MR: usize, const VR: usize>(simd: S, job: &Job<TableOperands<'_>>) {
    match job.order {
        ..=2 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 8> { simd, job }),
        3 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 4> { simd, job }),
        4 => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 2> { simd, job }),
        _ => cover::<_, _, MR, 1, MR, 1, VR>(&Summed::<S, 1> { simd, job }),
    }
}

// Two groups a part: what the numbers above take for granted.
const _: () = assert!(2 * 8 * greatest(2) <= 255 && 2 * 4 * greatest(3) <= 255);
const _: () = assert!(2 * 2 * greatest(4) <= 255 && 2 * greatest(MAX_TABLE_ORDER) <= 255);

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
    /// The two groups of a part of word `word`, whose tables lie at byte `at` of each row.
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
            let table = unsafe { self.rows[m].cast::<u8>().add(at + part * 32) };
            for p in 0..NR {
                // SAFETY: as above; nibbles are less than sixteen.
                unsafe {
                    let low = simd.lookup_bytes(table, indices[p][0]);
                    let high = simd.lookup_bytes(table.add(16), indices[p][1]);
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

/// The tables of the two groups of a byte of a plane: popcount(bits ^ index) for sixteen indices each.
static OF_BYTE: [[u8; 32]; 256] = {
    let mut tables = [[0; 32]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut i = 0;
        while i < 32 {
            tables[byte][i] = ((byte >> (i / 16 * 4) & 15) ^ (i % 16)).count_ones() as u8;
            i += 1;
        }
        byte += 1;
    }
    tables
};

/// Makes the tables of some words of planes.
pub(crate) struct BuildTables<'a> {
    pub planes: &'a [u32],
    /// Words of a plane.
    pub plane: usize,
    pub order: usize,
    pub words: Range<usize>,
    /// [`TABLE_WORDS`] for each word of a plane.
    pub tables: Disjoint<'a, u32>,
}

impl BuildTables<'_> {
    /// Makes them, in the instructions of the caller.
    #[inline(always)]
    pub(crate) fn build(self) {
        debug_assert!((1..=MAX_TABLE_ORDER).contains(&self.order), "tables of bytes");
        for word in self.words {
            // SAFETY: the tables hold these of every word of a plane, and the words belong to this task alone.
            let to = unsafe { self.tables.at(word * TABLE_WORDS, TABLE_WORDS) }.cast::<[u8; 32]>();
            for part in 0..PARTS {
                let of_plane = |k: usize| &OF_BYTE[(self.planes[k * self.plane + word] >> (8 * part)) as usize & 255];
                let mut table = *of_plane(0);
                for k in 1..self.order {
                    let next = of_plane(k);
                    for i in 0..32 {
                        table[i] = 2 * table[i] + next[i];
                    }
                }
                // SAFETY: as above; part 3 ends where the tables of the word do.
                unsafe { to.add(part).write(table) };
            }
        }
    }
}

/// A cache line of byte panels.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line {
    bytes: [u8; 64],
}

/// Bytes of the byte panels of a weight basis: `groups` of `panels` panels of `words` words, with byte rows of `lanes` filters.
pub(crate) fn byte_panels_len(groups: usize, panels: usize, words: usize, lanes: usize) -> usize {
    groups * (panels * LANES).div_ceil(lanes) * words * PARTS * lanes
}

/// Puts the bit panels of a group into the order of the byte panels.
///
/// # Panics
/// If `to` is shorter than the byte panels.
pub(crate) fn repack(panels: &[u32], words: usize, lanes: usize, to: &mut [u8]) {
    let (of_panel, quarter) = (words * LANES, lanes / 4);
    for (panels, to) in panels.chunks(of_panel * lanes / LANES).zip(to.chunks_exact_mut(words * PARTS * lanes)) {
        for (panel, bits) in panels.chunks_exact(of_panel).enumerate() {
            for (row, to) in bits.as_chunks::<LANES>().0.iter().zip(to.chunks_exact_mut(PARTS * lanes)) {
                for (part, to) in to.chunks_exact_mut(lanes).enumerate() {
                    for (lane, bits) in row.iter().enumerate() {
                        let filter = panel * LANES + lane;
                        to[filter % quarter * 4 + filter / quarter] = (bits >> (8 * part)) as u8;
                    }
                }
            }
        }
    }
}
