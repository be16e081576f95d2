//! What happens to a row of sums before it is stored: bias, affine, activation, residual add.

use crate::panel::LANES;
use crate::simd::Simd;
use crate::{Geometry, PackInto};

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
    /// y * min(max(y + 3, 0), 6) / 6.
    HardSwish,
    /// y where y >= 0, else y * slope.
    Prelu(&'a [f32]),
    /// y plus another value of the output's shape (all samples of the call, unpadded NHWC).
    Add(&'a [f32]),
}

impl Step<'_> {
    /// Whether the step is monotone in the value and reads no other value.
    pub(crate) fn is_monotone(&self) -> bool {
        match self {
            Self::Bias(_) | Self::Affine { .. } | Self::Relu => true,
            Self::Prelu(slope) => slope.iter().all(|&slope| slope >= 0.0),
            Self::HardSwish | Self::Add(_) => false,
        }
    }
}

/// The steps of a layer's epilogue; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// The steps, first to last.
    pub steps: &'a [Step<'a>],
}

/// Rows that go through an epilogue together: the steps are looked up, and their vectors loaded, once for all of them.
pub(crate) const TOGETHER: usize = 4;

/// Where the rows of a layer's output go, and what happens to them before.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub steps: &'a [Step<'a>],
    /// None where the values are only packed.
    pub output: Option<*mut f32>,
    /// Where the first row starts in the output.
    pub first: usize,
    /// Values between neighbouring rows.
    pub stride: usize,
    /// The planes that the values are packed into, and where each row lies there.
    pub pack: Option<(&'a PackInto<'a>, &'a [usize])>,
}

/// Sixteen filters of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    /// The first, counted with the padding of groups.
    pub filter: usize,
    /// The first output channel.
    pub channel: usize,
    /// How many of them there are.
    pub lanes: usize,
}

impl Lanes {
    /// Those of a panel of a group.
    #[inline(always)]
    pub(crate) fn new(geometry: &Geometry, group: usize, panel: usize) -> Self {
        let (within, group_filters) = (panel * LANES, geometry.group_filters());
        Self {
            filter: group * geometry.group_panels() * LANES + within,
            channel: group * group_filters + within,
            lanes: LANES.min(group_filters - within),
        }
    }
}

impl Target<'_> {
    /// Applies the steps to sixteen sums of each of the `R` rows from row `i` on, then stores and packs them.
    ///
    /// # Safety
    /// The vectors of every step must be readable for sixteen values from the first filter on, the values of [`Step::Add`],
    /// the output and the planes for the filters of each row; nobody else may use that part of the output and the planes.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const R: usize>(
        &self,
        simd: S,
        mut y: [S::Floats; R],
        Lanes { filter, channel, lanes }: Lanes,
        i: usize,
    ) {
        let at = self.first + i * self.stride + channel;
        for step in self.steps {
            // SAFETY: the caller vouches for the vectors and the other values.
            unsafe { step_rows(simd, step, &mut y, filter, at, self.stride, lanes) };
        }
        if let Some(output) = self.output {
            for r in 0..R {
                // SAFETY: the caller vouches for the output.
                unsafe {
                    let to = output.add(at + r * self.stride);
                    if lanes == LANES { simd.store_floats(to, y[r]) } else { simd.store_first(to, y[r], lanes) }
                }
            }
        }
        if let Some((into, pixels)) = self.pack {
            // SAFETY: the caller vouches for the planes.
            unsafe { into.pack(simd, &y, &pixels[i..i + R], PackInto::half(channel), lanes) };
        }
    }
}

/// Applies one step to the sums of sixteen filters in `N` rows, whose outputs are `stride` values apart.
///
/// # Safety
/// The vectors of the step must be readable for sixteen values from `filter` on, and the values of [`Step::Add`] for
/// `lanes` values from `output` and each of the next `N - 1` multiples of `stride` on.
#[inline(always)]
pub(crate) unsafe fn step_rows<S: Simd, const N: usize>(
    simd: S,
    step: &Step<'_>,
    rows: &mut [S::Floats; N],
    filter: usize,
    output: usize,
    stride: usize,
    lanes: usize,
) {
    match step {
        Step::Bias(bias) => {
            // SAFETY: the caller vouches for the vector.
            let bias = unsafe { simd.load_floats(bias.as_ptr().add(filter)) };
            for y in rows {
                *y = simd.add(*y, bias);
            }
        }
        Step::Affine { scale, shift } => {
            // SAFETY: the caller vouches for the vectors.
            let (scale, shift) =
                unsafe { (simd.load_floats(scale.as_ptr().add(filter)), simd.load_floats(shift.as_ptr().add(filter))) };
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
            // SAFETY: the caller vouches for the vector.
            let slope = unsafe { simd.load_floats(slope.as_ptr().add(filter)) };
            for y in rows {
                *y = simd.if_negative(*y, simd.mul(*y, slope), *y);
            }
        }
        Step::Add(other) => {
            for (i, y) in rows.iter_mut().enumerate() {
                // SAFETY: the caller vouches for the values.
                *y = unsafe {
                    let from = other.as_ptr().add(output + i * stride);
                    simd.add(*y, if lanes == LANES { simd.load_floats(from) } else { simd.load_first(from, lanes) })
                };
            }
        }
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
                Step::Relu | Step::HardSwish => (0, 0),
            };
            assert!(len >= needed, "an epilogue vector holds {len} values where {needed} are needed");
        }
    }
}
