//! The register tile of f32 layers: a few rows of activations against a few panels, and what follows the sums.
//!
//! A tile keeps `MR` x `NR` panel rows of sums in registers and passes a span of the depth once; a table says where each
//! element of the depth lies, so windows of three values a pixel cost no more than long rows. Sums that are not finished
//! rest in the output, where the next span takes them up: the order of the products stays the depth's. After the last
//! span the epilogue runs on the registers. Stem layers of some thirty products an output spent more than half of
//! their time between tile and output when sums passed through a buffer.

use crate::simd::{LANES, Simd};
use crate::tiles::cover::{Tiled, cover};
use crate::tiles::{Job, Output};

/// Operands and results of some rows times some panels over a span of the depth.
///
/// # Contract
/// Each row is readable at every offset, each panel of the output for a panel row an offset; [`Output::store`] is allowed for
/// all rows and panels, and the output overlaps no operand.
pub(crate) struct FloatOperands<'a> {
    /// The first element of each row.
    pub rows: &'a [*const f32],
    /// Where each element lies, counted from its row's first.
    pub offsets: &'a [u32],
    /// The first panel's row of the first element.
    pub panels: *const f32,
    /// Values from a panel to the next.
    pub panel_len: usize,
    /// Where the results go.
    pub output: Output<'a>,
    /// Whether the output holds sums to add to; otherwise they start from 0.
    pub resume: bool,
}

/// Runs a job with tiles as [`cover`] says.
#[inline(always)]
pub(crate) fn floats<S: Simd, const MR: usize, const NR: usize, const LMR: usize, const LNR: usize, const VR: usize>(
    simd: S,
    job: &Job<FloatOperands<'_>>,
) {
    cover::<S, _, MR, NR, LMR, LNR, VR>(&Floats { simd, job });
}

/// A job and the backend that it runs on.
struct Floats<'a, S> {
    simd: S,
    job: &'a Job<FloatOperands<'a>>,
}

/// A boundary that is never inlined, so that each shape is compiled by itself.
#[inline(never)]
fn outlined<S: Simd>(simd: S, f: impl FnOnce()) {
    simd.vectorize(f);
}

impl<S: Simd> Tiled<S> for Floats<'_, S> {
    #[inline(always)]
    fn vectorize(&self, f: impl FnOnce()) {
        outlined(self.simd, f);
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
        let Self { simd, job } = *self;
        let rows: [*const f32; MR] = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        // SAFETY: by the job's contract; all that is read and written below lies in its panels, rows and output, because
        // `panel + NR` is at most the number of panels and `row + MR` that of the rows.
        unsafe {
            let mut sums = [[simd.splat_float(0.0); MR]; NR];
            if job.resume {
                for p in 0..NR {
                    sums[p] = job.output.load(simd, panel + p, row);
                }
            }
            let mut weights = job.panels.add(panel * job.panel_len);
            for &offset in job.offsets {
                product::<S, MR, NR>(simd, &mut sums, &rows, offset, weights, job.panel_len);
                weights = weights.add(LANES);
            }
            // A copy: where the loop above sees a reference into its sums, it keeps them in memory.
            let mut finished = [[simd.splat_float(0.0); MR]; NR];
            for p in 0..NR {
                for m in 0..MR {
                    finished[p][m] = sums[p][m];
                }
            }
            for p in 0..NR {
                job.output.store(simd, finished[p], panel + p, row);
            }
        }
    }
}

/// The element at `offset` of each row times its panel rows.
///
/// # Safety
/// Each row must be readable at `offset` and each of the `NR` panels, `panel_len` apart, for a panel row.
#[inline(always)]
unsafe fn product<S: Simd, const MR: usize, const NR: usize>(
    simd: S,
    sums: &mut [[S::Floats; MR]; NR],
    rows: &[*const f32; MR],
    offset: u32,
    weights: *const f32,
    panel_len: usize,
) {
    // SAFETY: the caller guarantees the rows and panels.
    unsafe {
        let weights: [S::Floats; NR] = std::array::from_fn(
            #[inline(always)]
            |p| simd.load_floats(weights.add(p * panel_len)),
        );
        for m in 0..MR {
            let activation = simd.splat_float(*rows[m].add(offset as usize));
            for p in 0..NR {
                sums[p][m] = simd.fma(activation, weights[p], sums[p][m]);
            }
        }
    }
}
