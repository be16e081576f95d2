//! Changed files are refused or folded; nothing panics, and memory stays bounded.
//!
//! The seeds are the start of the fuzzer's corpus, too: `cargo test -p horq-import --test front -- --ignored write_the_seeds`.

use crate::net::{Net, branch, float, floats, info, int, ints, list, node, small, tensor, text};
use horq_import::fold::{Limits, fold_with};
use horq_import::onnx::schema::{Function, Graph, Model, Node, OperatorSet, Tensor, ValueInfo};
use horq_import::onnx::{Options, parse};
use horq_import::{Error, import};
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

/// How many changed files a run of the tests tries.
fn tries() -> u64 {
    std::env::var("HORQ_TEST_CASES").map_or(100_000, |n| n.parse().expect("HORQ_TEST_CASES is a number"))
}

fn zeros(shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>();
    floats(shape, &(0..count).map(|i| ((i * 7 + 3) % 11) as f32 * 0.2 - 1.0).collect::<Vec<_>>())
}

/// A small file for each family of operations.
fn seeds() -> Vec<(&'static str, Model)> {
    let image = || Net::new(18).input("x", &[0, 4, 6, 6]);
    let conv = image()
        .constant("w", zeros(&[4, 4, 3, 3]))
        .constant("v", zeros(&[4]))
        .constant("u", floats(&[4], &[1.; 4]))
        .node("Conv", &["x", "w", "v"], &["a"], &[list("pads", &[1, 1, 1, 1]), list("strides", &[1, 1])])
        .node("BatchNormalization", &["a", "v", "v", "v", "u"], &["b"], &[float("epsilon", 1e-5)])
        .node("Relu", &["b"], &["c"], &[])
        .node(
            "MaxPool",
            &["c"],
            &["d"],
            &[list("kernel_shape", &[2, 2]), int("ceil_mode", 1), text("auto_pad", "VALID")],
        )
        .node("ConvTranspose", &["d", "w"], &["e"], &[list("output_padding", &[0, 0])])
        .node("GlobalAveragePool", &["e"], &["y"], &[])
        .output("y");
    let moves = image()
        .constant("s", ints(&[0, 2, 2, 36]))
        .constant("i", ints(&[1, 0]))
        .constant("t", ints(&[3, 2]))
        .constant("p", ints(&[0, 0, 1, 0, 0, 1]))
        .node("Reshape", &["x", "s"], &["a"], &[])
        .node("Transpose", &["a"], &["b"], &[list("perm", &[0, 2, 1, 3])])
        .node("Flatten", &["b"], &["c"], &[int("axis", 1)])
        .node("Unsqueeze", &["c", "i"], &["d"], &[])
        .node("Squeeze", &["d"], &["e"], &[])
        .node("Split", &["b"], &["f", "g"], &[int("axis", 1)])
        .node("Concat", &["f", "g"], &["h"], &[int("axis", 3)])
        .node("Gather", &["h", "i"], &["j"], &[int("axis", 2)])
        .node("Slice", &["j", "i", "t"], &["y"], &[])
        .node("DepthToSpace", &["x"], &["z"], &[int("blocksize", 2)])
        .output("e")
        .output("y")
        .output("z");
    let sizes = image()
        .node("Shape", &["x"], &["a"], &[int("start", 1)])
        .node("Cast", &["a"], &["b"], &[int("to", 1)])
        .node("ReduceProd", &["a"], &["c"], &[int("keepdims", 1)])
        .constant("one", ints(&[1]))
        .node("Concat", &["one", "c"], &["d"], &[int("axis", 0)])
        .node("Reshape", &["x", "d"], &["e"], &[])
        .node("ConstantOfShape", &["d"], &["f"], &[tensor("value", floats(&[1], &[0.5]))])
        .node("Expand", &["b", "a"], &["g"], &[])
        .node("Where", &["h", "e", "f"], &["y"], &[])
        .node("Less", &["e", "f"], &["h"], &[])
        .node("Range", &["k", "l", "k"], &["m"], &[])
        .constant("k", ints(&[1]))
        .constant("l", ints(&[5]))
        .node("Pad", &["m", "q"], &["n"], &[text("mode", "reflect")])
        .constant("q", ints(&[2, 1]))
        .node("Tile", &["n", "l"], &["o"], &[])
        .output("y")
        .output("o");
    let quantized = Net::new(13)
        .input("x", &[1, 8])
        .constant("s", floats(&[], &[0.25]))
        .constant("z", floats(&[], &[0.0]))
        .constant("b", floats(&[], &[2.0]))
        .constant("w", zeros(&[8, 4]))
        .constant("t", zeros(&[4, 3]))
        .constant("o", small(3, &[], &[1]))
        .node(
            "qonnx.custom_op.general::Quant",
            &["x", "s", "z", "b"],
            &["a"],
            &[int("signed", 1), int("narrow", 0), text("rounding_mode", "ROUND")],
        )
        .node("qonnx.custom_op.general::BipolarQuant", &["w", "s"], &["v"], &[])
        .node("MatMul", &["a", "v"], &["c"], &[])
        .node(
            "finn.custom_op.general::MultiThreshold",
            &["c", "t"],
            &["d"],
            &[float("out_scale", 1.0), text("data_layout", "NC")],
        )
        .node("QuantizeLinear", &["d", "s", "o"], &["e"], &[int("axis", 1)])
        .node("DequantizeLinear", &["e", "s", "o"], &["y"], &[int("axis", 1)])
        .output("y");
    let sequence = Net::new(20)
        .input("x", &[1, 5, 8])
        .constant("w", zeros(&[8, 8]))
        .constant("v", zeros(&[8]))
        .constant("a", ints(&[-1]))
        .node("LayerNormalization", &["x", "v", "v"], &["b"], &[int("axis", -1)])
        .node("Einsum", &["b", "w"], &["c"], &[text("equation", "bld,de->ble")])
        .node("Transpose", &["c"], &["d"], &[list("perm", &[0, 2, 1])])
        .node("MatMul", &["b", "d"], &["e"], &[])
        .node("Softmax", &["e"], &["f"], &[int("axis", -1)])
        .node("Gelu", &["f"], &["g"], &[text("approximate", "tanh")])
        .node("ReduceMean", &["g", "a"], &["h"], &[int("keepdims", 0)])
        .node("TopK", &["h", "k"], &["i", "y"], &[int("axis", 1)])
        .constant("k", ints(&[1]))
        .node("Resize", &["x", "", "r"], &["q"], &[text("mode", "nearest")])
        .constant("r", floats(&[3], &[1., 1., 2.]))
        .node("GroupNormalization", &["x", "m", "m"], &["n"], &[int("num_groups", 5)])
        .constant("m", zeros(&[5]))
        .output("i")
        .output("y")
        .output("q")
        .output("n");
    [("conv", conv.0), ("moves", moves.0), ("sizes", sizes.0), ("quantized", quantized.0), ("sequence", sequence.0)]
        .into_iter()
        .chain([("called", called()), ("old", old())])
        .collect()
}

/// Functions and branches.
fn called() -> Model {
    let inner = Graph {
        node: vec![node("Add", &["x", "x"], &["s"], &[])],
        output: vec![ValueInfo { name: Some("s".into()), r#type: None }],
        ..Graph::default()
    };
    let mut net = Net::new(13)
        .input("x", &[1, 4])
        .constant("c", small(9, &[], &[1]))
        .node("If", &["c"], &["a"], &[branch("then_branch", inner.clone()), branch("else_branch", inner)])
        .node("local::F", &["a"], &["y"], &[float("alpha", 0.5)]);
    net.body().output.push(info("y", 1, &[1, 4]));
    net.0.functions = vec![Function {
        name: Some("F".into()),
        domain: Some("local".into()),
        input: vec!["p".into()],
        output: vec!["q".into()],
        node: vec![node("Elu", &["p"], &["q"], &[float("alpha", 2.0)])],
        opset_import: vec![OperatorSet { domain: None, version: Some(13) }],
        ..Function::default()
    }];
    net.0
}

/// Forms of old operator sets.
fn old() -> Model {
    Net::new(9)
        .input("x", &[4, 2, 4, 4])
        .node("Upsample", &["x", "s"], &["a"], &[text("mode", "linear")])
        .constant("s", floats(&[4], &[1., 1., 2., 2.]))
        .node("Slice", &["a"], &["b"], &[list("starts", &[1]), list("ends", &[-1]), list("axes", &[2])])
        .node("Clip", &["b"], &["c"], &[float("min", 0.0), float("max", 6.0)])
        .node("Softmax", &["c"], &["d"], &[int("axis", 1)])
        .node("Dropout", &["d"], &["e"], &[float("ratio", 0.5)])
        .node("Sum", &["e", "e", "e"], &["y"], &[])
        .output("y")
        .0
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.elements, limits.kept, limits.work, limits.nodes) = (1 << 14, 1 << 16, 1 << 18, 1 << 10);
    limits
}

/// What the fuzzer does with bytes: they are refused, or become a file.
fn attempt(bytes: Vec<u8>) -> Result<(), Error> {
    let mut graph = parse(bytes, None, &Options::default())?;
    fold_with(&mut graph, &limits())?;
    // The values of a network that is imported must be small, as those of constants are.
    let small = |shape: &Vec<usize>| shape.iter().map(|&size| size.max(1)).product::<usize>() <= 1 << 12;
    if graph.values.iter().filter_map(|value| value.shape.as_ref()).all(small) {
        import(graph, &horq_import::Options::default())?;
    }
    Ok(())
}

#[test]
fn seeds_are_whole() {
    for (name, model) in seeds() {
        let mut graph =
            parse(model.encode_to_vec(), None, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        fold_with(&mut graph, &limits()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let kinds = graph.values.iter().all(|value| value.shape.is_some() && value.element.is_some());
        assert!(kinds && !graph.nodes.is_empty(), "{name}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/onnx")
}

#[test]
fn the_fuzzer_starts_from_these_seeds() {
    for (name, model) in seeds() {
        let stored = std::fs::read(folder().join(format!("{name}.onnx"))).unwrap_or_default();
        assert!(stored == model.encode_to_vec(), "{name}: make the seeds anew, as fuzz/README.md says");
    }
}

#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    std::fs::create_dir_all(folder()).unwrap();
    for (name, model) in seeds() {
        std::fs::write(folder().join(format!("{name}.onnx")), model.encode_to_vec()).unwrap();
    }
}

#[test]
fn changed_files_do_no_harm() {
    let seeds: Vec<Model> = seeds().into_iter().map(|(_, model)| model).collect();
    let bytes: Vec<Vec<u8>> = seeds.iter().map(Message::encode_to_vec).collect();
    let (mut whole, mut refused, mut broken) = (0, 0, 0);
    for seed in 0..tries() {
        let mut random = StdRng::seed_from_u64(seed);
        let place = random.random_range(0..seeds.len());
        let changed = if seed % 2 == 0 {
            let mut model = seeds[place].clone();
            for _ in 0..random.random_range(1..4) {
                change(&mut model, &mut random);
            }
            model.encode_to_vec()
        } else {
            scramble(bytes[place].clone(), &mut random)
        };
        match attempt(changed) {
            Ok(()) => whole += 1,
            Err(Error::Refused(_)) => refused += 1,
            Err(_) => broken += 1,
        }
    }
    // Changes that all break a file, or none, would test little.
    let least = tries() / 50;
    assert!(whole > least && refused > least && broken > least, "{whole} {refused} {broken}");
}

/// Changes a few bytes.
fn scramble(mut bytes: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    for _ in 0..random.random_range(1..5) {
        let place = random.random_range(0..bytes.len());
        match random.random_range(0..5) {
            0 => bytes[place] = random.random(),
            1 => bytes[place] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(place.max(1)),
            3 => bytes.insert(place, random.random()),
            _ => {
                let part = bytes[place..(place + random.random_range(1..20)).min(bytes.len())].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
    bytes
}

/// Numbers at which arithmetic breaks.
const NUMBERS: [i64; 20] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    7,
    8,
    31,
    32,
    64,
    255,
    1 << 14,
    1 << 20,
    1 << 31,
    -(1 << 31),
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
];

const OPS: [&str; 40] = [
    "Add",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "Reshape",
    "Transpose",
    "Slice",
    "Gather",
    "Concat",
    "Split",
    "Pad",
    "Tile",
    "Expand",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "ReduceSum",
    "ReduceMax",
    "ArgMax",
    "MatMul",
    "Gemm",
    "Einsum",
    "Softmax",
    "Resize",
    "Where",
    "Cast",
    "Range",
    "ConstantOfShape",
    "Shape",
    "OneHot",
    "TopK",
    "ScatterND",
    "GatherND",
    "QLinearConv",
    "CumSum",
];

/// Changes a part of a file that is still one.
fn change(model: &mut Model, random: &mut StdRng) {
    let functions = model.functions.len();
    if functions > 0 && random.random_ratio(1, 4) {
        return change_node(model.functions[0].node.choose_mut_of(random), random);
    }
    let graph = model.graph.as_mut().expect("a graph");
    match random.random_range(0..10) {
        0 if graph.node.len() > 1 => drop(graph.node.remove(random.random_range(0..graph.node.len()))),
        1 => graph.node.push(graph.node[random.random_range(0..graph.node.len())].clone()),
        2 | 3 if !graph.initializer.is_empty() => {
            let place = random.random_range(0..graph.initializer.len());
            change_tensor(&mut graph.initializer[place], random);
        }
        4 => {
            let place = random.random_range(0..graph.input.len());
            let shape = graph.input[place].r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut());
            let Some(shape) = shape.and_then(|tensor| tensor.shape.as_mut()) else { return };
            let axis = random.random_range(0..=shape.dim.len());
            let size = horq_import::onnx::schema::Dimension { dim_value: Some(number(random)), dim_param: None };
            if axis == shape.dim.len() { shape.dim.push(size) } else { shape.dim[axis] = size }
        }
        _ => change_node(graph.node.choose_mut_of(random), random),
    }
}

fn number(random: &mut StdRng) -> i64 {
    if random.random_ratio(1, 2) { random.random_range(-4..10) } else { *NUMBERS.choose(random).expect("numbers") }
}

fn change_tensor(tensor: &mut Tensor, random: &mut StdRng) {
    match random.random_range(0..4) {
        0 if !tensor.int64_data.is_empty() => {
            let place = random.random_range(0..tensor.int64_data.len());
            tensor.int64_data[place] = number(random);
        }
        1 if !tensor.float_data.is_empty() => {
            let place = random.random_range(0..tensor.float_data.len());
            tensor.float_data[place] = [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 3.0][random.random_range(0..6)];
        }
        2 if !tensor.dims.is_empty() => {
            let place = random.random_range(0..tensor.dims.len());
            tensor.dims.swap(0, place);
            tensor.dims.insert(place, 1);
        }
        _ => tensor.data_type = Some(random.random_range(0..25)),
    }
}

fn change_node(node: &mut Node, random: &mut StdRng) {
    let attributes = node.attribute.len();
    match random.random_range(0..6) {
        0 => node.op_type = OPS.choose(random).map(|&op| op.to_owned()),
        1 if !node.input.is_empty() => {
            let (a, b) = (random.random_range(0..node.input.len()), random.random_range(0..node.input.len()));
            node.input.swap(a, b);
        }
        2 => node.input.push(if random.random_ratio(1, 3) { String::new() } else { "x".into() }),
        3 if attributes > 0 => drop(node.attribute.remove(random.random_range(0..attributes))),
        _ if attributes > 0 => {
            let attribute = &mut node.attribute[random.random_range(0..attributes)];
            if let Some(value) = attribute.i.as_mut() {
                *value = number(random);
            } else if !attribute.ints.is_empty() {
                let place = random.random_range(0..attribute.ints.len());
                if random.random_ratio(1, 4) {
                    attribute.ints.truncate(place)
                } else {
                    attribute.ints[place] = number(random)
                }
            } else if let Some(value) = attribute.t.as_mut() {
                change_tensor(value, random);
            } else if let Some(value) = attribute.f.as_mut() {
                *value = number(random) as f32;
            } else if let Some(text) = attribute.s.as_mut().filter(|text| !text.is_empty()) {
                let place = random.random_range(0..text.len());
                text[place] = random.random();
            }
        }
        _ => {}
    }
}

trait ChooseMut<T> {
    /// One of at least one.
    fn choose_mut_of(&mut self, random: &mut StdRng) -> &mut T;
}

impl<T> ChooseMut<T> for Vec<T> {
    fn choose_mut_of(&mut self, random: &mut StdRng) -> &mut T {
        let place = random.random_range(0..self.len());
        &mut self[place]
    }
}
