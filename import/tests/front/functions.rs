//! Local functions and branches become plain nodes.

use crate::net::{Net, branch, float, floats, ints, node, small, tensor};
use horq_import::graph::Graph;
use horq_import::onnx::schema::{Attribute, Function, Graph as Body, OperatorSet, ValueInfo};

fn ops(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.op.as_str()).collect()
}

fn function(name: &str, inputs: &[&str], outputs: &[&str]) -> Function {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Function {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: names(inputs),
        output: names(outputs),
        opset_import: vec![OperatorSet { domain: None, version: Some(13) }],
        ..Function::default()
    }
}

/// An attribute that has the value of the function's.
fn reference(name: &str, of: &str) -> Attribute {
    Attribute { name: Some(name.into()), r#type: Some(1), ref_attr_name: Some(of.into()), ..Attribute::default() }
}

#[test]
fn functions_stand_where_they_are_called() {
    let mut leaky = function("Leaky", &["a", "b"], &["c"]);
    leaky.node =
        vec![node("LeakyRelu", &["a"], &["t"], &[reference("alpha", "slope")]), node("Add", &["t", "b"], &["c"], &[])];
    leaky.attribute_proto = vec![float("slope", 0.5)];
    let mut twice = function("Twice", &["a"], &["c"]);
    twice.node = vec![
        node("local::Leaky", &["a", "a"], &["t"], &[float("slope", 0.25)]),
        node("local::Leaky", &["t", "a"], &["c"], &[]),
    ];
    let mut net = Net::new(13).input("x", &[1, 4]).output("y");
    let mut call = node("local::Twice", &["x"], &["y"], &[]);
    call.name = Some("call".into());
    net.body().node.push(call);
    net.0.functions = vec![leaky, twice];
    let graph = net.fold().unwrap();
    assert_eq!(ops(&graph), ["LeakyRelu", "Add", "LeakyRelu", "Add"]);
    assert_eq!([graph.nodes[0].float("alpha", 0.0), graph.nodes[2].float("alpha", 0.0)], [0.25, 0.5]);
    assert_eq!(graph.nodes[0].name, "call/t/t");
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
}

#[test]
fn a_function_can_leave_out_inputs_and_give_them_on() {
    let mut same = function("Same", &["a", "low", "high"], &["a", "b"]);
    same.node = vec![node("Clip", &["a", "low", "high"], &["b"], &[])];
    let mut net = Net::new(13)
        .input("x", &[1, 4])
        .constant("six", floats(&[], &[6.0]))
        .node("local::Same", &["x", "", "six"], &["p", "q"], &[])
        .node("Add", &["p", "q"], &["y"], &[])
        .output("y");
    net.0.functions = vec![same];
    let graph = net.fold().unwrap();
    assert_eq!(ops(&graph), ["Clip", "Identity", "Add"]);
    assert!(graph.nodes[0].input(1).is_none() && graph.nodes[0].input(2).is_some());
}

#[test]
fn functions_without_end_are_refused() {
    let mut circle = function("Circle", &["a"], &["b"]);
    circle.node = vec![node("local::Circle", &["a"], &["b"], &[])];
    let mut net = Net::new(13).input("x", &[1]).node("local::Circle", &["x"], &["y"], &[]).output("y");
    net.0.functions = vec![circle];
    assert!(net.refusals().iter().any(|refusal| refusal.reason.contains("call each other too often")));
    // Each calls the next one ten times: 10^12 nodes.
    let level = |at: usize| {
        let mut function = function(&format!("F{at}"), &["a"], &["b"]);
        let next = if at == 12 { "Relu".to_owned() } else { format!("local::F{}", at + 1) };
        function.node = (0..10).map(|i| node(&next, &["a"], &[if i == 0 { "b" } else { "" }], &[])).collect();
        function
    };
    let mut net = Net::new(13).input("x", &[1]).node("local::F0", &["x"], &["y"], &[]).output("y");
    net.0.functions = (0..=12).map(level).collect();
    assert!(net.refusals().iter().any(|refusal| refusal.reason.contains("call each other too often")));
}

/// A branch that adds a constant of its own to a value from outside.
fn adding(value: f32) -> Body {
    let constant = node("Constant", &[], &["c"], &[tensor("value", floats(&[], &[value]))]);
    Body {
        node: vec![constant, node("Add", &["r", "c"], &["s"], &[])],
        output: vec![ValueInfo { name: Some("s".into()), r#type: None }],
        ..Body::default()
    }
}

#[test]
fn a_branch_is_taken_where_its_condition_is_known() {
    for (size, expected) in [(4, 2.0), (5, 1.0)] {
        let net = Net::new(13)
            .input("x", &[1, size])
            .constant("four", ints(&[4]))
            .node("Relu", &["x"], &["r"], &[])
            .node("Shape", &["x"], &["shape"], &[])
            .constant("one", ints(&[1]))
            .node("Gather", &["shape", "one"], &["width"], &[])
            .node("Equal", &["width", "four"], &["is_four"], &[])
            .node("If", &["is_four"], &["y"], &[branch("then_branch", adding(2.0)), branch("else_branch", adding(1.0))])
            .output("y");
        let graph = net.fold().unwrap();
        assert_eq!(ops(&graph), ["Relu", "Add", "Identity"]);
        let added = graph.value(graph.nodes[1].input(1).unwrap()).constant.as_ref().unwrap();
        assert_eq!(added.singles()[[].as_slice()], expected);
    }
    let net = Net::new(13)
        .typed_input("c", 9, &[1])
        .input("r", &[1, 4])
        .node("If", &["c"], &["y"], &[branch("then_branch", adding(2.0)), branch("else_branch", adding(1.0))])
        .output("y");
    let refusal = &net.refusals()[0];
    assert!(refusal.what == "If" && refusal.reason.contains("depends on the network's input"), "{refusal}");
}

#[test]
fn branches_in_branches_find_values_of_all_that_are_around_them() {
    let inner = Body {
        node: vec![node(
            "If",
            &["yes"],
            &["s"],
            &[branch("then_branch", adding(3.0)), branch("else_branch", adding(4.0))],
        )],
        output: vec![ValueInfo { name: Some("s".into()), r#type: None }],
        ..Body::default()
    };
    let net = Net::new(13)
        .input("x", &[1, 4])
        .constant("yes", small(9, &[], &[1]))
        .constant("no", small(9, &[], &[0]))
        .node("Relu", &["x"], &["r"], &[])
        .node("If", &["no"], &["y"], &[branch("then_branch", adding(1.0)), branch("else_branch", inner)])
        .output("y");
    assert_eq!(ops(&net.fold().unwrap()), ["Relu", "Add", "Identity", "Identity"]);
}
