//! The register tile of byte tables: products of all planes at once, one lookup for four activations and many filters.
//!
//! Where the scales of planes halve ([`crate::ScaleMode::Halving`]), an activation is an integer u = sum_k 2^(K-k) bit_k of its
//! K sign bits, 0 <= u <= q = 2^K - 1, and what the tiles of bits would count, C = sum_k 2^(K-k) (bits of plane k that differ
//! from the weights), is a sum over activations: u where the weight's bit is 0, q - u where it is 1. For each group of four
//! activations a table of sixteen bytes holds that sum under all choices of four weight bits, and four bits of a filter are the
//! index. A table of the order K follows from those of its planes: T = sum_k 2^(K-k) popcount(bits of plane k ^ index). Its bytes
//! reach 4 q.
//!
//! The tables of a word are those of the low four bits of its four bytes, then those of the high ones. Backends add up what they
//! look up in two ways, [`bytes`] and [`dots`].

pub(crate) mod bytes;
#[cfg(target_arch = "x86_64")]
pub(crate) mod dots;

use crate::parallel::Disjoint;
use crate::simd::LANES;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Bytes of the tables of a word: eight groups of four activations.
pub(crate) const TABLE_BYTES: usize = 128;
/// Bytes of the tables of the low four bits of each byte of a word.
const HALF_BYTES: usize = TABLE_BYTES / 2;
/// The same in words of scratch.
pub(crate) const TABLE_WORDS: usize = TABLE_BYTES / size_of::<u32>();
/// Bytes of a word of a plane, each of two groups.
const PARTS: usize = 4;
/// Words of a window that are taken before the next panel: the tables of some eight neighbouring windows of 3 x 3 taps stay in
/// an L1 cache of 32 KiB for all panels.
pub(crate) const DEPTH: usize = 36;

/// How a backend takes tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableForm {
    /// Filters of a byte row of its weights.
    pub lanes: usize,
    /// Whether its weights are byte panels ([`repack`]), rather than the bit panels as they are.
    pub repacked: bool,
    /// The highest order that its sums hold.
    pub max_order: usize,
    /// Rows of windows that a task takes at a time: as many as its tile has, or a multiple.
    pub rows: usize,
}

/// The greatest entry of a table.
const fn greatest(order: usize) -> usize {
    4 * ((1 << order) - 1)
}

/// Operands and results of some rows times some panels in a backend's [`TableForm`].
///
/// # Contract
/// Each row is readable for [`TABLE_BYTES`] bytes at each of the offsets, `weights` for `offsets.len() * 4 * lanes` bytes from each
/// of the first `panel_count` multiples of `panel_len` on, and `counts` writable for `panel_count * lanes` values at each of the
/// first `rows.len()` multiples of `stride`; it overlaps no operand, and holds values unless `first`. `order` is 1 to
/// `max_order`, and there are up to [`DEPTH`] offsets.
pub(crate) struct TableOperands<'a> {
    /// The tables of the first word of each row.
    pub rows: &'a [*const u32],
    /// Where the tables of the words of a row lie, in words of planes from its first.
    pub offsets: &'a [u32],
    /// The first panel, from the first of these words on.
    pub weights: *const u8,
    /// Bytes between neighbouring panels.
    pub panel_len: usize,
    /// How many panels.
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
        debug_assert!((1..=6).contains(&self.order), "entries must be bytes");
        for word in self.words {
            // SAFETY: the tables hold these of every word of a plane, and the words belong to this task alone.
            let to = unsafe { self.tables.at(word * TABLE_WORDS, TABLE_WORDS) }.cast::<[[u8; 16]; PARTS]>();
            for part in 0..PARTS {
                let of_plane = |k: usize| &OF_BYTE[(self.planes[k * self.plane + word] >> (8 * part)) as usize & 255];
                let mut table = *of_plane(0);
                for k in 1..self.order {
                    let next = of_plane(k);
                    for i in 0..32 {
                        table[i] = 2 * table[i] + next[i];
                    }
                }
                let [low, high] = bytemuck::must_cast::<_, [[u8; 16]; 2]>(table);
                // SAFETY: as above; part 3 of the high bits ends where the tables of the word do.
                unsafe {
                    (*to)[part] = low;
                    (*to.add(1))[part] = high;
                }
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
