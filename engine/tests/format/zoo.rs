//! Models for tests: one with every operation, one as small as can be.

use horq::graph::Shape;
use horq::{
    AffineRow, BinaryBase, Builder, Error, Int8Quantize, Layer, Model, Padding, Quantize, ScaleMode, Session,
    SessionOptions, Window,
};
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
    builder.add("probabilities", &["logits"], Layer::Softmax).unwrap();
    builder
}

/// The same up to `logits`.
pub(crate) fn every_op_but_softmax() -> Builder {
    let mut b = Builder::new("image", Shape::Image { height: 9, width: 7, channels: 5 });
    let same = Window::square(3).with_padding(1);
    let values = |seed, len| noise(seed, len);
    let binary = |order, mode| Quantize { order, mode, scales: None };

    let (w, v) = (values(1, 18 * 45), values(2, 18));
    b.add("stem", &["image"], Layer::Conv2d { window: same, filters: 18, groups: 1, weight: &w, bias: Some(&v) })
        .unwrap();
    b.add("norm", &["stem"], Layer::Affine { scale: &values(3, 18), shift: &values(4, 18) }).unwrap();
    b.add("act", &["norm"], Layer::Prelu { slope: &values(5, 18) }).unwrap();

    let (w, alpha) = (values(6, 20 * 81), values(7, 20));
    let bases = [BinaryBase { weight: &w, alpha: &alpha }];
    let quantize = binary(3, ScaleMode::Window);
    let (filters, pad_value) = (20, Padding::ValidTaps);
    let layer = Layer::BinaryConv2d {
        window: same,
        filters,
        groups: 2,
        pad_value,
        quantize,
        bases: &bases,
        bias: Some(&values(8, 20)),
    };
    b.add("grouped", &["act"], layer).unwrap();

    let (w, more, alpha) = (values(9, 18 * 180), values(10, 18 * 180), values(11, 18));
    let bases = [BinaryBase { weight: &w, alpha: &alpha }, BinaryBase { weight: &more, alpha: &alpha }];
    let quantize = Quantize { order: 2, mode: ScaleMode::Fixed, scales: Some(&[0.95, 0.42]) };
    let (filters, pad_value) = (18, Padding::One);
    let layer =
        Layer::BinaryConv2d { window: same, filters, groups: 1, pad_value, quantize, bases: &bases, bias: None };
    b.add("two_bases", &["grouped"], layer).unwrap();
    b.add("sum", &["two_bases", "act"], Layer::Add).unwrap();
    let rows: Vec<[Vec<f32>; 2]> = (0..4).map(|i| [values(40 + 2 * i, 18), values(41 + 2 * i, 18)]).collect();
    let rows: Vec<AffineRow<'_>> = rows.iter().map(|[scale, shift]| AffineRow { scale, shift }).collect();
    b.add("by_order", &["sum"], Layer::AffineByOrder { order_of: "hidden", rows: &rows }).unwrap();
    b.add("max", &["by_order"], Layer::MaxPool { window: Window::square(2).with_stride(2) }).unwrap();
    b.add("mean", &["max"], Layer::AveragePool { window: same }).unwrap();
    b.add("both", &["max", "mean"], Layer::Concat).unwrap();
    b.add("relu", &["both"], Layer::Relu).unwrap();
    b.add("channels", &["relu"], Layer::GlobalAveragePool).unwrap();
    b.add("pixels", &["mean"], Layer::Flatten).unwrap();
    b.add("features", &["channels", "pixels"], Layer::Concat).unwrap();

    let (w, alpha) = (values(12, 33 * 252), values(13, 33));
    let bases = [BinaryBase { weight: &w, alpha: &alpha }];
    let layer = Layer::BinaryDense { filters: 33, quantize: binary(4, ScaleMode::Image), bases: &bases, bias: None };
    b.add("hidden", &["features"], layer).unwrap();
    let (w, alpha) = (values(14, 17 * 33), values(15, 17));
    let bases = [BinaryBase { weight: &w, alpha: &alpha }];
    let layer = Layer::BinaryDense { filters: 17, quantize: binary(1, ScaleMode::None), bases: &bases, bias: None };
    b.add("signs", &["hidden"], layer).unwrap();
    b.add("logits", &["signs"], Layer::Dense { filters: 10, weight: &values(16, 170), bias: Some(&values(17, 10)) })
        .unwrap();
    b
}

/// Two samples' input for [`every_op`].
pub(crate) fn every_op_input() -> Vec<f32> {
    noise(18, 2 * 9 * 7 * 5)
}

/// A few kilobytes: float convolution, binary convolution in mode fixed, binary dense, dense.
pub(crate) fn small() -> Builder {
    let mut b = Builder::new("x", Shape::Image { height: 4, width: 4, channels: 2 });
    let window = Window::square(3).with_padding(1);
    let layer = Layer::Conv2d { window, filters: 3, groups: 1, weight: &noise(1, 54), bias: Some(&noise(2, 3)) };
    b.add("stem", &["x"], layer).unwrap();
    let (w, alpha) = (noise(3, 4 * 27), noise(4, 4));
    let bases = [BinaryBase { weight: &w, alpha: &alpha }];
    let quantize = Quantize { order: 2, mode: ScaleMode::Fixed, scales: Some(&[0.8, 0.5]) };
    let (pad_value, filters) = (Padding::ValidTaps, 4);
    let layer = Layer::BinaryConv2d { window, filters, groups: 1, pad_value, quantize, bases: &bases, bias: None };
    b.add("binary", &["stem"], layer).unwrap();
    b.add("flat", &["binary"], Layer::Flatten).unwrap();
    b.add("logits", &["flat"], Layer::Dense { filters: 2, weight: &noise(5, 128), bias: None }).unwrap();
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
    let layer =
        Layer::Int8Conv2d { window: same, filters: 37, groups: 1, quantize, weight: &w, alpha: &alpha, bias: None };
    b.add("bytes", &["x"], layer).unwrap();
    let (w, alpha) = (noise(21, 18 * 333), noise(22, 18));
    let base = BinaryBase { weight: &w, alpha: &alpha };
    let bias = noise(23, 18);
    let layer = Layer::BinaryWeightConv2d { window: same, filters: 18, groups: 1, base, bias: Some(&bias) };
    b.add("signed", &["bytes"], layer).unwrap();
    let (codes9, book9) = (codes(34 * 81, 9), noise(24, 9));
    let (window, filters) = (same.with_stride(2), 34);
    let layer = Layer::CodebookConv2d { window, filters, groups: 2, codes: &codes9, codebook: &book9, bias: None };
    b.add("nine", &["signed"], layer).unwrap();
    b.add("flat", &["nine"], Layer::Flatten).unwrap();
    let (codes3, book3) = (codes(5 * 136, 3), noise(25, 3));
    let layer = Layer::CodebookDense { filters: 5, codes: &codes3, codebook: &book3, bias: Some(&[0.5; 5]) };
    b.add("three", &["flat"], layer).unwrap();
    let (w, alpha, bias) = (int8(33, 30), noise(34, 6), noise(35, 6));
    let (filters, quantize) = (6, Int8Quantize { scale: 0.05, zero_point: 200 });
    let layer = Layer::Int8Dense { filters, quantize, weight: &w, alpha: &alpha, bias: Some(&bias) };
    b.add("eight", &["three"], layer).unwrap();
    let (w, alpha) = (noise(26, 42), noise(27, 7));
    let base = BinaryBase { weight: &w, alpha: &alpha };
    b.add("signs", &["eight"], Layer::BinaryWeightDense { filters: 7, base, bias: None }).unwrap();
    let (codes32, book32) = (codes(14, 32), noise(28, 32));
    let layer = Layer::CodebookDense { filters: 2, codes: &codes32, codebook: &book32, bias: None };
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
    let mut session = Session::new(model, SessionOptions::new().batch(samples).order(order))?;
    let mut output = vec![0.0; samples * model.output_shape().len()];
    session.run(input, &mut output).map(|()| output)
}
