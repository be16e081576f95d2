//! Pools with as many windows as the output has pixels, which share the image evenly.

use horq_kernels::{Runner, by_line};
use std::ops::Range;

/// Where window `number` of `windows` over `size` values lies: from floor(number size / windows) to
/// ceil((number + 1) size / windows). Neighbours overlap by one value where the size is no multiple.
pub fn adaptive_window(number: usize, windows: usize, size: usize) -> Range<usize> {
    // The products of two bounded sizes fit 64 bits by far.
    number * size / windows..((number + 1) * size).div_ceil(windows)
}

/// The mean of each window: the sum over its pixels row by row, divided by their number.
///
/// `size` is the input's height, width and channels, `windows` the output's rows and columns, at least 1 each.
///
/// # Panics
/// If a length is not that of a whole number of samples, the same in both.
pub fn adaptive_average_pool<'a>(
    runner: impl Into<Runner<'a>>,
    size: [usize; 3],
    windows: [usize; 2],
    input: &[f32],
    output: &mut [f32],
) {
    run(
        runner.into(),
        size,
        windows,
        input,
        output,
        0.0,
        #[inline(always)]
        |y, x| y + x,
        #[inline(always)]
        |y, pixels| y / pixels as f32,
    );
}

/// The largest value of each window; NaN if one is NaN or infinite, the first of equal values (zeros of either sign).
///
/// `size` is the input's height, width and channels, `windows` the output's rows and columns, at least 1 each.
///
/// # Panics
/// If a length is not that of a whole number of samples, the same in both.
pub fn adaptive_max_pool<'a>(
    runner: impl Into<Runner<'a>>,
    size: [usize; 3],
    windows: [usize; 2],
    input: &[f32],
    output: &mut [f32],
) {
    run(
        runner.into(),
        size,
        windows,
        input,
        output,
        f32::NEG_INFINITY,
        #[inline(always)]
        |y, x| {
            let zero = x * 0.0;
            let x = zero + x; // NaN for an infinity
            if x > y || x.is_nan() { x } else { y }
        },
        #[inline(always)]
        |y, _| y,
    );
}

/// A pool that begins with `start`, takes each value in by `tap`, and makes its result by `end` of that and the window's pixels.
#[expect(clippy::too_many_arguments, reason = "the shape of a pool and the three parts of what it computes")]
#[inline(always)]
fn run(
    runner: Runner<'_>,
    [height, width, channels]: [usize; 3],
    [rows, columns]: [usize; 2],
    input: &[f32],
    output: &mut [f32],
    start: f32,
    tap: impl Fn(f32, f32) -> f32 + Sync,
    end: impl Fn(f32, usize) -> f32 + Sync,
) {
    let (image, line) = (height * width * channels, columns * channels);
    assert_eq!(input.len() / image, output.len() / (rows * line), "samples");
    assert_eq!(input.len() % image + output.len() % (rows * line), 0, "samples are whole");
    let work = height.div_ceil(rows) * width.div_ceil(columns);
    by_line(
        runner,
        line,
        output,
        work,
        #[inline(always)]
        |at, output| {
            for (number, y) in (at.start / line..).zip(output.chunks_exact_mut(line)) {
                let x = &input[number / rows * image..][..image];
                let down = adaptive_window(number % rows, rows, height);
                for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                    let across = adaptive_window(column, columns, width);
                    y.fill(start);
                    for row in down.clone() {
                        let x = &x[(row * width + across.start) * channels..][..across.len() * channels];
                        for x in x.chunks_exact(channels) {
                            y.iter_mut().zip(x).for_each(|(y, x)| *y = tap(*y, *x));
                        }
                    }
                    y.iter_mut().for_each(|y| *y = end(*y, down.len() * across.len()));
                }
            }
        },
    );
}
