//! Opening models and sessions, with errors that name the file, and what a layer costs.

use crate::cli::Orders;
use crate::failure::Failure;
use crate::table::amount;
use horq::graph::{Content, Node, Op, Shape};
use horq::{Macs, Model, Order, Session, SessionOptions, escaped};
use std::io::{self, Write};
use std::path::Path;

/// Opens and validates a model.
pub(crate) fn open(path: &Path) -> Result<Model, Failure> {
    Model::open(path).map_err(|error| {
        let message = error.to_string();
        // Errors of the system name the path themselves.
        let named = message.contains(&format!("`{}`", escaped(path)));
        if named { Failure::Failed(message) } else { Failure::file(path, message) }
    })
}

/// Makes a session at the orders that the arguments ask for.
pub(crate) fn session(
    path: &Path,
    model: &Model,
    options: SessionOptions,
    orders: &Orders,
) -> Result<Session, Failure> {
    let mut session = Session::new(model, options).map_err(|error| Failure::file(path, error))?;
    if let Some(order) = orders.order.map(usize::from) {
        session.set_order(Order::new(order).map_err(|error| Failure::file(path, error))?);
        let highest = highest_order(model);
        if order > highest {
            note(&match highest {
                0 => format!("{}: no layer is binary, so --order {order} changes nothing", escaped(path)),
                _ => format!("{}: its layers go up to order {highest}, so --order {order} runs that", escaped(path)),
            });
        }
    }
    if let Some(point) = &orders.point {
        let refused = |error| Failure::Usage(format!("--point {}: {}: {error}", escaped(point), escaped(path)));
        session.set_point(point).map_err(refused)?;
    }
    for (layer, order) in &orders.layer_order {
        Order::new(*order)
            .and_then(|order| session.set_layer_order(layer, order))
            .map_err(|error| Failure::Usage(format!("--layer-order {layer}={order}: {}: {error}", escaped(path))))?;
    }
    Ok(session)
}

/// The highest order of any layer; 0 if none is binary.
pub(crate) fn highest_order(model: &Model) -> usize {
    let orders = model.graph().nodes.iter().filter_map(|node| node.op.quantizer());
    orders.map(|quantizer| quantizer.order).max().unwrap_or(0)
}

/// The names of the classes, where the file's note `classes` lists one for each value of the (first) output, separated by commas.
pub(crate) fn classes(model: &Model) -> Option<Vec<&str>> {
    let names: Vec<&str> = model.notes().get("classes")?.split(',').map(str::trim).collect();
    (names.len() == model.output_shape().len()).then_some(names)
}

/// Says on standard error what the user should know but need not act on.
pub(crate) fn note(message: &str) {
    let _ = io::stderr().write_all(format!("note: {}\n", escaped(message)).as_bytes());
}

/// What a node costs, for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Multiply-accumulates, a binary layer at its highest order; padded taps counted.
    pub(crate) macs: Macs,
    /// Bytes of its tensors in the file, padding included.
    pub(crate) bytes: u64,
    /// Bytes of the same parameters in a float network: one f32 a weight, bias, scale, shift and slope.
    pub(crate) float_bytes: u64,
}

impl Cost {
    /// The cost of a node with a first input and an output of these shapes.
    pub(crate) fn of(node: &Node, input: Shape, output: Shape) -> Self {
        let tensors = node.op.tensors(input);
        let size = |content: &Content| if let Content::Int8Panels(_) = content { 1 } else { 4 };
        let bytes = tensors
            .iter()
            .map(|tensor| (size(&tensor.content) * tensor.content.shape().iter().product::<usize>()) as u64)
            .sum();
        let geometry = node.op.geometry(input);
        let weights = geometry.map_or(0, |g| g.filters * g.depth());
        let vectors = match &node.op {
            // A float network has one batch norm, whatever the order.
            Op::AffineByOrder(_) => 2 * input.channels(),
            _ if geometry.is_none() => tensors.iter().map(|tensor| values(&tensor.content)).sum(),
            op => geometry.filter(|_| fields(op).contains_key("bias")).map_or(0, |g| g.filters),
        };
        Self { macs: node.op.macs(input, output), bytes, float_bytes: 4 * (weights + vectors) as u64 }
    }

    /// The sum of two costs.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            macs: self.macs + other.macs,
            bytes: self.bytes + other.bytes,
            float_bytes: self.float_bytes + other.float_bytes,
        }
    }

    /// Products of f32 activations, by what their weights are.
    pub(crate) fn float_products(self) -> String {
        let Macs { float, binary_weight, codebook, .. } = self.macs;
        let kinds = [(float, ""), (binary_weight, " by signs"), (codebook, " by codes")];
        let parts = kinds.into_iter().filter(|(macs, _)| *macs > 0);
        parts.map(|(macs, kind)| amount(macs as f64) + kind).collect::<Vec<_>>().join(" + ")
    }

    /// How many times smaller than f32 the parameters are; none if there are none.
    pub(crate) fn compression(self) -> Option<f64> {
        (self.bytes > 0).then(|| self.float_bytes as f64 / self.bytes as f64)
    }
}

/// Values of a vector or a table; none of weights, which lie in panels.
fn values(content: &Content) -> usize {
    match *content {
        Content::Vector(len) | Content::Positive(len) => len,
        Content::Table(rows, columns) => rows * columns,
        _ => 0,
    }
}

/// The fields of an operation, as the file has them.
pub(crate) fn fields(op: &Op) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(op) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

/// Each node with the shapes of its first input and of its value.
pub(crate) fn nodes(model: &Model) -> impl Iterator<Item = (&Node, Shape, Shape)> {
    let shape_of = |name: &str| model.shape(name).unwrap_or_else(|| model.input_shape());
    let nodes = model.graph().nodes.iter().zip(model.shapes());
    nodes.map(move |(node, &shape)| (node, shape_of(&node.inputs[0]), shape))
}
