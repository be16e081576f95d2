//! The way of finished sums out: alpha, the epilogue's steps, the store.

use crate::shape::Geometry;
use crate::shape::windows::Shared;
use crate::simd::Simd;
use crate::tiles::epilogue::Step;
use crate::tiles::epilogue::{Lanes, TOGETHER, Target};
use crate::weights::bits::LANES;

/// Where the sums of some panels of a group go.
pub(crate) struct Finish<'a> {
    pub geometry: &'a Geometry,
    /// A factor of each padded filter, rounded before the steps.
    pub alpha: Option<&'a [f32]>,
    pub steps: &'a [Step<'a>],
    pub output: &'a Shared<f32>,
    /// Where the sample starts in the output.
    pub first_output: usize,
    pub group: usize,
    /// The first panel, counted within the group.
    pub first_panel: usize,
    pub panels: usize,
}

impl Finish<'_> {
    /// Finishes `n` rows from output pixel `from` on.
    ///
    /// # Safety
    /// `sums` must be valid for reading `[n][panels][16]` values; alpha and the vectors of the steps must be as long as
    /// [`crate::tiles::epilogue::Epilogue::check`] demands; the output values of these pixels and panels must lie in the output and be
    /// touched by nobody else.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(&self, simd: S, sums: *const f32, from: usize, n: usize) {
        let stride = self.geometry.filters;
        let first = self.first_output + from * stride;
        let target = Target { steps: self.steps, output: Some(self.output.get()), first, stride, pack: None };
        for p in 0..self.panels {
            let lanes = Lanes::new(self.geometry, self.group, self.first_panel + p);
            let mut i = 0;
            while i < n {
                // SAFETY: the caller vouches for all of it.
                unsafe {
                    let sums = sums.add((i * self.panels + p) * LANES);
                    if i + TOGETHER <= n {
                        target.store(simd, self.scaled::<S, TOGETHER>(simd, sums, lanes.filter), lanes, i);
                        i += TOGETHER;
                    } else {
                        target.store(simd, self.scaled::<S, 1>(simd, sums, lanes.filter), lanes, i);
                        i += 1;
                    }
                }
            }
        }
    }

    /// The sums of `R` rows in one panel, times alpha.
    ///
    /// # Safety
    /// As [`Self::rows`], `sums` being those of the first of the rows in this panel.
    #[inline(always)]
    unsafe fn scaled<S: Simd, const R: usize>(&self, simd: S, sums: *const f32, filter: usize) -> [S::Floats; R] {
        let mut y = [simd.splat_float(0.0); R];
        for r in 0..R {
            // SAFETY: the caller vouches for the sums and alpha.
            unsafe {
                y[r] = simd.load_floats(sums.add(r * self.panels * LANES));
                if let Some(alpha) = self.alpha {
                    y[r] = simd.mul(simd.load_floats(alpha.as_ptr().add(filter)), y[r]);
                }
            }
        }
        y
    }
}
