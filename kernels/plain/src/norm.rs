//! Normalization: of the channels of each pixel, of groups of channels over the image, of each value by its neighbours.
//!
//! Sums and what follows from them are taken in binary64, in which no square of an f32 overflows.

use crate::{math, pixels::by_row};
use horq_kernels::{Pieces, Runner, by_line};

/// Lanes in which a sum over the channels of a pixel runs.
const LANES: usize = 16;
/// Vector operations that two sums in binary64 and a division take for sixteen values.
const NORM: usize = 40;

/// Scale and shift of each channel, where a normalization has them. Slices may be longer than there are channels.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScaleShift<'a> {
    /// The factors.
    pub scale: Option<&'a [f32]>,
    /// The summands.
    pub shift: Option<&'a [f32]>,
}

impl ScaleShift<'_> {
    /// Multiplies and adds, where there is something, in each of the channels of a pixel.
    #[inline(always)]
    fn apply(self, y: &mut [f32]) {
        if let Some(scale) = self.scale {
            y.iter_mut().zip(scale).for_each(|(y, scale)| *y *= scale);
        }
        if let Some(shift) = self.shift {
            y.iter_mut().zip(shift).for_each(|(y, shift)| *y += shift);
        }
    }
}

/// The mean of each pixel's channels is taken off, and the rest divided by sqrt(variance + epsilon). NaN and infinities make
/// NaN of all channels of their pixel.
///
/// # Panics
/// If `input` is no whole number of pixels, or the lengths differ.
pub fn layer_norm<'a>(
    runner: impl Into<Runner<'a>>,
    channels: usize,
    epsilon: f32,
    scale_shift: ScaleShift<'_>,
    input: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    by_row(
        runner.into(),
        channels,
        output,
        NORM,
        #[inline(always)]
        |pixel, y| {
            let x = &input[pixel * channels..][..channels];
            let mean = sum(
                x,
                #[inline(always)]
                |x| x,
            ) / channels as f64;
            let squares = sum(
                x,
                #[inline(always)]
                |x| (x - mean) * (x - mean),
            );
            let deviation = (squares / channels as f64 + f64::from(epsilon)).sqrt();
            let (mean, deviation) = (mean as f32, deviation as f32);
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - mean) / deviation;
            }
            scale_shift.apply(y);
        },
    );
}

/// Each pixel's channels are divided by sqrt(mean of their squares + epsilon). NaN and infinities make NaN of all channels of
/// their pixel.
///
/// # Panics
/// If `input` is no whole number of pixels, or the lengths differ.
pub fn rms_norm<'a>(
    runner: impl Into<Runner<'a>>,
    channels: usize,
    epsilon: f32,
    scale: Option<&[f32]>,
    input: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    by_row(
        runner.into(),
        channels,
        output,
        NORM,
        #[inline(always)]
        |pixel, y| {
            let x = &input[pixel * channels..][..channels];
            let squares = sum(
                x,
                #[inline(always)]
                |x| x * x,
            );
            // An infinity would make 0 of the other channels.
            let squares = if squares < f64::INFINITY { squares } else { f64::NAN };
            let root = (squares / channels as f64 + f64::from(epsilon)).sqrt() as f32;
            for (y, x) in y.iter_mut().zip(x) {
                *y = x / root;
            }
            ScaleShift { scale, shift: None }.apply(y);
        },
    );
}

/// The sum of what `term` makes of each value: lane i adds those whose number is i modulo 16, then the lanes are added in
/// halves.
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] += term(f64::from(x[i]));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += term(f64::from(x));
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// A normalization of groups of channels over all pixels of a sample.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// Pixels of a sample.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Groups of channels, which divide them.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f32,
}

impl GroupNorm {
    /// Values of scratch that [`Self::run`] needs: a mean and a deviation of each channel.
    pub const fn scratch_len(&self) -> usize {
        2 * self.channels
    }

    /// The mean of each group is taken off, and the rest divided by sqrt(variance + epsilon). NaN and infinities make NaN of
    /// all of their group.
    ///
    /// # Panics
    /// If `input` is no whole number of samples, `scratch` is shorter than [`Self::scratch_len`], or the lengths of input and
    /// output differ.
    pub fn run(
        &self,
        runner: Runner<'_>,
        scale_shift: ScaleShift<'_>,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let &Self { pixels, channels, groups, .. } = self;
        let (len, group) = (pixels * channels, channels / groups);
        assert_eq!(input.len(), output.len(), "lengths of input and output differ");
        assert_eq!(input.len() % len, 0, "input is not a whole number of samples");
        // Small groups go side by side, so that a line of the cache is read once.
        let block = group * (LANES / group).max(1);
        let statistics = &mut scratch[..self.scratch_len()];
        for sample in Pieces::single(runner.parallel, input.len() / len) {
            let (input, output) = (&input[sample * len..][..len], &mut output[sample * len..][..len]);
            by_line(
                runner,
                2 * block,
                statistics,
                pixels.saturating_mul(NORM / 2),
                #[inline(always)]
                |at, statistics| {
                    for (number, statistics) in (at.start / (2 * block)..).zip(statistics.chunks_mut(2 * block)) {
                        self.statistics(input, number * block, statistics);
                    }
                },
            );
            let statistics = &*statistics;
            by_row(
                runner,
                channels,
                output,
                6,
                #[inline(always)]
                |pixel, y| {
                    let x = input[pixel * channels..][..channels].chunks(block);
                    for ((x, y), statistics) in x.zip(y.chunks_mut(block)).zip(statistics.chunks(2 * block)) {
                        let (mean, deviation) = statistics.split_at(x.len());
                        for i in 0..x.len() {
                            y[i] = (x[i] - mean[i]) / deviation[i];
                        }
                    }
                    scale_shift.apply(y);
                },
            );
        }
    }

    /// The means of the channels from `first` on, then their deviations: whole groups, as many as `statistics` has room for.
    #[inline(always)]
    fn statistics(&self, image: &[f32], first: usize, statistics: &mut [f32]) {
        let group = self.channels / self.groups;
        let count = (self.pixels as f64) * (group as f64);
        let (means, deviations) = statistics.split_at_mut(statistics.len() / 2);
        // At most sixteen groups, more than one only where a group has less than sixteen channels.
        let mut mean = [0.0; LANES];
        self.sums(
            image,
            first,
            means.len(),
            &[0.0; LANES],
            &mut mean,
            #[inline(always)]
            |x| x,
        );
        mean.iter_mut().for_each(|mean| *mean /= count);
        let mut variance = [0.0; LANES];
        self.sums(
            image,
            first,
            means.len(),
            &mean,
            &mut variance,
            #[inline(always)]
            |x| x * x,
        );
        for (i, (to, deviation)) in means.iter_mut().zip(deviations).enumerate() {
            *to = mean[i / group] as f32;
            *deviation = (variance[i / group] / count + f64::from(self.epsilon)).sqrt() as f32;
        }
    }

    /// The sum of what `term` makes of each value less its group's `centre`, for each group of `width` channels from `first`
    /// on: pixel by pixel for each channel, then channel by channel.
    #[inline(always)]
    fn sums(
        &self,
        image: &[f32],
        first: usize,
        width: usize,
        centres: &[f64; LANES],
        sums: &mut [f64; LANES],
        term: impl Fn(f64) -> f64,
    ) {
        let group = self.channels / self.groups;
        for start in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - start);
            let centre: [f64; LANES] = std::array::from_fn(|i| centres[((start + i) / group).min(LANES - 1)]);
            let mut of_channel = [0.0; LANES];
            for pixel in image.chunks_exact(self.channels) {
                let x = &pixel[first + start..][..lanes];
                if let Ok(x) = <&[f32; LANES]>::try_from(x) {
                    for i in 0..LANES {
                        of_channel[i] += term(f64::from(x[i]) - centre[i]);
                    }
                } else {
                    for (i, &x) in x.iter().enumerate() {
                        of_channel[i] += term(f64::from(x) - centre[i]);
                    }
                }
            }
            for (i, sum) in of_channel[..lanes].iter().enumerate() {
                sums[(start + i) / group] += sum;
            }
        }
    }
}

/// Vector operations that an exponential and a few sums take for sixteen values.
const EXP: usize = 100;

/// x - max x - log(sum of exp(x - max x)) over the channels of each pixel; the sum runs in the channels' order. NaN and
/// infinities make NaN of all channels of their pixel.
///
/// # Panics
/// If `input` is no whole number of pixels, or the lengths differ.
pub fn log_softmax<'a>(runner: impl Into<Runner<'a>>, channels: usize, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len(), "lengths of input and output differ");
    by_row(
        runner.into(),
        channels,
        output,
        EXP,
        #[inline(always)]
        |pixel, y| {
            let x = &input[pixel * channels..][..channels];
            let values = x.iter().map(|&x| x * 0.0 + x); // NaN of an infinity
            let largest = values.fold(f32::NEG_INFINITY, |best, x| if x > best || x.is_nan() { x } else { best });
            let mut sum = 0.0;
            // The exponentials of a block need not wait for each other, their sum does.
            for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
                let mut exponentials = [0.0; LANES];
                for (i, x) in x.iter().enumerate() {
                    y[i] = x - largest;
                    exponentials[i] = y[i];
                }
                exponentials.iter_mut().for_each(|x| *x = math::exp(*x));
                exponentials[..y.len()].iter().for_each(|x| sum += x);
            }
            let log = math::log(sum);
            y.iter_mut().for_each(|y| *y -= log);
        },
    );
}

/// Local response normalization over neighbouring channels.
#[derive(Clone, Copy, Debug)]
pub struct Lrn {
    /// Channels of a pixel.
    pub channels: usize,
    /// Channels of a sum, at least 1.
    pub size: usize,
    /// The factor of the mean of the squares.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The summand.
    pub bias: f32,
}

impl Lrn {
    /// x / (bias + alpha / size * sum of squares)^beta.
    ///
    /// # Panics
    /// If `input` is no whole number of pixels, or the lengths differ.
    pub fn run(&self, runner: Runner<'_>, input: &[f32], output: &mut [f32]) {
        let &Self { channels, size, alpha, beta, bias } = self;
        assert_eq!(input.len(), output.len(), "lengths of input and output differ");
        let (before, behind) = ((size - 1) / 2, size / 2);
        let work = EXP + 2 * size.min(channels);
        by_row(
            runner,
            channels,
            output,
            work,
            #[inline(always)]
            |pixel, y| {
                let x = &input[pixel * channels..][..channels];
                let blocks = Pieces::new(runner.parallel, 0..channels.div_ceil(LANES), work);
                for number in blocks.flatten() {
                    let y = &mut y[number * LANES..channels.min((number + 1) * LANES)];
                    let mut divisors = [1.0; LANES];
                    for (i, divisor) in divisors[..y.len()].iter_mut().enumerate() {
                        let c = number * LANES + i;
                        let window = c.saturating_sub(before)..channels.min(c.saturating_add(behind).saturating_add(1));
                        let squares = x[window].iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));
                        let scaled = f64::from(alpha) * squares / size as f64;
                        *divisor = (f64::from(bias) + scaled) as f32;
                    }
                    // Infinity, which would make 0 of the value, gives NaN.
                    divisors.iter_mut().for_each(|divisor| *divisor = math::power(*divisor, beta));
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = x[number * LANES + i] / divisors[i];
                    }
                }
            },
        );
    }
}
