//! Values from a few: signs, the steps of uniform quantizers, counts of thresholds. A value that is not finite has none, so it
//! is an error.

use crate::pixels::by_row;
use horq_kernels::{Error, Runner, by_line};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Values of a task's line where channels do not matter: a whole number of cache lines.
const LINE: usize = 256;
/// Vector operations of such a line, where it has more than one value.
const LINE_WORK: usize = 1 << 18;

/// +1 where x >= 0, else -1.
///
/// # Errors
/// [`Error::NotFinite`].
///
/// # Panics
/// If the lengths differ.
pub fn sign<'a>(runner: impl Into<Runner<'a>>, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
    by_value(
        runner.into(),
        input,
        output,
        3,
        #[inline(always)]
        |x| if x >= 0.0 { 1.0 } else { -1.0 },
    )
}

/// The steps of a uniform quantizer: one value each, or one a channel of each. Slices may be longer.
#[derive(Clone, Copy, Debug)]
pub struct Uniform<'a> {
    /// What a step stands for; greater than 0.
    pub scale: &'a [f32],
    /// The step that stands for 0.
    pub zero_point: &'a [f32],
    /// The lowest step.
    pub low: &'a [f32],
    /// The highest step.
    pub high: &'a [f32],
}

impl Uniform<'_> {
    /// What stands for `x` in channel `c`.
    #[inline(always)]
    fn value(&self, c: usize, x: f32) -> f32 {
        let (scale, zero_point) = (self.scale[c], self.zero_point[c]);
        let step = (x / scale).round_ties_even() + zero_point;
        let step = if step < self.low[c] { self.low[c] } else { step };
        let step = if step > self.high[c] { self.high[c] } else { step };
        (step - zero_point) * scale
    }

    /// The first values of all four.
    #[inline(always)]
    fn first(&self, values: usize) -> Self {
        let Self { scale, zero_point, low, high } = self;
        Self { scale: &scale[..values], zero_point: &zero_point[..values], low: &low[..values], high: &high[..values] }
    }
}

/// (clamp(round(x / scale) + zero_point, low, high) - zero_point) * scale, ties to even; `values` is 1 or the channels.
///
/// # Errors
/// [`Error::NotFinite`] if a value of `input` is not.
///
/// # Panics
/// If `input` is no whole number of pixels of `values` channels, or a length does not match.
pub fn fake_quantize<'a>(
    runner: impl Into<Runner<'a>>,
    values: usize,
    uniform: &Uniform<'_>,
    input: &[f32],
    output: &mut [f32],
) -> Result<(), Error> {
    let uniform = uniform.first(values);
    if values == 1 {
        return by_value(
            runner.into(),
            input,
            output,
            10,
            #[inline(always)]
            |x| uniform.value(0, x),
        );
    }
    by_pixel(
        runner.into(),
        [values, values],
        input,
        output,
        12,
        #[inline(always)]
        |x, y| {
            for c in 0..values {
                y[c] = uniform.value(c, x[c]);
            }
        },
    )
}

/// Thresholds of each channel, or the same for all.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds<'a> {
    /// How many lists of thresholds there are: 1, or the channels.
    pub rows: usize,
    /// Thresholds of a list.
    pub steps: usize,
    /// `[row][step]`; may be longer.
    pub thresholds: &'a [f32],
    /// What a threshold that is passed adds.
    pub scale: f32,
    /// The value where none is.
    pub shift: f32,
}

/// scale * (number of thresholds t with x >= t) + shift.
///
/// # Errors
/// [`Error::NotFinite`] if a value of `input` is not.
///
/// # Panics
/// If `input` is no whole number of pixels of `rows` channels, or a length does not match.
pub fn multi_threshold<'a>(
    runner: impl Into<Runner<'a>>,
    thresholds: &Thresholds<'_>,
    input: &[f32],
    output: &mut [f32],
) -> Result<(), Error> {
    let &Thresholds { rows, steps, thresholds, scale, shift } = thresholds;
    let thresholds = &thresholds[..rows * steps];
    let work = 16 + 2 * steps;
    if rows == 1 {
        return by_value(
            runner.into(),
            input,
            output,
            work,
            #[inline(always)]
            |x| scale * reached(x, thresholds) + shift,
        );
    }
    by_pixel(
        runner.into(),
        [rows, rows],
        input,
        output,
        work,
        #[inline(always)]
        |x, y| {
            for ((&x, y), thresholds) in x.iter().zip(y).zip(thresholds.chunks_exact(steps)) {
                *y = scale * reached(x, thresholds) + shift;
            }
        },
    )
}

/// The number of thresholds that `x` reaches.
#[inline(always)]
fn reached(x: f32, thresholds: &[f32]) -> f32 {
    let reached: u32 = thresholds.iter().map(|&threshold| u32::from(x >= threshold)).sum();
    reached as f32
}

/// Makes every value of `output` of the one in its place.
#[inline(always)]
fn by_value(
    runner: Runner<'_>,
    input: &[f32],
    output: &mut [f32],
    work: usize,
    value: impl Fn(f32) -> f32 + Sync,
) -> Result<(), Error> {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    let finite = AtomicBool::new(true);
    // Where a value is compared with millions, a line is less.
    let line = (LINE_WORK / work).clamp(1, LINE);
    by_line(
        runner,
        line,
        output,
        work,
        #[inline(always)]
        |at, output| {
            let input = &input[at];
            for (y, &x) in output.iter_mut().zip(input) {
                *y = value(x);
            }
            if !all_finite(input) {
                finite.store(false, Relaxed);
            }
        },
    );
    if finite.into_inner() { Ok(()) } else { Err(Error::NotFinite) }
}

/// Calls `each` with every pixel of `input` and of `output`, whose numbers of channels are given.
///
/// # Errors
/// [`Error::NotFinite`] if a value of `input` is not.
#[inline(always)]
pub(crate) fn by_pixel(
    runner: Runner<'_>,
    [from, to]: [usize; 2],
    input: &[f32],
    output: &mut [f32],
    work: usize,
    each: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Result<(), Error> {
    let pixels = input.len() / from;
    assert_eq!(input.len(), pixels * from, "input is not a whole number of pixels");
    assert_eq!(output.len(), pixels * to, "output holds another number of pixels");
    let finite = AtomicBool::new(true);
    by_row(
        runner,
        to,
        output,
        work,
        #[inline(always)]
        |pixel, y| {
            let x = &input[pixel * from..][..from];
            each(x, y);
            if !all_finite(x) {
                finite.store(false, Relaxed);
            }
        },
    );
    if finite.into_inner() { Ok(()) } else { Err(Error::NotFinite) }
}

/// Whether no value is NaN or infinite.
#[inline(always)]
fn all_finite(x: &[f32]) -> bool {
    x.iter().fold(true, |finite, x| finite & (x.abs() <= f32::MAX))
}
