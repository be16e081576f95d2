//! What follows from a graph: the shape of each value, with checked sizes.

use std::collections::{HashMap, HashSet};

use super::{Graph, Input, Node, Shape};
use crate::Error;
use crate::error::GraphError;
use crate::limits::{Limits, MAX_INPUTS, MAX_NAME_BYTES};

impl Graph {
    /// The shape of each node's value, in the order of [`Graph::nodes`].
    ///
    /// # Errors
    /// Every rule about names, order and shapes that the graph breaks has an error of its own.
    pub fn shapes(&self, limits: &Limits) -> Result<Vec<Shape>, Error> {
        self.shapes_where(limits, |_, _| Ok(()))
    }

    /// [`Self::shapes`] where `accept` takes each node with the shape of its first input.
    pub(crate) fn shapes_where(
        &self,
        limits: &Limits,
        accept: impl Fn(&Node, Shape) -> Result<(), Error>,
    ) -> Result<Vec<Shape>, Error> {
        let nodes = self.nodes.len();
        if nodes == 0 || nodes > limits.nodes {
            return Err(GraphError::NodeCount { count: nodes, limit: limits.nodes }.into());
        }
        let mut values = self.check_inputs(limits)?;
        values.reserve(nodes);
        let mut shapes = Vec::with_capacity(nodes);
        for node in &self.nodes {
            check_name(&node.name)?;
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                let Some(value) = values.get_mut(input.as_str()) else {
                    return Err(GraphError::UnknownInput { node: node.name.clone(), input: input.clone() }.into());
                };
                value.read = true;
                inputs.push(value.shape);
            }
            let shape = infer(node, &inputs, limits)?;
            accept(node, inputs[0])?;
            if values.insert(&node.name, Value { shape, read: false }).is_some() {
                return Err(GraphError::DuplicateName { node: node.name.clone() }.into());
            }
            shapes.push(shape);
        }
        self.nodes.iter().try_for_each(|node| self.check_order_of(node))?;
        self.check_outputs(&values, limits)?;
        Ok(shapes)
    }

    /// The shape of every value by name, given those of the nodes.
    pub(crate) fn values(&self, shapes: &[Shape]) -> HashMap<&str, Shape> {
        let inputs = self.inputs.iter().map(|input| (input.name.as_str(), input.shape));
        inputs.chain(self.nodes.iter().map(|node| node.name.as_str()).zip(shapes.iter().copied())).collect()
    }

    /// Checks the inputs by themselves; they are the first values.
    fn check_inputs(&self, limits: &Limits) -> Result<Values<'_>, Error> {
        let count = self.inputs.len();
        if count == 0 || count > MAX_INPUTS {
            return Err(GraphError::InputLimit { count, limit: MAX_INPUTS }.into());
        }
        let mut values = Values::with_capacity(count);
        for Input { name, shape } in &self.inputs {
            check_name(name)?;
            check_size(name, *shape, limits)?;
            if values.insert(name, Value { shape: *shape, read: false }).is_some() {
                return Err(GraphError::DuplicateName { node: name.clone() }.into());
            }
        }
        Ok(values)
    }

    /// Checks that the outputs are nodes, each named once, and that no value goes nowhere.
    fn check_outputs(&self, values: &Values<'_>, limits: &Limits) -> Result<(), Error> {
        let count = self.outputs.len();
        if count == 0 || count > limits.nodes {
            return Err(GraphError::OutputLimit { count, limit: limits.nodes }.into());
        }
        let nodes: HashSet<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let mut outputs = HashSet::with_capacity(count);
        for output in &self.outputs {
            if !nodes.contains(output.as_str()) {
                return Err(GraphError::UnknownOutput { output: output.clone() }.into());
            }
            if !outputs.insert(output.as_str()) {
                return Err(GraphError::DuplicateOutput { output: output.clone() }.into());
            }
        }
        if let Some(input) = self.inputs.iter().find(|input| !values[input.name.as_str()].read) {
            return Err(GraphError::UnreadInput { input: input.name.clone() }.into());
        }
        let goes_nowhere = |name: &str| !outputs.contains(name) && !values[name].read;
        match self.nodes.iter().find(|node| goes_nowhere(&node.name)) {
            Some(node) => {
                let output = brief(&self.outputs);
                Err(GraphError::Unread { node: node.name.clone(), output }.into())
            }
            None => Ok(()),
        }
    }

    /// What goes by the order of a layer needs such a layer, with as many orders as it has values for.
    fn check_order_of(&self, node: &Node) -> Result<(), Error> {
        let Some((layer, rows)) = node.op.order_of() else { return Ok(()) };
        check_name(layer)?;
        let named = self.nodes.iter().find(|node| node.name == layer);
        let order = named.and_then(|named| named.op.quantizer()).map(|quantizer| quantizer.order);
        let (node, layer) = (node.name.clone(), layer.to_owned());
        match order {
            None => Err(GraphError::OrderOf { node, layer }.into()),
            Some(order) if order == rows => Ok(()),
            Some(order) => Err(GraphError::RowsByOrder { node, layer, rows, order }.into()),
        }
    }
}

type Values<'a> = HashMap<&'a str, Value>;

struct Value {
    shape: Shape,
    read: bool,
}

/// The names of the outputs, cut off where there are many.
fn brief(outputs: &[String]) -> String {
    match outputs.get(..4) {
        Some(first) if outputs.len() > 4 => format!("{} and {} more", first.join(", "), outputs.len() - 4),
        _ => outputs.join(", "),
    }
}

/// The shape of one node's value, given the shapes of its inputs.
pub(crate) fn infer(node: &Node, inputs: &[Shape], limits: &Limits) -> Result<Shape, Error> {
    let shape = node.op.infer(&node.name, &node.inputs, inputs)?;
    check_size(&node.name, shape, limits)?;
    Ok(shape)
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it holds control characters"
    } else {
        return Ok(());
    };
    Err(GraphError::Name { name: name.chars().take(64).collect(), reason }.into())
}

/// Checks that a value has elements, and no more than allowed.
pub(crate) fn check_size(name: &str, shape: Shape, limits: &Limits) -> Result<(), Error> {
    let (elements, limit) = (shape.len(), limits.value_elements);
    if elements == 0 || elements > limit {
        return Err(GraphError::ValueSize { name: name.to_owned(), shape, elements, limit }.into());
    }
    Ok(())
}
