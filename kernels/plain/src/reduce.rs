//! One value for all those along some axes.
//!
//! Each result is computed in f64 over its values in memory order, and rounded to f32 once. A value that is NaN or infinite gives
//! NaN or an infinity.

use crate::pixels::by_row;
use horq_kernels::Runner;
use serde::Serialize;

/// What is made of the values along the axes.
pub trait Reduction: Send + Sync + 'static {
    /// Before the first value.
    const START: f64;
    /// With one more value.
    fn step(sum: f64, x: f64) -> f64;
    /// After all `count` of them.
    fn end(sum: f64, count: f64) -> f64;
}

/// The unit structs of reductions.
macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident($start:expr, $step:expr, $end:expr);)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
        pub struct $name;

        impl Reduction for $name {
            const START: f64 = $start;

            #[inline(always)]
            fn step(sum: f64, x: f64) -> f64 {
                $step(sum, x)
            }

            #[inline(always)]
            fn end(sum: f64, count: f64) -> f64 {
                $end(sum, count)
            }
        }
    )*};
}

reductions! {
    /// The sum of the values over their number.
    Mean(0.0, |sum, x| sum + x, |sum, count| sum / count);
    /// The sum of the values.
    Sum(0.0, |sum, x| sum + x, |sum, _| sum);
    /// The largest value.
    Max(f64::NEG_INFINITY, |best: f64, x: f64| if x > best || x.is_nan() { x } else { best }, |best, _| best);
    /// The smallest value.
    Min(f64::INFINITY, |best: f64, x: f64| if x < best || x.is_nan() { x } else { best }, |best, _| best);
    /// The square root of the sum of the squares.
    L2(0.0, |sum, x| sum + x * x, |sum: f64, _| sum.sqrt());
    /// The product of the values.
    Product(1.0, |product, x| product * x, |product, _| product);
}

/// Channels that are reduced side by side.
const CHUNK: usize = 64;

/// Reduces the axes (height, width, channels) of images of that shape that `axes` names; the output has one value along these.
///
/// # Panics
/// If a length does not match.
pub fn reduce<R: Reduction>(runner: Runner<'_>, shape: [usize; 3], axes: [bool; 3], input: &[f32], output: &mut [f32]) {
    let kept: [usize; 3] = std::array::from_fn(|axis| if axes[axis] { 1 } else { shape[axis] });
    let along: [usize; 3] = std::array::from_fn(|axis| shape[axis] / kept[axis]);
    let ([height, width, channels], [rows, columns, row]) = (shape, kept);
    let samples = output.len() / (rows * columns * row);
    assert_eq!(input.len(), samples * height * width * channels, "the input holds another number of samples");
    let count = along.iter().product::<usize>();
    by_row(
        runner,
        row,
        output,
        count,
        #[inline(always)]
        |number, output| {
            let (sample, y, x) = (number / (rows * columns), number / columns % rows, number % columns);
            // The pixels of this result, and the channels of each.
            let pixels =
                (y..y + along[0]).flat_map(|y| (x..x + along[1]).map(move |x| (sample * height + y) * width + x));
            let pixels = pixels.map(|pixel| &input[pixel * channels..][..channels]);
            if axes[2] {
                let values = pixels.flatten().map(|&x| finite_or_nan(x));
                output[0] = R::end(values.fold(R::START, R::step), count as f64) as f32;
                return;
            }
            for (chunk, output) in output.chunks_mut(CHUNK).enumerate() {
                let mut sums = [R::START; CHUNK];
                for pixel in pixels.clone() {
                    for (sum, &x) in sums.iter_mut().zip(&pixel[chunk * CHUNK..][..output.len()]) {
                        *sum = R::step(*sum, finite_or_nan(x));
                    }
                }
                for (y, &sum) in output.iter_mut().zip(&sums) {
                    *y = R::end(sum, count as f64) as f32;
                }
            }
        },
    );
}

/// `x` in f64 if it is finite, else NaN: an infinity would be lost in a comparison.
#[inline(always)]
fn finite_or_nan(x: f32) -> f64 {
    let zero = x * 0.0;
    f64::from(zero + x)
}
