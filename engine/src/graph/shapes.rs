//! What follows from a graph: the shape of each value, with checked sizes.

use super::{Graph, Node, Shape};
use crate::Error;
use crate::error::GraphError;
use crate::limits::{Limits, MAX_NAME_BYTES};

impl Graph {
    /// The shape of each node's value, in the order of [`Graph::nodes`].
    ///
    /// # Errors
    /// Every rule about names, order and shapes that the graph breaks has an error of its own.
    pub fn shapes(&self, limits: &Limits) -> Result<Vec<Shape>, Error> {
        let nodes = self.nodes.len();
        if nodes == 0 || nodes > limits.nodes {
            return Err(GraphError::NodeCount { count: nodes, limit: limits.nodes }.into());
        }
        check_name(&self.input.name)?;
        check_size(&self.input.name, self.input.shape, limits)?;
        let mut values = Values::with_capacity(nodes + 1);
        values.insert(&self.input.name, Value { shape: self.input.shape, read: true });
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
            if values.insert(&node.name, Value { shape, read: false }).is_some() {
                return Err(GraphError::DuplicateName { node: node.name.clone() }.into());
            }
            shapes.push(shape);
        }
        self.nodes.iter().try_for_each(|node| self.check_order_of(node))?;
        if self.output == self.input.name || !values.contains_key(self.output.as_str()) {
            return Err(GraphError::UnknownOutput { output: self.output.clone() }.into());
        }
        match self.nodes.iter().find(|node| node.name != self.output && !values[node.name.as_str()].read) {
            Some(node) => Err(GraphError::Unread { node: node.name.clone(), output: self.output.clone() }.into()),
            None => Ok(shapes),
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

type Values<'a> = std::collections::HashMap<&'a str, Value>;

struct Value {
    shape: Shape,
    read: bool,
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
