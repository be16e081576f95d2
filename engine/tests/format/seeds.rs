//! The seeds of `fuzz/`: one small model for each family of operations. A fuzzer's mutations must find the bytes that matter, and
//! its inputs be short enough to be kept whole.
//!
//! `cargo test --test format -- --ignored write_the_seeds` writes them anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use horq::graph::{Op, Shape};
use horq::ops::{
    Add, Affine, AffineByOrder, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense,
    CodebookConv2d, CodebookDense, Concat, Conv2d, Dense, Flatten, GlobalAveragePool, HardSwish, Int8Conv2d, Int8Dense,
    Int8Quantize, MaxPool, Prelu, Quantizer, Relu, Softmax,
};
use horq::{
    Builder, Limits, MAX_ORDER, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions, Values, Window,
};

use crate::reader::Reader;
use crate::zoo::{noise, quantizer};

/// The most bytes of a seed; what `fuzz/README.md` gives as `-max_len`.
const MAX_BYTES: usize = 4096;

/// A seed's name and bytes.
type Seed = (&'static str, Vec<u8>);

fn seeds() -> Vec<Seed> {
    let mut seeds = floats();
    seeds.extend(binary());
    seeds.extend(packed());
    seeds.extend(elementwise());
    seeds.push(several());
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
    let layer = Conv2d::new(window, 4, noise(1, 16)).groups(2).bias(noise(2, 4));
    conv.add("y", &["x"], layer).unwrap();
    let mut depthwise = image(3);
    let layer = Conv2d::new(window, 3, noise(3, 12)).groups(3);
    depthwise.add("y", &["x"], layer).unwrap();
    let mut dense = Builder::new("x", Shape::Flat(5));
    dense.add("y", &["x"], Dense::new(3, noise(4, 15)).bias(noise(5, 3))).unwrap();
    // The answer is made up: nothing compares it.
    dense.golden(&noise(6, 10), &noise(7, 6)).note("licence", "none");
    vec![seed("conv2d", &conv, "y"), seed("depthwise", &depthwise, "y"), seed("dense", &dense, "y")]
}

fn binary() -> Vec<Seed> {
    let conv = |mode, scales, pad_value, groups: usize| {
        let mut builder = image(4);
        let (weight, alpha, bias) = (noise(10, 6 * 9 * 4 / groups), noise(11, 6), noise(12, 6));
        let base = Basis::new(&weight, &alpha);
        let (window, quantize) = (Window::square(3).with_padding(1), quantizer(2, mode, scales));
        let (bases, bias) = (vec![base; 3 - groups], Some(&bias[..]));
        let layer = BinaryConv2d::new(window, 6, quantize, bases).groups(groups).pad_value(pad_value).maybe_bias(bias);
        builder.add("y", &["x"], layer).unwrap();
        builder
    };
    let (valid, one) = (Padding::ValidTaps, Padding::One);
    let mut dense = Builder::new("x", Shape::Flat(40));
    let (weight, alpha) = (noise(13, 120), noise(14, 3));
    let bases = &[Basis::new(&weight, &alpha)];
    let quantize = Quantizer::new(Order::new(3).unwrap(), ScaleMode::Image);
    dense.add("y", &["x"], BinaryDense::new(3, quantize, bases)).unwrap();
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
    let after = |mut builder: Builder, layer: Op<PlainValues<'_>>| {
        builder.add("flat", &["conv"], Flatten).unwrap().add("y", &["flat"], layer).unwrap();
        builder
    };
    let (weight, alpha, bias) = (noise(20, 24), noise(21, 2), noise(22, 2));
    let mut signs = image(3);
    let layer = BinaryWeightConv2d::new(window, 2, &weight, &alpha).groups(groups).bias(&bias);
    signs.add("conv", &["x"], layer).unwrap();
    let signs = after(signs, BinaryWeightDense::new(2, &weight, &alpha).into());

    let (codes, codebook) = ((0..24).map(|i| i * 5 % 9).collect::<Vec<u8>>(), noise(23, 9));
    let mut book = image(3);
    let layer = CodebookConv2d::new(window, 2, &codes, &codebook).groups(groups).bias(&bias);
    book.add("conv", &["x"], layer).unwrap();
    let book = after(book, CodebookDense::new(2, &codes, &codebook).into());

    let weight: Vec<i8> = (0..24).map(|i: i16| (i * 10 - 115) as i8).collect();
    let quantize = Int8Quantize { scale: 0.0625, zero_point: 100 };
    let mut bytes = image(3);
    let (weight, alpha) = (&weight[..], &alpha[..]);
    let layer = Int8Conv2d::new(window, 2, quantize, weight, alpha).groups(groups).bias(&bias);
    bytes.add("conv", &["x"], layer).unwrap();
    let bytes = after(bytes, Int8Dense::new(2, quantize, weight, alpha).into());
    vec![seed("binary_weight", &signs, "y"), seed("codebook", &book, "y"), seed("int8", &bytes, "y")]
}

fn elementwise() -> Vec<Seed> {
    let mut orders = Builder::new("x", Shape::Flat(3));
    let (weight, alpha) = (noise(30, 6), noise(31, 2));
    let bases = &[Basis::new(&weight, &alpha)];
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    orders.add("layer", &["x"], BinaryDense::new(2, quantize, bases)).unwrap();
    let (scale, shift) = (&noise(32, 2)[..], &noise(33, 2)[..]);
    let rows = [Affine::new(scale, shift), Affine::new(shift, scale)];
    orders.add("y", &["layer"], AffineByOrder::new("layer", &rows)).unwrap();

    let mut steps = image(2);
    steps.add("affine", &["x"], Affine::new(scale, shift)).unwrap();
    steps.add("prelu", &["affine"], Prelu::new(scale)).unwrap();
    steps.add("relu", &["x"], Relu).unwrap();
    steps.add("sum", &["prelu", "relu"], Add).unwrap();
    steps.add("swish", &["sum"], HardSwish).unwrap();
    steps.add("y", &["swish"], Softmax).unwrap();

    let mut pools = image(2);
    let window = Window::square(2).with_stride(2).with_padding(1);
    pools.add("max", &["x"], MaxPool::new(window)).unwrap();
    pools.add("mean", &["x"], AveragePool::new(window)).unwrap();
    pools.add("both", &["max", "mean"], Concat).unwrap();
    pools.add("y", &["both"], GlobalAveragePool).unwrap();
    vec![seed("affine_by_order", &orders, "y"), seed("elementwise", &steps, "y"), seed("pools", &pools, "y")]
}

/// Two inputs and three outputs, one of them on the way, with golden values of each.
fn several() -> Seed {
    let mut builder = image(2);
    builder.add_input("z", Shape::Flat(2)).unwrap();
    builder.add("act", &["x"], Relu).unwrap();
    builder.add("mean", &["act"], GlobalAveragePool).unwrap();
    builder.add("y", &["mean", "z"], Add).unwrap();
    // The answers are made up: nothing compares them.
    builder.golden_many(&[&noise(34, 24), &noise(35, 2)], &[&noise(36, 2), &noise(37, 2), &noise(38, 24)]);
    ("several", builder.to_bytes_many(&["y", "mean", "act"]).unwrap())
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
        let model = Model::from_bytes_with(&file, &Limits::new().value_elements(1 << 14)).unwrap();
        model.verify_digest().unwrap();
        let mut session = Session::new(&model, SessionOptions::new()).unwrap();
        let mut outputs: Vec<Vec<f32>> = model.outputs().map(|(_, shape)| vec![0.0; shape.len()]).collect();
        let mut run = |samples: &[Vec<f32>]| {
            let inputs: Vec<Values<'_>> = samples.iter().map(|values| Values::F32(values)).collect();
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
            session.run_many(&inputs, &mut outputs).unwrap();
        };
        run(&model.inputs().map(|(_, shape)| vec![0.5; shape.len()]).collect::<Vec<_>>());
        let samples: Vec<Vec<f32>> = model.inputs().map(|(_, shape)| noise(40, shape.len())).collect();
        run(&samples);
        let slices: Vec<&[f32]> = samples.iter().map(|values| &values[..]).collect();
        let (output, expected) = (outputs.concat(), Reader::new(&file, MAX_ORDER).run_many(&slices).concat());
        // The specification leaves the last place of softmax's exp open.
        let close = output.iter().zip(&expected).all(|(y, expected)| (y - expected).abs() <= 1e-6 * expected.abs());
        let has_softmax = model.graph().nodes.iter().any(|node| node.op.kind() == "softmax");
        assert!(output == expected || has_softmax && close, "{name}: {output:?}, but {expected:?}");
        known.extend(model.graph().nodes.iter().map(|node| node.op.kind()));
    }
    let files = std::fs::read_dir(path("any").parent().unwrap()).unwrap().count();
    assert_eq!(files, seeds().len(), "a seed that nothing makes");
    assert_eq!(known, BTreeSet::from_iter(Op::KINDS.iter().copied()), "every operation has its seed");
    let recipe = include_str!("../../../fuzz/README.md");
    assert!(recipe.contains(&format!("-max_len={MAX_BYTES}")), "the recipe's length is the seeds'");
}
