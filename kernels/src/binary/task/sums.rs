//! What becomes of a task's counts: sums over planes and weight bases, the pool, the epilogue, the store.

use super::{BinaryTask, Buffers, POOLED, Scales};
use crate::backends::Backend;
use crate::binary::handover::PackInto;
use crate::parallel::ROWS;
use crate::simd::LANES;
use crate::tiles::Output;

/// The sums of a block of windows after one weight basis.
pub(super) struct SumStage<'a> {
    pub task: &'a BinaryTask<'a>,
    pub basis: usize,
    pub windows: usize,
    /// The table of the padded border for each window.
    pub borders: &'a [*const i32; ROWS],
    /// The scales of the first row.
    pub scales: Scales,
}

impl SumStage<'_> {
    /// Sends `R` output pixels from pixel `i` of the block on in panel `p` through the epilogue, stores and packs them; nothing
    /// while there are bases left to add.
    ///
    /// # Safety
    /// As [`Self::outputs`] and [`Output::store`]; `pixels` must be those of the block in the planes that the call packs into.
    #[inline(always)]
    pub(super) unsafe fn store<S: Backend, const R: usize>(
        &self,
        simd: S,
        output: &Output<'_>,
        p: usize,
        i: usize,
        pixels: &[usize; ROWS],
        buffers: &mut Buffers,
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let Some(y) = self.outputs::<S, R>(simd, p, output.filter + p * LANES, i, buffers) else { return };
            let y = output.store(simd, y, p, i);
            if let Some(pack) = self.task.call.pack {
                let half = PackInto::half(self.task.block.channel(self.task.geometry)) + p;
                pack.into.pack(simd, &y, &pixels[i..i + R], half, output.lanes(p));
            }
        }
    }

    /// What `R` output pixels from pixel `i` of the block on have in panel `p` of the task before the epilogue, or behind the
    /// pool that stands in it; none while there are bases left to add.
    ///
    /// # Safety
    /// As [`Self::rows`]; the vectors of the steps before the pool must be readable for sixteen values from `filter` on.
    #[inline(always)]
    unsafe fn outputs<S: Backend, const R: usize>(
        &self,
        simd: S,
        p: usize,
        filter: usize,
        i: usize,
        buffers: &mut Buffers,
    ) -> Option<[S::Floats; R]> {
        // SAFETY: passed on to the caller.
        let Some(before) = self.task.pool else { return unsafe { self.rows::<S, R>(simd, p, filter, i, buffers) } };
        let mut largest = [simd.splat_float(0.0); R];
        for r in 0..R {
            // SAFETY: passed on to the caller.
            let y = unsafe { self.rows::<S, POOLED>(simd, p, filter, (i + r) * POOLED, buffers) };
            let Some(mut y) = y else { continue };
            for step in &self.task.call.epilogue.steps[..before] {
                // SAFETY: the caller guarantees the vectors; none of these steps adds values.
                unsafe { step.apply(simd, &mut y, filter, 0, 0, LANES) };
            }
            largest[r] = simd.finite_or_nan(y[0]);
            for j in 1..POOLED {
                largest[r] = simd.max(largest[r], simd.finite_or_nan(y[j]));
            }
        }
        (self.basis + 1 == self.task.call.bases.len()).then_some(largest)
    }

    /// The sums of `R` rows from row `i` of the block on in panel `p` of the task, whose first padded filter is `filter`;
    /// none while there are bases left to add.
    ///
    /// # Safety
    /// The rows must be windows of the block, the panel one of the task's, and the tiles have written their counts.
    #[inline(always)]
    unsafe fn rows<S: Backend, const R: usize>(
        &self,
        simd: S,
        p: usize,
        filter: usize,
        i: usize,
        buffers: &mut Buffers,
    ) -> Option<[S::Floats; R]> {
        let stride = self.task.stride::<S>();
        let bases = self.task.call.bases;
        // SAFETY: the tables of the border and `alpha` hold a value a padded filter, `counts` and `sums` a row a window and plane of
        // `stride` values, `scales` K values a row.
        unsafe {
            let counts = buffers.counts.as_ptr().cast::<i32>().add(i * stride + p * LANES);
            let sums = buffers.sums.as_mut_ptr().cast::<f32>().add(i * stride + p * LANES);
            let alpha = simd.load_floats(bases[self.basis].alpha.as_ptr().add(filter));
            let mut y = [simd.splat_float(0.0); R];
            // The usual orders are unrolled; the others come in a loop, as each copy of this is there for every backend.
            match self.task.call.order {
                _ if self.task.halves => self.halving::<S, R>(simd, filter, i, counts, &mut y),
                1 => self.planes::<S, R>(simd, 1, filter, i, counts, &mut y),
                2 => self.planes::<S, R>(simd, 2, filter, i, counts, &mut y),
                order => self.planes::<S, R>(simd, order, filter, i, counts, &mut y),
            }
            // The factor of all planes together stands in for alpha where their scales halve.
            let factor = if self.task.halves {
                simd.mul(alpha, simd.splat_float(self.scales.of(self.task.call.order - 1, i)))
            } else {
                alpha
            };
            for r in 0..R {
                y[r] = simd.mul(factor, y[r]);
            }
            if self.basis > 0 {
                for r in 0..R {
                    y[r] = simd.add(simd.load_floats(sums.add(r * stride)), y[r]);
                }
            }
            if self.basis + 1 < bases.len() {
                for r in 0..R {
                    simd.store_floats(sums.add(r * stride), y[r]);
                }
                return None;
            }
            Some(y)
        }
    }

    /// S = sum_k 2^(K-k) (base - 2 count_k) of `R` rows, the nearest f32.
    ///
    /// With C = sum_k 2^(K-k) count_k, which tables give at once, that is (2^K - 1) base - 2 C. Both terms may leave an i32, where they wrap; their
    /// difference does not: |S| <= (2^K - 1) depth < 2^31.
    ///
    /// # Safety
    /// As the buffers in [`Self::rows`].
    #[inline(always)]
    unsafe fn halving<S: Backend, const R: usize>(
        &self,
        simd: S,
        filter: usize,
        i: usize,
        counts: *const i32,
        y: &mut [S::Floats; R],
    ) {
        let (stride, order) = (self.task.stride::<S>(), self.task.call.order);
        for r in 0..R {
            // SAFETY: the caller guarantees the counts and the borders.
            unsafe {
                let mut sum = simd.load_counts(counts.add(r * stride));
                for k in 1..self.task.planes() {
                    sum = simd.twice_plus(sum, simd.load_counts(counts.add((k * self.windows + r) * stride)));
                }
                y[r] = simd.weighted_sums(self.borders[i + r].add(filter), sum, order as u32);
            }
        }
    }

    /// Adds b_k (base - 2 count) of every plane to the sums of `R` rows.
    ///
    /// # Safety
    /// As the buffers in [`Self::rows`].
    #[inline(always)]
    unsafe fn planes<S: Backend, const R: usize>(
        &self,
        simd: S,
        order: usize,
        filter: usize,
        i: usize,
        counts: *const i32,
        y: &mut [S::Floats; R],
    ) {
        let stride = self.task.block.panels * LANES;
        for k in 0..order {
            for r in 0..R {
                // SAFETY: the caller guarantees the counts, the borders and the scales.
                unsafe {
                    let count = counts.add((k * self.windows + r) * stride);
                    let products = simd.sums(self.borders[i + r].add(filter), count);
                    y[r] = simd.add(y[r], simd.mul(simd.splat_float(self.scales.of(k, i + r)), products));
                }
            }
        }
    }
}
