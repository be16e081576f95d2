//! From a graph to a list of layers: which nodes become one kernel call, and where each value lies in memory.
//!
//! Nothing here touches a tensor or a kernel; a plan follows from the graph, the shapes and the batch alone.

mod arena;
mod fuse;
mod handover;

use crate::graph::{Graph, Node, Shape};
use crate::ops::Role;
use crate::slot::{Slot, Value};
use arena::Block;
pub(crate) use handover::Handover;
use std::collections::HashMap;

/// A value of the graph: its inputs come first, then the values of its nodes.
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
            Slot::Input(_) | Slot::Output(_) | Slot::Arena(_) => value.shape.len(),
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
    /// The graph must have passed validation (names resolve, nodes stand after what they read, every value is read or an output).
    /// `None` if the memory for the batch passes the address space.
    pub(crate) fn new(graph: &Graph, shapes: &[Shape], batch: usize) -> Option<Self> {
        let flow = Flow::new(graph);
        let steps = fuse::steps(graph, &flow);
        let last_read = last_reads(&flow, &steps);
        let shape = |value: ValueId| match graph.inputs.get(value) {
            Some(input) => input.shape,
            None => shapes[value - graph.inputs.len()],
        };

        let handovers = handover::handovers(graph, &flow, &steps, &shape, batch);
        let mut blocks: Vec<Block> = Vec::new();
        let mut block_of = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            let class = flow.class[step.output];
            if flow.output_of[class].is_some() {
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
            blocks[block].last = last_read[class].max(at);
        }
        let arena_len = arena::place(&mut blocks)?;
        let place = |value: ValueId| {
            let class = flow.class[value];
            let slot = match flow.output_of[class] {
                Some(output) => Slot::Output(output),
                None if class < graph.inputs.len() => Slot::Input(class),
                None => {
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

/// Who reads what, by number instead of name, and which values are one.
struct Flow {
    /// The values that each node reads.
    inputs: Vec<Vec<ValueId>>,
    /// The nodes that read each value, once for each time they read it.
    readers: Vec<Vec<usize>>,
    /// Whether each value is an output of the graph.
    is_output: Vec<bool>,
    /// The first of the values that lie in the same memory: a flattened value is its image under another name. The class of
    /// an input is that input.
    class: Vec<ValueId>,
    /// The output that each class is, if it is one. A class has at most one.
    output_of: Vec<Option<usize>>,
    /// Inputs of the graph.
    graph_inputs: usize,
}

impl Flow {
    fn new(graph: &Graph) -> Self {
        let graph_inputs = graph.inputs.len();
        let values = graph_inputs + graph.nodes.len();
        let names = graph.inputs.iter().map(|input| &input.name).chain(graph.nodes.iter().map(|node| &node.name));
        let ids: HashMap<&str, ValueId> = names.enumerate().map(|(id, name)| (name.as_str(), id)).collect();
        let read = |node: &Node| node.inputs.iter().map(|name| ids[name.as_str()]).collect();
        let inputs: Vec<Vec<ValueId>> = graph.nodes.iter().map(read).collect();
        let mut readers = vec![Vec::new(); values];
        for (node, values) in inputs.iter().enumerate() {
            values.iter().for_each(|&value| readers[value].push(node));
        }
        let mut output = vec![None; values];
        for (number, name) in graph.outputs.iter().enumerate() {
            output[ids[name.as_str()]] = Some(number);
        }
        let mut class: Vec<ValueId> = (0..values).collect();
        let mut output_of = vec![None; values];
        for (node, reads) in inputs.iter().enumerate() {
            let value = graph_inputs + node;
            if matches!(graph.nodes[node].op.role(), Role::Alias(_)) {
                let origin = class[reads[0]];
                // An output is a buffer of its own: neither the caller's input nor another output can stand for it.
                let is_taken = origin < graph_inputs || output_of[origin].is_some();
                class[value] = if output[value].is_some() && is_taken { value } else { origin };
            }
            if output[value].is_some() {
                output_of[class[value]] = output[value];
            }
        }
        let is_output = output.iter().map(Option::is_some).collect();
        Self { inputs, readers, is_output, class, output_of, graph_inputs }
    }

    /// The value of that node.
    fn value_of(&self, node: usize) -> ValueId {
        self.graph_inputs + node
    }

    /// Whether the node needs no work: its value is another one under its name.
    fn is_free(&self, node: usize) -> bool {
        self.class[self.value_of(node)] != self.value_of(node)
    }
}

/// The last step that reads a value of each class; 0 if none does.
fn last_reads(flow: &Flow, steps: &[Step]) -> Vec<usize> {
    let mut last_read = vec![0; flow.class.len()];
    for (at, step) in steps.iter().enumerate() {
        step.inputs.iter().for_each(|&value| last_read[flow.class[value]] = at);
    }
    last_read
}

#[cfg(test)]
mod tests;
