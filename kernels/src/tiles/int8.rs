//! The register tile of 8-bit layers: a few rows of bytes against a few panels, and what follows the sums.
//!
//! A tile keeps `MR` x `NR` panel rows of i32 sums in registers and walks the depth once, four bytes of a row and of each
//! filter at a time. Then the sums become floats and the epilogue runs on the registers, as in [`crate::tiles::floats`].
//!
//! Where products of 16 bits are faster, rows and panels hold pairs of them: [`widen`] makes a span of a panel so, in the L1
//! cache, for all rows. Sums that are not finished rest as i32 in the output, where the next span takes them up.

use crate::simd::dot::Dot;
#[cfg(target_arch = "x86_64")]
use crate::simd::dot::Widen;
use crate::simd::{LANES, Simd};
use crate::tiles::cover::{Tiled, cover};
use crate::tiles::{Job, Output};
#[cfg(target_arch = "x86_64")]
use crate::weights::int8::QUAD;
#[cfg(target_arch = "x86_64")]
use std::mem::MaybeUninit;

/// Operands and results of some rows times some panels.
///
/// # Contract
/// Each row is readable for four bytes (a pair, where `wide`) at every offset, `panels` for a panel row an offset and panel of the output, `start` and
/// `alpha` for a value a filter of these panels, padding included; [`Output::store`] is allowed for all rows and panels, and the
/// output overlaps no operand.
pub(crate) struct Int8Operands<'a> {
    /// The first byte of each row.
    pub rows: &'a [*const u8],
    /// Where each four bytes lie, counted from their row's first.
    pub offsets: &'a [u32],
    /// The first panel, as words of four weights, or of two where `wide`; the others follow it.
    pub panels: *const u32,
    /// What each filter's sum starts from.
    pub start: *const i32,
    /// The factor of each filter.
    pub alpha: *const f32,
    /// Where the results go.
    pub output: Output<'a>,
    /// Whether to use the CPU's instruction for dot products of bytes.
    pub dot: bool,
    /// Whether rows and panels hold pairs of 16 bits, for backends that say [`crate::backends::Backend::widens_bytes`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no backend there takes pairs"))]
    pub wide: bool,
    /// Whether the output holds sums to add to, as i32; otherwise they start from `start`.
    pub resume: bool,
    /// Whether the sums are finished, so that the output gets values; otherwise it gets the sums.
    pub finish: bool,
}

/// Turns panel rows of four bytes a lane into twice as many of two values of 16 bits: the first two bytes of each lane, then the
/// others.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn widen<S: Simd, D: Widen<S>>(simd: S, dot: D, quads: &[i8], pairs: &mut [MaybeUninit<u32>]) {
    for (quads, pairs) in quads.as_chunks::<{ LANES * QUAD }>().0.iter().zip(pairs.as_chunks_mut::<{ 2 * LANES }>().0) {
        // SAFETY: sixteen words are read and twice as many written.
        unsafe {
            let [first, second] = dot.widen(simd, simd.load(quads.as_ptr().cast()));
            simd.store_counts(pairs.as_mut_ptr().cast(), first);
            simd.store_counts(pairs[LANES..].as_mut_ptr().cast(), second);
        }
    }
}

/// Runs a job with tiles as [`cover`] says.
#[inline(always)]
pub(crate) fn int8<
    S: Simd,
    D: Dot<S>,
    const MR: usize,
    const NR: usize,
    const LMR: usize,
    const LNR: usize,
    const VR: usize,
>(
    simd: S,
    dot: D,
    job: &Job<Int8Operands<'_>>,
) {
    cover::<S, _, MR, NR, LMR, LNR, VR>(&Bytes { simd, dot, job });
}

/// A job and the way it is done.
struct Bytes<'a, S, D> {
    simd: S,
    dot: D,
    job: &'a Job<Int8Operands<'a>>,
}

impl<S: Simd, D: Dot<S>> Tiled<S> for Bytes<'_, S, D> {
    #[inline(always)]
    fn vectorize(&self, f: impl FnOnce()) {
        self.dot.vectorize(self.simd, f);
    }

    #[inline(always)]
    fn rows(&self) -> usize {
        self.job.rows.len()
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        self.job.output.filters.div_ceil(LANES)
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job, .. } = *self;
        let rows: [*const u8; MR] = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        let panel_len = job.offsets.len() * LANES;
        let mut sums = [[simd.no_counts(); MR]; NR];
        // SAFETY: by the job's contract; all that is read and written below lies in its panels, rows, vectors and output,
        // because `panel + NR` is at most the number of panels and `row + MR` that of the rows.
        unsafe {
            for p in 0..NR {
                if job.resume {
                    for m in 0..MR {
                        sums[p][m] = job.output.load_counts(simd, panel + p, row + m);
                    }
                } else {
                    sums[p] = [simd.load_counts(job.start.add((panel + p) * LANES)); MR];
                }
            }
            let mut weights = job.panels.add(panel * panel_len);
            for &offset in job.offsets {
                self.products::<MR, NR>(&mut sums, &rows, offset, weights, panel_len);
                weights = weights.add(LANES);
            }
            if !job.finish {
                for p in 0..NR {
                    for m in 0..MR {
                        job.output.store_counts(simd, sums[p][m], panel + p, row + m);
                    }
                }
                return;
            }
            // Where a reference into `sums` is taken, every product above goes through memory.
            let mut y = [[simd.splat_float(0.0); MR]; NR];
            for p in 0..NR {
                let alpha = simd.load_floats(job.alpha.add((panel + p) * LANES));
                for m in 0..MR {
                    y[p][m] = simd.mul(alpha, simd.to_floats(sums[p][m]));
                }
            }
            for p in 0..NR {
                job.output.store(simd, y[p], panel + p, row);
            }
        }
    }
}

impl<S: Simd, D: Dot<S>> Bytes<'_, S, D> {
    /// The four bytes, or the pair, at `offset` of each row times their panel rows.
    ///
    /// # Safety
    /// Each row must be readable for four bytes at `offset` and each of the `NR` panels, `panel_len` words apart, for a panel
    /// row.
    #[inline(always)]
    unsafe fn products<const MR: usize, const NR: usize>(
        &self,
        sums: &mut [[S::Counts; MR]; NR],
        rows: &[*const u8; MR],
        offset: u32,
        weights: *const u32,
        panel_len: usize,
    ) {
        let Self { simd, dot, .. } = *self;
        // SAFETY: the caller guarantees the rows and panels.
        unsafe {
            let weights: [S::Words; NR] = std::array::from_fn(
                #[inline(always)]
                |p| simd.load(weights.add(p * panel_len)),
            );
            for m in 0..MR {
                let bytes = rows[m].add(offset as usize).cast::<u32>().read_unaligned();
                let activation = dot.activation(simd, bytes);
                for p in 0..NR {
                    sums[p][m] = dot.dot(simd, sums[p][m], activation, weights[p]);
                }
            }
        }
    }
}
