//! Changes of the messages of an ONNX file.

use horq_import::onnx::schema::{Attribute, Model, Node, Tensor};
use prost::Message;
use rand::Rng;
use rand::rngs::SmallRng;

/// Numbers at which arithmetic breaks.
const NUMBERS: [i64; 16] =
    [0, 1, -1, 2, -2, 7, 31, 32, 64, 255, 1 << 14, 1 << 31, -(1 << 31), 1 << 40, i64::MAX, i64::MIN];

/// The file with some of its parts changed; `other` is a file to take nodes from. None if one of them is no such file.
pub(super) fn change(file: &[u8], other: &[u8], rng: &mut SmallRng) -> Option<Vec<u8>> {
    let (mut model, other) = (Model::decode(file).ok()?, Model::decode(other).ok()?);
    let others = other.graph.map(|graph| graph.node).unwrap_or_default();
    for _ in 0..rng.random_range(1..=3) {
        change_part(&mut model, &others, rng)?;
    }
    Some(model.encode_to_vec())
}

fn change_part(model: &mut Model, others: &[Node], rng: &mut SmallRng) -> Option<()> {
    if !model.functions.is_empty() && rng.random_ratio(1, 4) {
        let function = rng.random_range(0..model.functions.len());
        return change_node(pick(&mut model.functions[function].node, rng)?, others, rng);
    }
    let graph = model.graph.as_mut()?;
    match rng.random_range(0..12) {
        0 if graph.node.len() > 1 => drop(graph.node.remove(rng.random_range(0..graph.node.len()))),
        1 => {
            let copy = pick(&mut graph.node, rng)?.clone();
            graph.node.push(copy);
        }
        2 if !others.is_empty() => {
            let mut node = others[rng.random_range(0..others.len())].clone();
            let outputs = graph.node.iter().flat_map(|node| node.output.clone()).collect::<Vec<_>>();
            for input in node.input.iter_mut().filter(|_| !outputs.is_empty()) {
                *input = outputs[rng.random_range(0..outputs.len())].clone();
            }
            graph.node.push(node);
        }
        3 | 4 if !graph.initializer.is_empty() => change_tensor(pick(&mut graph.initializer, rng)?, rng),
        5 => {
            let input = pick(&mut graph.input, rng)?;
            let shape = input.r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut()?;
            pick(&mut shape.dim, rng)?.dim_value = Some(number(rng));
        }
        6 => {
            let (a, b) = (rng.random_range(0..graph.node.len().max(1)), rng.random_range(0..graph.node.len().max(1)));
            if a.max(b) < graph.node.len() {
                graph.node.swap(a, b);
            }
        }
        _ => change_node(pick(&mut graph.node, rng)?, others, rng)?,
    }
    Some(())
}

fn pick<'a, T>(items: &'a mut [T], rng: &mut SmallRng) -> Option<&'a mut T> {
    if items.is_empty() {
        return None;
    }
    let place = rng.random_range(0..items.len());
    items.get_mut(place)
}

fn number(rng: &mut SmallRng) -> i64 {
    if rng.random() { rng.random_range(-4..10) } else { NUMBERS[rng.random_range(0..NUMBERS.len())] }
}

fn change_tensor(tensor: &mut Tensor, rng: &mut SmallRng) {
    match rng.random_range(0..5) {
        0 if !tensor.int64_data.is_empty() => tensor.int64_data[0] = number(rng),
        1 if !tensor.float_data.is_empty() => {
            let place = rng.random_range(0..tensor.float_data.len());
            tensor.float_data[place] = [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 1e-40][rng.random_range(0..6)];
        }
        2 if !tensor.dims.is_empty() => {
            let place = rng.random_range(0..tensor.dims.len());
            tensor.dims[place] = number(rng);
        }
        3 => tensor.dims.push(1),
        _ => tensor.data_type = Some(rng.random_range(0..25)),
    }
}

fn change_node(node: &mut Node, others: &[Node], rng: &mut SmallRng) -> Option<()> {
    match rng.random_range(0..7) {
        0 if !others.is_empty() => node.op_type = others[rng.random_range(0..others.len())].op_type.clone(),
        1 if !node.input.is_empty() => {
            let (a, b) = (rng.random_range(0..node.input.len()), rng.random_range(0..node.input.len()));
            node.input.swap(a, b);
        }
        2 => node.input.push(if rng.random_ratio(1, 3) { String::new() } else { "x".into() }),
        3 if !node.attribute.is_empty() => drop(node.attribute.remove(rng.random_range(0..node.attribute.len()))),
        4 if !others.is_empty() => {
            let other = &others[rng.random_range(0..others.len())];
            node.attribute.extend(other.attribute.first().cloned());
        }
        _ => change_attribute(pick(&mut node.attribute, rng)?, rng),
    }
    Some(())
}

fn change_attribute(attribute: &mut Attribute, rng: &mut SmallRng) {
    if let Some(value) = attribute.i.as_mut() {
        *value = number(rng);
    } else if !attribute.ints.is_empty() {
        let place = rng.random_range(0..attribute.ints.len());
        match rng.random_range(0..4) {
            0 => attribute.ints.truncate(place),
            1 => attribute.ints.push(number(rng)),
            _ => attribute.ints[place] = number(rng),
        }
    } else if let Some(tensor) = attribute.t.as_mut() {
        change_tensor(tensor, rng);
    } else if let Some(value) = attribute.f.as_mut() {
        *value = number(rng) as f32;
    } else if let Some(text) = attribute.s.as_mut() {
        text.push(rng.random());
    }
}
