//! What happens to a row of sums before it is stored: bias, affine, activation, residual add.

use crate::panel::LANES;
use crate::simd::Simd;

/// One step on the values of a row, applied in the order of [`Epilogue::steps`], each operation rounded on its own.
///
/// Vectors hold one value a filter, laid out as [`crate::Geometry::pad_filters`] says.
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
    /// y where y >= 0, else y * slope.
    Prelu(&'a [f32]),
    /// y plus another value of the output's shape (all samples of the call, unpadded NHWC).
    Add(&'a [f32]),
}

/// The steps of a layer's epilogue; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// The steps, first to last.
    pub steps: &'a [Step<'a>],
}

/// Applies the steps to sixteen sums.
///
/// # Safety
/// The vectors of every step must be readable for sixteen values from `filter` on, and the values of [`Step::Add`] for
/// `lanes` values from `output` on.
#[inline(always)]
pub(crate) unsafe fn apply<S: Simd>(
    simd: S,
    steps: &[Step<'_>],
    mut y: S::Floats,
    filter: usize,
    output: usize,
    lanes: usize,
) -> S::Floats {
    for step in steps {
        // SAFETY: the caller vouches for the vectors.
        unsafe {
            y = match step {
                Step::Bias(bias) => simd.add(y, simd.load_floats(bias.as_ptr().add(filter))),
                Step::Affine { scale, shift } => {
                    let scaled = simd.mul(y, simd.load_floats(scale.as_ptr().add(filter)));
                    simd.add(scaled, simd.load_floats(shift.as_ptr().add(filter)))
                }
                Step::Relu => simd.if_negative(y, simd.splat_float(0.0), y),
                Step::Prelu(slope) => {
                    let sloped = simd.mul(y, simd.load_floats(slope.as_ptr().add(filter)));
                    simd.if_negative(y, sloped, y)
                }
                Step::Add(other) if lanes == LANES => simd.add(y, simd.load_floats(other.as_ptr().add(output))),
                Step::Add(other) => simd.add(y, simd.load_first(other.as_ptr().add(output), lanes)),
            };
        }
    }
    y
}

impl Epilogue<'_> {
    /// Panics unless every vector is long enough for `filters` padded filters and `output` values of output.
    pub(crate) fn check(&self, filters: usize, output: usize) {
        for step in self.steps {
            let (len, needed) = match step {
                Step::Bias(vector) | Step::Prelu(vector) => (vector.len(), filters),
                Step::Affine { scale, shift } => (scale.len().min(shift.len()), filters),
                Step::Add(other) => (other.len(), output),
                Step::Relu => (0, 0),
            };
            assert!(len >= needed, "an epilogue vector holds {len} values where {needed} are needed");
        }
    }
}
