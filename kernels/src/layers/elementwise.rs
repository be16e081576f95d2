//! Elementwise operations on f32 NHWC values, any number of samples at once.
//!
//! Every operation stands in a fixed order, so all instruction sets and any number of threads give the same bits. NaN is
//! passed on: what reads a NaN gives NaN. An infinity is passed on or becomes NaN, so that neither is ever lost. The sign of a
//! zero is what the stated operations make of it. Slices of per-channel values may be longer than there are channels (model
//! files pad them to whole panels); what is past the last channel is not read.

use super::lines::by_line;
use crate::backends::Runner;
use crate::tiles::Step;
use std::ops::Range;

/// One step of an epilogue on its own: what it makes of `input`, whose pixels have `channels` values.
///
/// # Panics
/// If `input` is no whole number of pixels, or a length does not match.
pub fn step<'a>(runner: impl Into<Runner<'a>>, channels: usize, input: &[f32], step: &Step<'_>, output: &mut [f32]) {
    let runner = runner.into();
    match *step {
        Step::Bias(bias) => by_channel(
            runner,
            [&bias[..channels]; 2],
            input,
            output,
            #[inline(always)]
            |x, bias, _| x + bias,
        ),
        Step::Affine { scale, shift } => by_channel(
            runner,
            [&scale[..channels], &shift[..channels]],
            input,
            output,
            #[inline(always)]
            |x, scale, shift| {
                let product = x * scale;
                product + shift
            },
        ),
        Step::Relu => by_value(
            runner,
            [input; 2],
            output,
            #[inline(always)]
            |x, _| {
                let x = finite_or_nan(x);
                if x < 0.0 { 0.0 } else { x }
            },
        ),
        Step::HardSwish => by_value(
            runner,
            [input; 2],
            output,
            #[inline(always)]
            |x, _| {
                let open = x + 3.0;
                let open = if open < 0.0 { 0.0 } else { open };
                let gate = if open < 6.0 { open } else { 6.0 };
                let product = x * gate;
                product / 6.0
            },
        ),
        Step::Prelu(slope) => by_channel(
            runner,
            [&slope[..channels]; 2],
            input,
            output,
            #[inline(always)]
            |x, slope, _| {
                let product = x * slope;
                if x >= 0.0 { x } else { product }
            },
        ),
        Step::Clip { low, high } => by_value(
            runner,
            [input; 2],
            output,
            #[inline(always)]
            |x, _| {
                let x = finite_or_nan(x);
                let x = if x < low { low } else { x };
                if high < x { high } else { x }
            },
        ),
        Step::Add(other) => by_value(
            runner,
            [input, other],
            output,
            #[inline(always)]
            |x, other| x + other,
        ),
    }
}

/// Writes one input of a concatenation: `channels` is where its channels lie among the `out_channels` of each output pixel.
/// The other channels stay as they are, so a concatenation is one call an input.
///
/// # Panics
/// If `input` and `output` do not hold the same number of pixels, or `channels` does not lie within `out_channels`.
pub fn concat<'a>(
    runner: impl Into<Runner<'a>>,
    channels: Range<usize>,
    input: &[f32],
    out_channels: usize,
    output: &mut [f32],
) {
    let pixels = input.len() / channels.len();
    assert_eq!(input.len(), pixels * channels.len(), "concat: input is not a whole number of pixels");
    assert_eq!(output.len(), pixels * out_channels, "concat: output holds another number of pixels");
    by_line(
        runner.into(),
        out_channels,
        output,
        1,
        #[inline(always)]
        |at, output| {
            let pixels = at.start / out_channels..at.end / out_channels;
            let input = &input[pixels.start * channels.len()..pixels.end * channels.len()];
            for (x, y) in input.chunks_exact(channels.len()).zip(output.chunks_exact_mut(out_channels)) {
                y[channels.clone()].copy_from_slice(x);
            }
        },
    );
}

/// exp(x - max x) / sum over the channels of each pixel; the sum runs in the channels' order. A pixel that holds NaN or
/// an infinity gives NaN in every channel.
///
/// # Panics
/// If `input` is no whole number of pixels, or the lengths differ.
pub fn softmax<'a>(runner: impl Into<Runner<'a>>, channels: usize, input: &[f32], output: &mut [f32]) {
    by_pixel(
        runner.into(),
        channels,
        input,
        output,
        EXP,
        #[inline(always)]
        |x, y| {
            let values = x.iter().map(|&x| finite_or_nan(x));
            let largest = values.fold(f32::NEG_INFINITY, |best, x| if x > best || x.is_nan() { x } else { best });
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp(x - largest);
            }
            let sum = y.iter().fold(0.0, |sum, y| sum + y);
            y.iter_mut().for_each(|y| *y /= sum);
        },
    );
}

/// `x` if it is finite, else NaN.
#[inline(always)]
fn finite_or_nan(x: f32) -> f32 {
    let zero = x * 0.0;
    zero + x
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

/// Values of a line where pixels do not matter: a whole number of cache lines.
const LINE: usize = 256;
/// Vector operations that an exponential, the sum and the division take for sixteen values.
const EXP: usize = 100;

/// Makes every value of `output` of the value of `input` and the values of its channel in two vectors.
#[inline(always)]
fn by_channel(
    runner: Runner<'_>,
    [first, second]: [&[f32]; 2],
    input: &[f32],
    output: &mut [f32],
    value: impl Fn(f32, f32, f32) -> f32 + Sync,
) {
    by_pixel(
        runner,
        first.len(),
        input,
        output,
        1,
        #[inline(always)]
        |x, y| {
            for ((y, &x), (&first, &second)) in y.iter_mut().zip(x).zip(first.iter().zip(second)) {
                *y = value(x, first, second);
            }
        },
    );
}

/// Makes every value of `output` of the values that stand in its place in two inputs.
#[inline(always)]
fn by_value(runner: Runner<'_>, [a, b]: [&[f32]; 2], output: &mut [f32], value: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(a.len() == output.len() && b.len() == output.len(), "lengths of inputs and output differ");
    by_line(
        runner,
        LINE,
        output,
        1,
        #[inline(always)]
        |at, output| {
            for (y, (&a, &b)) in output.iter_mut().zip(a[at.clone()].iter().zip(&b[at])) {
                *y = value(a, b);
            }
        },
    );
}

/// Calls `each` with every pixel of `input` and `output`; `work` is what sixteen values cost in vector operations.
#[inline(always)]
fn by_pixel(
    runner: Runner<'_>,
    channels: usize,
    input: &[f32],
    output: &mut [f32],
    work: usize,
    each: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    assert_eq!(input.len() % channels, 0, "input is not a whole number of pixels");
    by_line(
        runner,
        channels,
        output,
        work,
        #[inline(always)]
        |at, output| {
            for (x, y) in input[at].chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
                each(x, y);
            }
        },
    );
}
