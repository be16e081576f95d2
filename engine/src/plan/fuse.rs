//! Fusion: a convolution or matrix product and the elementwise nodes after it become one kernel call; behind a binary
//! convolution also a pool of 2 x 2.

use super::{Flow, Step, ValueId};
use crate::graph::Graph;
use crate::ops::{MAX_STEPS, Quantizer, Role, StepSpec};
use horq_kernels::Window;

/// The most nodes in one epilogue. Real chains have up to three or four (affine, activation, add, activation); the bound
/// keeps the list of steps on the stack. A pool counts, though it is no step.
pub(super) const MAX_FUSED: usize = MAX_STEPS - 1; // one is left for the layer's own bias

/// The layers in the order in which they run: each stands where the last of its nodes stood, so that the
/// other operand of a fused `add` has been computed.
pub(super) fn steps(graph: &Graph, flow: &Flow) -> Vec<Step> {
    let mut taken = vec![false; graph.nodes.len()];
    let mut steps = Vec::new();
    for node in 0..graph.nodes.len() {
        if taken[node] || flow.is_free(node) {
            continue;
        }
        let mut step = Step { node, fused: Vec::new(), inputs: flow.inputs[node].clone(), output: flow.value_of(node) };
        if let Role::Product(_) = graph.nodes[node].op.role() {
            while let Some((next, addend)) = next_fusable(graph, flow, &taken, &step) {
                taken[next] = true;
                step.fused.push(next);
                step.inputs.extend(addend);
                step.output = flow.value_of(next);
            }
        }
        steps.push(step);
    }
    steps.sort_by_key(|step| step.output);
    steps
}

/// The only reader of the layer's value, if it can be the next step of the epilogue, and the other operand of a sum.
fn next_fusable(graph: &Graph, flow: &Flow, taken: &[bool], step: &Step) -> Option<(usize, Option<ValueId>)> {
    let [reader] = flow.readers[step.output][..] else { return None };
    if flow.is_output[step.output] || taken[reader] || step.fused.len() == MAX_FUSED {
        return None;
    }
    match graph.nodes[reader].op.role() {
        Role::Step(StepSpec::Vectors { .. } | StepSpec::Scalars { .. }) => Some((reader, None)),
        Role::Step(StepSpec::Addend) => {
            let other = flow.inputs[reader].iter().copied().find(|&value| value != step.output);
            other.map(|value| (reader, Some(value)))
        }
        Role::Pool { window, largest: true, .. } if pools(graph, step, window) => Some((reader, None)),
        Role::Pool { .. } | Role::Product(_) | Role::Alias(_) | Role::Layer(_) => None,
    }
}

/// Whether the layer can take that pool: the four windows of a pixel go through the kernel together.
fn pools(graph: &Graph, step: &Step, window: &Window) -> bool {
    let op = |node: usize| &graph.nodes[node].op;
    let two_by_two = Window::square(2).with_stride(2);
    let is_sum = |node: usize| matches!(op(node).role(), Role::Step(StepSpec::Addend));
    let is_step = |node: usize| matches!(op(node).role(), Role::Step(_)) && !is_sum(node);
    let steps_before = step.fused.iter().all(|&node| is_step(node));
    *window == two_by_two && steps_before && op(step.node).quantizer().is_some_and(Quantizer::takes_pool)
}
