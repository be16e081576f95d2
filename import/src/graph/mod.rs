//! The one graph in which all roads end.
//!
//! Its operations are those of the ONNX operator set [`OPSET`] (domain `""`), `qonnx.custom_op.general` and `finn.custom_op.general`,
//! and horq's own (domain `horq`). A sample is a batch of one: the first dimension of every input is 1.

mod tensor;

pub use tensor::{Data, ElementType, Tensor};

use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of the ONNX operator set whose meaning the operations have.
pub const OPSET: i64 = 24;

/// A network as data, not yet recognised.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All values: inputs, constants and results.
    pub values: Vec<Value>,
    /// The inputs that a caller gives.
    pub inputs: Vec<ValueId>,
    /// The answers, in order.
    pub outputs: Vec<ValueId>,
    /// The operations, each after those whose results it reads.
    pub nodes: Vec<Node>,
}

/// The index of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A tensor of the network, known or computed.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// Its name in the network.
    pub name: String,
    /// What it holds, where that does not depend on the inputs.
    pub constant: Option<Arc<Tensor>>,
    /// The type of its elements, once it is known.
    pub element: Option<ElementType>,
    /// Its shape, once it is known, with the batch of one.
    pub shape: Option<Vec<usize>>,
}

/// One operation.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// What a user finds it by: the node's name in the file, or the line of the module's code.
    pub name: String,
    /// The operator set: empty for ONNX itself.
    pub domain: String,
    /// The operation.
    pub op: String,
    /// What it reads; none where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; none where an optional output is left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Attribute>,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f32),
    /// A text.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A tensor.
    Tensor(Arc<Tensor>),
    /// A graph, of a branch or a loop.
    Graph(Box<Graph>),
}

impl Graph {
    /// Adds a value.
    pub fn add_value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(u32::try_from(self.values.len() - 1).expect("fewer than 2^32 values"))
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let (element, shape) = (Some(tensor.element), Some(tensor.shape().to_vec()));
        self.add_value(Value { name: name.into(), constant: Some(Arc::new(tensor)), element, shape })
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A value, to be changed.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0 as usize]
    }
}

impl Node {
    /// The whole number of an attribute, or a default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        if let Some(Attribute::Int(value)) = self.attributes.get(name) { *value } else { default }
    }

    /// The number of an attribute, or a default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        if let Some(Attribute::Float(value)) = self.attributes.get(name) { *value } else { default }
    }

    /// The whole numbers of an attribute, if it is there.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attribute::Ints(values)) = self.attributes.get(name) { Some(values) } else { None }
    }

    /// The text of an attribute, or a default.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        if let Some(Attribute::Text(value)) = self.attributes.get(name) { value } else { default }
    }

    /// The input of that place, if it is there.
    pub fn input(&self, place: usize) -> Option<ValueId> {
        self.inputs.get(place).copied().flatten()
    }

    /// The output of that place, if somebody wants it.
    pub fn output(&self, place: usize) -> Option<ValueId> {
        self.outputs.get(place).copied().flatten()
    }
}
