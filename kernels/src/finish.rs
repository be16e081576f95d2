//! The way of finished sums out: alpha, the epilogue's steps, the store.

use crate::epilogue::apply;
use crate::panel::LANES;
use crate::simd::Simd;
use crate::windows::Shared;
use crate::{Geometry, Step};

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
    /// [`crate::Epilogue::check`] demands; the output values of these pixels and panels must lie in the output and be
    /// touched by nobody else.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(&self, simd: S, sums: *const f32, from: usize, n: usize) {
        let geometry = self.geometry;
        for p in 0..self.panels {
            let within = (self.first_panel + p) * LANES;
            let lanes = LANES.min(geometry.group_filters() - within);
            let filter = self.group * geometry.group_panels() * LANES + within;
            for i in 0..n {
                let at =
                    self.first_output + (from + i) * geometry.filters + self.group * geometry.group_filters() + within;
                // SAFETY: the caller vouches for all of it.
                unsafe {
                    let mut y = simd.load_floats(sums.add((i * self.panels + p) * LANES));
                    if let Some(alpha) = self.alpha {
                        y = simd.mul(simd.load_floats(alpha.as_ptr().add(filter)), y);
                    }
                    let y = apply(simd, self.steps, y, filter, at, lanes);
                    let to = self.output.get().add(at);
                    if lanes == LANES { simd.store_floats(to, y) } else { simd.store_first(to, y, lanes) }
                }
            }
        }
    }
}
