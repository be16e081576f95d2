//! The seeds of `fuzz/`: one small model for each family of operations. A fuzzer's mutations must find the bytes that matter, and
//! its inputs be short enough to be kept whole.
//!
//! `cargo test --test format -- --ignored write_the_seeds` writes them anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use horq::graph::{Op, Shape};
use horq::ops::{
    Abs, AdaptiveAveragePool, AdaptiveMaxPool, Add, Affine, AffineByOrder, ArgMax, AveragePool, Basis, BinaryConv2d,
    BinaryDense, BinaryWeightConv2d, BinaryWeightDense, Border, BroadcastAdd, Ceil, Clip, CodebookConv2d,
    CodebookDense, Concat, Conv2d, Coordinates, Cos, Dense, Divide, Elu, Embedding, Equal, Erf, Exp, FakeQuantize,
    Flatten, Floor, Gather, Gelu, GeluTanh, GlobalAveragePool, Greater, GroupNorm, HardSwish, Int8Conv2d, Int8Dense,
    Int8Quantize, Join, LayerNorm, Less, Log, LogSoftmax, Lrn, MatMul, MaxPool, Maximum, Minimum, Mish, MultiThreshold,
    Multiply, Outside, Pad, Power, Prelu, Quantizer, Rearrange, Reciprocal, ReduceL2, ReduceMax, ReduceMean, ReduceMin,
    ReduceProduct, ReduceSum, Relu, Resize, RmsNorm, Round, Rounding, Sigmoid, Sign, Silu, Sin, Slice, Softmax,
    Softplus, Sqrt, Subtract, Tanh, TopK, Where, ZeroInsert,
};
use horq::{
    Builder, Limits, MAX_ORDER, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions, Values, Window,
};

use crate::reader::{Reader, is_open};
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
    seeds.extend(moving());
    seeds.extend(pointwise());
    seeds.extend(sequences());
    seeds.push(several());
    seeds
}

/// The bytes of the seed of that name.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    seeds().into_iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no seed {name}")).1
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
        seed("binary_halving", &conv(ScaleMode::Halving, Some(&[0.5, 0.75]), valid, 1), "y"),
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

/// Values that are moved, and images of another size.
fn moving() -> Vec<Seed> {
    let shape = |height, width, channels| Shape::Image { height, width, channels };
    let mut moved = image(4);
    // A shuffle of pixels, a view, parts and borders.
    moved.add("pixels", &["x"], Rearrange::new([4, 3, 1, 2, 2], [0, 3, 1, 4, 2], shape(8, 6, 1))).unwrap();
    moved.add("view", &["pixels"], Rearrange::reshape(shape(4, 6, 2))).unwrap();
    let slice = Slice::new([0, 1, 0], [3, 6, 2]).step([2, 3, 1]).reverse([1, 0, 1]);
    moved.add("part", &["view"], slice).unwrap();
    moved.add("constant", &["part"], Pad::constant([0, 1, 0], [1, 0, 1], &[-0.5])).unwrap();
    moved.add("reflect", &["constant"], Pad::of_image([2, 0, 1], [0, 3, 0], Border::Reflect)).unwrap();
    moved.add("wrap", &["reflect"], Pad::of_image([0, 1, 0], [2, 0, 1], Border::Wrap)).unwrap();
    moved.add("edge", &["wrap"], Pad::of_image([1, 0, 0], [0, 1, 1], Border::Edge)).unwrap();
    moved.add("gather", &["edge"], Gather::new(2, [3, 0, 3, 1])).unwrap();
    moved.add("zeros", &["gather"], ZeroInsert::new([2, 3])).unwrap();
    moved.add("below", &["gather", "gather"], Join::new(0)).unwrap();
    moved.add("flat", &["below"], Flatten).unwrap();
    moved.add("rest", &["zeros"], Flatten).unwrap();
    moved.add("y", &["flat", "rest"], Concat).unwrap();

    let mut sizes = image(3);
    let nearest = Resize::nearest([7, 2], Rounding::RoundPreferCeil).coordinates(Coordinates::HalfPixelSymmetric);
    sizes.add("nearest", &["x"], nearest.scale(&[1.8, 0.75])).unwrap();
    sizes.add("linear", &["nearest"], Resize::linear([3, 5])).unwrap();
    let cubic = Resize::cubic([5, 5], &[-0.5], Outside::Exclude).coordinates(Coordinates::AlignCorners);
    sizes.add("cubic", &["linear"], cubic).unwrap();
    sizes.add("mean", &["cubic"], AdaptiveAveragePool::new([3, 2])).unwrap();
    sizes.add("largest", &["cubic"], AdaptiveMaxPool::new([3, 7])).unwrap();
    sizes.add("y", &["mean", "largest"], Join::new(1)).unwrap();
    vec![seed("moving", &moved, "y"), seed("sizes", &sizes, "y")]
}

/// Functions of one value; of two and three, and reductions.
fn pointwise() -> Vec<Seed> {
    let mut functions = Builder::new("x", Shape::Flat(3));
    let chain: [(&str, Op<PlainValues<'_>>); 16] = [
        ("abs", Abs.into()),
        ("exp", Exp.into()),
        ("log", Log.into()),
        ("softplus", Softplus.into()),
        ("sqrt", Sqrt.into()),
        ("reciprocal", Reciprocal.into()),
        ("sigmoid", Sigmoid.into()),
        ("tanh", Tanh.into()),
        ("silu", Silu.into()),
        ("gelu", Gelu.into()),
        ("gelu_tanh", GeluTanh.into()),
        ("erf", Erf.into()),
        ("mish", Mish.into()),
        ("sin", Sin.into()),
        ("cos", Cos.into()),
        ("power", Power::new(-1.5).into()),
    ];
    let mut before = "x";
    for (name, op) in chain {
        functions.add(name, &[before], op).unwrap();
        before = name;
    }
    let mut wholes = image(2);
    wholes.add("floor", &["x"], Floor).unwrap().add("ceil", &["floor"], Ceil).unwrap();
    wholes.add("elu", &["x"], Elu::new(0.75)).unwrap().add("clip", &["elu"], Clip::new(-0.25, 0.5)).unwrap();
    wholes.add("round", &["x"], Round).unwrap().add("less", &["round", "ceil"], Less).unwrap();
    wholes.add("y", &["less", "clip", "x"], Where).unwrap();

    let mut operands = image(2);
    operands.add("sum", &["x"], ReduceSum::new([true, false, false])).unwrap();
    operands.add("mean", &["x"], ReduceMean::new([true, true, false])).unwrap();
    operands.add("max", &["x"], ReduceMax::new([false, true, false])).unwrap();
    operands.add("min", &["x"], ReduceMin::new([false, false, true])).unwrap();
    operands.add("l2", &["x"], ReduceL2::new([true, true, true])).unwrap();
    operands.add("product", &["x"], ReduceProduct::new([false, true, true])).unwrap();
    operands.add("over", &["sum", "l2"], Divide).unwrap().add("from", &["max", "mean"], Subtract).unwrap();
    operands.add("times", &["over", "from"], Multiply).unwrap().add("plus", &["times", "x"], BroadcastAdd).unwrap();
    operands.add("least", &["plus", "min"], Minimum).unwrap().add("most", &["least", "product"], Maximum).unwrap();
    operands.add("greater", &["x", "most"], Greater).unwrap().add("equal", &["most", "x"], Equal).unwrap();
    operands.add("either", &["greater", "equal"], Add).unwrap().add("y", &["either", "x", "most"], Where).unwrap();
    vec![seed("functions", &functions, "power"), seed("wholes", &wholes, "y"), seed("operands", &operands, "y")]
}

/// Products of values, normalization, and what goes by steps and places.
fn sequences() -> Vec<Seed> {
    let mut attention = image(5);
    let normalize = LayerNorm::new(1e-5).scale(noise(50, 5)).shift(noise(51, 5));
    attention.add("normalized", &["x"], normalize).unwrap();
    attention.add("scores", &["normalized", "x"], MatMul::transposed()).unwrap();
    attention.add("scaled", &["scores"], Affine::new(&[0.5; 3], &[0.0; 3])).unwrap();
    attention.add("y", &["scaled", "normalized"], MatMul::new()).unwrap();

    let mut norms = image(4);
    norms.add("groups", &["x"], GroupNorm::new(2, 1e-3).scale(noise(52, 4)).shift(noise(53, 4))).unwrap();
    norms.add("root", &["groups"], RmsNorm::new(1e-5).scale(noise(54, 4))).unwrap();
    norms.add("neighbours", &["root"], Lrn::new(3, 0.5, 0.75, 2.0)).unwrap();
    norms.add("y", &["neighbours"], LogSoftmax).unwrap();

    let mut steps = image(3);
    steps.add("signs", &["x"], Sign).unwrap();
    let quantize = FakeQuantize::new(&[0.25, 0.5, 0.125], &[0.0, 1.0, 2.0], &[0.0; 3], &[3.0, 7.0, 15.0]);
    steps.add("rounded", &["x"], quantize).unwrap();
    steps.add("counted", &["x"], MultiThreshold::new(3, noise(55, 6), 0.5, -1.0)).unwrap();
    steps.add("best", &["x"], ArgMax).unwrap();
    steps.add("two", &["x"], TopK::new(2)).unwrap();
    steps.add("rows", &["best"], Embedding::new(2, noise(56, 6))).unwrap();
    steps.add("y", &["signs", "rounded", "counted", "best", "two", "rows"], Concat).unwrap();
    vec![seed("attention", &attention, "y"), seed("norms", &norms, "y"), seed("steps", &steps, "y")]
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
        // The specification leaves the last place of some functions open.
        let close = output.iter().zip(&expected).all(|(y, expected)| (y - expected).abs() <= 1e-6 * expected.abs());
        let open = model.graph().nodes.iter().any(|node| is_open(node.op.kind()));
        assert!(output == expected || open && close, "{name}: {output:?}, but {expected:?}");
        known.extend(model.graph().nodes.iter().map(|node| node.op.kind()));
    }
    let files = std::fs::read_dir(path("any").parent().unwrap()).unwrap().count();
    assert_eq!(files, seeds().len(), "a seed that nothing makes");
    assert_eq!(known, BTreeSet::from_iter(Op::KINDS.iter().copied()), "every operation has its seed");
    let recipe = include_str!("../../../fuzz/README.md");
    assert!(recipe.contains(&format!("-max_len={MAX_BYTES}")), "the recipe's length is the seeds'");
}
