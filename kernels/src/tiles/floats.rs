//! The register tile of f32 layers: a few rows of activations against a few panels, and what follows the sums.
//!
//! A tile keeps `MR` x `NR` panel rows of sums in registers and walks a stretch of the depth once; a table says where each
//! element of the depth lies, so windows of three values a pixel cost no more than long rows. Sums that are not finished
//! rest in the output, where the next stretch takes them up: the order of the products stays the depth's. After the last
//! stretch the epilogue runs on the registers. Stem layers of some thirty products an output spent more than half of
//! their time between tile and output when sums passed through a buffer.

use crate::simd::Simd;
use crate::tiles::epilogue::Step;
use crate::tiles::epilogue::step_rows;
use crate::weights::bits::LANES;

/// Operands and results of some rows times some panels over a stretch of the depth.
///
/// Whoever makes a job vouches that each row is readable at every offset, that each panel is readable for a panel row an
/// offset, that `results` is readable and writable for `filters` values at each multiple of `stride` up to `rows.len()`
/// and overlaps neither, and that the steps' vectors hold a value a padded filter from `filter` on and those of
/// [`Step::Add`] one for each result, the first at `at`.
pub(crate) struct FloatJob<'a> {
    /// The first element of each row.
    pub rows: &'a [*const f32],
    /// Where each element lies, counted from its row's first.
    pub offsets: &'a [u32],
    /// The first panel's row of the first element.
    pub panels: *const f32,
    /// Values from a panel to the next.
    pub panel_len: usize,
    /// Filters of all panels; those of the last one may be fewer than sixteen.
    pub filters: usize,
    /// `[row][stride]`, of which the first `filters` are written.
    pub results: *mut f32,
    /// Values between the results of neighbouring rows.
    pub stride: usize,
    /// Whether the results hold sums to add to; otherwise they start from 0.
    pub resume: bool,
    /// What follows the sums.
    pub steps: &'a [Step<'a>],
    /// Where the first filter stands in the steps' vectors.
    pub filter: usize,
    /// Where the first result stands in the values of [`Step::Add`].
    pub at: usize,
}

/// Runs a job with tiles of `MR` x `NR`, for the panels that are left `LMR` x `LNR`, then one panel; 1 x `VR` where there
/// is one row.
#[inline(always)]
pub(crate) fn floats<S: Simd, const MR: usize, const NR: usize, const LMR: usize, const LNR: usize, const VR: usize>(
    simd: S,
    job: &FloatJob<'_>,
) {
    let panels = job.filters.div_ceil(LANES);
    let mut panel = 0;
    // A few rows that fill one of the lower tiles read each panel once.
    let few = (MR + 1..=LMR).contains(&job.rows.len());
    if job.rows.len() == 1 {
        while panel + VR <= panels {
            outlined::<S, 1, VR>(simd, job, 0, panel);
            panel += VR;
        }
    }
    while !few && panel + NR <= panels {
        column::<S, MR, NR>(simd, job, panel);
        panel += NR;
    }
    while panel + LNR <= panels {
        column::<S, LMR, LNR>(simd, job, panel);
        panel += LNR;
    }
    while panel < panels {
        column::<S, LMR, 1>(simd, job, panel);
        panel += 1;
    }
}

/// All rows against `NR` panels.
#[inline(always)]
fn column<S: Simd, const MR: usize, const NR: usize>(simd: S, job: &FloatJob<'_>, panel: usize) {
    let mut row = 0;
    while row + MR <= job.rows.len() {
        outlined::<S, MR, NR>(simd, job, row, panel);
        row += MR;
    }
    row = rest::<S, MR, 8, NR>(simd, job, row, panel);
    row = rest::<S, MR, 4, NR>(simd, job, row, panel);
    row = rest::<S, MR, 2, NR>(simd, job, row, panel);
    rest::<S, MR, 1, NR>(simd, job, row, panel);
}

/// `LESS` of the rows that are left, where there are as many and they do not fill a whole tile; returns the next row.
#[inline(always)]
fn rest<S: Simd, const MR: usize, const LESS: usize, const NR: usize>(
    simd: S,
    job: &FloatJob<'_>,
    row: usize,
    panel: usize,
) -> usize {
    if LESS < MR && row + LESS <= job.rows.len() {
        outlined::<S, LESS, NR>(simd, job, row, panel);
        row + LESS
    } else {
        row
    }
}

/// The tile behind a feature boundary of its own, so that each shape is compiled by itself.
#[inline(never)]
fn outlined<S: Simd, const MR: usize, const NR: usize>(simd: S, job: &FloatJob<'_>, row: usize, panel: usize) {
    simd.vectorize(
        #[inline(always)]
        || tile::<S, MR, NR>(simd, job, row, panel),
    );
}

#[inline(always)]
fn tile<S: Simd, const MR: usize, const NR: usize>(simd: S, job: &FloatJob<'_>, row: usize, panel: usize) {
    let rows: [*const f32; MR] = std::array::from_fn(
        #[inline(always)]
        |m| job.rows[row + m],
    );
    let lanes = |p: usize| LANES.min(job.filters - (panel + p) * LANES);
    // SAFETY: the job vouches for the panels, rows and results; all that is read and written below lies in them, because
    // `panel + NR` is at most the number of panels and `row + MR` that of the rows.
    unsafe {
        let results = job.results.add(row * job.stride + panel * LANES);
        let mut sums = [[simd.splat_float(0.0); MR]; NR];
        if job.resume {
            for p in 0..NR {
                for m in 0..MR {
                    let from = results.add(m * job.stride + p * LANES);
                    sums[p][m] =
                        if lanes(p) == LANES { simd.load_floats(from) } else { simd.load_first(from, lanes(p)) };
                }
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
            let mut y = finished[p];
            let filter = job.filter + (panel + p) * LANES;
            let at = job.at + row * job.stride + (panel + p) * LANES;
            for step in job.steps {
                step_rows(simd, step, &mut y, filter, at, job.stride, lanes(p));
            }
            for m in 0..MR {
                let to = results.add(m * job.stride + p * LANES);
                if lanes(p) == LANES { simd.store_floats(to, y[m]) } else { simd.store_first(to, y[m], lanes(p)) }
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
    // SAFETY: the caller vouches for the rows and panels.
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
