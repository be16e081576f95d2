//! The shapes of results.

use crate::net::{Net, floats, int, ints, list, node, text};
use horq_import::onnx::schema::Attribute;

/// The shape of the result of an operation of one input and constants.
fn shape(
    op: &str,
    input: &[i64],
    constants: &[horq_import::onnx::schema::Tensor],
    attributes: &[Attribute],
) -> Vec<usize> {
    build(op, input, constants, attributes).shape()
}

fn build(op: &str, input: &[i64], constants: &[horq_import::onnx::schema::Tensor], attributes: &[Attribute]) -> Net {
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let net = Net::new(18).input("x", input).node(op, &inputs, &["y"], attributes).output("y");
    names.iter().zip(constants).fold(net, |net, (name, constant)| net.constant(name, constant.clone()))
}

fn zeros(shape: &[i64]) -> horq_import::onnx::schema::Tensor {
    floats(shape, &vec![0.0; shape.iter().product::<i64>() as usize])
}

#[test]
fn convolutions() {
    let w = || [zeros(&[8, 4, 3, 3])];
    let x = &[1, 4, 9, 10];
    assert_eq!(shape("Conv", x, &w(), &[]), [1, 8, 7, 8]);
    assert_eq!(shape("Conv", x, &w(), &[list("pads", &[1, 1, 1, 1]), list("strides", &[2, 2])]), [1, 8, 5, 5]);
    assert_eq!(shape("Conv", x, &w(), &[list("dilations", &[2, 3])]), [1, 8, 5, 4]);
    assert_eq!(shape("Conv", x, &[zeros(&[8, 1, 3, 3]), zeros(&[8])], &[int("group", 4)]), [1, 8, 7, 8]);
    assert_eq!(shape("Conv", &[1, 4, 9], &[zeros(&[8, 4, 2])], &[]), [1, 8, 8]);
    assert_eq!(shape("ConvTranspose", x, &[zeros(&[4, 8, 3, 3])], &[list("strides", &[2, 2])]), [1, 8, 19, 21]);
    let outer = [list("strides", &[2, 2]), list("pads", &[1, 1, 1, 1]), list("output_padding", &[1, 1])];
    assert_eq!(shape("ConvTranspose", x, &[zeros(&[4, 8, 3, 3])], &outer), [1, 8, 18, 20]);
    let wanted = [list("strides", &[2, 2]), list("output_shape", &[18, 20])];
    assert_eq!(shape("ConvTranspose", x, &[zeros(&[4, 8, 3, 3])], &wanted), [1, 8, 18, 20]);
    assert_eq!(shape("ConvTranspose", x, &[zeros(&[4, 2, 3, 3])], &[int("group", 4)]), [1, 8, 11, 12]);
}

#[test]
fn automatic_pads_become_pads() {
    let pads = |mode: &str, size: i64| {
        let attributes = [text("auto_pad", mode), list("strides", &[2, 2])];
        let graph = build("Conv", &[1, 1, size, size], &[zeros(&[1, 1, 3, 3])], &attributes).fold().unwrap();
        let node = &graph.nodes[0];
        assert!(!node.attributes.contains_key("auto_pad"));
        assert_eq!(node.ints("kernel_shape"), Some(&[3, 3][..]));
        (node.ints("pads").unwrap().to_vec(), graph.value(node.output(0).unwrap()).shape.clone().unwrap())
    };
    assert_eq!(pads("SAME_UPPER", 8), (vec![0, 0, 1, 1], vec![1, 1, 4, 4]));
    assert_eq!(pads("SAME_LOWER", 8), (vec![1, 1, 0, 0], vec![1, 1, 4, 4]));
    assert_eq!(pads("SAME_UPPER", 7), (vec![1, 1, 1, 1], vec![1, 1, 4, 4]));
    assert_eq!(pads("VALID", 8), (vec![0, 0, 0, 0], vec![1, 1, 3, 3]));
}

#[test]
fn pools() {
    let pool = |size: i64, attributes: &[Attribute]| {
        let attributes = [&[list("kernel_shape", &[3]), list("strides", &[2])], attributes].concat();
        shape("MaxPool", &[1, 2, size], &[], &attributes)[2]
    };
    assert_eq!(pool(8, &[]), 3);
    assert_eq!(pool(8, &[int("ceil_mode", 1)]), 4);
    assert_eq!(pool(7, &[int("ceil_mode", 1)]), 3);
    // A last window that would start behind the input is left out.
    let one = [list("kernel_shape", &[1]), list("strides", &[2]), int("ceil_mode", 1)];
    assert_eq!(shape("AveragePool", &[1, 2, 4], &[], &one), [1, 2, 2]);
    assert_eq!(shape("GlobalAveragePool", &[1, 2, 4, 5], &[], &[]), [1, 2, 1, 1]);
    let refusal = &build("MaxPool", &[1, 2, 2], &[], &[list("kernel_shape", &[3])]).refusals()[0];
    assert!(refusal.reason.contains("larger than its input"), "{refusal}");
}

#[test]
fn moves() {
    let x = &[1, 4, 6, 8];
    assert_eq!(shape("Reshape", x, &[ints(&[0, -1, 4])], &[]), [1, 48, 4]);
    assert_eq!(shape("Flatten", x, &[], &[int("axis", 2)]), [4, 48]);
    assert_eq!(shape("Flatten", x, &[], &[int("axis", -1)]), [24, 8]);
    assert_eq!(shape("Transpose", x, &[], &[]), [8, 6, 4, 1]);
    assert_eq!(shape("Transpose", x, &[], &[list("perm", &[0, 2, 3, 1])]), [1, 6, 8, 4]);
    assert_eq!(shape("Slice", x, &[ints(&[-1]), ints(&[i64::MIN]), ints(&[3]), ints(&[-3])], &[]), [1, 4, 6, 3]);
    assert_eq!(shape("Slice", x, &[ints(&[2]), ints(&[i64::MAX]), ints(&[3]), ints(&[i64::MAX])], &[]), [1, 4, 6, 1]);
    assert_eq!(shape("Expand", x, &[ints(&[3, 1, 1, 1, 1])], &[]), [3, 1, 4, 6, 8]);
    assert_eq!(shape("Tile", x, &[ints(&[1, 2, 1, 3])], &[]), [1, 8, 6, 24]);
    assert_eq!(shape("Pad", x, &[ints(&[0, 0, 1, -2, 0, 0, 3, 0])], &[]), [1, 4, 10, 6]);
    assert_eq!(shape("Gather", x, &[ints(&[2, -1, 0])], &[int("axis", 2)]), [1, 4, 3, 8]);
    assert_eq!(shape("DepthToSpace", x, &[], &[int("blocksize", 2)]), [1, 1, 12, 16]);
    assert_eq!(shape("SpaceToDepth", x, &[], &[int("blocksize", 2)]), [1, 16, 3, 4]);
    assert_eq!(shape("ReduceMean", x, &[ints(&[2, -1])], &[int("keepdims", 0)]), [1, 4]);
    assert_eq!(shape("ReduceMean", x, &[], &[]), [1, 1, 1, 1]);
    assert_eq!(shape("ReduceMean", x, &[], &[int("noop_with_empty_axes", 1)]), [1, 4, 6, 8]);
    assert_eq!(shape("ArgMax", x, &[], &[int("axis", 1)]), [1, 1, 6, 8]);
    assert_eq!(shape("TopK", x, &[ints(&[3])], &[]), [1, 4, 6, 3]);
    let split = Net::new(18).input("x", &[1, 5]).node("Split", &["x"], &["a", "y"], &[int("axis", 1)]).output("y");
    assert_eq!(split.shape(), [1, 2]);
}

#[test]
fn products() {
    assert_eq!(shape("MatMul", &[1, 2, 3, 4], &[zeros(&[2, 4, 5])], &[]), [1, 2, 3, 5]);
    assert_eq!(shape("MatMul", &[1, 4], &[zeros(&[4])], &[]), [1]);
    assert_eq!(shape("Gemm", &[1, 4], &[zeros(&[5, 4]), zeros(&[5])], &[int("transB", 1)]), [1, 5]);
    let refusal = &build("MatMul", &[1, 4], &[zeros(&[3, 5])], &[]).refusals()[0];
    assert!(refusal.reason.contains("[1, 4] cannot be multiplied by [3, 5]"), "{refusal}");
    let einsum = |equation: &str, a: &[i64], b: &[i64]| shape("Einsum", a, &[zeros(b)], &[text("equation", equation)]);
    assert_eq!(einsum("bhid,bhjd->bhij", &[1, 2, 5, 4], &[1, 2, 6, 4]), [1, 2, 5, 6]);
    assert_eq!(einsum("...i, ij -> ...j", &[1, 7, 4], &[4, 3]), [1, 7, 3]);
    assert_eq!(einsum("ij,jk", &[1, 4], &[4, 3]), [1, 3]);
    let graph = build("Einsum", &[1, 2, 5, 4], &[zeros(&[1, 2, 6, 4])], &[text("equation", "bhid,bhjd->bhij")]).fold();
    let ops: Vec<String> = graph.unwrap().nodes.into_iter().map(|node| node.op).collect();
    assert_eq!(ops, ["MatMul", "Transpose"]);
}

#[test]
fn resizes() {
    let resize = |scales: &[f32], sizes: &[i64], attributes: &[Attribute]| {
        let mut net = Net::new(19).input("x", &[1, 2, 10, 7]).output("y");
        let (mut names, mut last) = (["x", "", "", ""], 3);
        if !scales.is_empty() {
            net = net.constant("s", floats(&[scales.len() as i64], scales));
            (names[2], last) = ("s", 3);
        }
        if !sizes.is_empty() {
            net = net.constant("z", ints(sizes));
            (names[3], last) = ("z", 4);
        }
        net.body().node.push(node("Resize", &names[..last], &["y"], attributes));
        net.shape()
    };
    assert_eq!(resize(&[1., 1., 0.65, 2.], &[], &[]), [1, 2, 6, 14]);
    assert_eq!(resize(&[], &[1, 2, 5, 5], &[]), [1, 2, 5, 5]);
    assert_eq!(resize(&[], &[5, 5], &[list("axes", &[2, 3])]), [1, 2, 5, 5]);
    let keep = |policy: &str| [list("axes", &[2, 3]), text("keep_aspect_ratio_policy", policy)];
    assert_eq!(resize(&[], &[5, 7], &keep("not_larger")), [1, 2, 5, 4]);
    assert_eq!(resize(&[], &[5, 7], &keep("not_smaller")), [1, 2, 10, 7]);
}

#[test]
fn shapes_that_depend_on_values_are_refused_by_node() {
    let net = Net::new(13)
        .input("x", &[1, 4])
        .typed_input("s", 7, &[2])
        .node("Reshape", &["x", "s"], &["y"], &[])
        .output("y");
    let refusal = &net.refusals()[0];
    assert_eq!((refusal.place.as_str(), refusal.what.as_str()), ("y", "Reshape"));
    assert!(refusal.reason.contains("depend on the network's input"), "{refusal}");
}
