//! Operations on integers as the float operations that they stand for, between quantizers.

use super::rewrite::Writer;
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Attribute, ElementType, Graph, Node, ValueId};

/// `ConvInteger` and `MatMulInteger`, `QLinearConv` and `QLinearMatMul` as `Conv` and `MatMul`, or none for another operation.
pub(super) fn rewrite(graph: &mut Graph, node: &Node) -> Result<Option<Vec<Node>>, Refusal> {
    match node.op.as_str() {
        "ConvInteger" | "MatMulInteger" => Ok(Some(integer(graph, node)?)),
        "QLinearMatMul" | "QLinearConv" => Ok(Some(quantized(graph, node)?)),
        _ => Ok(None),
    }
}

/// Integers less their zero points, multiplied as floats: exact, as sums stay below 2^24 in networks of this kind.
fn integer(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let to = |element: ElementType| [("to", Attribute::Int(i64::from(element.code())))];
    let view = View { graph, node };
    // The zero point of each filter stands beside the filters, that of each row of a matrix beside the rows.
    let rank = view.shape(1)?.len();
    let shapes = [2, 3].map(|place| view.node.input(place).and_then(|_| view.shape(place).ok()).map(<[usize]>::to_vec));
    let mut writer = Writer::new(graph, node);
    let centred = [0, 1].map(|place| {
        let values = writer.node("Cast", vec![node.input(place)], to(ElementType::Float32));
        let Some(point) = node.input(place + 2) else { return values };
        let mut point = writer.node("Cast", vec![Some(point)], to(ElementType::Float32));
        let sizes = shapes[place].as_deref().unwrap_or(&[]);
        if let (&[size], 1.., true) = (sizes, rank, size_of(sizes) > 1) {
            point = match (node.op.as_str(), place) {
                ("ConvInteger", 1) => writer.reshape(point, &[&[size], vec![1; rank - 1].as_slice()].concat()),
                ("MatMulInteger", 0) => writer.reshape(point, &[size, 1]),
                _ => point,
            };
        }
        writer.node("Sub", vec![values, point], [])
    });
    let op = if node.op == "ConvInteger" { "Conv" } else { "MatMul" };
    let product = writer.node(op, centred.to_vec(), []);
    writer.last_attributes(node);
    writer.node("Cast", vec![product], to(ElementType::Int32));
    Ok(writer.finish(node.output(0)))
}

fn size_of(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

/// Inputs: x, its scale and zero point, w, its scale and zero point, the result's scale and zero point, and the bias.
fn quantized(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let convolution = node.op == "QLinearConv";
    let channels = view.shape(3)?.first().copied().unwrap_or(0);
    let mut writer = Writer::new(graph, node);
    let axis = |axis: i64| [("axis", Attribute::Int(axis))];
    let input = |place: usize| node.input(place);
    let real = |writer: &mut Writer<'_>, place: usize, along: i64| {
        writer.node("DequantizeLinear", vec![input(place), input(place + 1), input(place + 2)], axis(along))
    };
    let (x, w) = (real(&mut writer, 0, 1), real(&mut writer, 3, if convolution { 0 } else { 1 }));
    let product = if convolution {
        let bias = input(8).map(|bias| bias_of(&mut writer, bias, [input(1), input(4)], channels));
        let inputs = [Some(x), Some(w), bias].into_iter().flatten().collect();
        let product = writer.node("Conv", inputs, []);
        writer.last_attributes(node);
        product
    } else {
        writer.node("MatMul", vec![x, w], [])
    };
    writer.node("QuantizeLinear", vec![product, input(6), input(7)], axis(1));
    Ok(writer.finish(node.output(0)))
}

/// A bias counts in steps of both scales.
fn bias_of(writer: &mut Writer<'_>, bias: ValueId, scales: [Option<ValueId>; 2], channels: usize) -> Option<ValueId> {
    let to = [("to", Attribute::Int(i64::from(ElementType::Float32.code())))];
    let bias = writer.node("Cast", vec![Some(bias)], to);
    let scale = writer.node("Mul", scales.to_vec(), []);
    let bias = writer.node("Mul", vec![bias, scale], []);
    writer.reshape(bias, &[channels])
}
