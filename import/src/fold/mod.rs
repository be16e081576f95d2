//! Constants are computed, and every value gets its type and its shape.
//!
//! What [`fold`] leaves is plain, so that nobody behind it needs to know in how many ways ONNX says a thing:
//!
//! - Every value has a type and a shape. Nothing is computed from constants alone that can be computed here: `Shape` and `Size` are gone.
//! - Nodes are in order, and each is needed for an answer.
//! - `Flatten`, `Squeeze` and `Unsqueeze` are `Reshape`, whose sizes are the result's shape. `Split` is one `Slice` a part. `Slice` and
//!   `Pad` name every axis, with constants. `Gather` of constant places has none below zero. `DepthToSpace`, `SpaceToDepth` and `Einsum` are
//!   `Reshape`, `Transpose` and `MatMul`. Operations on integers (`QLinearConv`, `ConvInteger`, `QLinearMatMul`, `MatMulInteger`) are those on
//!   floats, with `DequantizeLinear`, `QuantizeLinear` or `Cast` around them. `Dropout` is `Identity`. `Sum`, `Mean`, and `Min` and `Max` of other than two inputs are chains.
//!   Reductions other than by sum, mean, product, extremes and `ReduceL2` are chains, too; their axes are named, in ascending order.
//! - Axes in attributes count from the start. Convolutions and pools have `kernel_shape`, `strides`, `dilations` and `pads`, and no `auto_pad`.
//!   `Resize` has scales and sizes for each axis.
//! - An `If` whose condition is a constant is its branch.

mod branch;
mod einsum;
mod elementwise;
mod evaluate;
mod generate;
mod held;
mod infer;
mod integers;
mod linear;
mod movement;
mod moves;
mod norm;
mod order;
mod quantize;
mod reduce;
mod rewrite;
mod scatter;
mod view;
mod window;

use crate::error::{Error, Refusal, Refusals};
use crate::graph::{Graph, Node, Tensor, ValueId};
use std::collections::VecDeque;
use std::sync::Arc;
use view::View;

/// How much folding may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The most elements of a constant that is computed.
    pub elements: usize,
    /// The most elements of all constants that are computed and kept.
    pub kept: usize,
    /// The most elements that are read and written, and numbers that are multiplied.
    pub work: usize,
    /// The most nodes, those that were others in disguise counted each.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { elements: 1 << 27, kept: 1 << 29, work: 1 << 36, nodes: 1 << 20 }
    }
}

/// Computes constants, types and shapes, with the default limits.
///
/// # Errors
/// [`Error::Refused`] with every node that cannot be had or does not fit its inputs.
pub fn fold(graph: &mut Graph) -> Result<(), Error> {
    fold_with(graph, &Limits::default())
}

/// Computes constants, types and shapes.
///
/// # Errors
/// [`Error::Refused`] with every node that cannot be had, does not fit its inputs or takes more than the limits.
pub fn fold_with(graph: &mut Graph, limits: &Limits) -> Result<(), Error> {
    let mut refusals = Refusals::default();
    order::arrange(graph, &mut refusals);
    if !refusals.is_empty() {
        return refusals.finish();
    }
    order::compact(graph);
    let mut folder = Folder { graph, limits, readers: Vec::new(), kept: 0, work: 0, steps: 0, done: Vec::new() };
    folder.run(&mut refusals);
    refusals.finish()?;
    order::arrange(graph, &mut Refusals::default());
    order::compact(graph);
    Ok(())
}

struct Folder<'g> {
    graph: &'g mut Graph,
    limits: &'g Limits,
    /// How many nodes to come, and answers, read each value.
    readers: Vec<usize>,
    kept: usize,
    work: usize,
    steps: usize,
    done: Vec<Node>,
}

impl Folder<'_> {
    fn run(&mut self, refusals: &mut Refusals) {
        let mut queue: VecDeque<Node> = std::mem::take(&mut self.graph.nodes).into();
        for node in &queue {
            self.count(node);
        }
        for output in self.graph.outputs.clone() {
            self.read(output);
        }
        while let Some(node) = queue.pop_front() {
            self.steps += 1;
            if self.steps > self.limits.nodes {
                let instead = format!("networks of up to {} operations can be had", self.limits.nodes);
                refusals.push(Refusal::of(&node, "the network has too many operations", instead));
                break;
            }
            match self.step(&node) {
                Ok(nodes) => {
                    nodes.iter().for_each(|node| self.count(node));
                    self.release(&node);
                    nodes.into_iter().rev().for_each(|node| queue.push_front(node));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        self.graph.nodes = std::mem::take(&mut self.done);
    }

    /// Deals with a node, or gives the nodes that take its place.
    fn step(&mut self, node: &Node) -> Result<Vec<Node>, Refusal> {
        if node.op == "If" && node.domain.is_empty() && !self.is_known(node, 1) {
            return Ok(vec![]);
        }
        if let Some(nodes) = branch::taken(self.graph, node)? {
            return Ok(nodes);
        }
        if !self.is_known(node, node.inputs.len()) {
            // What it reads was refused; say no more than whether the operation is one that can be had.
            return infer::known(node).map(|()| vec![]);
        }
        if let Some(nodes) = rewrite::rewrite(self.graph, node)? {
            return Ok(nodes);
        }
        let view = View { graph: self.graph, node };
        let kinds = infer::infer(&view)?;
        let computed = self.compute(node, &kinds)?;
        let told = self.graph.outputs.clone();
        for (place, kind) in kinds.into_iter().enumerate() {
            let Some(id) = node.output(place) else { continue };
            let value = self.graph.value_mut(id);
            if told.contains(&id) && value.shape.as_ref().is_some_and(|told| *told != kind.shape) {
                let reason = format!("its result has the shape {:?} where the file says {:?}", kind.shape, value.shape);
                let instead = "a batch is built into the network: export it with a batch of one";
                return Err(Refusal::of(node, reason, instead));
            }
            (value.element, value.shape) = (Some(kind.element), Some(kind.shape));
        }
        match computed {
            Some(tensors) => self.keep(node, tensors)?,
            None => {
                let node = rewrite::explicit(self.graph, node)?;
                self.count(&node);
                self.done.push(node);
            }
        }
        Ok(vec![])
    }

    /// Whether the first inputs have shapes.
    fn is_known(&self, node: &Node, inputs: usize) -> bool {
        let known = |id: &ValueId| self.graph.value(*id).shape.is_some() && self.graph.value(*id).element.is_some();
        node.inputs.iter().take(inputs).flatten().all(known)
    }

    /// The results, if they follow from constants.
    fn compute(&mut self, node: &Node, kinds: &[view::Kind]) -> Result<Option<Vec<Tensor>>, Refusal> {
        let view = View { graph: self.graph, node };
        let shapes_alone = matches!(view.node.op.as_str(), "Shape" | "Size");
        if !shapes_alone && view.constants().is_none() {
            return Ok(None);
        }
        let largest = kinds.iter().map(|kind| evaluate::elements(&kind.shape)).max().unwrap_or(0);
        self.work = self.work.saturating_add(if shapes_alone { 1 } else { evaluate::work(&view, kinds) });
        if largest > self.limits.elements || self.work > self.limits.work {
            let instead = format!("constants of up to {} elements can be computed", self.limits.elements);
            return Err(
                view.refuse(format!("computing its constant of shape {:?} takes too much", kinds[0].shape), instead)
            );
        }
        let tensors = evaluate::evaluate(&view, kinds)?;
        debug_assert!(tensors.iter().flatten().zip(kinds).all(|(tensor, kind)| tensor.shape() == kind.shape));
        Ok(tensors)
    }

    fn keep(&mut self, node: &Node, tensors: Vec<Tensor>) -> Result<(), Refusal> {
        for (place, tensor) in tensors.into_iter().enumerate() {
            let Some(id) = node.output(place) else { continue };
            self.kept += tensor.len();
            self.graph.value_mut(id).constant = Some(Arc::new(tensor));
        }
        if self.kept > self.limits.kept {
            let instead = format!("constants of up to {} elements in all can be computed", self.limits.kept);
            return Err(Refusal::of(node, "the network has too many constants that must be computed", instead));
        }
        Ok(())
    }

    fn count(&mut self, node: &Node) {
        node.inputs.iter().flatten().for_each(|&id| self.read(id));
    }

    fn read(&mut self, id: ValueId) {
        let place = id.0 as usize;
        if self.readers.len() <= place {
            self.readers.resize(place + 1, 0);
        }
        self.readers[place] += 1;
    }

    /// Forgets the constants that only this node read.
    fn release(&mut self, node: &Node) {
        for &id in node.inputs.iter().flatten() {
            let readers = &mut self.readers[id.0 as usize];
            *readers = readers.saturating_sub(1);
            if *readers == 0 {
                let constant = self.graph.value_mut(id).constant.take();
                self.kept = self.kept.saturating_sub(constant.map_or(0, |tensor| tensor.len()));
            }
        }
    }
}
