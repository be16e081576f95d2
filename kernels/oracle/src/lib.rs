//! The independent reference: plain loops over unpacked signs, one element at a time. It shares no helper with the kernels,
//! neither packing nor output sizes, so an error in one is not an error in both.
//!
//! Two kinds of reference stand here. Those in f32 follow the order of operations that the kernels promise, and their
//! results are compared bit for bit. Those in f64 follow the formulas, and are compared within a tolerance.
//!
//! # The specified order of operations
//!
//! * A sum of magnitudes runs in sixteen lanes: lane i adds the elements j = i (mod 16) in increasing j, starting from 0;
//!   then the lanes are added as a tree: i and i + 8, i and i + 4, i and i + 2, 0 and 1. The mean is that sum divided by
//!   the number of elements, and 0 over no elements. See [`Means`] for what the elements are.
//! * m_0 = |x|, b_k = mean(m_{k-1}), m_k = |m_{k-1} - b_k|; plane 1 is negative where x < 0, and plane k + 1 where
//!   plane k is, flipped where m_{k-1} < b_k (HORQ, section 3, on magnitudes).
//! * A binary layer's output is t_l = 0, then t_l + b_k * d_lk for k = 1.., d_lk being an integer dot product;
//!   y = alpha_1 * t_1, then y + alpha_l * t_l for l = 2..; then the steps of the epilogue. Nothing is fused.
//!   In mode `halving`, b_k being b / 2^(k-1), t_l is the f32 nearest to the integer sum of q w and alpha_l * b_K stands for
//!   alpha_l, where q = sum_k 2^(K-k) H_k is an odd integer.
//! * An output of f32 activations on binary weights is alpha * t. t is 0, and then t + g over kernel rows, kernel columns
//!   and groups of channels: of each 32 of a tap 6, 6, 5, 5, 5 and 5. With s = x or -x by the sign of the weight,
//!   g = ((s_0 + s_1) + s_2) + ((s_3 + s_4) + s_5); x is 0 past the last channel or group member, and in the padding.
//! * An 8-bit layer's activations are q = round(x * (1 / scale)) + zero point, ties to even, held within 0 and 255; its output
//!   is alpha * f32(the integer sum of (q - zero point) * w).
//! * A float layer's output is 0, then fma(x, w, sum) over kernel rows, kernel columns and channels; x is 0 in the padding.

use horq_kernels::{Error, Geometry, Padding, ScaleMode, Step, Window};

/// Over what the scales b_k are means.
#[derive(Clone, Copy, Debug)]
pub enum Means<'a> {
    /// All runs, the lanes of each summed from 0 and then added to the lanes of the whole. The runs are the rows of an image,
    /// width x channels values each, in mode `image`, and the channels of the valid taps of a receptive field in mode
    /// `window`.
    Runs,
    /// Nothing: these constants, at least one an order. Modes `fixed`, `none` and `halving`.
    Constants(&'a [f32]),
}

/// The residual quantization of some values, exact to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// b_k of each order.
    pub scales: Vec<f32>,
    /// +1 or -1 for each element of each order, the runs one after another.
    pub signs: Vec<Vec<i32>>,
    /// |R| after the last order.
    pub residual: Vec<f32>,
}

/// Quantizes the values of `runs` with the operations in the specified order.
///
/// # Errors
/// [`Error::NotFinite`] if a value or a scale is NaN or infinite.
pub fn planes(runs: &[&[f32]], order: usize, means: Means<'_>) -> Result<Planes, Error> {
    let mut magnitudes: Vec<Vec<f32>> = runs.iter().map(|run| run.iter().map(|x| x.abs()).collect()).collect();
    let mut negative: Vec<bool> = runs.concat().iter().map(|&x| x < 0.0).collect();
    if !runs.concat().iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite);
    }
    let (mut scales, mut signs) = (Vec::new(), Vec::new());
    for k in 0..order {
        let b = match means {
            Means::Constants(constants) => constants[k],
            Means::Runs => mean(&magnitudes),
        };
        if !b.is_finite() {
            return Err(Error::NotFinite);
        }
        scales.push(b);
        signs.push(negative.iter().map(|&negative| if negative { -1 } else { 1 }).collect());
        for (m, negative) in magnitudes.iter_mut().flatten().zip(&mut negative) {
            *negative ^= *m < b;
            *m = (*m - b).abs();
        }
    }
    Ok(Planes { scales, signs, residual: magnitudes.concat() })
}

fn mean(runs: &[Vec<f32>]) -> f32 {
    let (mut lanes, mut elements) = ([0.0f32; 16], 0usize);
    for run in runs {
        let mut sums = [0.0; 16];
        for (j, m) in run.iter().enumerate() {
            sums[j % 16] += m;
        }
        for i in 0..16 {
            lanes[i] += sums[i];
        }
        elements += run.len();
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    if elements == 0 { 0.0 } else { lanes[0] / elements as f32 }
}

/// The formulas of the residual quantization in f64, one scale an order over all values.
#[derive(Clone, Debug, PartialEq)]
pub struct Residuals {
    /// b_k of each order.
    pub scales: Vec<f64>,
    /// H_k of each order, +1 or -1.
    pub signs: Vec<Vec<f64>>,
    /// R_0 = x, then R_k of each order.
    pub residuals: Vec<Vec<f64>>,
}

impl Residuals {
    /// H_k = sign(R_{k-1}), b_k = mean |R_{k-1}|, R_k = R_{k-1} - b_k H_k for k = 1..=order (HORQ, equations 5 to 9).
    pub fn new(x: &[f64], order: usize) -> Self {
        let mut this = Self { scales: Vec::new(), signs: Vec::new(), residuals: vec![x.to_vec()] };
        for k in 0..order {
            let r = &this.residuals[k];
            let h: Vec<f64> = r.iter().map(|&r| if r < 0.0 { -1.0 } else { 1.0 }).collect();
            let b = r.iter().map(|r| r.abs()).sum::<f64>() / r.len() as f64;
            let next = r.iter().zip(&h).map(|(r, h)| r - b * h).collect();
            this.scales.push(b);
            this.signs.push(h);
            this.residuals.push(next);
        }
        this
    }

    /// ||R_order||^2.
    pub fn energy(&self, order: usize) -> f64 {
        self.residuals[order].iter().map(|r| r * r).sum()
    }

    /// The estimate of x . w at an order: a sum_k b_k H_k . sign(w), a = mean |w| (HORQ, section 3).
    pub fn dot(&self, w: &[f64], order: usize) -> f64 {
        let a = w.iter().map(|w| w.abs()).sum::<f64>() / w.len() as f64;
        let sums = self.scales[..order]
            .iter()
            .zip(&self.signs)
            .map(|(b, h)| b * h.iter().zip(w).map(|(h, &w)| if w < 0.0 { -h } else { *h }).sum::<f64>());
        a * sums.sum::<f64>()
    }
}

/// One weight basis, unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// `[filter][kernel row][kernel column][channel of the group]`; only the signs count.
    pub weights: &'a [f32],
    /// One factor a filter.
    pub alpha: &'a [f32],
}

/// A binary convolution with everything unpacked.
#[derive(Clone, Copy, Debug)]
pub struct BinaryLayer<'a> {
    /// Shapes.
    pub geometry: Geometry,
    /// What a padded tap stands for.
    pub padding: Padding,
    /// Over what a scale is the mean.
    pub mode: ScaleMode,
    /// The order.
    pub order: usize,
    /// The constants of mode `fixed`, or b of mode `halving`.
    pub scales: &'a [f32],
    /// The weight bases.
    pub bases: &'a [Basis<'a>],
    /// The epilogue, its vectors plain: one value a filter.
    pub steps: &'a [Step<'a>],
    /// After how many of them the largest of 2 x 2 values goes on, if it does.
    pub pool: Option<usize>,
}

impl BinaryLayer<'_> {
    /// The layer's output for any number of samples, exact to the bit.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if an input or a scale is NaN or infinite.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, Error> {
        let g = &self.geometry;
        let row = g.width * g.channels;
        let signs: Vec<Vec<i32>> = self
            .bases
            .iter()
            .map(|basis| basis.weights.iter().map(|&w| if w < 0.0 { -1 } else { 1 }).collect())
            .collect();
        let (before, after) = self.steps.split_at(self.pool.unwrap_or(self.steps.len()));
        let mut output = Vec::new();
        for sample in input.chunks(g.height * row) {
            let rows: Vec<&[f32]> = sample.chunks(row).collect();
            let image = match self.mode {
                ScaleMode::Image => Some(planes(&rows, self.order, Means::Runs)?),
                ScaleMode::Fixed => Some(planes(&rows, self.order, Means::Constants(self.scales))?),
                ScaleMode::None => Some(planes(&rows, self.order, Means::Constants(&[1.0; 8]))?),
                ScaleMode::Halving => Some(planes(&rows, self.order, Means::Constants(&halves(self.scales[0])))?),
                ScaleMode::Window if sample.iter().all(|x| x.is_finite()) => None,
                ScaleMode::Window => return Err(Error::NotFinite),
                mode => unimplemented!("the reference of mode {mode}"),
            };
            for taps in windows(&g.window, g.height, g.width) {
                for group in 0..g.groups {
                    let field = self.field(&taps, group, sample, image.as_ref())?;
                    for filter in group * (g.filters / g.groups)..(group + 1) * (g.filters / g.groups) {
                        let y = self.sum(&signs, filter, &field);
                        output.push(step_through(before, y, filter, output.len()));
                    }
                }
            }
        }
        if self.pool.is_some() {
            let [rows, columns] = [(0, g.height), (1, g.width)].map(|(axis, size)| starts(&g.window, axis, size).len());
            let two_by_two = Window { stride: [2, 2], ..Window::square(2) };
            output = max_pool(&two_by_two, [rows, columns, g.filters], &output);
            for (at, y) in output.iter_mut().enumerate() {
                *y = step_through(after, *y, at % g.filters, at);
            }
        }
        Ok(output)
    }

    /// The planes of one group's receptive field, a sign of 0 where a padded tap counts for nothing.
    fn field(&self, taps: &[Tap], group: usize, sample: &[f32], image: Option<&Planes>) -> Result<Planes, Error> {
        let g = &self.geometry;
        let channels = g.channels / g.groups;
        let first = |tap: &Tap| tap.map(|pixel| pixel * g.channels + group * channels);
        let own;
        let planes = match image {
            Some(image) => image,
            None => {
                let runs: Vec<&[f32]> = taps.iter().filter_map(first).map(|at| &sample[at..at + channels]).collect();
                own = planes(&runs, self.order, Means::Runs)?;
                &own
            }
        };
        let padded = match self.padding {
            Padding::ValidTaps => 0,
            Padding::One => 1,
            padding => unimplemented!("the reference of padding {padding:?}"),
        };
        let mut signs = vec![Vec::new(); self.order];
        let mut valid = 0;
        for tap in taps {
            for k in 0..self.order {
                match first(tap) {
                    Some(at) => {
                        let at = if image.is_some() { at } else { valid };
                        signs[k].extend_from_slice(&planes.signs[k][at..at + channels]);
                    }
                    None => signs[k].extend(std::iter::repeat_n(padded, channels)),
                }
            }
            valid += if tap.is_some() { channels } else { 0 };
        }
        Ok(Planes { scales: planes.scales.clone(), signs, residual: Vec::new() })
    }

    fn sum(&self, weights: &[Vec<i32>], filter: usize, field: &Planes) -> f32 {
        let depth = field.signs[0].len();
        let mut y = 0.0;
        for (l, (basis, weights)) in self.bases.iter().zip(weights).enumerate() {
            let weights = &weights[filter * depth..(filter + 1) * depth];
            if self.mode == ScaleMode::Halving {
                let f = basis.alpha[filter] * field.scales[self.order - 1];
                let product = f * integer_sum(&field.signs, weights) as f32;
                y = if l == 0 { product } else { y + product };
                continue;
            }
            let mut t = 0.0f32;
            for (b, plane) in field.scales.iter().zip(&field.signs) {
                let d: i32 = plane.iter().zip(weights).map(|(h, w)| h * w).sum();
                t += b * d as f32;
            }
            y = if l == 0 { basis.alpha[filter] * t } else { y + basis.alpha[filter] * t };
        }
        y
    }
}

/// b and its halves, one an order.
pub fn halves(b: f32) -> [f32; 8] {
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0].map(|divisor| b / divisor)
}

/// The sum of q w over the elements, q being the integer whose binary digits are signs of planes, the first plane's foremost.
fn integer_sum(planes: &[Vec<i32>], weights: &[i32]) -> i32 {
    let q = |element: usize| planes.iter().fold(0i64, |q, plane| 2 * q + i64::from(plane[element]));
    let sum: i64 = weights.iter().enumerate().map(|(element, &w)| q(element) * i64::from(w)).sum();
    i32::try_from(sum).expect("depths at which the sum is an i32")
}

/// The pixel (row x width + column) under one tap of one window; none if it is padding.
type Tap = Option<usize>;

/// The first row (axis 0) or column of every window in the padded image, of `size` rows or columns without the padding.
fn starts(window: &Window, axis: usize, size: usize) -> Vec<usize> {
    let padded = window.padding[axis] + size + window.padding[axis + 2];
    let span = (window.kernel[axis] - 1) * window.dilation[axis];
    (0..padded).step_by(window.stride[axis]).filter(|start| start + span < padded).collect()
}

/// The taps of every window, row by row.
fn windows(window: &Window, height: usize, width: usize) -> Vec<Vec<Tap>> {
    let [top, left, ..] = window.padding;
    let mut all = Vec::new();
    for y in starts(window, 0, height) {
        for x in starts(window, 1, width) {
            let mut taps = Vec::new();
            for i in 0..window.kernel[0] {
                for j in 0..window.kernel[1] {
                    let (row, column) = (y + i * window.dilation[0], x + j * window.dilation[1]);
                    let inside = row >= top && row < top + height && column >= left && column < left + width;
                    taps.push(inside.then(|| (row - top) * width + (column - left)));
                }
            }
            all.push(taps);
        }
    }
    all
}

/// A step of each kind, with vectors of one value a filter and the values of another tensor.
pub fn steps<'a>(first: &'a [f32], second: &'a [f32], other: &'a [f32]) -> Vec<Step<'a>> {
    vec![
        Step::Bias(first),
        Step::Affine { scale: first, shift: second },
        Step::Relu,
        Step::HardSwish,
        Step::Prelu(first),
        Step::Clip { low: -0.75, high: 1.5 },
        Step::Add(other),
    ]
}

/// One value through an epilogue whose vectors are plain: one value a filter. `at` is its place in the output.
pub fn step_through(steps: &[Step<'_>], mut y: f32, filter: usize, at: usize) -> f32 {
    for step in steps {
        y = match *step {
            Step::Bias(bias) => y + bias[filter],
            Step::Affine { scale, shift } => {
                let product = y * scale[filter];
                product + shift[filter]
            }
            Step::Relu if y.is_infinite() => f32::NAN,
            Step::Relu if y < 0.0 => 0.0,
            Step::Relu => y,
            Step::HardSwish => y * (y + 3.0).clamp(0.0, 6.0) / 6.0,
            Step::Prelu(_) if y >= 0.0 => y,
            Step::Prelu(slope) => y * slope[filter],
            Step::Clip { .. } if !y.is_finite() => f32::NAN,
            Step::Clip { low, high } => y.clamp(low, high),
            Step::Add(other) => y + other[at],
            ref step => unimplemented!("the reference of {step:?}"),
        };
    }
    y
}

/// An f32 convolution for any number of samples, exact to the bit; `weights` as in [`Basis`], step vectors plain.
pub fn float_conv(g: &Geometry, input: &[f32], weights: &[f32], steps: &[Step<'_>]) -> Vec<f32> {
    let mut output = Vec::new();
    convolve(g, input, weights, |filter, products| {
        let sum = products.iter().fold(0.0f32, |sum, &(x, w)| x.mul_add(w, sum));
        output.push(step_through(steps, sum, filter, output.len()));
    });
    output
}

/// A convolution of f32 activations with binary weights (only the signs of `weights` count, see [`Basis`]) for any number of
/// samples, exact to the bit; alpha and step vectors plain.
pub fn binary_weight_conv(g: &Geometry, input: &[f32], weights: &[f32], alpha: &[f32], steps: &[Step<'_>]) -> Vec<f32> {
    let channels = g.channels / g.groups;
    let mut output = Vec::new();
    convolve(g, input, weights, |filter, products| {
        let mut sum = 0.0f32;
        for tap in products.chunks(channels) {
            for word in tap.chunks(32) {
                let mut signed: Vec<f32> = word.iter().map(|&(x, w)| if w < 0.0 { -x } else { x }).collect();
                signed.resize(32, 0.0);
                let mut rest = &signed[..];
                for n in [6, 6, 5, 5, 5, 5] {
                    let (group, others) = rest.split_at(n);
                    let last = if n == 6 { group[5] } else { 0.0 };
                    sum += ((group[0] + group[1]) + group[2]) + ((group[3] + group[4]) + last);
                    rest = others;
                }
            }
        }
        let y = alpha[filter] * sum;
        output.push(step_through(steps, y, filter, output.len()));
    });
    output
}

/// A convolution of 8-bit weights and activations quantized with `(scale, zero point)`, for any number of samples, exact to
/// the bit; alpha and step vectors plain.
pub fn int8_conv(
    g: &Geometry,
    input: &[f32],
    (scale, zero_point): (f32, u8),
    weights: &[i8],
    alpha: &[f32],
    steps: &[Step<'_>],
) -> Vec<f32> {
    let (inverse, zero) = (1.0 / scale, f32::from(zero_point));
    let weights: Vec<f32> = weights.iter().map(|&w| f32::from(w)).collect();
    let mut output = Vec::new();
    convolve(g, input, &weights, |filter, products| {
        let quantized =
            |x: f32| ((x * inverse).round_ties_even() + zero).clamp(0.0, 255.0) as i64 - i64::from(zero_point);
        let sum: i64 = products.iter().map(|&(x, w)| quantized(x) * w as i64).sum();
        let y = alpha[filter] * (sum as f32);
        output.push(step_through(steps, y, filter, output.len()));
    });
    output
}

/// [`float_conv`] in f64, and without steps.
pub fn float_conv_f64(g: &Geometry, input: &[f32], weights: &[f32]) -> Vec<f64> {
    let mut output = Vec::new();
    convolve(g, input, weights, |_, products| {
        output.push(products.iter().map(|&(x, w)| f64::from(x) * f64::from(w)).sum());
    });
    output
}

/// Calls `each` with the filter and the factors of every output, in the output's order.
fn convolve(g: &Geometry, input: &[f32], weights: &[f32], mut each: impl FnMut(usize, &[(f32, f32)])) {
    let channels = g.channels / g.groups;
    for sample in input.chunks(g.height * g.width * g.channels) {
        for taps in windows(&g.window, g.height, g.width) {
            for filter in 0..g.filters {
                let group = filter / (g.filters / g.groups);
                let mut products = Vec::new();
                for (t, tap) in taps.iter().enumerate() {
                    for c in 0..channels {
                        let x = tap.map_or(0.0, |pixel| sample[pixel * g.channels + group * channels + c]);
                        products.push((x, weights[(filter * taps.len() + t) * channels + c]));
                    }
                }
                each(filter, &products);
            }
        }
    }
}

/// Max pooling of one or more samples of `height` x `width` x `channels`.
pub fn max_pool(window: &Window, [height, width, channels]: [usize; 3], input: &[f32]) -> Vec<f32> {
    pool(window, [height, width, channels], input, |values| {
        if values.iter().any(|x| x.is_infinite()) {
            return f32::NAN;
        }
        let largest = values.iter().copied().reduce(|best, x| if x > best || x.is_nan() { x } else { best });
        largest.unwrap_or(0.0)
    })
}

/// Average pooling of one or more samples of `height` x `width` x `channels`, padding left out.
pub fn average_pool(window: &Window, [height, width, channels]: [usize; 3], input: &[f32]) -> Vec<f32> {
    pool(window, [height, width, channels], input, |values| match values.len() {
        0 => 0.0,
        n => values.iter().fold(0.0, |sum, x| sum + x) / n as f32,
    })
}

fn pool(
    window: &Window,
    [height, width, channels]: [usize; 3],
    input: &[f32],
    each: impl Fn(&[f32]) -> f32,
) -> Vec<f32> {
    let mut output = Vec::new();
    for sample in input.chunks(height * width * channels) {
        for taps in windows(window, height, width) {
            for c in 0..channels {
                let values: Vec<f32> = taps.iter().flatten().map(|pixel| sample[pixel * channels + c]).collect();
                output.push(each(&values));
            }
        }
    }
    output
}

/// Softmax over `channels` values at a time, in f64.
pub fn softmax(channels: usize, input: &[f32]) -> Vec<f64> {
    let pixels = input.chunks(channels).flat_map(|pixel| {
        let largest = pixel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = pixel.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / sum)
    });
    pixels.collect()
}

/// Signs as bit panels, placed bit by bit as the layout's definition says (see [`horq_kernels::weights::bits`]).
pub fn bit_panels(g: &Geometry, weights: &[f32]) -> Vec<u32> {
    let (taps, channels, filters) =
        (g.window.kernel[0] * g.window.kernel[1], g.channels / g.groups, g.filters / g.groups);
    let mut panels = Vec::new();
    for group in 0..g.groups {
        for first_filter in (0..filters).step_by(16) {
            for tap in 0..taps {
                for first_channel in (0..channels).step_by(32) {
                    for filter in first_filter..first_filter + 16 {
                        let mut word = 0;
                        for channel in first_channel..(first_channel + 32).min(channels) {
                            let at = ((group * filters + filter) * taps + tap) * channels + channel;
                            if filter < filters && weights[at] < 0.0 {
                                word += 1 << (channel - first_channel);
                            }
                        }
                        panels.push(word);
                    }
                }
            }
        }
    }
    panels
}
