//! Hand-overs: values that go from one binary layer to the next as packed planes, and as nothing else.

use super::{Flow, Step};
use crate::graph::{Graph, Shape};
use horq_kernels::PlaneLayout;
use horq_kernels::weights::LANES;

/// A value that travels as planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The layer that reads it.
    pub(crate) reader: usize,
    /// The node that gives that layer its kernel.
    pub(crate) node: usize,
    /// How the planes lie.
    pub(crate) layout: PlaneLayout,
}

/// For each step whether its value is handed over: where it is a binary layer's, one other layer reads it, that is a binary
/// layer too, and its planes follow from a value alone.
///
/// Where somebody else reads the value as well, it would have to be stored twice: that costs what it saves.
pub(super) fn handovers(
    graph: &Graph,
    flow: &Flow,
    steps: &[Step],
    shape: &dyn Fn(usize) -> Shape,
    batch: usize,
) -> Vec<Option<Handover>> {
    let mut reads = vec![Vec::new(); flow.class.len()];
    for (reader, step) in steps.iter().enumerate() {
        for (i, &value) in step.inputs.iter().enumerate() {
            reads[flow.class[value]].push((reader, i, value));
        }
    }
    let handover = |step: &Step| {
        let writer = graph.nodes[step.node].op.binary_spec(shape(step.inputs[0]), batch)?.geometry;
        let class = flow.class[step.output];
        let [(reader, 0, value)] = reads[class][..] else { return None };
        let spec = graph.nodes[steps[reader].node].op.binary_spec(shape(value), batch)?;
        let layout = PlaneLayout::new(&spec)?;
        let layout = match (shape(step.output), shape(value)) {
            (written, read) if written == read => Some(layout),
            (Shape::Image { height, width, channels }, _) => layout.unflattened([height, width, channels]),
            _ => None,
        };
        let whole_panels = writer.groups == 1 || writer.group_filters().is_multiple_of(LANES);
        let is_answer = flow.output_of[class].is_some();
        layout.filter(|_| whole_panels && !is_answer).map(|layout| Handover {
            reader,
            node: steps[reader].node,
            layout,
        })
    };
    steps.iter().map(handover).collect()
}
