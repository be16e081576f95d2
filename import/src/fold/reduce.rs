//! Reductions over axes.

use super::held::{float_tensor, wrapped};
use super::view::{Kind, View};
use crate::error::Refusal;
use crate::graph::{Attribute, Data, ElementType, Graph, Node, Tensor};
use ndarray::{Array1, ArrayD, ArrayView1, Axis, IxDyn};

/// Whether an operation reduces over axes that its second input names.
pub(super) fn is_reduction(node: &Node) -> bool {
    node.domain.is_empty()
        && matches!(
            node.op.as_str(),
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL2"
        )
}

/// Whether an operation finds places of extremes.
pub(super) fn is_search(node: &Node) -> bool {
    node.domain.is_empty() && matches!(node.op.as_str(), "ArgMax" | "ArgMin")
}

/// The axes over which a node reduces.
pub(super) fn axes(view: &View<'_>) -> Result<Vec<usize>, Refusal> {
    let rank = view.shape(0)?.len();
    if is_search(view.node) {
        return Ok(vec![view.axis(view.node.int("axis", 0), rank)?]);
    }
    let axes = view.axes(&view.ints(1, "axes")?.unwrap_or_default(), rank)?;
    let all = axes.is_empty() && view.node.int("noop_with_empty_axes", 0) == 0;
    Ok(if all { (0..rank).collect() } else { axes })
}

/// The result's shape.
pub(super) fn kind(view: &View<'_>) -> Result<Kind, Refusal> {
    let (axes, keep) = (axes(view)?, view.node.int("keepdims", 1) != 0);
    let sizes = view.shape(0)?.iter().enumerate();
    let shape = sizes.filter_map(|(axis, &size)| match (axes.contains(&axis), keep) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    });
    let element = if is_search(view.node) { ElementType::Int64 } else { view.element(0)? };
    Ok(Kind { element, shape: shape.collect() })
}

/// The same node with all its axes named.
pub(super) fn node(node: &Node, axes: &[usize], graph: &mut Graph) -> Node {
    let mut node = node.clone();
    node.attributes.entry("keepdims".into()).or_insert(Attribute::Int(1));
    if is_search(&node) {
        node.attributes.insert("axis".into(), Attribute::Int(axes[0] as i64));
        return node;
    }
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    // Without axes it changes nothing, which this attribute keeps true.
    node.attributes.insert("noop_with_empty_axes".into(), Attribute::Int(1));
    node.inputs = vec![node.input(0), Some(graph.add_constant("", Tensor::ints(Array1::from(axes).into_dyn())))];
    node
}

/// The result for a constant; none if it knows no such elements.
pub(super) fn evaluate(view: &View<'_>, x: &Tensor, kind: &Kind) -> Result<Option<Tensor>, Refusal> {
    let axes = axes(view)?;
    if x.is_empty() {
        return Ok(None);
    }
    let rows = rows(x.shape(), &axes);
    let shaped = |values: Vec<f64>| ArrayD::from_shape_vec(IxDyn(&kind.shape), values).ok();
    if is_search(view.node) {
        let last = view.node.int("select_last_index", 0) != 0;
        let values = over_rows(&x.doubles(), &rows, |row| place_of_extreme(row, view.node.op == "ArgMax", last));
        return Ok(shaped(values).map(|values| Tensor::ints(values.mapv(|value| value as i64))));
    }
    if let Data::Int(values) = &x.data {
        let Some(reduce) = whole(&view.node.op) else { return Ok(None) };
        let values = over_rows(values, &rows, |row| wrapped(x.element, reduce(row)));
        let values = ArrayD::from_shape_vec(IxDyn(&kind.shape), values).ok();
        return Ok(values.map(|values| Tensor { element: x.element, data: Data::Int(values) }));
    }
    let Some(reduce) = number(&view.node.op).filter(|_| x.element.is_float()) else { return Ok(None) };
    Ok(shaped(over_rows(&x.doubles(), &rows, reduce)).map(|values| float_tensor(x.element, values)))
}

fn number(op: &str) -> Option<fn(ArrayView1<'_, f64>) -> f64> {
    Some(match op {
        "ReduceSum" => |row| row.sum(),
        "ReduceMean" => |row| row.sum() / row.len() as f64,
        "ReduceMax" => {
            |row| row.fold(f64::NEG_INFINITY, |max, &value| if value > max || value.is_nan() { value } else { max })
        }
        "ReduceMin" => {
            |row| row.fold(f64::INFINITY, |min, &value| if value < min || value.is_nan() { value } else { min })
        }
        "ReduceProd" => |row| row.product(),
        "ReduceL2" => |row| row.fold(0.0, |sum, value| sum + value * value).sqrt(),
        _ => return None,
    })
}

fn whole(op: &str) -> Option<fn(ArrayView1<'_, i64>) -> i64> {
    Some(match op {
        "ReduceSum" => |row| row.fold(0, |sum: i64, &value| sum.wrapping_add(value)),
        "ReduceMean" => |row| row.fold(0, |sum: i64, &value| sum.wrapping_add(value)) / row.len() as i64,
        "ReduceMax" => |row| row.fold(i64::MIN, |max, &value| max.max(value)),
        "ReduceMin" => |row| row.fold(i64::MAX, |min, &value| min.min(value)),
        "ReduceProd" => |row| row.fold(1, |product: i64, &value| product.wrapping_mul(value)),
        _ => return None,
    })
}

fn place_of_extreme(row: ArrayView1<'_, f64>, largest: bool, last: bool) -> f64 {
    let mut best = 0;
    for (place, &value) in row.iter().enumerate().skip(1) {
        let better = if largest { value > row[best] } else { value < row[best] };
        if better || (last && value == row[best]) {
            best = place;
        }
    }
    best as f64
}

/// The order of axes that brings those that are reduced last, and how many elements each row has then.
fn rows(shape: &[usize], axes: &[usize]) -> (Vec<usize>, usize) {
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let order = kept.chain(axes.iter().copied()).collect();
    (order, axes.iter().map(|&axis| shape[axis]).product())
}

fn over_rows<T: Copy, R>(values: &ArrayD<T>, rows: &(Vec<usize>, usize), f: impl Fn(ArrayView1<'_, T>) -> R) -> Vec<R> {
    let (order, len) = rows;
    let sorted = values.view().permuted_axes(order.as_slice()).as_standard_layout().into_owned();
    let count = sorted.len() / len.max(&1);
    let sorted = sorted.into_shape_with_order((count, *len)).expect("rows of equal length");
    sorted.axis_iter(Axis(0)).map(f).collect()
}
