//! Pooling and elementwise operations on f32 NHWC values, any number of samples at once.
//!
//! Every operation stands in a fixed order, so all instruction sets give the same bits. NaN is passed on: what reads a NaN
//! gives NaN. The sign of a zero is what the stated operations make of it. Slices of per-channel values may be longer than
//! there are channels (model files pad them to whole panels); what is past the last channel is not read.

use std::ops::Range;

use crate::panel::LANES;
use crate::simd::{Op, Simd, dispatch};
use crate::{Error, Isa, Window};

/// The shape of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
}

impl PoolShape {
    /// Rows and columns of the output.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Window::output`] says.
    pub fn output(&self) -> Result<[usize; 2], Error> {
        self.window.output(self.height, self.width)
    }

    /// Values of one sample's input.
    pub const fn input_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// For sixteen channels of an output pixel at a time: from `start`, `tap` with each valid tap's value in order, then
    /// `end` with the number of taps. Sixteen lanes of fixed length compile to vector code whatever the number of channels.
    #[inline(always)]
    fn each(
        &self,
        input: &[f32],
        output: &mut [f32],
        start: f32,
        tap: impl Fn(f32, f32) -> f32,
        end: impl Fn(f32, usize) -> f32,
    ) {
        let channels = self.channels;
        let [rows, columns] = self.output().expect("a pooling shape that was not checked");
        assert_eq!(input.len() % self.input_len(), 0, "input is not a whole number of samples");
        assert_eq!(output.len(), input.len() / self.input_len() * rows * columns * channels, "output length");
        let samples = input.chunks_exact(self.input_len()).zip(output.chunks_exact_mut(rows * columns * channels));
        for (sample, output) in samples {
            for (y, output) in output.chunks_exact_mut(columns * channels).enumerate() {
                let tap_rows = self.window.valid_taps(0, self.height, y);
                for (x, output) in output.chunks_exact_mut(channels).enumerate() {
                    let tap_columns = self.window.valid_taps(1, self.width, x);
                    let taps = tap_rows.len() * tap_columns.len();
                    for (chunk, output) in output.chunks_mut(LANES).enumerate() {
                        let mut lanes = [start; LANES];
                        for row in tap_rows.clone().map(|tap| self.source(0, y, tap)) {
                            for column in tap_columns.clone().map(|tap| self.source(1, x, tap)) {
                                let from = (row * self.width + column) * channels + chunk * LANES;
                                let mut values = [0.0; LANES];
                                match sample[from..from + output.len()].as_array::<LANES>() {
                                    Some(whole) => values = *whole,
                                    None => values[..output.len()].copy_from_slice(&sample[from..from + output.len()]),
                                }
                                for i in 0..LANES {
                                    lanes[i] = tap(lanes[i], values[i]);
                                }
                            }
                        }
                        lanes.iter_mut().for_each(|y| *y = end(*y, taps));
                        output.copy_from_slice(&lanes[..output.len()]);
                    }
                }
            }
        }
    }

    /// The input row or column (`axis` 0 or 1) under a valid tap of output row or column `at`.
    #[inline(always)]
    fn source(&self, axis: usize, at: usize, tap: usize) -> usize {
        at * self.window.stride[axis] + tap * self.window.dilation[axis] - self.window.padding[axis]
    }
}

/// The largest value of each window, padded taps left out; NaN if one is NaN, the first of equal values (zeros of either
/// sign), and 0 if the window lies in the padding altogether.
///
/// `input` and `output` hold a whole number of samples.
///
/// # Panics
/// If the shape has no output or a length does not match it.
pub fn max_pool(isa: Isa, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    vectorized(
        isa,
        #[inline(always)]
        || {
            shape.each(
                input,
                output,
                f32::NEG_INFINITY,
                #[inline(always)]
                |y, x| if x > y || x.is_nan() { x } else { y },
                #[inline(always)]
                |y, taps| if taps == 0 { 0.0 } else { y },
            );
        },
    );
}

/// The mean of each window, padded taps left out: the sum over its taps in order, divided by their number; 0 if the window
/// lies in the padding altogether.
///
/// # Panics
/// If the shape has no output or a length does not match it.
pub fn average_pool(isa: Isa, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    vectorized(
        isa,
        #[inline(always)]
        || {
            shape.each(
                input,
                output,
                0.0,
                #[inline(always)]
                |y, x| y + x,
                #[inline(always)]
                |y, taps| y / taps.max(1) as f32,
            );
        },
    );
}

/// The mean of each channel over the `pixels` of a sample: the sum in the pixels' order, divided by their number.
///
/// # Panics
/// If `output` is not `channels` values for each `pixels * channels` of `input`.
pub fn global_average_pool(isa: Isa, pixels: usize, channels: usize, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len() * pixels, "global average pooling: lengths");
    assert_eq!(output.len() % channels, 0, "global average pooling: output is not a whole number of samples");
    vectorized(
        isa,
        #[inline(always)]
        || {
            for (sample, output) in input.chunks_exact(pixels * channels).zip(output.chunks_exact_mut(channels)) {
                output.fill(0.0);
                for pixel in sample.chunks_exact(channels) {
                    for (y, x) in output.iter_mut().zip(pixel) {
                        *y += x;
                    }
                }
                output.iter_mut().for_each(|y| *y /= pixels as f32);
            }
        },
    );
}

/// y = a + b.
///
/// # Panics
/// If the lengths differ.
pub fn add(isa: Isa, a: &[f32], b: &[f32], output: &mut [f32]) {
    assert!(a.len() == output.len() && b.len() == output.len(), "add: lengths differ");
    vectorized(
        isa,
        #[inline(always)]
        || {
            for (y, (a, b)) in output.iter_mut().zip(a.iter().zip(b)) {
                *y = a + b;
            }
        },
    );
}

/// y = x * scale + shift by channel, rounded after the product and after the sum.
///
/// # Panics
/// If `input` is no whole number of pixels, or a length does not match.
pub fn affine(isa: Isa, channels: usize, input: &[f32], scale: &[f32], shift: &[f32], output: &mut [f32]) {
    let (scale, shift) = (&scale[..channels], &shift[..channels]);
    by_pixel(
        isa,
        channels,
        input,
        output,
        #[inline(always)]
        |x, y| {
            for ((y, x), (scale, shift)) in y.iter_mut().zip(x).zip(scale.iter().zip(shift)) {
                let product = x * scale;
                *y = product + shift;
            }
        },
    );
}

/// y = max(x, 0): 0 where x < 0, else x itself.
///
/// # Panics
/// If the lengths differ.
pub fn relu(isa: Isa, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len(), "relu: lengths differ");
    vectorized(
        isa,
        #[inline(always)]
        || {
            for (y, &x) in output.iter_mut().zip(input) {
                *y = if x < 0.0 { 0.0 } else { x };
            }
        },
    );
}

/// y = x where x >= 0, else x * slope by channel.
///
/// # Panics
/// If `input` is no whole number of pixels, or a length does not match.
pub fn prelu(isa: Isa, channels: usize, input: &[f32], slope: &[f32], output: &mut [f32]) {
    let slope = &slope[..channels];
    by_pixel(
        isa,
        channels,
        input,
        output,
        #[inline(always)]
        |x, y| {
            for ((y, &x), slope) in y.iter_mut().zip(x).zip(slope) {
                let product = x * slope;
                *y = if x >= 0.0 { x } else { product };
            }
        },
    );
}

/// Writes one input of a concatenation: `channels` is where its channels lie among the `out_channels` of each output pixel.
/// The other channels stay as they are, so a concatenation is one call an input.
///
/// # Panics
/// If `input` and `output` do not hold the same number of pixels, or `channels` does not lie within `out_channels`.
pub fn concat(isa: Isa, channels: Range<usize>, input: &[f32], out_channels: usize, output: &mut [f32]) {
    let pixels = input.len() / channels.len();
    assert_eq!(input.len(), pixels * channels.len(), "concat: input is not a whole number of pixels");
    assert_eq!(output.len(), pixels * out_channels, "concat: output holds another number of pixels");
    vectorized(
        isa,
        #[inline(always)]
        || {
            for (x, y) in input.chunks_exact(channels.len()).zip(output.chunks_exact_mut(out_channels)) {
                y[channels.clone()].copy_from_slice(x);
            }
        },
    );
}

/// exp(x - max x) / sum over the channels of each pixel; the sum runs in the channels' order. A pixel that holds NaN or
/// +infinity, or nothing but -infinity, gives NaN in every channel.
///
/// # Panics
/// If `input` is no whole number of pixels, or the lengths differ.
pub fn softmax(isa: Isa, channels: usize, input: &[f32], output: &mut [f32]) {
    by_pixel(
        isa,
        channels,
        input,
        output,
        #[inline(always)]
        |x, y| {
            let largest = x.iter().fold(f32::NEG_INFINITY, |best, &x| if x > best || x.is_nan() { x } else { best });
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp(x - largest);
            }
            let sum = y.iter().fold(0.0, |sum, y| sum + y);
            y.iter_mut().for_each(|y| *y /= sum);
        },
    );
}

/// e^x for x <= 0 or NaN, the same bits everywhere, which the exp of C libraries is not.
///
/// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2) / 2, where nine terms of the series leave an error of 1e-10,
/// five hundred times less than half a unit of the last place of an f32.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Below -110 the result is 0 in f32; the bound keeps n small enough for the exponent of an f64.
    let x = f64::from(if x < -110.0 { -110.0 } else { x });
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = x - n * std::f64::consts::LN_2;
    let series = (1..=9).rev().fold(1.0, |sum, i| 1.0 + sum * r / f64::from(i));
    (series * f64::from_bits(((n as i64 + 1023) as u64) << 52)) as f32
}

#[inline(always)]
fn by_pixel(isa: Isa, channels: usize, input: &[f32], output: &mut [f32], each: impl Fn(&[f32], &mut [f32])) {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    assert_eq!(input.len() % channels, 0, "input is not a whole number of pixels");
    vectorized(
        isa,
        #[inline(always)]
        || {
            for (x, y) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
                each(x, y);
            }
        },
    );
}

/// Runs plain loops as compiled for `isa`.
#[inline(always)]
fn vectorized(isa: Isa, loops: impl FnOnce()) {
    dispatch(isa, Loops(loops));
}

struct Loops<F>(F);

impl<F: FnOnce()> Op for Loops<F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        (self.0)();
    }
}
