//! Opening models and sessions, with errors that name the file, and what a layer costs.

use crate::cli::Orders;
use crate::failure::Failure;
use crate::table::amount;
use horq::graph::{Content, Node, Op, Shape};
use horq::{Model, Order, Session, SessionOptions, escaped};
use std::io::{self, Write};
use std::path::Path;

/// Opens and validates a model.
pub(crate) fn open(path: &Path) -> Result<Model, Failure> {
    if path.is_dir() {
        return Err(Failure::file(path, "is a directory; name the .horq file in it"));
    }
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
        session.set_order(Order::new(order).unwrap()).map_err(|error| Failure::file(path, error))?;
        let highest = highest_order(model);
        if order > highest {
            note(&match highest {
                0 => format!("{}: no layer is binary, so --order {order} changes nothing", escaped(path)),
                _ => format!("{}: its layers go up to order {highest}, so --order {order} runs that", escaped(path)),
            });
        }
    }
    for (layer, order) in &orders.layer_order {
        session
            .set_layer_order(layer, Order::new(*order).unwrap())
            .map_err(|error| Failure::Usage(format!("--layer-order {layer}={order}: {}: {error}", escaped(path))))?;
    }
    Ok(session)
}

/// The highest order of any layer; 0 if none is binary.
pub(crate) fn highest_order(model: &Model) -> usize {
    let orders = model.graph().nodes.iter().filter_map(|node| node.op.quantizer());
    orders.map(|quantizer| quantizer.order).max().unwrap_or(0)
}

/// The names of the classes, where the file's note `classes` lists one for each output, separated by commas.
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
    /// Binary multiply-accumulates at the highest order, over all weight bases; padded taps counted.
    pub(crate) bit_macs: u64,
    /// f32 activations times binary weights; padded taps counted.
    pub(crate) sign_macs: u64,
    /// f32 activations times entries of a codebook; padded taps counted.
    pub(crate) code_macs: u64,
    /// f32 multiply-accumulates; padded taps counted.
    pub(crate) float_macs: u64,
    /// 8-bit multiply-accumulates; padded taps counted.
    pub(crate) int8_macs: u64,
    /// Bytes of its tensors in the file, padding included.
    pub(crate) bytes: u64,
    /// Bytes of the same parameters in a float network: one f32 a weight, bias, scale, shift and slope.
    pub(crate) float_bytes: u64,
}

impl Cost {
    /// The cost of a node with inputs and output of these shapes.
    pub(crate) fn of(node: &Node, input: Shape, output: Shape) -> Self {
        let tensors = node.op.tensors(input);
        let size = |content: &Content| if let Content::Int8Panels(_) = content { 1 } else { 4 };
        let bytes = tensors
            .iter()
            .map(|tensor| (size(&tensor.content) * tensor.content.shape().iter().product::<usize>()) as u64)
            .sum();
        let geometry = node.op.geometry(input);
        let weights = geometry.map_or(0, |g| (g.filters * g.depth()) as u64);
        let pixels = (output.len() / output.channels()) as u64;
        let macs = pixels * weights;
        let cost = match &node.op {
            Op::BinaryConv2d { quantizer, bases, .. } | Op::BinaryDense { quantizer, bases, .. } => {
                Self { bit_macs: macs * (quantizer.order * bases.len()) as u64, ..Self::default() }
            }
            Op::BinaryWeightConv2d { .. } | Op::BinaryWeightDense { .. } => Self { sign_macs: macs, ..Self::default() },
            Op::CodebookConv2d { .. } | Op::CodebookDense { .. } => Self { code_macs: macs, ..Self::default() },
            Op::Int8Conv2d { .. } | Op::Int8Dense { .. } => Self { int8_macs: macs, ..Self::default() },
            _ => Self { float_macs: macs, ..Self::default() },
        };
        let vectors = match &node.op {
            Op::Conv2d { filters, bias, .. }
            | Op::Dense { filters, bias, .. }
            | Op::BinaryConv2d { filters, bias, .. }
            | Op::BinaryDense { filters, bias, .. }
            | Op::BinaryWeightConv2d { filters, bias, .. }
            | Op::BinaryWeightDense { filters, bias, .. }
            | Op::CodebookConv2d { filters, bias, .. }
            | Op::CodebookDense { filters, bias, .. }
            | Op::Int8Conv2d { filters, bias, .. }
            | Op::Int8Dense { filters, bias, .. } => bias.as_ref().map_or(0, |_| *filters),
            // A float network has one batch norm, whatever the order.
            Op::Affine { .. } | Op::AffineByOrder { .. } => 2 * input.channels(),
            Op::Prelu { .. } => input.channels(),
            _ => 0,
        };
        Self { bytes, float_bytes: 4 * (weights + vectors as u64), ..cost }
    }

    /// The sum of two costs.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            bit_macs: self.bit_macs + other.bit_macs,
            sign_macs: self.sign_macs + other.sign_macs,
            code_macs: self.code_macs + other.code_macs,
            float_macs: self.float_macs + other.float_macs,
            int8_macs: self.int8_macs + other.int8_macs,
            bytes: self.bytes + other.bytes,
            float_bytes: self.float_bytes + other.float_bytes,
        }
    }

    /// Products of f32 activations, by what their weights are.
    pub(crate) fn float_products(self) -> String {
        let kinds = [(self.float_macs, ""), (self.sign_macs, " by signs"), (self.code_macs, " by codes")];
        let parts = kinds.into_iter().filter(|(macs, _)| *macs > 0);
        parts.map(|(macs, kind)| amount(macs as f64) + kind).collect::<Vec<_>>().join(" + ")
    }

    /// How many times smaller than f32 the parameters are; none if there are none.
    pub(crate) fn compression(self) -> Option<f64> {
        (self.bytes > 0).then(|| self.float_bytes as f64 / self.bytes as f64)
    }
}

/// Each node with the shapes of its first input and of its value.
pub(crate) fn nodes(model: &Model) -> impl Iterator<Item = (&Node, Shape, Shape)> {
    let graph = model.graph();
    let shape_of = move |name: &str| {
        let node = graph.nodes.iter().position(|node| node.name == name);
        node.map_or(model.input_shape(), |node| model.shapes()[node])
    };
    graph.nodes.iter().zip(model.shapes()).map(move |(node, &shape)| (node, shape_of(&node.inputs[0]), shape))
}
