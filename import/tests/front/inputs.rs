//! The inputs of a file: batches of one, open sizes, constants.

use crate::net::{Net, floats, info, ints};
use horq_import::Error;
use horq_import::onnx::{Options, parse};

fn first_shape(net: &Net, given: &[(&str, &[usize])]) -> Result<Vec<usize>, String> {
    let shapes = given.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    match parse(net.bytes(), None, &Options { shapes }) {
        Ok(graph) => Ok(graph.value(graph.inputs[0]).shape.clone().unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

fn net(shape: &[i64]) -> Net {
    Net::new(13).input("x", shape).node("Relu", &["x"], &["y"], &[]).output("y")
}

#[test]
fn a_batch_is_one_sample() {
    assert_eq!(first_shape(&net(&[0, 3, 8, 8]), &[]).unwrap(), [1, 3, 8, 8]);
    assert_eq!(first_shape(&net(&[16, 3, 8, 8]), &[]).unwrap(), [1, 3, 8, 8]);
    assert_eq!(first_shape(&net(&[0]), &[]).unwrap(), [1]);
    // One axis alone is no batch of numbers.
    assert_eq!(first_shape(&net(&[5]), &[]).unwrap(), [5]);
}

#[test]
fn open_sizes_are_asked_for() {
    let open = net(&[0, 3, 0, 0]);
    let error = first_shape(&open, &[]).unwrap_err();
    assert!(error.contains("[open, 3, open, open]") && error.contains("--input x=1x3xSIZExSIZE"), "{error}");
    assert_eq!(first_shape(&open, &[("x", &[1, 3, 32, 48])]).unwrap(), [1, 3, 32, 48]);
    for wrong in [&[1, 4, 32, 48][..], &[1, 3, 32], &[1, 3, 0, 48]] {
        assert!(first_shape(&open, &[("x", wrong)]).unwrap_err().contains("does not fit"));
    }
    assert!(first_shape(&net(&[1, 3]), &[("z", &[1])]).unwrap_err().contains("its inputs are: x"));
}

#[test]
fn inputs_with_values_are_constants() {
    let net = Net::new(9)
        .input("x", &[1, 2])
        .input("w", &[2])
        .constant("w", floats(&[2], &[1., 2.]))
        .node("Mul", &["x", "w"], &["y"], &[])
        .output("y");
    let graph = net.fold().unwrap();
    assert_eq!(graph.inputs.len(), 1);
    assert!(graph.value(graph.nodes[0].input(1).unwrap()).constant.is_some());
}

#[test]
fn a_fixed_batch_in_a_reshape_becomes_one() {
    let reshaped = |sizes: &[i64], output: &[i64]| {
        let mut net =
            Net::new(13).input("x", &[8, 4, 4]).constant("s", ints(sizes)).node("Reshape", &["x", "s"], &["y"], &[]);
        net.body().output.push(info("y", 1, output));
        net
    };
    assert_eq!(reshaped(&[8, 16], &[8, 16]).shape(), [1, 16]);
    assert_eq!(reshaped(&[8, -1], &[8, 16]).shape(), [1, 16]);
    // Sixteen samples of half the size are nothing that one sample could give.
    let refusal = &reshaped(&[16, 8], &[16, 8]).refusals()[0];
    assert!(refusal.instead.contains("batch of one"), "{refusal}");
    let refusal = &reshaped(&[2, -1], &[8, 16]).refusals()[0];
    assert!(refusal.instead.contains("batch of one"), "{refusal}");
}

#[test]
fn all_refusals_are_listed() {
    let net = Net::new(13)
        .input("x", &[1, 4])
        .node("NonMaxSuppression", &["x"], &["a"], &[])
        .node("Relu", &["a"], &["b"], &[])
        .node("LSTM", &["b"], &["c"], &[])
        .node("com.example::Magic", &["x"], &["d"], &[])
        .node("Add", &["c", "d"], &["y"], &[])
        .output("y");
    let refusals = net.refusals();
    let ops: Vec<&str> = refusals.iter().map(|refusal| refusal.what.as_str()).collect();
    assert_eq!(ops, ["NonMaxSuppression", "LSTM", "Magic"]);
    let text = Error::Refused(refusals).to_string();
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with("`a` (NonMaxSuppression): "), "{text}");
}

#[test]
fn broken_graphs_are_refused_by_node() {
    let refused = |net: Net, word: &str| {
        let refusals = net.output("y").refusals();
        assert!(refusals.iter().any(|refusal| refusal.reason.contains(word)), "{refusals:?}");
    };
    let net = || Net::new(13).input("x", &[1, 4]);
    refused(net().node("Add", &["x", "z"], &["y"], &[]), "`z`, which nothing makes");
    refused(net().node("Relu", &["x"], &["y"], &[]).node("Abs", &["x"], &["y"], &[]), "another node");
    refused(
        net().node("Add", &["x", "b"], &["a"], &[]).node("Add", &["x", "a"], &["b"], &[]).node(
            "Add",
            &["a", "b"],
            &["y"],
            &[],
        ),
        "its own result",
    );
    refused(net(), "nothing makes it");
    // Nodes in another order are put right.
    let order = net().node("Relu", &["a"], &["y"], &[]).node("Abs", &["x"], &["a"], &[]).output("y");
    let ops: Vec<String> = order.fold().unwrap().nodes.into_iter().map(|node| node.op).collect();
    assert_eq!(ops, ["Abs", "Relu"]);
    assert!(matches!(parse(vec![1, 2, 3], None, &Options::default()), Err(Error::Malformed(_))));
    // An empty file is told as one.
    assert!(matches!(parse(vec![], None, &Options::default()), Err(Error::OtherFormat { .. })));
}

#[test]
fn what_nobody_needs_is_left_out() {
    let net = Net::new(13)
        .input("x", &[1, 4])
        .node("LSTM", &["x"], &["unread"], &[])
        .node("Relu", &["x"], &["y"], &[])
        .output("y");
    let graph = net.fold().unwrap();
    assert_eq!((graph.nodes.len(), graph.values.len()), (1, 2));
}
