//! From a plan to what its layers are prepared from.

use crate::Model;
use crate::ops::{Context, Reader};
use crate::plan::Plan;
use crate::slot::Slot;
use horq_kernels::Isa;

/// What the layer of that index is prepared from.
pub(super) fn context<'a>(
    model: &'a Model,
    plan: &Plan,
    index: usize,
    layer_of: &'a dyn Fn(&str) -> usize,
    isa: Isa,
    batch: usize,
) -> Context<'a> {
    let (nodes, layer) = (&model.graph().nodes, &plan.layers[index]);
    let node = &nodes[layer.node];
    Context {
        tensors: model.tensors(),
        name: &node.name,
        op: &node.op,
        inputs: &node.inputs,
        shapes: layer.inputs[..node.inputs.len()].iter().map(|value| value.shape).collect(),
        fused: layer.fused.iter().map(|&node| &nodes[node].op).collect(),
        index,
        reads_planes: matches!(layer.inputs[0].slot, Slot::Planes { .. }),
        reader: layer.handover.map(|handover| Reader {
            layer: handover.reader,
            op: &nodes[handover.node].op,
            layout: handover.layout,
        }),
        layer_of,
        isa,
        batch,
    }
}
