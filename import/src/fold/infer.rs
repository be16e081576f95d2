//! Types and shapes of results.

use super::elementwise::{self, Gives};
use super::generate;
use super::linear;
use super::movement::Movement;
use super::quantize;
use super::reduce;
use super::rewrite;
use super::scatter;
use super::view::{Kind, View};
use super::window::{self, Window};
use crate::error::Refusal;
use crate::graph::{ElementType, Graph, Node, Value};

/// What can be had, for refusals of what cannot.
const INSTEAD: &str = "it must be written in other operations, or left out of the exported network";

const CONTROL: &str = "export the network without control flow";

/// The kinds of a node's results, all inputs having theirs.
pub(super) fn infer(view: &View<'_>) -> Result<Vec<Kind>, Refusal> {
    let node = view.node;
    if let Some(movement) = Movement::of(view)? {
        return one(view.element(0)?, movement.shape(view)?);
    }
    if let Some(gives) = elementwise::gives(node) {
        return elementwise_kind(view, gives);
    }
    if let Some(kind) = generate::kind(view)? {
        return Ok(vec![kind]);
    }
    if let Some(kind) = scatter::kind(view)? {
        return Ok(vec![kind]);
    }
    if window::is_windowed(node) {
        return one(view.element(0)?, Window::of(view)?.shape(view)?);
    }
    if reduce::is_reduction(node) || reduce::is_search(node) {
        return Ok(vec![reduce::kind(view)?]);
    }
    if quantize::is_quantizer(view) {
        return quantizer(view);
    }
    match (node.domain.as_str(), node.op.as_str()) {
        ("", "MatMul") | (quantize::QONNX, "XnorPopcountMatMul") => {
            one(view.element(0)?, linear::matmul_shape(view, 0, 1)?)
        }
        ("", "Gemm") => one(view.element(0)?, linear::gemm_shape(view)?),
        ("", "Cast") => one(generate::element_of(view, node.int("to", 0))?, view.shape(0)?.to_vec()),
        ("", "QuantizeLinear") => one(quantize::quantized_element(view)?, view.shape(0)?.to_vec()),
        ("", "DequantizeLinear") => one(view.element(1)?, view.shape(0)?.to_vec()),
        ("", "DynamicQuantizeLinear") => {
            let scalar = |element| Kind { element, shape: vec![] };
            let values = Kind { element: ElementType::UInt8, shape: view.shape(0)?.to_vec() };
            Ok(vec![values, scalar(ElementType::Float32), scalar(ElementType::UInt8)])
        }
        ("", "BatchNormalization") => batch_norm(view),
        ("", "InstanceNormalization" | "GroupNormalization" | "LRN") => {
            let shape = view.shape(0)?;
            if shape.len() < 2 {
                return Err(view.broken(format!("its input of shape {shape:?} has no channels")));
            }
            one(view.element(0)?, shape.to_vec())
        }
        ("", "LayerNormalization" | "RMSNormalization") => {
            let shape = view.shape(0)?;
            let axis = view.axis(node.int("axis", -1), shape.len())?;
            if view.broadcast([view.shape(1)?, shape])? != shape {
                return Err(view.broken(format!("its scale of shape {:?} does not fit {shape:?}", view.shape(1)?)));
            }
            if node.output(1).is_some() || node.output(2).is_some() {
                return Err(view.refuse("its mean or its deviation is read", "read only its first result"));
            }
            debug_assert!(axis < shape.len());
            one(view.element(0)?, shape.to_vec())
        }
        ("", "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization") => {
            let shape = view.shape(0)?;
            view.axis(node.int("axis", -1), shape.len())?;
            one(view.element(0)?, shape.to_vec())
        }
        ("", "MeanVarianceNormalization") => one(view.element(0)?, view.shape(0)?.to_vec()),
        ("", "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool") => {
            let shape = view.shape(0)?;
            let sizes = |axis: usize, size: usize| if axis < 2 { size } else { 1 };
            one(view.element(0)?, shape.iter().enumerate().map(|(axis, &size)| sizes(axis, size)).collect())
        }
        ("", "Resize") => one(view.element(0)?, resized(view)?),
        ("", "TopK") => top_k(view),
        ("", "Gather") => {
            let (shape, places) = (view.shape(0)?, view.shape(1)?);
            let axis = view.axis(node.int("axis", 0), shape.len())?;
            one(view.element(0)?, view.bounded([&shape[..axis], places, &shape[axis + 1..]].concat())?)
        }
        ("", "Loop" | "Scan" | "If" | "SequenceMap") => {
            Err(view.refuse("what it computes depends on values of the network", CONTROL))
        }
        ("", "LSTM" | "GRU" | "RNN") => Err(view.refuse("recurrent layers cannot be had", INSTEAD)),
        ("", _) => Err(view.refuse("this operation cannot be had", INSTEAD)),
        // Whoever puts the engine's own operations into a graph says what they give.
        ("horq", _) => {
            let told = |value: &Value| Some(Kind { element: value.element?, shape: value.shape.clone()? });
            let kinds = node.outputs.iter().flatten().map(|&id| told(view.graph.value(id)));
            kinds.collect::<Option<_>>().ok_or_else(|| view.broken("the shape of its result is not given"))
        }
        (domain, _) => Err(view.refuse(format!("operations of the domain `{domain}` cannot be had"), INSTEAD)),
    }
}

/// Whether an operation is one that can be had, its inputs' shapes unknown.
pub(super) fn known(node: &Node) -> Result<(), Refusal> {
    if rewrite::DISGUISES.contains(&node.op.as_str()) {
        return Ok(());
    }
    let graph = Graph::default();
    let bare = Node { inputs: vec![], ..node.clone() };
    // Without inputs every operation is refused; one that cannot be had, for this reason and no other.
    match infer(&View { graph: &graph, node: &bare }) {
        Err(refusal) if refusal.instead == INSTEAD || refusal.instead == CONTROL => Err(refusal),
        _ => Ok(()),
    }
}

fn one(element: ElementType, shape: Vec<usize>) -> Result<Vec<Kind>, Refusal> {
    Ok(vec![Kind { element, shape }])
}

fn elementwise_kind(view: &View<'_>, gives: Gives) -> Result<Vec<Kind>, Refusal> {
    let element = match gives {
        Gives::Same => view.element(0)?,
        Gives::Truth => ElementType::Bool,
        Gives::Second => view.element(1)?,
    };
    // The bounds of a `Clip` are single numbers.
    let places = if view.node.op == "Clip" { 1 } else { view.len() };
    let shapes: Vec<&[usize]> = (0..places).map(|place| view.shape(place)).collect::<Result<_, _>>()?;
    let shape = view.broadcast(shapes)?;
    if view.node.op == "PRelu" && shape != view.shape(0)? {
        return Err(view.broken(format!("its slopes of shape {:?} do not fit {:?}", view.shape(1)?, view.shape(0)?)));
    }
    one(element, shape)
}

fn quantizer(view: &View<'_>) -> Result<Vec<Kind>, Refusal> {
    let shape = view.shape(0)?;
    if view.node.op == "MultiThreshold" {
        quantize::channel_axis(view, shape.len())?;
    } else {
        // Scales may have more axes than the values, all of size 1.
        let shapes: Vec<&[usize]> = (0..view.len()).map(|place| view.shape(place)).collect::<Result<_, _>>()?;
        return one(view.element(0)?, view.broadcast(shapes)?);
    }
    one(view.element(0)?, shape.to_vec())
}

fn batch_norm(view: &View<'_>) -> Result<Vec<Kind>, Refusal> {
    let shape = view.shape(0)?;
    let read = (1..view.node.outputs.len()).any(|place| view.node.output(place).is_some());
    if view.node.int("training_mode", 0) != 0 || read {
        let instead = "export the network for inference: model.eval() first";
        return Err(view.refuse("it is that of training, with statistics of the batch", instead));
    }
    let channels = shape.get(1).copied().unwrap_or(1);
    for place in 1..5 {
        if view.shape(place)? != [channels] {
            return Err(view.broken(format!(
                "its input {place} of shape {:?} does not fit {channels} channels",
                view.shape(place)?
            )));
        }
    }
    one(view.element(0)?, shape.to_vec())
}

fn top_k(view: &View<'_>) -> Result<Vec<Kind>, Refusal> {
    let mut shape = view.shape(0)?.to_vec();
    let axis = view.axis(view.node.int("axis", -1), shape.len())?;
    let k = view.ints(1, "k")?.and_then(|k| k.first().copied()).ok_or_else(|| view.broken("it has no k"))?;
    let k = view.size(k)?;
    if k > shape[axis] {
        return Err(view.broken(format!("it asks for {k} of {} elements", shape[axis])));
    }
    shape[axis] = k;
    Ok(vec![Kind { element: view.element(0)?, shape: shape.clone() }, Kind { element: ElementType::Int64, shape }])
}

/// The axes that a `Resize` changes.
pub(super) fn resize_axes(view: &View<'_>) -> Result<Vec<usize>, Refusal> {
    let rank = view.shape(0)?.len();
    match view.node.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| view.axis(axis, rank)).collect(),
        None => Ok((0..rank).collect()),
    }
}

fn resized(view: &View<'_>) -> Result<Vec<usize>, Refusal> {
    let mut shape = view.shape(0)?.to_vec();
    let axes = resize_axes(view)?;
    let scales = view.floats(2, "scales")?.filter(|scales| !scales.is_empty());
    let sizes = view.ints(3, "sizes")?.filter(|sizes| !sizes.is_empty());
    let unfit = || view.broken("its scales or sizes do not fit its axes");
    match (scales, sizes) {
        (_, Some(sizes)) if sizes.len() == axes.len() => {
            for (&axis, &size) in axes.iter().zip(&sizes) {
                shape[axis] = view.size(size)?;
            }
            let policy = view.node.text("keep_aspect_ratio_policy", "stretch");
            if policy != "stretch" {
                let old = view.shape(0)?;
                let ratios = axes.iter().map(|&axis| shape[axis] as f32 / old[axis].max(1) as f32);
                let ratio = if policy == "not_larger" {
                    ratios.fold(f32::INFINITY, f32::min)
                } else {
                    ratios.fold(0.0, f32::max)
                };
                for &axis in &axes {
                    shape[axis] = (ratio * old[axis] as f32 + 0.5).floor() as usize;
                }
            }
        }
        (Some(scales), None) if scales.len() == axes.len() => {
            for (&axis, &scale) in axes.iter().zip(&scales) {
                if !(scale > 0.0 && scale.is_finite()) {
                    return Err(view.broken(format!("it scales by {scale}")));
                }
                shape[axis] = (shape[axis] as f32 * scale).floor() as usize;
            }
        }
        _ => return Err(unfit()),
    }
    view.bounded(shape)
}
