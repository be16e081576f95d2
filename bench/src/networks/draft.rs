//! A network on the drawing board: layers are added at its end, their weights drawn at random.

use crate::cases::{FIXED_SCALES, HALVING_SCALES};
use crate::data::Numbers;
use horq::graph::{Op, Shape};
use horq::ops::{
    Add, Affine, Basis, BinaryConv2d, BinaryDense, Conv2d, Dense, Int8Conv2d, Int8Dense, Int8Quantize, Prelu, Quantizer,
};
use horq::{Builder, Error, Order, Padding, PlainValues, ScaleMode, Window};

/// What the layers that are not binary compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// f32.
    Float,
    /// 8-bit weights and activations, as after a calibration.
    Int8,
}

pub(super) struct Draft {
    builder: Builder,
    /// The value that the next layer reads.
    end: String,
    numbers: Numbers,
    order: usize,
    mode: ScaleMode,
    ends: Ends,
}

/// What every method that adds a layer returns: the draft again.
pub(super) type Drawn = Result<Draft, Error>;

impl Draft {
    /// An input without layers. Binary layers will have that order and mode.
    pub(super) fn new(shape: Shape, order: usize, mode: ScaleMode, ends: Ends) -> Self {
        let end = "input".to_owned();
        Self { builder: Builder::new(&end, shape), end, numbers: Numbers::new(5), order, mode, ends }
    }

    /// The builder and the name of the last value.
    pub(super) fn finish(self) -> (Builder, String) {
        (self.builder, self.end)
    }

    /// The value that the next layer would read.
    pub(super) fn end(&self) -> String {
        self.end.clone()
    }

    /// The next layer reads that value.
    pub(super) fn from(mut self, value: &str) -> Self {
        self.end = value.to_owned();
        self
    }

    /// Channels or features at the end.
    pub(super) fn channels(&self) -> usize {
        self.shape().channels()
    }

    fn shape(&self) -> Shape {
        self.builder.shape(&self.end).expect("the end is a value of the graph")
    }

    /// A layer without weights.
    pub(super) fn then<'a>(self, name: &str, op: impl Into<Op<PlainValues<'a>>>) -> Drawn {
        let end = self.end.clone();
        self.reading(name, &[&end], op)
    }

    fn reading<'a>(mut self, name: &str, inputs: &[&str], op: impl Into<Op<PlainValues<'a>>>) -> Drawn {
        self.builder.add(name, inputs, op)?;
        self.end = name.to_owned();
        Ok(self)
    }

    /// Convolution without bias, in f32 or 8 bits.
    pub(super) fn conv(mut self, name: &str, window: Window, filters: usize, groups: usize) -> Drawn {
        let depth = window.taps() * self.channels() / groups;
        let weight = self.weights(filters, depth);
        match self.ends {
            Ends::Float => self.then(name, Conv2d::new(window, filters, &weight).groups(groups)),
            Ends::Int8 => {
                let (weight, alpha) = eighths(&weight, depth);
                let (weight, alpha) = (&weight, &alpha);
                let quantize = Int8Quantize::of_range(-RANGE, RANGE);
                self.then(name, Int8Conv2d::new(window, filters, quantize, weight, alpha).groups(groups))
            }
        }
    }

    /// A 3x3 blur by channel at stride 2 of an odd size, the windows' centres on its even pixels.
    pub(super) fn blur(self, name: &str) -> Drawn {
        const KERNEL: [f32; 9] = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        let channels = self.channels();
        let weight = KERNEL.map(|x| x / 16.0).repeat(channels);
        let window = Window::square(3).with_stride(2).with_padding(1);
        let layer = Conv2d::new(window, channels, &weight).groups(channels);
        self.then(name, layer)
    }

    /// Matrix product with a bias, in f32 or 8 bits.
    pub(super) fn dense(mut self, name: &str, filters: usize) -> Drawn {
        let depth = self.channels();
        let weight = self.weights(filters, depth);
        let bias = self.between(filters, -0.3, 0.3);
        match self.ends {
            Ends::Float => self.then(name, Dense::new(filters, &weight).bias(&bias)),
            Ends::Int8 => {
                let (weight, alpha) = eighths(&weight, depth);
                let quantize = Int8Quantize::of_range(-RANGE, RANGE);
                self.then(name, Int8Dense::new(filters, quantize, &weight, &alpha).bias(&bias))
            }
        }
    }

    /// Binary convolution without bias.
    pub(super) fn binary(mut self, name: &str, window: Window, filters: usize, pad_value: Padding) -> Drawn {
        let (weight, alpha) = self.basis(filters, window.taps() * self.channels());
        let (quantize, bases) = (self.quantizer()?, [Basis::new(&weight, &alpha)]);
        let layer = BinaryConv2d::new(window, filters, quantize, bases).pad_value(pad_value);
        self.then(name, layer)
    }

    /// Binary matrix product without bias.
    pub(super) fn binary_dense(mut self, name: &str, filters: usize) -> Drawn {
        let (weight, alpha) = self.basis(filters, self.channels());
        let (quantize, bases) = (self.quantizer()?, [Basis::new(&weight, &alpha)]);
        self.then(name, BinaryDense::new(filters, quantize, bases))
    }

    /// A batch norm.
    pub(super) fn norm(mut self, name: &str) -> Drawn {
        let (scale, shift) = (self.between(self.channels(), 0.5, 1.5), self.between(self.channels(), -0.3, 0.3));
        self.then(name, Affine::new(&scale, &shift))
    }

    /// y = x + shift by channel.
    pub(super) fn shift(mut self, name: &str) -> Drawn {
        let shift = self.between(self.channels(), -0.3, 0.3);
        let scale = vec![1.0; shift.len()];
        self.then(name, Affine::new(&scale, &shift))
    }

    /// PReLU with a slope a channel.
    pub(super) fn prelu(mut self, name: &str) -> Drawn {
        let slope = self.between(self.channels(), 0.1, 0.4);
        self.then(name, Prelu::new(&slope))
    }

    /// The sum of the end and another value.
    pub(super) fn add(self, name: &str, other: &str) -> Drawn {
        let end = self.end.clone();
        self.reading(name, &[&end, other], Add)
    }

    fn quantizer(&self) -> Result<Quantizer<PlainValues<'static>>, Error> {
        let order = Order::new(self.order)?;
        Ok(match self.mode {
            ScaleMode::Fixed => Quantizer::fixed(order, &FIXED_SCALES[..self.order]),
            ScaleMode::Halving => Quantizer::halving(order, &HALVING_SCALES[..self.order]),
            mode => Quantizer::new(order, mode),
        })
    }

    /// Weights whose products with values of variance 1 have sums of about variance 1.
    fn weights(&mut self, filters: usize, depth: usize) -> Vec<f32> {
        let limit = (3.0 / depth as f32).sqrt();
        self.between(filters * depth, -limit, limit)
    }

    /// Signs and their scales, likewise.
    fn basis(&mut self, filters: usize, depth: usize) -> (Vec<f32>, Vec<f32>) {
        let alpha = 1.0 / (depth as f32).sqrt();
        (self.between(filters * depth, -1.0, 1.0), self.between(filters, 0.5 * alpha, 1.5 * alpha))
    }

    fn between(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        self.numbers.uniform(n, low, high)
    }
}

/// What the values before an 8-bit layer range over: some four standard deviations.
const RANGE: f32 = 4.0;

/// Weights rounded to 8 bits by filter, and the factors of the integer sums.
fn eighths(weights: &[f32], depth: usize) -> (Vec<i8>, Vec<f32>) {
    let step = Int8Quantize::of_range(-RANGE, RANGE).scale;
    let of_filter = |filter: &[f32]| filter.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs())) / 127.0;
    let scales: Vec<f32> = weights.chunks_exact(depth).map(of_filter).collect();
    let bytes = weights
        .chunks_exact(depth)
        .zip(&scales)
        .flat_map(|(filter, scale)| filter.iter().map(move |w| (w / scale).round() as i8));
    (bytes.collect(), scales.iter().map(|scale| scale * step).collect())
}
