//! Results of nodes whose inputs are constants.

use super::elementwise;
use super::generate;
use super::held::cast;
use super::linear;
use super::movement::Movement;
use super::norm;
use super::quantize;
use super::reduce;
use super::scatter;
use super::view::{Kind, View};
use crate::error::Refusal;
use crate::graph::Tensor;

/// The results of a node, if its inputs are constants and the operation is one of those that are computed here.
pub(super) fn evaluate(view: &View<'_>, kinds: &[Kind]) -> Result<Option<Vec<Tensor>>, Refusal> {
    let node = view.node;
    // These need shapes alone.
    if node.domain.is_empty() && matches!(node.op.as_str(), "Shape" | "Size") {
        return Ok(generate::evaluate(view, &kinds[0])?.map(|tensor| vec![tensor]));
    }
    let Some(inputs) = view.constants() else { return Ok(None) };
    let one = |tensor: Option<Tensor>| Ok(tensor.map(|tensor| vec![tensor]));
    let shape = &kinds[0].shape;
    if let Some(movement) = Movement::of(view)? {
        let parts: Vec<&Tensor> = match movement {
            Movement::Concat(_) => inputs.iter().copied().flatten().collect(),
            _ => inputs.first().copied().flatten().into_iter().collect(),
        };
        let fill = inputs.get(2).copied().flatten().filter(|_| node.op == "Pad");
        let element = kinds[0].element;
        return one(movement.apply(&parts, fill).map(|data| Tensor { element, data }));
    }
    if elementwise::gives(node).is_some() {
        return one(elementwise::evaluate(view, &inputs, shape)?);
    }
    if generate::kind(view)?.is_some() {
        return one(generate::evaluate(view, &kinds[0])?);
    }
    if scatter::kind(view)?.is_some() {
        return one(scatter::evaluate(view, &inputs, &kinds[0])?);
    }
    if quantize::is_quantizer(view) {
        return one(quantize::evaluate(view, &inputs, shape)?);
    }
    let Some(first) = inputs.first().copied().flatten() else { return Ok(None) };
    if reduce::is_reduction(node) || reduce::is_search(node) {
        return one(reduce::evaluate(view, first, &kinds[0])?);
    }
    match (node.domain.as_str(), node.op.as_str(), inputs.as_slice()) {
        ("", "Cast", _) => one(Some(cast(first, kinds[0].element))),
        ("", "MatMul", [Some(a), Some(b)]) => one(linear::matmul(a, b, shape)),
        ("", "Gemm", _) => one(linear::gemm(view, &inputs, shape)),
        ("", "QuantizeLinear" | "DequantizeLinear", _) => one(quantize::linear(view, &inputs)?),
        ("", "DynamicQuantizeLinear", _) => Ok(quantize::dynamic(first)),
        ("", "BatchNormalization", _) => one(norm::batch(view, &inputs)),
        ("", "Softmax" | "LogSoftmax", _) => one(norm::softmax(view, first)?),
        _ => Ok(None),
    }
}

/// How many steps it takes to compute the results, about.
pub(super) fn work(view: &View<'_>, kinds: &[Kind]) -> usize {
    let made = kinds.iter().map(|kind| elements(&kind.shape)).fold(0, usize::saturating_add);
    let read = (0..view.len()).filter_map(|place| view.shape(place).ok()).map(elements).fold(0, usize::saturating_add);
    let product = match view.node.op.as_str() {
        "MatMul" | "Gemm" => linear::work(view, &kinds[0].shape),
        "MultiThreshold" => view.shape(1).map_or(0, |shape| made.saturating_mul(shape.last().copied().unwrap_or(1))),
        _ => 0,
    };
    made.saturating_add(read).saturating_add(product)
}

/// How many elements a shape has, where an axis of none counts as one: lists along the others are made all the same.
pub(super) fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1, |count: usize, &size| count.saturating_mul(size.max(1)))
}
