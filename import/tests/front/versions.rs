//! Operations of old operator sets mean what the newest ones say.

use crate::net::{Net, float, float_list, floats, int, ints, list, text};
use horq_import::graph::{Attribute, Graph};

/// What a graph computes, without the names of values: each node with its attributes, and its inputs as constants or as places of
/// the values that are computed.
fn told(graph: &Graph) -> Vec<String> {
    let value = |id: Option<horq_import::graph::ValueId>| match id.map(|id| graph.value(id)) {
        None => "none".to_owned(),
        Some(value) => match &value.constant {
            Some(constant) => format!("{constant:?}"),
            None => format!("{:?}", value.shape),
        },
    };
    let told = |node: &horq_import::graph::Node| {
        let inputs: Vec<String> = node.inputs.iter().map(|&id| value(id)).collect();
        format!("{} {inputs:?} {:?}", node.op, node.attributes)
    };
    graph.nodes.iter().map(told).collect()
}

fn same(old: Net, new: Net) {
    let (old, new) = (old.fold().unwrap(), new.fold().unwrap());
    assert_eq!(told(&old), told(&new));
    assert!(!old.nodes.is_empty());
}

fn net(opset: i64) -> Net {
    Net::new(opset).input("x", &[1, 4, 6, 1]).output("y")
}

#[test]
fn attributes_became_inputs() {
    same(
        net(11).node("Squeeze", &["x"], &["y"], &[list("axes", &[3])]),
        net(13).constant("a", ints(&[-1])).node("Squeeze", &["x", "a"], &["y"], &[]),
    );
    same(
        net(11).node("Unsqueeze", &["x"], &["y"], &[list("axes", &[0, 5])]),
        net(21).constant("a", ints(&[5, 0])).node("Unsqueeze", &["x", "a"], &["y"], &[]),
    );
    for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"] {
        same(
            net(11).node(op, &["x"], &["y"], &[list("axes", &[-1, 1]), int("keepdims", 0)]),
            net(18).constant("a", ints(&[1, 3])).node(op, &["x", "a"], &["y"], &[int("keepdims", 0)]),
        );
    }
    same(
        net(10).node("Pad", &["x"], &["y"], &[list("pads", &[0, 0, 1, 2, 0, 0, 3, 4]), float("value", 0.5)]),
        net(18)
            .constant("p", ints(&[1, 2, 3, 4]))
            .constant("v", floats(&[], &[0.5]))
            .constant("a", ints(&[2, 3]))
            .node("Pad", &["x", "p", "v", "a"], &["y"], &[]),
    );
    same(
        net(6 + 1).node("Clip", &["x"], &["y"], &[float("min", 0.0), float("max", 6.0)]),
        net(13).constant("l", floats(&[], &[0.0])).constant("h", floats(&[], &[6.0])).node(
            "Clip",
            &["x", "l", "h"],
            &["y"],
            &[],
        ),
    );
    same(
        net(9).node(
            "Slice",
            &["x"],
            &["y"],
            &[list("starts", &[1, -3]), list("ends", &[9, -1]), list("axes", &[1, 2])],
        ),
        net(13).constant("s", ints(&[0, 1, 3, 0])).constant("e", ints(&[1, 4, 5, 1])).node(
            "Slice",
            &["x", "s", "e"],
            &["y"],
            &[],
        ),
    );
    same(
        net(9).node("TopK", &["x"], &["y"], &[int("k", 2), int("axis", 1)]),
        net(11).constant("k", ints(&[2])).node("TopK", &["x", "k"], &["y"], &[int("axis", -3)]),
    );
    same(
        net(11).node("Split", &["x"], &["", "y"], &[list("split", &[1, 3]), int("axis", 1)]),
        net(13).constant("s", ints(&[1, 3])).node("Split", &["x", "s"], &["", "y"], &[int("axis", 1)]),
    );
}

#[test]
fn upsample_became_resize() {
    let modes =
        [text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor"), text("mode", "nearest")];
    let new = || net(13).constant("s", floats(&[4], &[1., 1., 2., 3.])).node("Resize", &["x", "", "s"], &["y"], &modes);
    same(net(7).node("Upsample", &["x"], &["y"], &[float_list("scales", &[1., 1., 2., 3.])]), new());
    same(net(9).constant("s", floats(&[4], &[1., 1., 2., 3.])).node("Upsample", &["x", "s"], &["y"], &[]), new());
    same(net(10).constant("s", floats(&[4], &[1., 1., 2., 3.])).node("Resize", &["x", "s"], &["y"], &[]), new());
    assert_eq!(new().shape(), [1, 4, 12, 3]);
}

#[test]
fn an_old_softmax_ranges_over_all_axes_behind_its_own() {
    let ops = |net: Net| net.fold().unwrap().nodes.iter().map(|node| node.op.clone()).collect::<Vec<_>>();
    let old = |axis: i64| net(11).node("Softmax", &["x"], &["y"], &[int("axis", axis)]);
    assert_eq!(ops(old(1)), ["Reshape", "Softmax", "Reshape"]);
    // Behind axis 2 there is nothing but a size of 1.
    same(old(2), net(13).node("Softmax", &["x"], &["y"], &[int("axis", -2)]));
    // Without an axis it is 1, and -1 since operator set 13.
    same(net(11).node("Softmax", &["x"], &["y"], &[]), old(1));
    same(net(13).node("Softmax", &["x"], &["y"], &[]), net(13).node("Softmax", &["x"], &["y"], &[int("axis", 3)]));
    let graph = old(1).fold().unwrap();
    assert!(matches!(graph.nodes[1].attributes["axis"], Attribute::Int(1)));
    let values = [0.0, 1.0, 2.0, 3.0].map(|x: f32| x.ln_1p());
    let flat = Net::new(12).constant("x", floats(&[1, 2, 2], &values)).output("y").node("Softmax", &["x"], &["y"], &[]);
    assert_eq!(flat.value().singles().mapv(|y| (y * 10.0).round()).into_raw_vec_and_offset().0, [1., 2., 3., 4.]);
}

#[test]
fn group_norm_had_a_scale_for_each_group() {
    let old = net(18).constant("s", floats(&[2], &[1., 2.])).constant("b", floats(&[2], &[3., 4.])).node(
        "GroupNormalization",
        &["x", "s", "b"],
        &["y"],
        &[int("num_groups", 2)],
    );
    let new = net(21)
        .constant("s", floats(&[4], &[1., 1., 2., 2.]))
        .constant("b", floats(&[4], &[3., 3., 4., 4.]))
        .node("GroupNormalization", &["x", "s", "b"], &["y"], &[int("num_groups", 2)]);
    same(old, new);
}

#[test]
fn what_no_version_says_is_refused_by_name() {
    let spatial = Net::new(7)
        .input("x", &[1, 2, 3])
        .constant("v", floats(&[2], &[1., 1.]))
        .node("BatchNormalization", &["x", "v", "v", "v", "v"], &["y"], &[int("spatial", 0)])
        .output("y");
    assert!(spatial.refusals()[0].reason.contains("spatial=0"));
    for opset in [6, 25] {
        let refusal = &net(opset).node("Relu", &["x"], &["y"], &[]).refusals()[0];
        assert!(refusal.reason.contains(&format!("operator set {opset}")) && refusal.instead.contains("7 to 24"));
    }
}
