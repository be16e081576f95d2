//! From a graph to a list of layers: which nodes become one kernel call, and where each value lies in memory.
//!
//! Nothing here touches a tensor or a kernel; a plan follows from the graph, the shapes and the batch alone.

mod arena;
mod fuse;
mod handover;

use crate::graph::{Graph, Shape};
use crate::ops::Role;
use crate::slot::{Slot, Value};
use arena::Block;
pub(crate) use handover::Handover;
use std::collections::HashMap;

/// A value of the graph: 0 is the graph's input, i + 1 the value of node i.
pub(crate) type ValueId = usize;

/// One kernel call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedLayer {
    /// The node that gives the layer its kernel and its name.
    pub(crate) node: usize,
    /// The nodes that became its epilogue, first to last.
    pub(crate) fused: Vec<usize>,
    /// What the kernel reads: the inputs of `node`, then the other operand of each fused `add`.
    pub(crate) inputs: Vec<Value>,
    /// What it writes.
    pub(crate) output: Value,
    /// Who reads the output, if it is written as planes.
    pub(crate) handover: Option<Handover>,
}

impl PlannedLayer {
    /// Bytes of one sample's values that the layer reads and writes, as f32 or as planes for `batch` samples.
    pub(crate) fn activation_bytes(&self, batch: usize) -> usize {
        let words = |value: &Value| match value.slot {
            Slot::Planes { words, .. } => words / batch,
            Slot::Input | Slot::Output | Slot::Arena(_) => value.shape.len(),
        };
        self.inputs.iter().chain([&self.output]).map(words).sum::<usize>() * size_of::<f32>()
    }
}

/// The layers in the order in which they run, and the memory between them.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) layers: Vec<PlannedLayer>,
    /// f32 values that the arena needs for a whole batch.
    pub(crate) arena_len: usize,
    /// Where the arena's blocks lie and when they live.
    pub(crate) blocks: Vec<Block>,
}

/// A layer before its values have slots.
struct Step {
    node: usize,
    fused: Vec<usize>,
    inputs: Vec<ValueId>,
    output: ValueId,
}

impl Plan {
    /// Plans `graph`, whose node i has a value of shape `shapes[i]`, for up to `batch` samples a run.
    ///
    /// The graph must have passed validation (names resolve, nodes stand after what they read, the answer needs every node).
    /// `None` if the memory for the batch passes the address space.
    pub(crate) fn new(graph: &Graph, shapes: &[Shape], batch: usize) -> Option<Self> {
        let flow = Flow::new(graph);
        let steps = fuse::steps(graph, &flow);
        let storage = Storage::new(graph, &flow, &steps);
        let shape = |value: ValueId| if value == 0 { graph.input.shape } else { shapes[value - 1] };

        let handovers = handover::handovers(graph, &flow, &storage, &steps, &shape, batch);
        let output_class = storage.class[flow.output];
        let mut blocks: Vec<Block> = Vec::new();
        let mut block_of = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            let class = storage.class[step.output];
            if class == output_class {
                continue;
            }
            let block = *block_of.entry(class).or_insert_with(|| {
                blocks.push(Block { offset: 0, len: 0, first: at, last: at });
                blocks.len() - 1
            });
            blocks[block].len = match handovers[at] {
                Some(handover) => handover.layout.len(),
                None => shape(step.output).len().checked_mul(batch)?,
            };
            blocks[block].last = storage.last_read[class].max(at);
        }
        let arena_len = arena::place(&mut blocks)?;
        let place = |value: ValueId| {
            let class = storage.class[value];
            let slot = match class {
                class if class == output_class => Slot::Output,
                0 => Slot::Input,
                class => {
                    let Block { offset: start, len: words, first, .. } = blocks[block_of[&class]];
                    if handovers[first].is_some() { Slot::Planes { start, words } } else { Slot::Arena(start) }
                }
            };
            Value { slot, shape: shape(value) }
        };
        let layers = steps
            .iter()
            .zip(&handovers)
            .map(|(step, handover)| PlannedLayer {
                handover: *handover,
                node: step.node,
                fused: step.fused.clone(),
                inputs: step.inputs.iter().map(|&value| place(value)).collect(),
                output: place(step.output),
            })
            .collect();
        Some(Self { layers, arena_len, blocks })
    }

    /// The index of the layer whose kernel is that node's. Validation has seen the node, and one that gives a layer its kernel is
    /// never fused into another.
    pub(crate) fn layer_of(&self, graph: &Graph, node: &str) -> usize {
        let found = self.layers.iter().position(|layer| graph.nodes[layer.node].name == node);
        found.expect("a binary layer of the graph")
    }
}

/// Who reads what, by number instead of name.
struct Flow {
    /// The values that each node reads.
    inputs: Vec<Vec<ValueId>>,
    /// The nodes that read each value, once for each time they read it.
    readers: Vec<Vec<usize>>,
    output: ValueId,
}

impl Flow {
    fn new(graph: &Graph) -> Self {
        let mut ids = HashMap::from([(graph.input.name.as_str(), 0)]);
        let mut inputs: Vec<Vec<ValueId>> = Vec::with_capacity(graph.nodes.len());
        for (i, node) in graph.nodes.iter().enumerate() {
            inputs.push(node.inputs.iter().map(|name| ids[name.as_str()]).collect());
            ids.insert(&node.name, i + 1);
        }
        let output = ids[graph.output.as_str()];
        let mut readers = vec![Vec::new(); graph.nodes.len() + 1];
        for (node, values) in inputs.iter().enumerate() {
            values.iter().for_each(|&value| readers[value].push(node));
        }
        Self { inputs, readers, output }
    }

    /// Whether the node needs no work: a flatten is its image under another name, unless it would turn the caller's input
    /// into the caller's output, which are two buffers.
    fn is_free(&self, graph: &Graph, node: usize) -> bool {
        let is_alias = |node: usize| matches!(graph.nodes[node].op.role(), Role::Alias(_));
        let mut origin = node + 1;
        while origin != 0 && is_alias(origin - 1) {
            origin = self.inputs[origin - 1][0];
        }
        is_alias(node) && !(origin == 0 && node + 1 == self.output)
    }
}

/// Which values share memory: a flattened value is its image under another name.
struct Storage {
    /// The class of each value; the graph's input is in class 0.
    class: Vec<usize>,
    /// The last step that reads a value of the class; 0 if none does.
    last_read: Vec<usize>,
}

impl Storage {
    fn new(graph: &Graph, flow: &Flow, steps: &[Step]) -> Self {
        let mut class: Vec<usize> = (0..=graph.nodes.len()).collect();
        for node in 0..graph.nodes.len() {
            if flow.is_free(graph, node) {
                class[node + 1] = class[flow.inputs[node][0]];
            }
        }
        let mut last_read = vec![0; class.len()];
        for (at, step) in steps.iter().enumerate() {
            step.inputs.iter().for_each(|&value| last_read[class[value]] = at);
        }
        Self { class, last_read }
    }
}

#[cfg(test)]
mod tests;
