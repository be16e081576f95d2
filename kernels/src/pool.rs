//! Pooling and elementwise operations on f32 NHWC values, any number of samples at once.
//!
//! Every operation stands in a fixed order, so all instruction sets give the same bits. NaN is passed on: what reads a NaN
//! gives NaN. The sign of a zero is what the stated operations make of it. Slices of per-channel values may be longer than
//! there are channels (model files pad them to whole panels); what is past the last channel is not read.

use std::marker::PhantomData;
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

    /// The input row or column (`axis` 0 or 1) under a valid tap of output row or column `at`.
    #[inline(always)]
    fn source(&self, axis: usize, at: usize, tap: usize) -> usize {
        at * self.window.stride[axis] + tap * self.window.dilation[axis] - self.window.padding[axis]
    }
}

/// What a pool makes of the values under a window, sixteen channels at a time.
trait Pooling {
    /// Before the first tap.
    fn start<S: Simd>(simd: S) -> S::Floats;
    /// With one more value.
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats;
    /// After all `taps` of them.
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats;
}

/// The largest value, 0 of none.
struct Largest;

impl Pooling for Largest {
    #[inline(always)]
    fn start<S: Simd>(simd: S) -> S::Floats {
        simd.splat_float(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats {
        simd.greater(y, x)
    }

    #[inline(always)]
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats {
        if taps == 0 { simd.splat_float(0.0) } else { y }
    }
}

/// The mean value, 0 of none.
struct Mean;

impl Pooling for Mean {
    #[inline(always)]
    fn start<S: Simd>(simd: S) -> S::Floats {
        simd.splat_float(0.0)
    }

    #[inline(always)]
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats {
        simd.add(y, x)
    }

    #[inline(always)]
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats {
        simd.div(y, simd.splat_float(taps.max(1) as f32))
    }
}

/// A pool over some samples.
struct Pool<'a, P> {
    shape: &'a PoolShape,
    input: &'a [f32],
    output: &'a mut [f32],
    pooling: PhantomData<P>,
}

/// The valid taps of one window at some channels.
struct Taps {
    /// The first tap's first channel.
    first: *const f32,
    /// Rows and columns of taps.
    counts: [usize; 2],
    /// Values from a tap to the one below and to the one beside it.
    steps: [usize; 2],
}

impl<'a, P: Pooling> Pool<'a, P> {
    #[inline(always)]
    fn run(isa: Isa, shape: &'a PoolShape, input: &'a [f32], output: &'a mut [f32]) {
        let [rows, columns] = shape.output().expect("a pooling shape that was not checked");
        assert_eq!(input.len() % shape.input_len(), 0, "input is not a whole number of samples");
        let samples = input.len() / shape.input_len();
        assert_eq!(output.len(), samples * rows * columns * shape.channels, "output length");
        dispatch(isa, Self { shape, input, output, pooling: PhantomData });
    }

    /// `N` vectors of channels of one window; of the last, `n` channels.
    ///
    /// # Safety
    /// `to` must be writable, and every tap readable, for 16 (N - 1) + `n` values.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const N: usize>(simd: S, taps: &Taps, to: *mut f32, n: usize) {
        let mut all = [P::start(simd); N];
        let mut row = taps.first;
        for _ in 0..taps.counts[0] {
            let mut tap = row;
            for _ in 0..taps.counts[1] {
                for (i, y) in all.iter_mut().enumerate() {
                    let at = tap.wrapping_add(i * LANES);
                    // SAFETY: the caller vouches for the tap.
                    let x = unsafe { if n == LANES { simd.load_floats(at) } else { simd.load_first(at, n) } };
                    *y = P::tap(simd, *y, x);
                }
                tap = tap.wrapping_add(taps.steps[1]);
            }
            row = row.wrapping_add(taps.steps[0]);
        }
        for (i, y) in all.into_iter().enumerate() {
            let y = P::end(simd, y, taps.counts[0] * taps.counts[1]);
            // SAFETY: the caller vouches for the target.
            unsafe {
                let to = to.add(i * LANES);
                if n == LANES { simd.store_floats(to, y) } else { simd.store_first(to, y, n) }
            }
        }
    }
}

impl<P: Pooling> Op for Pool<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape: &PoolShape { height, width, channels, window }, input, output, .. } = self;
        let [rows, columns] = self.shape.output().expect("a pooling shape that was not checked");
        let steps = [window.dilation[0] * width * channels, window.dilation[1] * channels];
        let mut outputs = output.chunks_exact_mut(channels);
        for sample in input.chunks_exact(self.shape.input_len()) {
            for y in 0..rows {
                let tap_rows = window.valid_taps(0, height, y);
                for (x, output) in outputs.by_ref().take(columns).enumerate() {
                    let tap_columns = window.valid_taps(1, width, x);
                    let counts = [tap_rows.len(), tap_columns.len()];
                    let taps = |channel: usize| {
                        let from = if counts.contains(&0) {
                            0 // a window of nothing but padding reads nothing
                        } else {
                            let row = self.shape.source(0, y, tap_rows.start);
                            (row * width + self.shape.source(1, x, tap_columns.start)) * channels + channel
                        };
                        Taps { first: sample[from..].as_ptr(), counts, steps }
                    };
                    let mut c = 0;
                    // SAFETY: every valid tap is a pixel of the sample and `output` one of the output, and the channels from c
                    // on end at the last.
                    unsafe {
                        while c + 4 * LANES <= channels {
                            Self::vectors::<S, 4>(simd, &taps(c), output.as_mut_ptr().add(c), LANES);
                            c += 4 * LANES;
                        }
                        if c + 2 * LANES <= channels {
                            Self::vectors::<S, 2>(simd, &taps(c), output.as_mut_ptr().add(c), LANES);
                            c += 2 * LANES;
                        }
                        while c < channels {
                            Self::vectors::<S, 1>(simd, &taps(c), output.as_mut_ptr().add(c), LANES.min(channels - c));
                            c += LANES;
                        }
                    }
                }
            }
        }
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
    Pool::<Largest>::run(isa, shape, input, output);
}

/// The mean of each window, padded taps left out: the sum over its taps in order, divided by their number; 0 if the window
/// lies in the padding altogether.
///
/// # Panics
/// If the shape has no output or a length does not match it.
pub fn average_pool(isa: Isa, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    Pool::<Mean>::run(isa, shape, input, output);
}

/// The mean of each channel over the `pixels` of a sample: the sum in the pixels' order, divided by their number.
///
/// # Panics
/// If `output` is not `channels` values for each `pixels * channels` of `input`.
pub fn global_average_pool(isa: Isa, pixels: usize, channels: usize, input: &[f32], output: &mut [f32]) {
    // One window over an image one pixel high.
    let window = Window { kernel: [1, pixels], ..Window::square(1) };
    Pool::<Mean>::run(isa, &PoolShape { height: 1, width: pixels, channels, window }, input, output);
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
