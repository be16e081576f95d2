//! Plans of random graphs, checked by running them on labels instead of numbers.

use super::Plan;
use crate::Order;
use crate::graph::{Graph, Input, Node, Op, Shape};
use crate::limits::Limits;
use crate::ops::{
    Add, Affine, AveragePool, Basis, BinaryConv2d, Concat, Conv2d, Dense, Flatten, MaxPool, Prelu, Quantizer, Relu,
};
use crate::slot::{Slot, Value};
use horq_kernels::{ScaleMode, Window};
use std::collections::HashMap;

const IMAGE: Shape = Shape::Image { height: 2, width: 3, channels: 5 };

fn node(name: &str, inputs: &[&str], op: impl Into<Op>) -> Node {
    Node { name: name.into(), inputs: inputs.iter().map(|input| input.to_string()).collect(), op: op.into() }
}

fn conv() -> Op {
    Conv2d::new(Window::square(1), 5, "w").into()
}

fn binary(mode: ScaleMode) -> Op {
    let mut quantizer = Quantizer::new(Order::new(2).unwrap(), mode);
    quantizer.scales = mode.has_constants().then(|| "b".into());
    BinaryConv2d::new(Window::square(1), 5, quantizer, [Basis::new("w", "a")]).into()
}

fn affine() -> Op {
    Affine::new("s", "t").into()
}

fn graph(nodes: Vec<Node>) -> Graph {
    let output = nodes.last().expect("a graph has nodes").name.clone();
    Graph { inputs: vec![input("x")], outputs: vec![output], nodes }
}

fn input(name: &str) -> Input {
    Input { name: name.into(), shape: IMAGE }
}

fn plan(graph: &Graph, batch: usize) -> Plan {
    let shapes = graph.shapes(&Limits::default()).expect("a valid graph");
    Plan::new(graph, &shapes, batch).expect("a small graph")
}

/// The names of each layer's nodes.
fn layers(graph: &Graph, plan: &Plan) -> Vec<Vec<String>> {
    let name = |&node: &usize| graph.nodes[node].name.clone();
    plan.layers.iter().map(|layer| std::iter::once(&layer.node).chain(&layer.fused).map(name).collect()).collect()
}

#[test]
fn a_chain_becomes_one_layer_and_the_arena_stays_empty() {
    let graph = graph(vec![
        node("a", &["x"], conv()),
        node("b", &["a"], affine()),
        node("c", &["b"], Relu),
        node("d", &["x", "c"], Add),
        node("e", &["d"], Prelu::new("p")),
    ]);
    let plan = plan(&graph, 4);
    assert_eq!(layers(&graph, &plan), [["a", "b", "c", "d", "e"]]);
    assert_eq!(plan.arena_len, 0);
    assert_eq!(
        plan.layers[0].inputs.iter().map(|value| value.slot).collect::<Vec<_>>(),
        [Slot::Input(0), Slot::Input(0)]
    );
    assert_eq!(plan.layers[0].output.slot, Slot::Output(0));
}

#[test]
fn a_pool_of_two_by_two_joins_a_binary_convolution_and_nothing_else() {
    let fused = |head: Op, between: Op, window: Window| {
        let graph = graph(vec![
            node("a", &["x"], head),
            node("b", if between == Add.into() { &["a", "x"] } else { &["a"] }, between),
            node("pool", &["b"], MaxPool::new(window)),
            node("c", &["pool"], Relu),
        ]);
        layers(&graph, &plan(&graph, 2))
    };
    let usual = Window::square(2).with_stride(2);
    let apart = [vec!["a", "b"], vec!["pool"], vec!["c"]];
    assert_eq!(fused(binary(ScaleMode::Image), affine(), usual), [["a", "b", "pool", "c"]]);
    assert_eq!(fused(binary(ScaleMode::Window), affine(), usual), apart);
    assert_eq!(fused(binary(ScaleMode::Image), affine(), Window::square(2)), apart);
    assert_eq!(fused(binary(ScaleMode::Image), affine(), usual.with_padding(1)), apart);
    assert_eq!(fused(binary(ScaleMode::Image), Add.into(), usual), apart);
    assert_eq!(fused(conv(), affine(), usual), apart);
    let mean = AveragePool::new(usual);
    let last = graph(vec![node("a", &["x"], binary(ScaleMode::None)), node("b", &["a"], mean)]);
    assert_eq!(layers(&last, &plan(&last, 1)), [["a"], ["b"]]);
}

#[test]
fn two_readers_stop_a_chain() {
    let graph = graph(vec![
        node("a", &["x"], conv()),
        node("b", &["a"], Relu),
        node("c", &["a"], affine()),
        node("d", &["b", "c"], Add),
    ]);
    assert_eq!(layers(&graph, &plan(&graph, 1)), [vec!["a"], vec!["b"], vec!["c"], vec!["d"]]);
}

#[test]
fn a_value_added_to_itself_is_not_fused() {
    let graph = graph(vec![node("a", &["x"], conv()), node("b", &["a", "a"], Add)]);
    assert_eq!(layers(&graph, &plan(&graph, 1)), [vec!["a"], vec!["b"]]);
}

#[test]
fn the_fused_layer_waits_for_the_other_operand() {
    let graph = graph(vec![
        node("a", &["x"], conv()),
        node("pool", &["x"], MaxPool::new(Window::square(1))),
        node("d", &["a", "pool"], Add),
    ]);
    assert_eq!(layers(&graph, &plan(&graph, 1)), [vec!["pool"], vec!["a", "d"]]);
}

#[test]
fn of_two_convolutions_one_takes_the_sum() {
    let graph = graph(vec![
        node("a", &["x"], conv()),
        node("b", &["x"], conv()),
        node("c", &["b", "a"], Add),
        node("d", &["c"], Relu),
    ]);
    assert_eq!(layers(&graph, &plan(&graph, 1)), [vec!["b"], vec!["a", "c", "d"]]);
}

#[test]
fn a_long_chain_of_layers_needs_two_blocks() {
    let names: Vec<String> = (0..20).map(|i| format!("n{i}")).collect();
    let mut nodes = vec![node("n0", &["x"], conv())];
    nodes.extend((1..20).map(|i| node(&names[i], &[&names[i - 1]], conv())));
    let graph = graph(nodes);
    assert_eq!(plan(&graph, 8).arena_len, 2 * (8 * IMAGE.len()).next_multiple_of(16));
}

#[test]
fn flattening_is_free_but_between_the_callers_two_buffers() {
    let direct = graph(vec![node("a", &["x"], Flatten)]);
    assert_eq!(layers(&direct, &plan(&direct, 1)), [["a"]]);
    let dense = Dense::new(3, "w");
    let through = graph(vec![node("a", &["x"], Flatten), node("b", &["a"], dense)]);
    let through_plan = plan(&through, 1);
    assert_eq!(layers(&through, &through_plan), [["b"]]);
    assert_eq!(through_plan.layers[0].inputs[0].slot, Slot::Input(0));
    let last = graph(vec![node("a", &["x"], conv()), node("b", &["a"], Flatten)]);
    let last_plan = plan(&last, 1);
    assert_eq!(layers(&last, &last_plan), [["a"]]);
    assert_eq!(last_plan.layers[0].output.slot, Slot::Output(0));
}

#[test]
fn a_value_between_binary_layers_with_constant_scales_travels_as_planes() {
    let chain = |mode| {
        graph(vec![
            node("a", &["x"], binary(ScaleMode::Image)),
            node("b", &["a"], affine()),
            node("c", &["b"], binary(mode)),
        ])
    };
    for (mode, packed) in
        [(ScaleMode::Fixed, true), (ScaleMode::None, true), (ScaleMode::Halving, true), (ScaleMode::Image, false)]
    {
        let graph = chain(mode);
        let plan = plan(&graph, 3);
        assert_eq!(layers(&graph, &plan), [vec!["a", "b"], vec!["c"]]);
        let room = plan.layers[0].output.slot;
        assert_eq!(plan.layers[1].inputs[0].slot, room);
        // A word a pixel, order and sample, or five values a pixel and sample.
        let expected = if packed { Slot::Planes { start: 0, words: 2 * 3 * 2 * 3 } } else { Slot::Arena(0) };
        assert_eq!(room, expected, "{mode:?}");
        assert_eq!(plan.layers[0].handover.map(|to| to.reader), packed.then_some(1));
    }
    let shared = graph(vec![
        node("a", &["x"], binary(ScaleMode::Fixed)),
        node("b", &["a"], binary(ScaleMode::Fixed)),
        node("c", &["b", "a"], Add),
    ]);
    assert!(plan(&shared, 1).layers.iter().all(|layer| layer.handover.is_none()), "the shortcut reads values");
}

#[test]
fn an_output_that_others_read_stays_in_the_callers_buffer() {
    let mut graph = graph(vec![
        node("a", &["x"], conv()),
        node("b", &["a"], Relu),
        node("c", &["b", "z"], Add),
        node("d", &["c"], affine()),
    ]);
    graph.inputs.push(input("z"));
    graph.outputs.push("b".into());
    let plan = plan(&graph, 2);
    // The chain would be one layer if nobody wanted `b`.
    assert_eq!(layers(&graph, &plan), [vec!["a", "b"], vec!["c"], vec!["d"]]);
    assert_eq!(plan.layers[0].output.slot, Slot::Output(1));
    assert_eq!(
        plan.layers[1].inputs.iter().map(|value| value.slot).collect::<Vec<_>>(),
        [Slot::Output(1), Slot::Input(1)]
    );
    assert_eq!(plan.layers[2].output.slot, Slot::Output(0));
}

#[test]
fn an_output_is_no_other_output_under_another_name() {
    let nodes = || vec![node("a", &["x"], conv()), node("b", &["a"], Flatten), node("c", &["a"], Flatten)];
    let with_outputs = |outputs: &[&str]| {
        let mut nodes = nodes();
        nodes.extend(["b", "c"].iter().filter(|name| !outputs.contains(name)).map(|name| {
            let (reader, values) = (format!("reads {name}"), [*name]);
            node(&reader, &values, Dense::new(3, "w"))
        }));
        let read = nodes[3..].iter().map(|node| node.name.clone());
        let outputs = outputs.iter().map(|output| output.to_string()).chain(read).collect();
        Graph { inputs: vec![input("x")], outputs, nodes }
    };
    for (outputs, copies) in [(&["b", "c"][..], 1), (&["a", "b", "c"], 2), (&["a"], 0), (&["c"], 0)] {
        let graph = with_outputs(outputs);
        let plan = plan(&graph, 1);
        let copied = plan.layers.iter().filter(|layer| graph.nodes[layer.node].op == Flatten.into()).count();
        assert_eq!(copied, copies, "{outputs:?}");
    }
}

#[test]
fn an_output_between_binary_layers_is_values_and_not_planes() {
    let mut graph =
        graph(vec![node("a", &["x"], binary(ScaleMode::Fixed)), node("b", &["a"], binary(ScaleMode::Fixed))]);
    assert!(plan(&graph, 1).layers[0].handover.is_some());
    graph.outputs.push("a".into());
    let plan = plan(&graph, 1);
    assert!(plan.layers[0].handover.is_none());
    assert_eq!(plan.layers[1].inputs[0].slot, Slot::Output(1));
}

#[test]
fn a_batch_beyond_the_address_space_is_refused() {
    let graph = graph(vec![node("a", &["x"], conv()), node("b", &["a"], conv())]);
    let shapes = graph.shapes(&Limits::default()).unwrap();
    assert!(Plan::new(&graph, &shapes, usize::MAX / 64).is_none());
    assert!(Plan::new(&graph, &shapes, usize::MAX).is_none());
}

/// A small generator (Knuth's constants), so that a failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// A graph with one input and one output for even seeds, with up to three inputs and any outputs for odd ones.
fn random_graph(seed: u64) -> Graph {
    let mut random = Random(seed);
    let one = seed.is_multiple_of(2);
    let inputs = if one { 1 } else { 1 + random.below(3) };
    let mut values: Vec<(String, Shape)> = (0..inputs).map(|i| (format!("x{i}"), IMAGE)).collect();
    let mut nodes = Vec::new();
    // The first node of a graph with one input reads it in any case.
    let mut unread: Vec<usize> = if one { Vec::new() } else { (0..inputs).collect() };
    let target = 2 + random.below(14);
    let open = |unread: &[usize]| if one { unread.len() > 1 } else { unread.iter().any(|&value| value < inputs) };
    while nodes.len() < target || open(&unread) {
        let pick = |random: &mut Random, unread: &[usize]| match unread {
            [] => random.below(values.len()),
            _ if nodes.len() < target && random.below(3) == 0 => random.below(values.len()),
            _ => unread[random.below(unread.len())],
        };
        let first = pick(&mut random, &unread);
        let closing = nodes.len() >= target && one;
        let second = if closing { unread[usize::from(unread[0] == first)] } else { pick(&mut random, &unread) };
        let (a, b) = (values[first].1, values[second].1);
        let image = matches!(a, Shape::Image { .. });
        let both = [first, second];
        let (op, reads): (Op, &[usize]) = match random.below(10) {
            0..=2 if a == b => (Add.into(), &both),
            0..=2 if matches!((a, b), (Shape::Flat(_), Shape::Flat(_)) | (IMAGE, IMAGE)) => (Concat.into(), &both),
            0..=2 if image && random.below(4) == 0 => (Flatten.into(), &both[..1]),
            3 => (Relu.into(), &both[..1]),
            4 => (affine(), &both[..1]),
            5 => (Prelu::new("p").into(), &both[..1]),
            6 if matches!(a, Shape::Image { height: 2, .. }) && random.below(2) == 0 => {
                (MaxPool::new(Window::square(2).with_stride(2)).into(), &both[..1])
            }
            6 if image => (MaxPool::new(Window::square(1)).into(), &both[..1]),
            7 if image && random.below(3) == 0 => (Flatten.into(), &both[..1]),
            _ if image => {
                let modes = [ScaleMode::Image, ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving];
                let op = std::iter::once(conv()).chain(modes.map(binary)).nth(random.below(5));
                (op.expect("one of five"), &both[..1])
            }
            _ => (Dense::new(30, "w").into(), &both[..1]),
        };
        let name = format!("n{}", nodes.len());
        let shape = match (&op, a, b) {
            (Op::Conv2d { .. } | Op::BinaryConv2d { .. }, Shape::Image { height, width, .. }, _) => {
                Shape::Image { height, width, channels: 5 }
            }
            (Op::MaxPool(pool), Shape::Image { channels, .. }, _) if pool.window.stride == [2, 2] => {
                Shape::Image { height: 1, width: 1, channels }
            }
            (Op::Dense { .. }, ..) => Shape::Flat(30),
            (Op::Flatten(_), ..) => Shape::Flat(a.len()),
            (Op::Concat(_), Shape::Flat(a), Shape::Flat(b)) => Shape::Flat(a + b),
            (Op::Concat(_), ..) => Shape::Image { height: 2, width: 3, channels: 10 },
            _ => a,
        };
        let inputs: Vec<&str> = reads.iter().map(|&i| values[i].0.as_str()).collect();
        nodes.push(node(&name, &inputs, op));
        unread.retain(|i| !reads.contains(i));
        unread.push(values.len());
        values.push((name, shape));
        if nodes.len() > 200 {
            return random_graph(seed + (1 << 40)); // two ends that no operation joins; the next seed
        }
    }
    let ends: Vec<usize> = unread.iter().map(|value| value - inputs).collect();
    let is_output = |node: &usize| ends.contains(node) || !one && random.below(4) == 0;
    let mut outputs: Vec<String> = (0..nodes.len()).filter(is_output).map(|i| nodes[i].name.clone()).collect();
    if seed % 4 == 1 {
        outputs.reverse();
    }
    let inputs = values[..inputs].iter().map(|(name, _)| input(name)).collect();
    Graph { inputs, outputs, nodes }
}

/// Runs each plan on labels: a layer writes the name of its last node, or of the image that this flattens, all over its output,
/// and each place it reads must hold the name of the value that the graph says.
#[test]
fn random_plans_read_what_the_graph_says() {
    let (mut fused, mut shared, mut packed, mut reread) = (0, 0, 0, 0);
    for seed in 0..3000 {
        let graph = random_graph(seed);
        let batch = 1 + seed as usize % 3;
        let plan = plan(&graph, batch);
        let index: HashMap<&str, usize> = graph.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        let origin = |name: &str| {
            let mut name = name;
            while let Some(&i) = index.get(name).filter(|&&i| graph.nodes[i].op == Flatten.into()) {
                name = &graph.nodes[i].inputs[0];
            }
            name.to_owned()
        };
        let mut arena: Vec<String> = vec![String::new(); plan.arena_len];
        let mut answers = vec![String::new(); graph.outputs.len()];
        let mut done = vec![false; graph.nodes.len()];
        for layer in &plan.layers {
            let mut expected = graph.nodes[layer.node].inputs.clone();
            let mut value = graph.nodes[layer.node].name.clone();
            done[layer.node] = true;
            for &node in &layer.fused {
                let others: Vec<&String> = graph.nodes[node].inputs.iter().filter(|input| **input != value).collect();
                assert_eq!(others.len() + 1, graph.nodes[node].inputs.len(), "seed {seed}: the chain is broken");
                expected.extend(others.into_iter().cloned());
                value = graph.nodes[node].name.clone();
                assert!(!std::mem::replace(&mut done[node], true), "seed {seed}: {value} runs twice");
                fused += 1;
            }
            assert_eq!(expected.len(), layer.inputs.len());
            for (read, name) in layer.inputs.iter().zip(&expected) {
                let name = origin(name);
                match read.slot {
                    Slot::Input(number) => assert_eq!(name, graph.inputs[number].name, "seed {seed}"),
                    Slot::Output(number) => {
                        assert_eq!(name, answers[number], "seed {seed}: an output that is not written yet");
                        reread += 1;
                    }
                    Slot::Arena(start) => {
                        let held = &arena[start..start + read.shape.len() * batch];
                        assert!(held.iter().all(|held| *held == name), "seed {seed}: {name} is overwritten");
                    }
                    Slot::Planes { start, words } => {
                        let held = &arena[start..start + words];
                        assert!(held.iter().all(|held| *held == name), "seed {seed}: {name} is overwritten");
                        let mode = match &graph.nodes[layer.node].op {
                            Op::BinaryConv2d(conv) => conv.weights.quantizer.mode,
                            op => panic!("seed {seed}: {op:?} reads planes"),
                        };
                        assert!(mode.is_constant(), "seed {seed}: planes for {mode:?}");
                        packed += 1;
                    }
                }
            }
            match layer.output.slot {
                Slot::Input(_) => panic!("seed {seed}: a layer writes the input"),
                Slot::Output(number) => {
                    let before = std::mem::replace(&mut answers[number], origin(&value));
                    assert_eq!(before, "", "seed {seed}: output {number} is written twice");
                }
                Slot::Arena(start) | Slot::Planes { start, .. } => {
                    assert_eq!(start % 16, 0);
                    let range = |value: &Value| match value.slot {
                        Slot::Arena(at) => at..at + value.shape.len() * batch,
                        Slot::Planes { start, words } => start..start + words,
                        _ => 0..0,
                    };
                    let output = range(&layer.output);
                    let apart = |read: &Value| {
                        let input = range(read);
                        input.is_empty() || input.end <= output.start || input.start >= output.end
                    };
                    assert!(layer.inputs.iter().all(apart), "seed {seed}: {value} lies over what its layer reads");
                    arena[output].fill(origin(&value));
                }
            }
        }
        let computed = |i: usize| done[i] || graph.nodes[i].op == Flatten.into();
        assert!((0..graph.nodes.len()).all(computed), "seed {seed}: a node is left out");
        assert!(graph.outputs.iter().map(|output| origin(output)).eq(answers), "seed {seed}");
        let alone: usize = plan.blocks.iter().map(|block| block.len.next_multiple_of(16)).sum();
        assert!(plan.arena_len <= alone);
        shared += usize::from(plan.arena_len < alone);
    }
    assert!(
        fused > 1000 && shared > 500 && packed > 300 && reread > 1000,
        "the graphs are too plain: {fused} nodes fused, {shared} arenas shared, {packed} values packed, {reread} outputs read"
    );
}
