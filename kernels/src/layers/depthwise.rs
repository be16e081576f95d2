//! f32 convolution of each channel by itself: sixteen channels in the lanes, several output pixels in registers.
//!
//! With a group a channel, the product of [`crate::tiles::floats`] would use one lane of sixteen. Here a tap's weights are
//! loaded once for [`PIXELS`] output pixels of a row. 3 x 3 over 64 channels is nine products a value, so past that the
//! caches are the limit. Pixels at a border read zeros where a tap is padded: the same sums as over a padded image, without
//! the copy.

use crate::backends::{Backend, Op};
use crate::parallel::Disjoint;
use crate::shape::Geometry;
use crate::simd::LANES;
use crate::tiles::Step;
use std::ops::Range;

/// Output pixels at a time: with AVX2 12 accumulators, 2 weights and a value in 16 registers, with NEON 24, 4 and 4 in 32.
const PIXELS: usize = 6;

/// Some output pixels of one sample, all channels.
pub(crate) struct Depthwise<'a> {
    pub geometry: &'a Geometry,
    /// Columns of the output.
    pub out_width: usize,
    /// `[row][column][channel]`, one sample.
    pub image: &'a [f32],
    /// `[channel / 16][tap][16]`.
    pub weight: &'a [f32],
    pub steps: &'a [Step<'a>],
    pub output: Disjoint<'a, f32>,
    pub first_output: usize,
    /// Output rows.
    pub rows: Range<usize>,
    /// Columns of these rows.
    pub columns: Range<usize>,
}

/// Bytes of the image that a strip of columns may take in the rows under a kernel: a third of an L1 cache of 48 KiB. Whole
/// rows of 56 x 64 channels were read from the L2 for each row of the kernel.
const STRIP_BYTES: usize = 16 << 10;

impl Op for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let Geometry { width, channels, window, .. } = *self.geometry;
        let pixels = STRIP_BYTES / (size_of::<f32>() * channels * window.kernel[0] * window.stride[1]);
        let strip = pixels.max(1).next_multiple_of(PIXELS);
        // Strips end where groups of inner pixels do.
        let inner = window.inner(1, width, self.out_width);
        let mut first = self.columns.start;
        while first < self.columns.end {
            let last = if first == 0 { inner.start + strip } else { first + strip }.min(self.columns.end);
            for y in self.rows.clone() {
                self.row(simd, y, first..last, &inner);
            }
            first = last;
        }
    }
}

impl Depthwise<'_> {
    /// Some output pixels of row `y`.
    #[inline(always)]
    fn row<S: Backend>(&self, simd: S, y: usize, columns: Range<usize>, inner: &Range<usize>) {
        let window = self.geometry.window;
        // Taps that the compiler knows share the values of neighbouring pixels, where there are registers for those.
        let known = window.kernel == [3; 2] && window.dilation[1] == 1 && S::REGISTERS >= 32;
        let mut x = columns.start;
        while x < columns.end {
            let whole = if inner.contains(&x) { inner.end.min(columns.end) - x } else { 0 };
            x += match (whole, window.stride[1]) {
                (PIXELS.., 1) if known => self.pixels::<S, PIXELS, true, 3, 1>(simd, y, x),
                (PIXELS.., 2) if known => self.pixels::<S, PIXELS, true, 3, 2>(simd, y, x),
                (PIXELS.., _) => self.pixels::<S, PIXELS, true, 0, 0>(simd, y, x),
                (2.., _) => self.pixels::<S, 2, true, 0, 0>(simd, y, x),
                (1, _) => self.pixels::<S, 1, true, 0, 0>(simd, y, x),
                (0, _) => self.pixels::<S, 1, false, 0, 0>(simd, y, x),
            };
        }
    }

    /// `N` output pixels of a row; `INNER` where no tap of theirs is padded at the left or right. `K` and `STRIDE` are those
    /// of a square kernel, or 0. Returns `N`.
    #[inline(always)]
    fn pixels<S: Backend, const N: usize, const INNER: bool, const K: usize, const STRIDE: usize>(
        &self,
        simd: S,
        y: usize,
        x: usize,
    ) -> usize {
        simd.vectorize(
            #[inline(always)]
            || {
                let channels = self.geometry.channels;
                for first in (0..channels).step_by(LANES) {
                    if first + LANES <= channels {
                        self.lanes::<S, N, INNER, K, STRIDE>(simd, [y, x], first, LANES);
                    } else {
                        self.lanes::<S, N, INNER, 0, 0>(simd, [y, x], first, channels - first);
                    }
                }
            },
        );
        N
    }

    /// The `lanes` channels from `channel` on of `N` output pixels.
    #[inline(always)]
    fn lanes<S: Backend, const N: usize, const INNER: bool, const K: usize, const STRIDE: usize>(
        &self,
        simd: S,
        [y, x]: [usize; 2],
        channel: usize,
        lanes: usize,
    ) {
        let &Geometry { height, width, channels, window, .. } = self.geometry;
        let [rows, columns] = window.kernel;
        let columns = if K > 0 { K } else { columns };
        let stride = if STRIDE > 0 { STRIDE } else { window.stride[1] };
        let dilation = if STRIDE > 0 { 1 } else { window.dilation[1] };
        let left = (x * stride).wrapping_sub(window.padding[1]);
        let at = self.first_output + (y * self.out_width + x) * channels + channel;
        let mut sums = [simd.splat_float(0.0); N];
        for i in 0..if K > 0 { K } else { rows } {
            let weight = &self.weight[channel * rows * columns + i * columns * LANES..][..columns * LANES];
            let row = (y * window.stride[0] + i * window.dilation[0]).wrapping_sub(window.padding[0]);
            if row >= height {
                // A padded tap is a product like others: it can turn -0 into 0.
                for weight in weight.chunks_exact(LANES) {
                    // SAFETY: the chunk holds sixteen values.
                    let weight = unsafe { simd.load_floats(weight.as_ptr()) };
                    for m in 0..N {
                        sums[m] = simd.fma(simd.splat_float(0.0), weight, sums[m]);
                    }
                }
                continue;
            }
            let from = self.image.as_ptr().wrapping_add((row * width * channels).wrapping_add(channel));
            for j in 0..columns {
                // SAFETY: the taps are the slice's; a value that is read lies in the image, by `Window::inner` for all N pixels
                // or as it is checked for one, and has `lanes` channels left.
                unsafe {
                    let weight = simd.load_floats(weight.as_ptr().add(j * LANES));
                    for m in 0..N {
                        let column = left.wrapping_add(m * stride + j * dilation);
                        let from = from.wrapping_add(column.wrapping_mul(channels));
                        let value = if !INNER && column >= width {
                            simd.splat_float(0.0)
                        } else if lanes == LANES {
                            simd.load_floats(from)
                        } else {
                            simd.load_first(from, lanes)
                        };
                        sums[m] = simd.fma(value, weight, sums[m]);
                    }
                }
            }
        }
        // SAFETY: the vectors of the steps and the output hold these channels of these pixels (`FloatConv::run` checked), which
        // belong to this task alone.
        unsafe {
            for step in self.steps {
                step.apply(simd, &mut sums, channel, at, channels, lanes);
            }
            for (m, sum) in sums.into_iter().enumerate() {
                let to = self.output.at(at + m * channels, lanes);
                if lanes == LANES { simd.store_floats(to, sum) } else { simd.store_first(to, sum, lanes) }
            }
        }
    }
}
