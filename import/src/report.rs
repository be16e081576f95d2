//! What became of a network, layer by layer.

use crate::lower::{Lowered, rates};
use horq::graph::{Content, Op, Shape};
use horq::{Macs, Model};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// What became of a network.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The engine's nodes, in order.
    pub layers: Vec<Row>,
    /// Bytes of all weights and vectors.
    pub bytes: usize,
    /// Bytes of the file.
    pub file_bytes: usize,
    /// Multiply-accumulates of one sample by kind.
    pub macs: Kinds,
}

/// One node of the engine.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// Its name in the file.
    pub name: String,
    /// The network's node that it was made of.
    pub node: String,
    /// The network's operation.
    pub op: String,
    /// The engine's operation.
    pub became: String,
    /// The kind of arithmetic, of a convolution or matrix product: `binary order 2, 1 base`, `int8`, `codebook of 16`, `float`.
    pub kind: String,
    /// The shape of its value.
    pub shape: String,
    /// Bytes of its weights and vectors.
    pub bytes: usize,
    /// Its multiply-accumulates of one sample.
    pub macs: Kinds,
    /// Its share of the time of a run, from 0 to 1, as a model of clock cycles predicts it: products at the rates of a core with
    /// 256-bit vectors, other operations by the values that they touch. Measure with `horq profile`.
    pub predicted_share: f64,
    /// What should be known: why it is not binary where one would expect it, what is decided otherwise than in the network. Empty
    /// if there is nothing.
    pub note: String,
}

/// Multiply-accumulates by the kind of their operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kinds {
    /// Sign planes times signs, over all planes and bases.
    pub bit: u64,
    /// Floats times signs.
    pub binary_weight: u64,
    /// Floats times entries of a codebook.
    pub codebook: u64,
    /// Bytes times bytes.
    pub int8: u64,
    /// Floats times floats.
    pub float: u64,
}

impl From<Macs> for Kinds {
    fn from(macs: Macs) -> Self {
        let Macs { bit, binary_weight, codebook, float, int8, .. } = macs;
        Self { bit, binary_weight, codebook, int8, float }
    }
}

/// Values a clock cycle that an operation by elements goes through, about: one vector of eight in and out every other cycle.
const VALUES_A_CLOCK: f64 = 4.0;
/// Clock cycles that a layer costs whatever it does.
const LAYER_CLOCKS: f64 = 200.0;

impl Report {
    /// What the layers of a file are, of which nothing is known but the file.
    pub fn of(model: &Model) -> Self {
        let file = Vec::new();
        let lowered = Lowered { file, layers: Vec::new(), inputs: Vec::new(), outputs: Vec::new() };
        Self { file_bytes: model.file_len(), ..Self::new(model, &lowered) }
    }

    pub(crate) fn new(model: &Model, lowered: &Lowered) -> Self {
        let graph = model.graph();
        let mut shapes: HashMap<&str, Shape> = model.inputs().collect();
        let mut rows = Vec::with_capacity(graph.nodes.len());
        let (mut clocks, mut total) = (Vec::with_capacity(graph.nodes.len()), Macs::default());
        for (node, &shape) in graph.nodes.iter().zip(model.shapes()) {
            let first: Option<&Shape> = node.inputs.first().and_then(|input| shapes.get(input.as_str()));
            let input = first.copied().unwrap_or(shape);
            let macs = node.op.macs(input, shape);
            let layer = lowered.layer(&node.name);
            let field = |f: fn(&crate::lower::Layer) -> &String| layer.map(f).cloned().unwrap_or_default();
            rows.push(Row {
                name: node.name.clone(),
                node: field(|layer| &layer.node),
                op: field(|layer| &layer.op),
                became: node.op.kind().to_owned(),
                kind: kind(&node.op),
                shape: shape.to_string(),
                bytes: node.op.tensors(input).iter().map(|spec| bytes(&spec.content)).sum(),
                macs: macs.into(),
                predicted_share: 0.0,
                note: field(|layer| &layer.note),
            });
            clocks.push(cycles(&node.op, macs, input, shape));
            total = total + macs;
            shapes.insert(&node.name, shape);
        }
        let all: f64 = clocks.iter().sum();
        for (row, clocks) in rows.iter_mut().zip(clocks) {
            row.predicted_share = if all > 0.0 { clocks / all } else { 0.0 };
        }
        let bytes = rows.iter().map(|row| row.bytes).sum();
        Self { layers: rows, bytes, file_bytes: lowered.file.len(), macs: total.into() }
    }
}

/// Clock cycles of a node, about.
fn cycles(op: &Op, macs: Macs, input: Shape, output: Shape) -> f64 {
    let products = macs.bit as f64 / rates::BIT
        + macs.binary_weight as f64 / rates::BINARY_WEIGHT
        + macs.codebook as f64 / rates::CODEBOOK
        + macs.int8 as f64 / rates::INT8
        + macs.float as f64 / rates::FLOAT;
    match op {
        // Steps of the layer before them, most of the time.
        Op::Affine(_) | Op::Relu(_) | Op::Prelu(_) | Op::Clip(_) | Op::Add(_) => {
            output.len() as f64 / (8.0 * VALUES_A_CLOCK)
        }
        Op::Flatten(_) => 0.0,
        Op::Rearrange(op) if op.order.iter().enumerate().all(|(i, &axis)| i == axis) => 0.0,
        _ => products + LAYER_CLOCKS + (input.len() + output.len()) as f64 / VALUES_A_CLOCK,
    }
}

/// The kind of arithmetic of a convolution or matrix product; empty for other operations.
fn kind(op: &Op) -> String {
    let binary = |order: usize, bases: usize| {
        format!("binary order {order}, {bases} {}", if bases == 1 { "base" } else { "bases" })
    };
    match op {
        Op::BinaryConv2d(op) => binary(op.weights.quantizer.order, op.weights.bases.len()),
        Op::BinaryDense(op) => binary(op.weights.quantizer.order, op.weights.bases.len()),
        Op::BinaryWeightConv2d(_) | Op::BinaryWeightDense(_) => "binary weights".into(),
        Op::CodebookConv2d(op) => format!("codebook of {}", op.weights.entries),
        Op::CodebookDense(op) => format!("codebook of {}", op.weights.entries),
        Op::Int8Conv2d(_) | Op::Int8Dense(_) => "int8".into(),
        Op::Conv2d(_) | Op::Dense(_) | Op::MatMul(_) => "float".into(),
        _ => String::new(),
    }
}

fn bytes(content: &Content) -> usize {
    let size = if matches!(content, Content::Int8Panels(_)) { 1 } else { 4 };
    content.shape().iter().product::<usize>() * size
}

impl fmt::Display for Report {
    /// A table: one row a layer, then the sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["layer", "was", "became", "shape", "bytes", "MACs", "time", "note"].map(String::from);
        let row = |row: &Row| {
            let became =
                if row.kind.is_empty() { row.became.clone() } else { format!("{} ({})", row.became, row.kind) };
            let macs = [row.macs.bit, row.macs.binary_weight, row.macs.codebook, row.macs.int8, row.macs.float];
            let count = |count: u64| if count == 0 { String::new() } else { count.to_string() };
            [
                horq::escaped(&row.name).to_string(),
                row.op.clone(),
                became,
                row.shape.clone(),
                count(row.bytes as u64),
                count(macs.iter().sum()),
                format!("{:.1}%", 100.0 * row.predicted_share),
                row.note.clone(),
            ]
        };
        let rows: Vec<[String; 8]> = std::iter::once(head).chain(self.layers.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 8] = std::array::from_fn(width);
        for row in &rows {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
                let fill = " ".repeat(width - cell.chars().count());
                // Numbers stand right, words left.
                line += &if (4..7).contains(&i) { format!("{fill}{cell}  ") } else { format!("{cell}{fill}  ") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        let Kinds { bit, binary_weight, codebook, int8, float } = self.macs;
        writeln!(
            f,
            "\n{} bytes of weights in a file of {}; multiply-accumulates: {bit} of bits, {binary_weight} of floats and signs, \
             {codebook} of floats and codes, {int8} of bytes, {float} of floats.",
            self.bytes, self.file_bytes
        )?;
        write!(f, "The shares of time are predicted, not measured: see `horq profile`.")
    }
}
