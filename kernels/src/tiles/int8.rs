//! The register tile of 8-bit layers: a few rows of bytes against a few panels, and what follows the sums.
//!
//! A tile keeps `MR` x `NR` panel rows of i32 sums in registers and walks the depth once, four bytes of a row and of each
//! filter at a time. Then the sums become floats and the epilogue runs on the registers, as in [`crate::tiles::floats`].

use crate::simd::Simd;
use crate::tiles::cover::{Tiled, walk};
use crate::tiles::epilogue::Step;
use crate::tiles::epilogue::step_rows;
use crate::weights::bits::LANES;

/// A way of multiplying four bytes a lane; a token proves that its instructions are there.
pub(crate) trait Dot<S: Simd>: Copy {
    /// Four activations, the same in every lane, as the products want them.
    type Activation: Copy;
    /// As [`Simd::vectorize`], with the token's instructions enabled as well.
    fn vectorize<R>(self, simd: S, f: impl FnOnce() -> R) -> R;
    /// Prepares four activations.
    fn activation(self, simd: S, bytes: u32) -> Self::Activation;
    /// Adds the four products of each lane, exactly. Weights are i8 other than -128; activations are i8, or u8 if
    /// [`Simd::signed_bytes`] says so of this way.
    fn dot(self, simd: S, sum: S::Counts, activation: Self::Activation, weight: S::Words) -> S::Counts;
}

/// Operands and results of some rows times some panels.
///
/// Whoever makes a job vouches that each row is readable for four bytes at every offset, that `panels` is readable for a
/// panel row an offset and panel, `start` and `alpha` for a value a padded filter, that `results` is writable for `filters`
/// values at each multiple of `stride` up to `rows.len()` and overlaps nothing, and that the steps' vectors hold a value a
/// padded filter from `filter` on and those of [`Step::Add`] one for each result, the first at `at`.
pub(crate) struct Int8Job<'a> {
    /// The first byte of each row.
    pub rows: &'a [*const u8],
    /// Where each four bytes lie, counted from their row's first.
    pub offsets: &'a [u32],
    /// The first panel, as words of four weights; the others follow it.
    pub panels: *const u32,
    /// Filters of all panels; those of the last one may be fewer than sixteen.
    pub filters: usize,
    /// What each filter's sum starts from.
    pub start: *const i32,
    /// The factor of each filter.
    pub alpha: *const f32,
    /// `[row][stride]`, of which the first `filters` are written.
    pub results: *mut f32,
    /// Values between the results of neighbouring rows.
    pub stride: usize,
    /// What follows the sums.
    pub steps: &'a [Step<'a>],
    /// Where the first filter stands in the steps' vectors.
    pub filter: usize,
    /// Where the first result stands in the values of [`Step::Add`].
    pub at: usize,
    /// Whether to use the CPU's instruction for dot products of bytes.
    pub dot: bool,
}

/// Runs a job with tiles as [`walk`] says.
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
    job: &Int8Job<'_>,
) {
    walk::<S, _, MR, NR, LMR, LNR, VR>(&Bytes { simd, dot, job });
}

/// A job and the way it is done.
struct Bytes<'a, S, D> {
    simd: S,
    dot: D,
    job: &'a Int8Job<'a>,
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
        self.job.filters.div_ceil(LANES)
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job, .. } = *self;
        let rows: [*const u8; MR] = std::array::from_fn(
            #[inline(always)]
            |m| job.rows[row + m],
        );
        let panel_len = job.offsets.len() * LANES;
        let mut sums = [[simd.no_counts(); MR]; NR];
        // SAFETY: the job vouches for the panels, rows, vectors and results; all that is read and written below lies in
        // them, because `panel + NR` is at most the number of panels and `row + MR` that of the rows.
        unsafe {
            for p in 0..NR {
                sums[p] = [simd.load_counts(job.start.add((panel + p) * LANES)); MR];
            }
            let mut weights = job.panels.add(panel * panel_len);
            for &offset in job.offsets {
                self.products::<MR, NR>(&mut sums, &rows, offset, weights, panel_len);
                weights = weights.add(LANES);
            }
            // Where a reference into `sums` is taken, every product above goes through memory.
            let mut y = [[simd.splat_float(0.0); MR]; NR];
            for p in 0..NR {
                let alpha = simd.load_floats(job.alpha.add((panel + p) * LANES));
                for m in 0..MR {
                    y[p][m] = simd.mul(alpha, simd.to_floats(sums[p][m]));
                }
            }
            self.finish::<MR, NR>(y, row, panel);
        }
    }
}

impl<S: Simd, D: Dot<S>> Bytes<'_, S, D> {
    /// The four bytes at `offset` of each row times their panel rows.
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
        // SAFETY: the caller vouches for the rows and panels.
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

    /// Sends values through the epilogue to the results.
    ///
    /// # Safety
    /// As the job, for these rows and panels.
    #[inline(always)]
    unsafe fn finish<const MR: usize, const NR: usize>(&self, mut y: [[S::Floats; MR]; NR], row: usize, panel: usize) {
        let Self { simd, job, .. } = *self;
        let first = row * job.stride + panel * LANES;
        let lanes = |p: usize| LANES.min(job.filters - (panel + p) * LANES);
        // SAFETY: the caller vouches for all of it.
        unsafe {
            for step in job.steps {
                for p in 0..NR {
                    let filter = job.filter + (panel + p) * LANES;
                    step_rows(simd, step, &mut y[p], filter, job.at + first + p * LANES, job.stride, lanes(p));
                }
            }
            for p in 0..NR {
                for m in 0..MR {
                    let to = job.results.add(first + m * job.stride + p * LANES);
                    if lanes(p) == LANES {
                        simd.store_floats(to, y[p][m]);
                    } else {
                        simd.store_first(to, y[p][m], lanes(p));
                    }
                }
            }
        }
    }
}
