//! What happens to a row of sums before it is stored, and where it is stored: bias, affine, activation, residual add.

use crate::parallel::Disjoint;
use crate::shape::{Block, Geometry};
use crate::simd::{LANES, Simd};

/// One step on the values of a row, applied in the order of [`Epilogue::steps`], each operation rounded on its own.
///
/// Vectors hold one value a filter, laid out as [`Geometry::pad_filters`] says.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// y + bias.
    Bias(&'a [f32]),
    /// y * scale + shift, rounded after the product and after the sum.
    Affine {
        /// Factor of each filter.
        scale: &'a [f32],
        /// Summand of each filter.
        shift: &'a [f32],
    },
    /// max(y, 0).
    Relu,
    /// y * min(max(y + 3, 0), 6) / 6.
    HardSwish,
    /// y where y >= 0, else y * slope.
    Prelu(&'a [f32]),
    /// min(max(y, low), high).
    Clip {
        /// The lower bound.
        low: f32,
        /// The upper bound.
        high: f32,
    },
    /// y plus another value of the output's shape (all samples of the call, unpadded NHWC).
    Add(&'a [f32]),
}

/// The steps of a layer's epilogue; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// The steps, first to last.
    pub steps: &'a [Step<'a>],
}

/// Rows that go through an epilogue together: the steps are looked up, and their vectors loaded, once for all of them.
pub(crate) const TOGETHER: usize = 4;

impl Step<'_> {
    /// Whether the step is monotone in the value and reads no other value.
    pub(crate) fn is_monotone(&self) -> bool {
        match self {
            Self::Bias(_) | Self::Affine { .. } | Self::Relu | Self::Clip { .. } => true,
            Self::Prelu(slope) => slope.iter().all(|&slope| slope >= 0.0),
            Self::HardSwish | Self::Add(_) => false,
        }
    }

    /// Applies the step to the sums of sixteen filters in `N` rows, whose outputs are `stride` values apart.
    ///
    /// # Safety
    /// The vectors of the step must be readable for sixteen values from `filter` on, and the values of [`Step::Add`] for
    /// `lanes` values from `output` and each of the next `N - 1` multiples of `stride` on.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd, const N: usize>(
        &self,
        simd: S,
        rows: &mut [S::Floats; N],
        filter: usize,
        output: usize,
        stride: usize,
        lanes: usize,
    ) {
        match self {
            Step::Bias(bias) => {
                // SAFETY: the caller guarantees the vector.
                let bias = unsafe { simd.load_floats(bias.as_ptr().add(filter)) };
                for y in rows {
                    *y = simd.add(*y, bias);
                }
            }
            Step::Affine { scale, shift } => {
                // SAFETY: the caller guarantees the vectors.
                let (scale, shift) = unsafe {
                    (simd.load_floats(scale.as_ptr().add(filter)), simd.load_floats(shift.as_ptr().add(filter)))
                };
                for y in rows {
                    *y = simd.add(simd.mul(*y, scale), shift);
                }
            }
            Step::Relu => {
                for y in rows {
                    *y = simd.relu(simd.finite_or_nan(*y));
                }
            }
            Step::HardSwish => {
                let (three, six) = (simd.splat_float(3.0), simd.splat_float(6.0));
                for y in rows {
                    let open = simd.relu(simd.add(*y, three));
                    let gate = simd.if_negative(simd.sub(open, six), open, six);
                    *y = simd.div(simd.mul(*y, gate), six);
                }
            }
            Step::Prelu(slope) => {
                // SAFETY: the caller guarantees the vector.
                let slope = unsafe { simd.load_floats(slope.as_ptr().add(filter)) };
                for y in rows {
                    *y = simd.if_negative(*y, simd.mul(*y, slope), *y);
                }
            }
            Step::Clip { low, high } => {
                let (low, high) = (simd.splat_float(*low), simd.splat_float(*high));
                for y in rows {
                    let x = simd.finite_or_nan(*y);
                    let x = simd.if_negative(simd.sub(x, low), low, x);
                    *y = simd.if_negative(simd.sub(high, x), high, x);
                }
            }
            Step::Add(other) => {
                for (i, y) in rows.iter_mut().enumerate() {
                    // SAFETY: the caller guarantees the values.
                    *y = unsafe {
                        let from = other.as_ptr().add(output + i * stride);
                        simd.add(*y, if lanes == LANES { simd.load_floats(from) } else { simd.load_first(from, lanes) })
                    };
                }
            }
        }
    }
}

/// Where the results of some rows times some panels of a group go, and what happens to them before.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    /// What happens to them.
    pub steps: &'a [Step<'a>],
    /// The layer's output; none where the values are only packed.
    pub to: Option<Disjoint<'a, f32>>,
    /// Where the first filter of the first row stands in the output.
    pub first: usize,
    /// Values between neighbouring rows.
    pub stride: usize,
    /// Where the first filter stands in the vectors of the steps.
    pub filter: usize,
    /// Filters of all panels; those of the last one may be fewer than sixteen.
    pub filters: usize,
}

impl<'a> Output<'a> {
    /// The output of a block, its rows counted from output pixel `from` of the sample that starts at `first_output`.
    #[inline(always)]
    pub(crate) fn new(
        geometry: &Geometry,
        block: &Block,
        steps: &'a [Step<'a>],
        to: Option<Disjoint<'a, f32>>,
        first_output: usize,
        from: usize,
    ) -> Self {
        Self {
            steps,
            to,
            first: first_output + from * geometry.filters + block.channel(geometry),
            stride: geometry.filters,
            filter: block.panel(geometry) * LANES,
            filters: (block.panels * LANES).min(geometry.group_filters() - block.first_panel * LANES),
        }
    }

    /// Filters of a panel.
    #[inline(always)]
    pub(crate) fn lanes(&self, panel: usize) -> usize {
        LANES.min(self.filters - panel * LANES)
    }

    /// What stands there for the `R` rows from `row` on in a panel.
    ///
    /// # Safety
    /// The values must lie in the output, and nobody else may write them.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd, const R: usize>(&self, simd: S, panel: usize, row: usize) -> [S::Floats; R] {
        let (lanes, at) = (self.lanes(panel), self.first + row * self.stride + panel * LANES);
        let mut y = [simd.splat_float(0.0); R];
        let Some(output) = self.to else { return y };
        for r in 0..R {
            // SAFETY: the caller guarantees the values.
            unsafe {
                let from = output.at(at + r * self.stride, lanes);
                y[r] = if lanes == LANES { simd.load_floats(from) } else { simd.load_first(from, lanes) };
            }
        }
        y
    }

    /// The unfinished sums that [`Self::store_counts`] left.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    pub(crate) unsafe fn load_counts<S: Simd>(&self, simd: S, panel: usize, row: usize) -> S::Counts {
        let (lanes, at) = (self.lanes(panel), self.first + row * self.stride + panel * LANES);
        let Some(output) = self.to else { return simd.no_counts() };
        // SAFETY: the caller guarantees the values, and the array has sixteen.
        unsafe {
            let from = output.at(at, lanes).cast::<i32>();
            if lanes == LANES {
                return simd.load_counts(from);
            }
            let mut counts = [0; LANES];
            std::ptr::copy_nonoverlapping(from, counts.as_mut_ptr(), lanes);
            simd.load_counts(counts.as_ptr())
        }
    }

    /// Stores unfinished sums as i32 where the values will stand.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    pub(crate) unsafe fn store_counts<S: Simd>(&self, simd: S, counts: S::Counts, panel: usize, row: usize) {
        let (lanes, at) = (self.lanes(panel), self.first + row * self.stride + panel * LANES);
        let Some(output) = self.to else { return };
        // SAFETY: the caller guarantees the values, and the array has sixteen.
        unsafe {
            let to = output.at(at, lanes).cast::<i32>();
            if lanes == LANES {
                return simd.store_counts(to, counts);
            }
            let mut all = [0; LANES];
            simd.store_counts(all.as_mut_ptr(), counts);
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, lanes);
        }
    }

    /// Applies the steps to sixteen sums of each of the `R` rows from `row` on, stores what they give, and returns it.
    ///
    /// # Safety
    /// The vectors of every step must be readable for sixteen values from the panel's first filter on; the values of
    /// [`Step::Add`] and the output must hold the filters of each row, and nobody else may use that part of the output.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const R: usize>(
        &self,
        simd: S,
        mut y: [S::Floats; R],
        panel: usize,
        row: usize,
    ) -> [S::Floats; R] {
        let (lanes, at) = (self.lanes(panel), self.first + row * self.stride + panel * LANES);
        for step in self.steps {
            // SAFETY: the caller guarantees the vectors and the other values.
            unsafe { step.apply(simd, &mut y, self.filter + panel * LANES, at, self.stride, lanes) };
        }
        if let Some(output) = self.to {
            for r in 0..R {
                // SAFETY: the caller guarantees the output.
                unsafe {
                    let to = output.at(at + r * self.stride, lanes);
                    if lanes == LANES { simd.store_floats(to, y[r]) } else { simd.store_first(to, y[r], lanes) }
                }
            }
        }
        y
    }

    /// Stores `n` rows of sums, times `alpha` (a factor of each padded filter) if there is one, rounded before the steps.
    ///
    /// # Safety
    /// `sums` must be valid for reading `[n][panels][16]` values, alpha for one a padded filter, and [`Self::store`] must be
    /// allowed for these rows.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(&self, simd: S, alpha: Option<&[f32]>, sums: *const f32, n: usize) {
        let panels = self.filters.div_ceil(LANES);
        for p in 0..panels {
            let mut i = 0;
            while i < n {
                // SAFETY: the caller guarantees all of it.
                unsafe {
                    let sums = sums.add((i * panels + p) * LANES);
                    if i + TOGETHER <= n {
                        self.store(simd, self.scaled::<S, TOGETHER>(simd, alpha, sums, p), p, i);
                        i += TOGETHER;
                    } else {
                        self.store(simd, self.scaled::<S, 1>(simd, alpha, sums, p), p, i);
                        i += 1;
                    }
                }
            }
        }
    }

    /// The sums of `R` rows in panel `p`, times alpha.
    ///
    /// # Safety
    /// As [`Self::rows`], `sums` being those of the first of the rows in this panel.
    #[inline(always)]
    unsafe fn scaled<S: Simd, const R: usize>(
        &self,
        simd: S,
        alpha: Option<&[f32]>,
        sums: *const f32,
        p: usize,
    ) -> [S::Floats; R] {
        let mut y = [simd.splat_float(0.0); R];
        for r in 0..R {
            // SAFETY: the caller guarantees the sums and alpha.
            unsafe {
                y[r] = simd.load_floats(sums.add(r * self.filters.next_multiple_of(LANES)));
                if let Some(alpha) = alpha {
                    y[r] = simd.mul(simd.load_floats(alpha.as_ptr().add(self.filter + p * LANES)), y[r]);
                }
            }
        }
        y
    }
}

impl Epilogue<'_> {
    /// Panics unless every vector is long enough for `filters` padded filters and `output` values of output.
    pub(crate) fn check(&self, filters: usize, output: usize) {
        for step in self.steps {
            let (len, needed) = match step {
                Step::Bias(vector) | Step::Prelu(vector) => (vector.len(), filters),
                Step::Affine { scale, shift } => (scale.len().min(shift.len()), filters),
                Step::Add(other) => (other.len(), output),
                Step::Relu | Step::HardSwish | Step::Clip { .. } => (0, 0),
            };
            assert!(len >= needed, "an epilogue vector holds {len} values where {needed} are needed");
        }
    }
}
