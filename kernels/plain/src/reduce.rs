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

#[cfg(test)]
mod tests {
    use super::*;
    use horq_kernels::Isa;

    /// Beside a loop over all places of the input, for every set of axes.
    fn check<R: Reduction>(formula: impl Fn(&[f64]) -> f64) {
        let shape = [3, 4, 70];
        let [height, width, channels] = shape;
        let values: Vec<f32> = (0..2 * 840).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.9).collect();
        for set in 0..8 {
            let axes = [0, 1, 2].map(|axis| set >> axis & 1 == 1);
            let kept: [usize; 3] = std::array::from_fn(|axis| if axes[axis] { 1 } else { shape[axis] });
            let mut sets = vec![Vec::new(); 2 * kept.iter().product::<usize>()];
            for (i, &x) in values.iter().enumerate() {
                let place = [i / (width * channels) % height, i / channels % width, i % channels];
                let [h, w, c] = std::array::from_fn(|axis| if axes[axis] { 0 } else { place[axis] });
                sets[((i / 840 * kept[0] + h) * kept[1] + w) * kept[2] + c].push(f64::from(x));
            }
            let mut output = vec![f32::NAN; sets.len()];
            reduce::<R>(Isa::Portable.into(), shape, axes, &values, &mut output);
            let expected: Vec<f32> = sets.iter().map(|set| formula(set) as f32).collect();
            assert_eq!(output, expected, "{axes:?}");
            for lost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = values.clone();
                values[100] = lost;
                reduce::<R>(Isa::Portable.into(), shape, axes, &values, &mut output);
                assert_eq!(output.iter().filter(|y| !y.is_finite()).count(), 1, "{lost} in {axes:?}");
            }
        }
    }

    #[test]
    fn each_reduction_is_its_formula() {
        check::<Sum>(|x| x.iter().fold(0.0, |sum, x| sum + x));
        check::<Mean>(|x| x.iter().fold(0.0, |sum, x| sum + x) / x.len() as f64);
        check::<L2>(|x| x.iter().fold(0.0, |sum, x| sum + x * x).sqrt());
        check::<Product>(|x| x.iter().fold(1.0, |product, x| product * x));
        check::<Max>(|x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        check::<Min>(|x| x.iter().copied().fold(f64::INFINITY, f64::min));
    }
}
