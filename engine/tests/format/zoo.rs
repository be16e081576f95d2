//! Models for tests: one with every operation, one as small as can be.

use horq::graph::Shape;
use horq::ops::{
    Add, Affine, AffineByOrder, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense,
    CodebookConv2d, CodebookDense, Concat, Conv2d, Dense, Flatten, GlobalAveragePool, Int8Conv2d, Int8Dense,
    Int8Quantize, MaxPool, Prelu, Quantizer, Relu, Softmax,
};
use horq::{Builder, Error, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions, Window};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Values in -1..1, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Every operation, every scale mode, groups, two bases, odd sizes; the output is `probabilities`.
pub(crate) fn every_op() -> Builder {
    let mut builder = every_op_but_softmax();
    builder.add("probabilities", &["logits"], Softmax).unwrap();
    builder
}

/// The same up to `logits`.
pub(crate) fn every_op_but_softmax() -> Builder {
    let mut b = Builder::new("image", Shape::Image { height: 9, width: 7, channels: 5 });
    let same = Window::square(3).with_padding(1);
    let values = |seed, len| noise(seed, len);
    let binary = |order, mode| Quantizer::new(Order::new(order).unwrap(), mode);

    let (w, v) = (values(1, 18 * 45), values(2, 18));
    b.add("stem", &["image"], Conv2d::new(same, 18, &w).bias(&v)).unwrap();
    b.add("norm", &["stem"], Affine::new(values(3, 18), values(4, 18))).unwrap();
    b.add("act", &["norm"], Prelu::new(values(5, 18))).unwrap();

    let (w, alpha) = (values(6, 20 * 81), values(7, 20));
    let bases = [Basis::new(&w, &alpha)];
    let quantize = binary(3, ScaleMode::Window);
    let (filters, pad_value) = (20, Padding::ValidTaps);
    let layer = BinaryConv2d::new(same, filters, quantize, &bases).groups(2).pad_value(pad_value).bias(values(8, 20));
    b.add("grouped", &["act"], layer).unwrap();

    let (w, more, alpha) = (values(9, 18 * 180), values(10, 18 * 180), values(11, 18));
    let bases = [Basis::new(&w, &alpha), Basis::new(&more, &alpha)];
    let quantize = Quantizer::fixed(Order::new(2).unwrap(), &[0.95, 0.42]);
    let (filters, pad_value) = (18, Padding::One);
    let layer = BinaryConv2d::new(same, filters, quantize, &bases).pad_value(pad_value);
    b.add("two_bases", &["grouped"], layer).unwrap();
    b.add("sum", &["two_bases", "act"], Add).unwrap();
    let rows: Vec<[Vec<f32>; 2]> = (0..4).map(|i| [values(40 + 2 * i, 18), values(41 + 2 * i, 18)]).collect();
    let rows: Vec<_> = rows.iter().map(|[scale, shift]| Affine::new(scale, shift)).collect();
    b.add("by_order", &["sum"], AffineByOrder::new("hidden", rows)).unwrap();
    b.add("max", &["by_order"], MaxPool::new(Window::square(2).with_stride(2))).unwrap();
    b.add("mean", &["max"], AveragePool::new(same)).unwrap();
    b.add("both", &["max", "mean"], Concat).unwrap();
    b.add("relu", &["both"], Relu).unwrap();
    b.add("channels", &["relu"], GlobalAveragePool).unwrap();
    b.add("pixels", &["mean"], Flatten).unwrap();
    b.add("features", &["channels", "pixels"], Concat).unwrap();

    let (w, alpha) = (values(12, 33 * 252), values(13, 33));
    let bases = [Basis::new(&w, &alpha)];
    let layer = BinaryDense::new(33, binary(4, ScaleMode::Image), &bases);
    b.add("hidden", &["features"], layer).unwrap();
    let (w, alpha) = (values(14, 17 * 33), values(15, 17));
    let bases = [Basis::new(&w, &alpha)];
    let layer = BinaryDense::new(17, binary(1, ScaleMode::None), &bases);
    b.add("signs", &["hidden"], layer).unwrap();
    b.add("logits", &["signs"], Dense::new(10, values(16, 170)).bias(values(17, 10))).unwrap();
    b
}

/// Two samples' input for [`every_op`].
pub(crate) fn every_op_input() -> Vec<f32> {
    noise(18, 2 * 9 * 7 * 5)
}

/// Binary layers whose scales halve, planes passing between them: groups, several bases, padding of both kinds. It reads
/// [`every_op_input`].
pub(crate) fn halving() -> Builder {
    let mut b = Builder::new("image", Shape::Image { height: 9, width: 7, channels: 5 });
    let (same, order) = (Window::square(3).with_padding(1), |order| Order::new(order).unwrap());
    let (w, alpha) = (noise(61, 18 * 45), noise(62, 18));
    let quantize = Quantizer::halving(order(3), &[0.8, 1.1, 0.7]);
    b.add("first", &["image"], BinaryConv2d::new(same, 18, quantize, [Basis::new(&w, &alpha)])).unwrap();
    b.add("norm", &["first"], Affine::new(noise(63, 18), noise(64, 18))).unwrap();
    let (w, more, alpha) = (noise(65, 20 * 81), noise(66, 20 * 81), noise(67, 20));
    let quantize = Quantizer::halving(order(4), &[0.3, 0.9, 0.9, 1.0]);
    let bases = [Basis::new(&w, &alpha), Basis::new(&more, &alpha)];
    let layer = BinaryConv2d::new(same, 20, quantize, bases).groups(2).pad_value(Padding::One).bias(noise(68, 20));
    b.add("second", &["norm"], layer).unwrap();
    b.add("flat", &["second"], Flatten).unwrap();
    let (w, alpha) = (noise(69, 9 * 1260), noise(70, 9));
    let quantize = Quantizer::halving(order(2), &[2.0, 5.0]);
    b.add("logits", &["flat"], BinaryDense::new(9, quantize, [Basis::new(&w, &alpha)])).unwrap();
    b
}

/// A few kilobytes: float convolution, binary convolution in mode fixed, binary dense, dense.
pub(crate) fn small() -> Builder {
    let mut b = Builder::new("x", Shape::Image { height: 4, width: 4, channels: 2 });
    let window = Window::square(3).with_padding(1);
    let layer = Conv2d::new(window, 3, noise(1, 54)).bias(noise(2, 3));
    b.add("stem", &["x"], layer).unwrap();
    let (w, alpha) = (noise(3, 4 * 27), noise(4, 4));
    let bases = [Basis::new(&w, &alpha)];
    let quantize = Quantizer::fixed(Order::new(2).unwrap(), &[0.8, 0.5]);
    let (pad_value, filters) = (Padding::ValidTaps, 4);
    let layer = BinaryConv2d::new(window, filters, quantize, &bases).pad_value(pad_value);
    b.add("binary", &["stem"], layer).unwrap();
    b.add("flat", &["binary"], Flatten).unwrap();
    b.add("logits", &["flat"], Dense::new(2, noise(5, 128))).unwrap();
    b.producer("test").note("licence", "none");
    b
}

/// 8-bit layers, and f32 activations on binary weights and on codebooks of 9, 3 and 32 entries, with groups and odd sizes.
pub(crate) fn packed() -> Builder {
    let mut b = Builder::new("x", Shape::Image { height: 3, width: 4, channels: 37 });
    let same = Window::square(3).with_padding(1);
    let codes = |len: usize, entries: usize| (0..len).map(|i| (i * 7 % entries) as u8).collect::<Vec<u8>>();
    let int8 = |seed, len: usize| noise(seed, len).iter().map(|w| (w * 127.0) as i8).collect::<Vec<i8>>();
    let (w, alpha) = (int8(31, 37 * 333), noise(32, 37).iter().map(|a| a * 1e-4).collect::<Vec<f32>>());
    let quantize = Int8Quantize::of_range(-0.75, 1.0);
    let layer = Int8Conv2d::new(same, 37, quantize, &w, &alpha);
    b.add("bytes", &["x"], layer).unwrap();
    let (w, alpha) = (noise(21, 18 * 333), noise(22, 18));
    let bias = noise(23, 18);
    let layer = BinaryWeightConv2d::new(same, 18, &w, &alpha).bias(&bias);
    b.add("signed", &["bytes"], layer).unwrap();
    let (codes9, book9) = (codes(34 * 81, 9), noise(24, 9));
    let (window, filters) = (same.with_stride(2), 34);
    let layer = CodebookConv2d::new(window, filters, &codes9, &book9).groups(2);
    b.add("nine", &["signed"], layer).unwrap();
    b.add("flat", &["nine"], Flatten).unwrap();
    let (codes3, book3) = (codes(5 * 136, 3), noise(25, 3));
    let layer = CodebookDense::new(5, &codes3, &book3).bias(&[0.5; 5]);
    b.add("three", &["flat"], layer).unwrap();
    let (w, alpha, bias) = (int8(33, 30), noise(34, 6), noise(35, 6));
    let (filters, quantize) = (6, Int8Quantize { scale: 0.05, zero_point: 200 });
    let layer = Int8Dense::new(filters, quantize, &w, &alpha).bias(&bias);
    b.add("eight", &["three"], layer).unwrap();
    let (w, alpha) = (noise(26, 42), noise(27, 7));
    b.add("signs", &["eight"], BinaryWeightDense::new(7, &w, &alpha)).unwrap();
    let (codes32, book32) = (codes(14, 32), noise(28, 32));
    let layer = CodebookDense::new(2, &codes32, &book32);
    b.add("logits", &["signs"], layer).unwrap();
    b
}

/// Two samples' input for [`packed`].
pub(crate) fn packed_input() -> Vec<f32> {
    noise(29, 2 * 3 * 4 * 37)
}

/// One sample's input for [`small`].
pub(crate) fn small_input() -> Vec<f32> {
    noise(6, 32)
}

/// The model's answers, every layer at most at that order.
pub(crate) fn answers(model: &Model, order: usize, input: &[f32]) -> Result<Vec<f32>, Error> {
    let samples = input.len() / model.input_shape().len();
    let mut session = Session::new(model, SessionOptions::new().batch(samples).order(Order::new(order).unwrap()))?;
    let mut output = vec![0.0; samples * model.output_shape().len()];
    session.run(input, &mut output).map(|()| output)
}

/// A quantizer of that order, with constants or without.
pub(crate) fn quantizer<'a>(order: usize, mode: ScaleMode, scales: Option<&'a [f32]>) -> Quantizer<PlainValues<'a>> {
    let mut quantizer = Quantizer::new(Order::new(order).unwrap(), mode);
    quantizer.scales = scales.map(Into::into);
    quantizer
}
