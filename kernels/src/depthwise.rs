//! f32 convolution of each channel by itself: sixteen channels in the lanes, several output pixels in registers.
//!
//! With a group a channel, the product of [`crate::float_tile`] would use one lane of sixteen. Here a tap's weights are
//! loaded once for [`PIXELS`] output pixels of a row. 3 x 3 over 64 channels is nine products a value, so past that the
//! caches are the limit. Pixels at a border read zeros where a tap is padded: the same sums as over a padded image, without
//! the copy.

use crate::Geometry;
use crate::epilogue::{Step, step_rows};
use crate::panel::LANES;
use crate::simd::{Op, Simd};
use crate::windows::Shared;
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
    pub output: &'a Shared<f32>,
    pub first_output: usize,
    /// Output pixels, row by row.
    pub range: Range<usize>,
}

impl Op for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let geometry = self.geometry;
        let mut at = self.range.start;
        while at < self.range.end {
            let (y, first) = (at / self.out_width, at % self.out_width);
            let last = self.out_width.min(first + self.range.end - at);
            let inner_row = geometry.window.valid_taps(0, geometry.height, y).len() == geometry.window.kernel[0];
            let inner = if inner_row { self.inner_columns() } else { 0..0 };
            let mut x = first;
            while x < last {
                let room = if inner.contains(&x) { inner.end.min(last) - x } else { 0 };
                x += if room >= PIXELS {
                    self.pixels::<S, PIXELS, true>(simd, y, x)
                } else if room >= 2 {
                    self.pixels::<S, 2, true>(simd, y, x)
                } else if room == 1 {
                    self.pixels::<S, 1, true>(simd, y, x)
                } else {
                    self.pixels::<S, 1, false>(simd, y, x)
                };
            }
            at += last - first;
        }
    }
}

impl Depthwise<'_> {
    /// The output columns whose windows lie inside the image altogether.
    #[inline(always)]
    fn inner_columns(&self) -> Range<usize> {
        let window = &self.geometry.window;
        let (stride, left) = (window.stride[1], window.padding[1]);
        let span = (window.kernel[1] - 1) * window.dilation[1] + 1;
        let end = (self.geometry.width + left).checked_sub(span).map_or(0, |last| last / stride + 1);
        left.div_ceil(stride)..end.min(self.out_width)
    }

    /// `N` output pixels of a row; `INNER` where no tap of theirs is padded. Returns `N`.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize, const INNER: bool>(&self, simd: S, y: usize, x: usize) -> usize {
        simd.vectorize(
            #[inline(always)]
            || {
                let channels = self.geometry.channels;
                for first in (0..channels).step_by(LANES) {
                    if first + LANES <= channels {
                        self.lanes::<S, N, INNER>(simd, y, x, first, LANES);
                    } else {
                        self.lanes::<S, N, INNER>(simd, y, x, first, channels - first);
                    }
                }
            },
        );
        N
    }

    /// The `lanes` channels from `channel` on of `N` output pixels.
    #[inline(always)]
    fn lanes<S: Simd, const N: usize, const INNER: bool>(
        &self,
        simd: S,
        y: usize,
        x: usize,
        channel: usize,
        lanes: usize,
    ) {
        let &Geometry { height, width, channels, window, .. } = self.geometry;
        let [rows, columns] = window.kernel;
        let weight = &self.weight[channel * rows * columns..][..rows * columns * LANES];
        let step = window.stride[1] * channels;
        let at = self.first_output + (y * self.out_width + x) * channels + channel;
        let mut sums = [simd.splat_float(0.0); N];
        for i in 0..rows {
            let row = (y * window.stride[0] + i * window.dilation[0]).wrapping_sub(window.padding[0]);
            for j in 0..columns {
                let column = (x * window.stride[1] + j * window.dilation[1]).wrapping_sub(window.padding[1]);
                // SAFETY: the tap is one of the slice's; a tap that is read lies in the image, by `inner_columns` for all N
                // pixels or as it is checked for one, and has `lanes` channels left.
                unsafe {
                    let weight = simd.load_floats(weight.as_ptr().add((i * columns + j) * LANES));
                    let from = self.image.as_ptr().wrapping_add(
                        row.wrapping_mul(width).wrapping_add(column).wrapping_mul(channels).wrapping_add(channel),
                    );
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let from = from.wrapping_add(m * step);
                        let value = if !INNER && (row >= height || column >= width) {
                            simd.splat_float(0.0)
                        } else if lanes == LANES {
                            simd.load_floats(from)
                        } else {
                            simd.load_first(from, lanes)
                        };
                        *sum = simd.fma(value, weight, *sum);
                    }
                }
            }
        }
        // SAFETY: the vectors of the steps and the output hold these channels of these pixels (`FloatConv::run` checked), which
        // belong to this task alone.
        unsafe {
            for step in self.steps {
                step_rows(simd, step, &mut sums, channel, at, channels, lanes);
            }
            for (m, sum) in sums.into_iter().enumerate() {
                let to = self.output.get().add(at + m * channels);
                if lanes == LANES { simd.store_floats(to, sum) } else { simd.store_first(to, sum, lanes) }
            }
        }
    }
}
