//! FINN's products of bits as products of signs.

use crate::graph::{ElementType, Graph, Node, Tensor, Value, ValueId};
use ndarray::{ArrayD, IxDyn};

/// Replaces `XnorPopcountMatMul(a, w)`, which counts the places of K where two bits are equal, by (K + (2a - 1) (2w - 1)) / 2.
pub(crate) fn xnor_products(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        if node.op == "XnorPopcountMatMul" {
            expand(graph, node);
        } else {
            graph.nodes.push(node);
        }
    }
}

fn number(graph: &mut Graph, value: f32) -> ValueId {
    graph.add_constant(format!("{value}"), Tensor::floats(ArrayD::from_elem(IxDyn(&[]), value)))
}

fn expand(graph: &mut Graph, node: Node) {
    let (Some(a), Some(w), Some(result)) = (node.input(0), node.input(1), node.output(0)) else {
        graph.nodes.push(node);
        return;
    };
    let Some(depth) = graph.value(a).shape.as_ref().and_then(|shape| shape.last().copied()) else {
        graph.nodes.push(node);
        return;
    };
    let step = |graph: &mut Graph, op: &str, inputs: [ValueId; 2], shape: Option<Vec<usize>>, end: Option<ValueId>| {
        let name = format!("{}/{op}", node.name);
        let element = Some(ElementType::Float32);
        let output =
            end.unwrap_or_else(|| graph.add_value(Value { name: name.clone(), element, shape, constant: None }));
        let inputs = inputs.map(Some).to_vec();
        graph.nodes.push(Node { name, op: op.into(), inputs, outputs: vec![Some(output)], ..Node::default() });
        output
    };
    let (one, two) = (number(graph, 1.0), number(graph, 2.0));
    let signs = |graph: &mut Graph, bits: ValueId| {
        if let Some(tensor) = graph.value(bits).constant.clone() {
            let values = tensor.singles().mapv(|bit| 2.0 * bit - 1.0);
            return graph.add_constant(graph.value(bits).name.clone(), Tensor::floats(values));
        }
        let shape = graph.value(bits).shape.clone();
        let doubled = step(graph, "Mul", [bits, two], shape.clone(), None);
        step(graph, "Sub", [doubled, one], shape, None)
    };
    let (a, w) = (signs(graph, a), signs(graph, w));
    let shape = graph.value(result).shape.clone();
    let (depth, half) = (number(graph, depth as f32), number(graph, 0.5));
    let product = step(graph, "MatMul", [a, w], shape.clone(), None);
    let sum = step(graph, "Add", [product, depth], shape.clone(), None);
    step(graph, "Mul", [sum, half], shape, Some(result));
}
