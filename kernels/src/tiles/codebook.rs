//! Codebook layers: the register tile that decodes weights and multiplies them at once, and what decodes them into memory.
//!
//! No code crosses a word ([`crate::weights::codes`]), so a shift and a lookup in a register (vpermps for up to 16 entries,
//! vpermt2ps for 32) decode sixteen weights, for all rows of a tile together. That is as fast as f32 weights where a lookup is
//! one instruction. On AVX2 a lookup of sixteen of 32 entries takes 8 vpermps, one a cycle on Zen 3, where the products
//! of a tile of 4 rows take 4 cycles: there weights are decoded into the L1 cache once for all rows, and
//! [`crate::tiles::floats`] multiplies them.

use crate::simd::{LANES, Simd};
use crate::tiles::Job;
use crate::tiles::cover::{Tiled, cover};
use crate::weights::codes::codes_of_word;

/// Some rows of activations times some code panels.
///
/// # Contract
/// Each row is readable at each offset, `panels` for `panel_count` whole panels of that depth, `book` for `2^bits` values;
/// `sums` is writable for `panel_count * 16` values at each multiple of `stride` up to `rows.len()` and overlaps none of them.
pub(crate) struct CodebookOperands<'a> {
    /// The first activation of each row.
    pub rows: &'a [*const f32],
    /// Where each activation of a window lies, counted from the row's first; as many as the depth.
    pub offsets: &'a [u32],
    /// The first panel; the others follow it.
    pub panels: *const u32,
    /// How many panels.
    pub panel_count: usize,
    /// What the codes stand for.
    pub book: *const f32,
    /// Bits of a code, 3 to 5.
    pub bits: u32,
    /// `[row][stride]`, of which the first `panel_count * 16` are written.
    pub sums: *mut f32,
    /// Values between the sums of neighbouring rows.
    pub stride: usize,
}

/// Sums a job by fused multiply-adds in the order of the depth, with tiles of `MR` x `NR`, or 1 x `VR` where there is one
/// row.
#[inline(always)]
pub(crate) fn codebook<S: Simd, const MR: usize, const NR: usize, const VR: usize>(
    simd: S,
    job: &Job<CodebookOperands<'_>>,
) {
    match job.bits {
        3 => cover::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 8> { simd, job }),
        4 => cover::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 16> { simd, job }),
        _ => cover::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 32> { simd, job }),
    }
}

/// A job with a codebook of `N` entries.
struct Codes<'a, S, const N: usize> {
    simd: S,
    job: &'a Job<CodebookOperands<'a>>,
}

impl<S: Simd, const N: usize> Tiled<S> for Codes<'_, S, N> {
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
        let bits = N.trailing_zeros();
        let words = job.offsets.len().div_ceil(codes_of_word(bits));
        let rows: [*const f32; MR] = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        let mut sums = [[simd.splat_float(0.0); NR]; MR];
        for (word, offsets) in job.offsets.chunks(codes_of_word(bits)).enumerate() {
            let mut codes: [S::Words; NR] = std::array::from_fn(
                #[inline(always)]
                |p| {
                    // SAFETY: `panel + NR <= panel_count`, and a panel has `words` rows.
                    unsafe { simd.load(job.panels.add(((panel + p) * words + word) * LANES)) }
                },
            );
            let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            // SAFETY: the contract covers each row at each offset, and for N entries of the book.
            unsafe {
                if offsets.len() == codes_of_word(bits) && last - first == offsets.len() - 1 {
                    let mut here = rows;
                    for m in 0..MR {
                        here[m] = rows[m].add(first);
                    }
                    // Written out: in a loop the row pointers would be loaded again for each code.
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 0, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 1, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 2, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 3, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 4, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 5, job.book);
                    if codes_of_word(bits) > 6 {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 6, job.book);
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 7, job.book);
                    }
                    if codes_of_word(bits) > 8 {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 8, job.book);
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 9, job.book);
                    }
                } else {
                    for &offset in offsets {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &rows, offset as usize, job.book);
                    }
                }
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the contract covers the sums of every row and panel.
                unsafe { simd.store_floats(job.sums.add((row + m) * job.stride + (panel + p) * LANES), sums[m][p]) };
            }
        }
    }
}

/// Decodes the lowest code of each lane, shifts it out, and multiplies element `at` of each row by the weights.
///
/// # Safety
/// Each row must be readable at `at`, and `book` for N values.
#[inline(always)]
unsafe fn code<S: Simd, const N: usize, const MR: usize, const NR: usize>(
    simd: S,
    sums: &mut [[S::Floats; NR]; MR],
    codes: &mut [S::Words; NR],
    rows: &[*const f32; MR],
    at: usize,
    book: *const f32,
) {
    // A loop, because `from_fn` of a closure this long is not inlined, and loses the instruction set.
    let mut weights = [simd.splat_float(0.0); NR];
    for p in 0..NR {
        // SAFETY: the caller guarantees the book.
        weights[p] = unsafe { simd.lookup::<N>(book, codes[p]) };
        codes[p] = simd.shift_right(codes[p], N.trailing_zeros());
    }
    for m in 0..MR {
        // SAFETY: the caller guarantees the rows.
        let activation = simd.splat_float(unsafe { *rows[m].add(at) });
        for p in 0..NR {
            sums[m][p] = simd.fma(activation, weights[p], sums[m][p]);
        }
    }
}

/// Decodes the first `count` codes of each lane of a panel's words into `[count][16]` values.
///
/// # Safety
/// `words` must hold the codes, `book` 2^bits values, and `to` be valid for writing `count * 16` values.
#[inline(always)]
pub(crate) unsafe fn decode<S: Simd>(simd: S, bits: u32, words: &[u32], book: &[f32], count: usize, to: *mut f32) {
    debug_assert!(book.len() == 1 << bits && words.len() >= count.div_ceil(codes_of_word(bits)) * LANES);
    // SAFETY: passed on to the caller.
    unsafe {
        match bits {
            3 => decode_of::<S, 8>(simd, words.as_ptr(), book.as_ptr(), count, to),
            4 => decode_of::<S, 16>(simd, words.as_ptr(), book.as_ptr(), count, to),
            _ => decode_of::<S, 32>(simd, words.as_ptr(), book.as_ptr(), count, to),
        }
    }
}

/// [`decode`] with a codebook of `N` entries.
///
/// # Safety
/// As [`decode`].
#[inline(always)]
unsafe fn decode_of<S: Simd, const N: usize>(
    simd: S,
    mut words: *const u32,
    book: *const f32,
    count: usize,
    mut to: *mut f32,
) {
    let bits = N.trailing_zeros();
    let mut left = count;
    while left > 0 {
        let n = left.min(codes_of_word(bits));
        // SAFETY: the caller guarantees a word for each so many codes, N entries, and room for what is left.
        unsafe {
            let mut codes = simd.load(words);
            for _ in 0..n {
                simd.store_floats(to, simd.lookup::<N>(book, codes));
                codes = simd.shift_right(codes, bits);
                to = to.add(LANES);
            }
            words = words.add(LANES);
        }
        left -= n;
    }
}
