//! Networks whose sizes reach the loops of the kernels: whole tiles and their rests, words and panels that are not full, groups,
//! borders of both kinds, fused steps, planes that pass between layers, values next to nothing.

use super::noise::Noise;
use crate::graph::{Op, Shape};
use crate::ops::{
    Add, Affine, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense, CodebookConv2d,
    CodebookDense, Conv2d, Dense, Flatten, HardSwish, Int8Conv2d, Int8Dense, Int8Quantize, MaxPool, Prelu, Quantizer,
    Relu, Softmax,
};
use crate::{Builder, Error, MAX_ORDER, Order, Padding, PlainValues, ScaleMode, Window};

/// A name and the bytes of a file.
type Made = (String, Vec<u8>);

/// All of them.
pub(super) fn made() -> Result<Vec<Made>, Error> {
    let mut made = Vec::new();
    for (seed, mode) in ScaleMode::ALL.into_iter().enumerate() {
        made.push(binary(mode, seed as u64)?);
        made.push(wide(mode, seed as u64)?);
    }
    made.extend([floats()?, packed()?, denormals()?]);
    Ok(made)
}

/// A chain of nodes with weights from one generator.
struct Chain {
    builder: Builder,
    noise: Noise,
    last: String,
}

impl Chain {
    fn new(shape: Shape, seed: u64) -> Self {
        Self { builder: Builder::new("x", shape), noise: Noise::new(seed), last: "x".into() }
    }

    fn then(&mut self, name: &str, op: impl Into<Op<PlainValues<'static>>>) -> Result<&mut Self, Error> {
        self.builder.add(name, &[&self.last], op.into())?;
        self.last = name.into();
        Ok(self)
    }

    fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.builder.to_bytes(&self.last)
    }

    /// A quantizer whose constants, where it has some, suit values of about 1.
    fn quantizer(&mut self, mode: ScaleMode, order: usize) -> Result<Quantizer<PlainValues<'static>>, Error> {
        let order = Order::new(order)?;
        let mut quantizer = Quantizer::new(order, mode);
        if mode.has_constants() {
            let fading = |(k, scale): (usize, f32)| scale / (1 << k.min(3)) as f32;
            let scales: Vec<f32> = self.noise.scales(order.get(), 1.0).into_iter().enumerate().map(fading).collect();
            quantizer.scales = Some(scales.into());
        }
        Ok(quantizer)
    }

    fn bases(&mut self, count: usize, filters: usize, depth: usize) -> Vec<Basis<PlainValues<'static>>> {
        let size = 1.0 / (1 << depth.ilog2().div_ceil(2)) as f32;
        (0..count).map(|_| Basis::new(self.noise.values(filters * depth), self.noise.scales(filters, size))).collect()
    }

    /// Scales of about `size`, a power of two.
    fn affine(&mut self, channels: usize, size: f32) -> Affine<PlainValues<'static>> {
        Affine::new(self.noise.scales(channels, size), self.noise.values(channels))
    }
}

/// How large the values before the binary layers are: where all scales are 1, smaller ones would leave nothing of two planes.
fn spread(mode: ScaleMode) -> f32 {
    if mode == ScaleMode::None { 4.0 } else { 1.0 }
}

/// Convolutions and a matrix product of odd sizes at all orders: one and two bases, groups, both paddings, a fused affine, PReLU,
/// addition and pool.
fn binary(mode: ScaleMode, seed: u64) -> Result<Made, Error> {
    let mut chain = Chain::new(Shape::Image { height: 11, width: 9, channels: 33 }, 100 + seed);
    let window = Window::square(3).with_padding(1);
    let affine = chain.affine(33, spread(mode));
    chain.then("spread", affine)?;
    let (quantizer, bases) = (chain.quantizer(mode, MAX_ORDER)?, chain.bases(1, 36, 9 * 33));
    chain.then("first", BinaryConv2d::new(window, 36, quantizer, bases).pad_value(Padding::ValidTaps))?;
    let affine = chain.affine(36, spread(mode));
    let slope = chain.noise.values(36);
    chain.then("norm", affine)?.then("prelu", Prelu::new(slope))?;
    let (quantizer, bases) = (chain.quantizer(mode, MAX_ORDER)?, chain.bases(2, 36, 9 * 18));
    let bias = chain.noise.values(36);
    chain.then(
        "grouped",
        BinaryConv2d::new(window, 36, quantizer, bases).groups(2).pad_value(Padding::One).bias(bias),
    )?;
    chain.builder.add("sum", &["grouped", "prelu"], Add)?;
    chain.last = "sum".into();
    let (quantizer, bases) = (chain.quantizer(mode, MAX_ORDER)?, chain.bases(1, 17, 36));
    let strided = Window::square(1).with_stride(1);
    chain.then("narrow", BinaryConv2d::new(strided, 17, quantizer, bases).pad_value(Padding::One))?;
    chain.then("pool", MaxPool::new(Window::square(2).with_stride(2)))?.then("flat", Flatten)?;
    let (quantizer, bases) = (chain.quantizer(mode, MAX_ORDER)?, chain.bases(1, 21, 5 * 4 * 17));
    chain.then("dense", BinaryDense::new(21, quantizer, bases))?.then("softmax", Softmax)?;
    Ok((format!("binary, {}", mode.name()), chain.bytes()?))
}

/// Layers that pass planes to each other where the mode lets them, wide enough that their tasks are cut for threads.
fn wide(mode: ScaleMode, seed: u64) -> Result<Made, Error> {
    let mut chain = Chain::new(Shape::Image { height: 16, width: 16, channels: 64 }, 200 + seed);
    let window = Window::square(3).with_padding(1);
    let affine = chain.affine(64, spread(mode));
    chain.then("spread", affine)?;
    for (name, filters, channels) in [("one", 128, 64), ("two", 96, 128), ("three", 64, 96)] {
        let (quantizer, bases) = (chain.quantizer(mode, 2)?, chain.bases(1, filters, 9 * channels));
        chain.then(name, BinaryConv2d::new(window, filters, quantizer, bases).pad_value(Padding::ValidTaps))?;
        let affine = chain.affine(filters, spread(mode));
        chain.then(&format!("{name}.norm"), affine)?;
    }
    chain.then("mean", AveragePool::new(Window::square(8).with_stride(8)))?.then("flat", Flatten)?;
    let (quantizer, bases) = (chain.quantizer(mode, 2)?, chain.bases(1, 100, 256));
    chain.then("dense", BinaryDense::new(100, quantizer, bases))?;
    Ok((format!("wide, {}", mode.name()), chain.bytes()?))
}

/// f32 layers: a stem, one with dilated windows for each channel, one without a window, a matrix product.
fn floats() -> Result<Made, Error> {
    let mut chain = Chain::new(Shape::Image { height: 23, width: 21, channels: 3 }, 300);
    let stem = Window { kernel: [7, 7], stride: [2, 2], dilation: [1, 1], padding: [3, 3, 3, 3] };
    let (weight, bias) = (chain.noise.values(24 * 147), chain.noise.values(24));
    chain.then("stem", Conv2d::new(stem, 24, weight).bias(bias))?.then("relu", Relu)?;
    let dilated = Window { kernel: [3, 3], stride: [1, 1], dilation: [2, 2], padding: [2, 2, 2, 2] };
    let weight = chain.noise.values(24 * 9);
    chain.then("depthwise", Conv2d::new(dilated, 24, weight).groups(24))?.then("swish", HardSwish)?;
    let weight = chain.noise.values(40 * 6);
    chain.then("pointwise", Conv2d::new(Window::square(1), 40, weight).groups(4))?;
    chain.then("mean", AveragePool::new(Window::square(3).with_stride(2)))?.then("flat", Flatten)?;
    let features = chain.builder.shape("flat").map_or(0, |shape| shape.len());
    let weight = chain.noise.scales(37 * features, 1.0 / 1024.0);
    chain.then("dense", Dense::new(37, weight))?.then("softmax", Softmax)?;
    Ok(("floats".into(), chain.bytes()?))
}

/// 8-bit layers, f32 activations on binary weights and on codebooks of 9, 3 and 32 entries, and the planes of bytes.
fn packed() -> Result<Made, Error> {
    let mut chain = Chain::new(Shape::Image { height: 9, width: 10, channels: 19 }, 400);
    let window = Window::square(3).with_padding(1);
    let bytes = |noise: &mut Noise, len: usize| (0..len).map(|_| (noise.bits() as i8).max(-127)).collect::<Vec<i8>>();
    let codes = |noise: &mut Noise, len: usize, entries: u64| {
        (0..len).map(|_| (noise.bits() % entries) as u8).collect::<Vec<u8>>()
    };
    let (weight, alpha) = (bytes(&mut chain.noise, 37 * 171), chain.noise.scales(37, 1.0 / 4096.0));
    let quantizer = Int8Quantize { scale: 0.0078125, zero_point: 128 };
    chain.then("bytes", Int8Conv2d::new(window, 37, quantizer, weight, alpha))?;
    let (weight, alpha) = (chain.noise.values(36 * 333), chain.noise.scales(36, 0.0625));
    chain.then("signs", BinaryWeightConv2d::new(window, 36, weight, alpha))?;
    let (picked, book) = (codes(&mut chain.noise, 34 * 162, 9), chain.noise.scales(9, 0.0625));
    chain
        .then("nine", CodebookConv2d::new(window.with_stride(2), 34, picked, book).groups(2))?
        .then("flat", Flatten)?;
    let features = chain.builder.shape("flat").map_or(0, |shape| shape.len());
    let (picked, book) = (codes(&mut chain.noise, 33 * features, 3), chain.noise.scales(3, 0.0625));
    chain.then("three", CodebookDense::new(33, picked, book))?;
    let (weight, alpha) = (bytes(&mut chain.noise, 31 * 33), chain.noise.scales(31, 1.0 / 512.0));
    let quantizer = Int8Quantize { scale: 0.25, zero_point: 100 };
    chain.then("eight", Int8Dense::new(31, quantizer, weight, alpha))?;
    let (weight, alpha) = (chain.noise.values(17 * 31), chain.noise.scales(17, 0.25));
    chain.then("signs of a vector", BinaryWeightDense::new(17, weight, alpha))?;
    let (picked, book) = (codes(&mut chain.noise, 9 * 17, 32), chain.noise.values(32));
    chain.then("book", CodebookDense::new(9, picked, book))?;
    Ok(("packed".into(), chain.bytes()?))
}

/// Scales, weights and factors that are denormals, and products of them that are none.
fn denormals() -> Result<Made, Error> {
    let mut chain = Chain::new(Shape::Flat(64), 500);
    let (weight, alpha) = (chain.noise.tiny(200 * 64), vec![1e38; 200]);
    let quantizer = Quantizer::fixed(Order::new(2)?, vec![1e-41, 3e-42]);
    chain.then("binary", BinaryDense::new(200, quantizer, [Basis::new(weight, alpha)]))?;
    let (scale, shift) = (vec![0.3; 200], chain.noise.tiny(200));
    chain.then("affine", Affine::new(scale, shift))?.then("relu", Relu)?;
    let weight = chain.noise.values(10 * 200);
    chain.then("dense", Dense::new(10, weight))?;
    Ok(("denormals".into(), chain.bytes()?))
}
