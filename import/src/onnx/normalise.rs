//! Operations of older operator sets in their newest form.

use crate::error::Refusal;
use crate::graph::{Attribute, Node, OPSET, Tensor, ValueId};
use ndarray::{ArrayD, IxDyn, arr0};

/// Adds a constant to the graph.
type Constants<'a> = &'a mut dyn FnMut(Tensor) -> ValueId;

/// Gives an operation of ONNX itself the form that it has in operator set [`OPSET`].
///
/// One thing is left: a `Softmax`, `LogSoftmax` or `Hardmax` that ranges over all axes from `axis` on has the attribute `flat`, because
/// how many that are is known only with the shape.
pub(super) fn normalise(node: &mut Node, version: i64, constants: Constants<'_>) -> Result<(), Refusal> {
    if !(7..=OPSET).contains(&version) {
        let instead = format!("operator sets 7 to {OPSET} can be had: onnx.version_converter changes them");
        return Err(Refusal::of(node, format!("it is of operator set {version}"), instead));
    }
    match node.op.as_str() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" if version < 13 => ints_to_input(node, "axes", 1, constants),
        "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
        | "ReduceLogSumExp" | "ReduceSumSquare"
            if version < 18 =>
        {
            ints_to_input(node, "axes", 1, constants);
        }
        "Split" if version < 13 => ints_to_input(node, "split", 1, constants),
        "TopK" if version < 10 => {
            if let Some(Attribute::Int(k)) = node.attributes.remove("k") {
                put(node, 1, constants(list(vec![k])));
            }
        }
        "Pad" if version < 11 => {
            ints_to_input(node, "pads", 1, constants);
            if let Some(Attribute::Float(value)) = node.attributes.remove("value") {
                put(node, 2, constants(scalar(value)));
            }
        }
        "Clip" if version < 11 => {
            for (name, place) in [("min", 1), ("max", 2)] {
                if let Some(Attribute::Float(value)) = node.attributes.remove(name) {
                    put(node, place, constants(scalar(value)));
                }
            }
        }
        "Slice" if version < 10 => {
            for (name, place) in [("starts", 1), ("ends", 2), ("axes", 3)] {
                ints_to_input(node, name, place, constants);
            }
        }
        "Dropout" if version < 12 => {
            node.attributes.remove("ratio");
        }
        "Upsample" => upsample(node, constants)?,
        "Resize" if version < 11 => resize(node),
        "BatchNormalization" if version < 9 && node.int("spatial", 1) == 0 => {
            let instead = "BatchNormalization over channels can be had: set spatial=1";
            return Err(Refusal::of(node, "it has statistics of each position (spatial=0)", instead));
        }
        "Softmax" | "LogSoftmax" | "Hardmax" => {
            let (axis, flat) = if version < 13 { (1, 1) } else { (-1, 0) };
            node.attributes.entry("axis".into()).or_insert(Attribute::Int(axis));
            node.attributes.insert("flat".into(), Attribute::Int(flat));
        }
        _ => {}
    }
    Ok(())
}

/// An `Upsample` is a `Resize` whose pixels count from their corners.
fn upsample(node: &mut Node, constants: Constants<'_>) -> Result<(), Refusal> {
    if let Some(Attribute::Floats(scales)) = node.attributes.remove("scales") {
        let len = scales.len();
        let scales = ArrayD::from_shape_vec(IxDyn(&[len]), scales).expect("as many as there are");
        put(node, 1, constants(Tensor::floats(scales)));
    }
    if node.input(1).is_none() {
        return Err(Refusal::of(node, "it has no scales", "the file is broken; export it again"));
    }
    node.op = "Resize".into();
    resize(node);
    Ok(())
}

/// `Resize` of operator set 10 has the scales where later ones have regions.
fn resize(node: &mut Node) {
    node.inputs.insert(1, None);
    for (name, value) in [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")] {
        node.attributes.insert(name.into(), Attribute::Text(value.into()));
    }
}

/// Turns an attribute into the input of that place.
fn ints_to_input(node: &mut Node, name: &str, place: usize, constants: Constants<'_>) {
    if let Some(Attribute::Ints(values)) = node.attributes.remove(name) {
        put(node, place, constants(list(values)));
    }
}

fn put(node: &mut Node, place: usize, id: ValueId) {
    if node.inputs.len() <= place {
        node.inputs.resize(place + 1, None);
    }
    node.inputs[place] = Some(id);
}

fn list(values: Vec<i64>) -> Tensor {
    Tensor::ints(ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).expect("as many as there are"))
}

fn scalar(value: f32) -> Tensor {
    Tensor::floats(arr0(value).into_dyn())
}
