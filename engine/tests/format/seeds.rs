//! The seeds of `fuzz/`: one small model for each family of operations. A fuzzer's mutations must find the bytes that matter, and
//! its inputs be short enough to be kept whole.
//!
//! `cargo test --test format -- --ignored write_the_seeds` writes them anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use horq::graph::Shape;
use horq::{
    AffineRow, BinaryBase, Builder, Int8Quantize, Layer, Limits, Model, Padding, Quantize, ScaleMode, Session,
    SessionOptions, Window,
};

use crate::zoo::noise;

/// The most bytes of a seed; what `fuzz/README.md` gives as `-max_len`.
const MAX_BYTES: usize = 4096;

/// A seed's name and bytes. Its last node is its output.
type Seed = (&'static str, Vec<u8>);

fn seeds() -> Vec<Seed> {
    let mut seeds = floats();
    seeds.extend(binary());
    seeds.extend(packed());
    seeds.extend(elementwise());
    seeds
}

fn image(channels: usize) -> Builder {
    Builder::new("x", Shape::Image { height: 4, width: 3, channels })
}

/// The bytes with that node as the output.
fn seed(name: &'static str, builder: &Builder, output: &str) -> Seed {
    (name, builder.to_bytes(output).unwrap())
}

fn floats() -> Vec<Seed> {
    let window = Window::square(2).with_padding(1);
    let mut conv = image(2);
    let layer = Layer::Conv2d { window, filters: 4, groups: 2, weight: &noise(1, 16), bias: Some(&noise(2, 4)) };
    conv.add("y", &["x"], layer).unwrap();
    let mut depthwise = image(3);
    let layer = Layer::Conv2d { window, filters: 3, groups: 3, weight: &noise(3, 12), bias: None };
    depthwise.add("y", &["x"], layer).unwrap();
    let mut dense = Builder::new("x", Shape::Flat(5));
    dense.add("y", &["x"], Layer::Dense { filters: 3, weight: &noise(4, 15), bias: Some(&noise(5, 3)) }).unwrap();
    // The answer is made up: nothing compares it.
    dense.golden(&noise(6, 10), &noise(7, 6)).note("licence", "none");
    vec![seed("conv2d", &conv, "y"), seed("depthwise", &depthwise, "y"), seed("dense", &dense, "y")]
}

fn binary() -> Vec<Seed> {
    let conv = |mode, scales, pad_value, groups: usize| {
        let mut builder = image(4);
        let (weight, alpha, bias) = (noise(10, 6 * 9 * 4 / groups), noise(11, 6), noise(12, 6));
        let base = BinaryBase { weight: &weight, alpha: &alpha };
        let (window, quantize) = (Window::square(3).with_padding(1), Quantize { order: 2, mode, scales });
        let (bases, bias) = (&vec![base; 3 - groups], Some(&bias[..]));
        let layer = Layer::BinaryConv2d { window, filters: 6, groups, pad_value, quantize, bases, bias };
        builder.add("y", &["x"], layer).unwrap();
        builder
    };
    let (valid, one) = (Padding::ValidTaps, Padding::One);
    let mut dense = Builder::new("x", Shape::Flat(40));
    let (weight, alpha) = (noise(13, 120), noise(14, 3));
    let bases = &[BinaryBase { weight: &weight, alpha: &alpha }];
    let quantize = Quantize { order: 3, mode: ScaleMode::Image, scales: None };
    dense.add("y", &["x"], Layer::BinaryDense { filters: 3, quantize, bases, bias: None }).unwrap();
    vec![
        seed("binary_window", &conv(ScaleMode::Window, None, valid, 2), "y"),
        seed("binary_image", &conv(ScaleMode::Image, None, valid, 1), "y"),
        seed("binary_fixed", &conv(ScaleMode::Fixed, Some(&[0.5, 0.25]), one, 2), "y"),
        seed("binary_none", &conv(ScaleMode::None, None, one, 1), "y"),
        seed("binary_dense", &dense, "y"),
    ]
}

/// Binary weights, codebooks and bytes, each a convolution and a matrix product.
fn packed() -> Vec<Seed> {
    let (window, groups) = (Window::square(2), 1);
    let after = |mut builder: Builder, layer: Layer<'_>| {
        builder.add("flat", &["conv"], Layer::Flatten).unwrap().add("y", &["flat"], layer).unwrap();
        builder
    };
    let (weight, alpha, bias) = (noise(20, 24), noise(21, 2), noise(22, 2));
    let base = BinaryBase { weight: &weight, alpha: &alpha };
    let mut signs = image(3);
    let layer = Layer::BinaryWeightConv2d { window, filters: 2, groups, base, bias: Some(&bias) };
    signs.add("conv", &["x"], layer).unwrap();
    let signs = after(signs, Layer::BinaryWeightDense { filters: 2, base, bias: None });

    let (codes, codebook) = ((0..24).map(|i| i * 5 % 9).collect::<Vec<u8>>(), noise(23, 9));
    let mut book = image(3);
    let layer =
        Layer::CodebookConv2d { window, filters: 2, groups, codes: &codes, codebook: &codebook, bias: Some(&bias) };
    book.add("conv", &["x"], layer).unwrap();
    let book = after(book, Layer::CodebookDense { filters: 2, codes: &codes, codebook: &codebook, bias: None });

    let weight: Vec<i8> = (0..24).map(|i: i16| (i * 10 - 115) as i8).collect();
    let quantize = Int8Quantize { scale: 0.0625, zero_point: 100 };
    let mut bytes = image(3);
    let (weight, alpha) = (&weight[..], &alpha[..]);
    let layer = Layer::Int8Conv2d { window, filters: 2, groups, quantize, weight, alpha, bias: Some(&bias) };
    bytes.add("conv", &["x"], layer).unwrap();
    let bytes = after(bytes, Layer::Int8Dense { filters: 2, quantize, weight, alpha, bias: None });
    vec![seed("binary_weight", &signs, "y"), seed("codebook", &book, "y"), seed("int8", &bytes, "y")]
}

fn elementwise() -> Vec<Seed> {
    let mut orders = Builder::new("x", Shape::Flat(3));
    let (weight, alpha) = (noise(30, 6), noise(31, 2));
    let bases = &[BinaryBase { weight: &weight, alpha: &alpha }];
    let quantize = Quantize { order: 2, mode: ScaleMode::Image, scales: None };
    orders.add("layer", &["x"], Layer::BinaryDense { filters: 2, quantize, bases, bias: None }).unwrap();
    let (scale, shift) = (&noise(32, 2)[..], &noise(33, 2)[..]);
    let rows = [AffineRow { scale, shift }, AffineRow { scale: shift, shift: scale }];
    orders.add("y", &["layer"], Layer::AffineByOrder { order_of: "layer", rows: &rows }).unwrap();

    let mut steps = image(2);
    steps.add("affine", &["x"], Layer::Affine { scale, shift }).unwrap();
    steps.add("prelu", &["affine"], Layer::Prelu { slope: scale }).unwrap();
    steps.add("relu", &["x"], Layer::Relu).unwrap();
    steps.add("sum", &["prelu", "relu"], Layer::Add).unwrap();
    steps.add("y", &["sum"], Layer::Softmax).unwrap();

    let mut pools = image(2);
    let window = Window::square(2).with_stride(2).with_padding(1);
    pools.add("max", &["x"], Layer::MaxPool { window }).unwrap();
    pools.add("mean", &["x"], Layer::AveragePool { window }).unwrap();
    pools.add("both", &["max", "mean"], Layer::Concat).unwrap();
    pools.add("y", &["both"], Layer::GlobalAveragePool).unwrap();
    vec![seed("affine_by_order", &orders, "y"), seed("elementwise", &steps, "y"), seed("pools", &pools, "y")]
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name).with_extension("horq")
}

#[test]
#[ignore = "it writes files of the repository"]
fn write_the_seeds() {
    for (name, bytes) in seeds() {
        std::fs::write(path(name), bytes).unwrap();
    }
}

#[test]
fn the_seeds_of_the_fuzzer_are_small_and_run() {
    let mut known = BTreeSet::new();
    for (name, bytes) in seeds() {
        let file = std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(file == bytes, "{name} is not what is made here: write the seeds anew");
        assert!(file.len() <= MAX_BYTES, "{name} has {} bytes", file.len());
        // As the target runs them.
        let model = Model::from_bytes_with(&file, &Limits { value_elements: 1 << 14, ..Limits::default() }).unwrap();
        model.verify_digest().unwrap();
        let mut session = Session::new(&model, SessionOptions::new()).unwrap();
        let mut output = vec![0.0; model.output_shape().len()];
        session.run(&vec![0.5; model.input_shape().len()], &mut output).unwrap();
        known.extend(model.graph().nodes.iter().map(|node| node.op.kind()));
    }
    let files = std::fs::read_dir(path("any").parent().unwrap()).unwrap().count();
    assert_eq!(files, seeds().len(), "a seed that nothing makes");
    assert_eq!(known.len(), 21, "every operation has its seed: {known:?}");
    let recipe = include_str!("../../../fuzz/README.md");
    assert!(recipe.contains(&format!("-max_len={MAX_BYTES}")), "the recipe's length is the seeds'");
}
