//! Fusion: a convolution or matrix product and the elementwise nodes after it become one kernel call; behind a binary
//! convolution also a pool of 2 x 2.

use super::{Flow, Step, ValueId};
use crate::graph::{Graph, Op};
use horq_kernels::{ScaleMode, Window};

/// The most nodes in one epilogue. Real chains have up to three or four (affine, activation, add, activation); the bound
/// keeps the list of steps on the stack. A pool counts, though it is no step.
pub(super) const MAX_FUSED: usize = crate::layers::MAX_STEPS - 1; // one is left for the layer's own bias

/// The layers in the order in which they run: each stands where the last of its nodes stood, so that the
/// other operand of a fused `add` has been computed.
pub(super) fn steps(graph: &Graph, flow: &Flow) -> Vec<Step> {
    let mut taken = vec![false; graph.nodes.len()];
    let mut steps = Vec::new();
    for node in 0..graph.nodes.len() {
        if taken[node] || flow.is_free(graph, node) {
            continue;
        }
        let mut step = Step { node, fused: Vec::new(), inputs: flow.inputs[node].clone(), output: node + 1 };
        if has_epilogue(&graph.nodes[node].op) {
            while let Some((next, addend)) = next_fusable(graph, flow, &taken, &step) {
                taken[next] = true;
                step.fused.push(next);
                step.inputs.extend(addend);
                step.output = next + 1;
            }
        }
        steps.push(step);
    }
    steps.sort_by_key(|step| step.output);
    steps
}

fn has_epilogue(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d { .. }
            | Op::Dense { .. }
            | Op::BinaryConv2d { .. }
            | Op::BinaryDense { .. }
            | Op::BinaryWeightConv2d { .. }
            | Op::BinaryWeightDense { .. }
            | Op::CodebookConv2d { .. }
            | Op::CodebookDense { .. }
            | Op::Int8Conv2d { .. }
            | Op::Int8Dense { .. }
    )
}

/// The only reader of the layer's value, if it can be the next step of the epilogue, and the other operand of an `add`.
fn next_fusable(graph: &Graph, flow: &Flow, taken: &[bool], step: &Step) -> Option<(usize, Option<ValueId>)> {
    let [reader] = flow.readers[step.output][..] else { return None };
    if step.output == flow.output || taken[reader] || step.fused.len() == MAX_FUSED {
        return None;
    }
    match graph.nodes[reader].op {
        Op::Affine { .. } | Op::AffineByOrder { .. } | Op::Relu | Op::Prelu { .. } => Some((reader, None)),
        Op::Add => {
            let other = flow.inputs[reader].iter().copied().find(|&value| value != step.output);
            other.map(|value| (reader, Some(value)))
        }
        Op::MaxPool { window } if pools(graph, step, window) => Some((reader, None)),
        _ => None,
    }
}

/// Whether the layer can take that pool: the four windows of a pixel go through the kernel together.
fn pools(graph: &Graph, step: &Step, window: Window) -> bool {
    let Op::BinaryConv2d { quantizer, .. } = &graph.nodes[step.node].op else { return false };
    let two_by_two = Window::square(2).with_stride(2);
    let only_steps = step.fused.iter().all(|&node| !matches!(graph.nodes[node].op, Op::MaxPool { .. } | Op::Add));
    // Windows of mode `window` have scales of their own, which lie in their order.
    window == two_by_two && only_steps && quantizer.mode != ScaleMode::Window
}
