//! Graphs while they are read: which name is which value.

use crate::error::{Refusal, Refusals};
use crate::graph::{Graph, Node, Tensor, Value, ValueId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What names mean; none is an input that a function's caller leaves out.
pub(super) type Names = HashMap<String, Option<ValueId>>;

/// A graph and its names.
#[derive(Default)]
struct Body {
    graph: Graph,
    names: Names,
    /// Values that exist: inputs, constants and results.
    made: HashSet<ValueId>,
    /// Whether names of the graph around it do not count, as in a function.
    closed: bool,
    /// Values of the graph around it, in the order of the inputs of this one.
    captured: Vec<ValueId>,
}

/// The graph that is being read, and those around it.
#[derive(Default)]
pub(super) struct Bodies(Vec<Body>);

impl Bodies {
    /// Starts a graph inside the last one.
    pub(super) fn enter(&mut self) {
        self.0.push(Body::default());
    }

    /// Ends the last graph. Its inputs are those given to [`input`](Self::input), then copies of the values of the graph around it,
    /// which stand beside it.
    pub(super) fn leave(&mut self) -> (Graph, Vec<ValueId>) {
        let body = self.0.pop().expect("a graph that was entered");
        (body.graph, body.captured)
    }

    /// Puts the names of a function in the place of those of the last graph, and gives these.
    pub(super) fn call(&mut self, names: Names) -> (Names, bool) {
        let body = self.last();
        (std::mem::replace(&mut body.names, names), std::mem::replace(&mut body.closed, true))
    }

    /// Ends a function.
    pub(super) fn come_back(&mut self, (names, closed): (Names, bool)) {
        let body = self.last();
        (body.names, body.closed) = (names, closed);
    }

    /// The last graph.
    pub(super) fn graph(&mut self) -> &mut Graph {
        &mut self.last().graph
    }

    /// Adds an input.
    pub(super) fn input(&mut self, value: Value) -> ValueId {
        let id = self.known(value);
        self.graph().inputs.push(id);
        id
    }

    /// Adds a constant that a name stands for.
    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) {
        let id = self.name(name);
        let body = self.last();
        let value = body.graph.value_mut(id);
        (value.element, value.shape) = (Some(tensor.element), Some(tensor.shape().to_vec()));
        value.constant = Some(Arc::new(tensor));
        body.made.insert(id);
    }

    /// Adds a constant that only a node reads, in its newest form.
    pub(super) fn hidden(&mut self, tensor: Tensor) -> ValueId {
        let body = self.last();
        let id = body.graph.add_constant("", tensor);
        body.made.insert(id);
        id
    }

    /// Whether a name of the last graph stands for a constant.
    pub(super) fn is_constant(&mut self, name: &str) -> bool {
        let body = self.last();
        body.names.get(name).copied().flatten().is_some_and(|id| body.graph.value(id).constant.is_some())
    }

    /// What a name that is read means, or a new value if it means nothing yet. An empty name is an input that is left out.
    pub(super) fn read(&mut self, name: &str) -> Option<ValueId> {
        if name.is_empty() {
            return None;
        }
        let level = self.0.len() - 1;
        match self.find(level, name) {
            Some(found) => found,
            None => Some(self.name(name)),
        }
    }

    /// The value that a name of the last graph stands for, or a new one.
    pub(super) fn name(&mut self, name: &str) -> ValueId {
        let body = self.last();
        if let Some(Some(id)) = body.names.get(name) {
            return *id;
        }
        let id = body.graph.add_value(Value { name: name.to_owned(), ..Value::default() });
        body.names.insert(name.to_owned(), Some(id));
        id
    }

    /// Adds a node.
    pub(super) fn push(&mut self, node: Node) -> Result<(), Refusal> {
        let body = self.last();
        for id in node.outputs.iter().flatten() {
            if !body.made.insert(*id) {
                let reason = format!("its result `{}` is made by another node too", body.graph.value(*id).name);
                return Err(Refusal::of(&node, reason, "the file is broken; export it again"));
            }
        }
        body.graph.nodes.push(node);
        Ok(())
    }

    /// Refuses what is read and never made.
    pub(super) fn check(&mut self, refusals: &mut Refusals) {
        let body = self.last();
        let missing = |id: &ValueId| !body.made.contains(id);
        for node in &body.graph.nodes {
            for id in node.inputs.iter().flatten().filter(|id| missing(id)) {
                let reason = format!("it reads `{}`, which nothing makes", body.graph.value(*id).name);
                refusals.push(Refusal::of(node, reason, "the file is broken; export it again"));
            }
        }
        for id in body.graph.outputs.iter().filter(|id| missing(id)) {
            let reason = "nothing makes it";
            let name = &body.graph.value(*id).name;
            refusals.push(Refusal::at(name, "output", reason, "the file is broken; export it again"));
        }
    }

    fn last(&mut self) -> &mut Body {
        self.0.last_mut().expect("a graph that was entered")
    }

    /// Adds a value that exists.
    fn known(&mut self, value: Value) -> ValueId {
        let body = self.last();
        let name = value.name.clone();
        let id = body.graph.add_value(value);
        body.names.insert(name, Some(id));
        body.made.insert(id);
        id
    }

    /// What a name means in the graph of that level, or in those around it. Values of these become inputs; constants are shared.
    fn find(&mut self, level: usize, name: &str) -> Option<Option<ValueId>> {
        let body = &self.0[level];
        if let Some(found) = body.names.get(name) {
            return Some(*found);
        }
        if body.closed || level == 0 {
            return None;
        }
        let Some(outer) = self.find(level - 1, name)? else { return Some(None) };
        let value = self.0[level - 1].graph.value(outer).clone();
        let body = &mut self.0[level];
        let captured = value.constant.is_none();
        let id = body.graph.add_value(value);
        body.names.insert(name.to_owned(), Some(id));
        body.made.insert(id);
        if captured {
            body.graph.inputs.push(id);
            body.captured.push(outer);
        }
        Some(Some(id))
    }
}
