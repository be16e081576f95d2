//! Changes of a model's parts: its graph, its tensors, what else its header says.

use super::seal::{assemble, data_start, reseal};
use horq::graph::Op;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use serde_json::{Map, Value, json};

#[derive(Clone)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// A model taken apart.
#[derive(Clone)]
pub(super) struct Parts {
    /// `__metadata__` without graph and digests.
    metadata: Map<String, Value>,
    graph: Value,
    /// In the order of the data.
    tensors: Vec<Tensor>,
}

/// Texts that a name may be changed to.
const TEXTS: [&str; 9] = ["x", "y", "", "\n", "\u{1b}[31m", "a\0b", "\u{202e}", "weight", "\u{1f600}"];

impl Parts {
    /// None if the bytes are no model.
    pub(super) fn open(file: &[u8]) -> Option<Self> {
        let start = data_start(file);
        let header: Map<String, Value> = serde_json::from_slice(file.get(8..start)?).ok()?;
        let mut metadata = header.get("__metadata__")?.as_object()?.clone();
        let graph = serde_json::from_str(metadata.remove("graph")?.as_str()?).ok()?;
        metadata.remove("header_sha256");
        let mut tensors = Vec::new();
        for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            let offsets = entry.get("data_offsets")?;
            let offset = |i: usize| Some(start + usize::try_from(offsets.get(i)?.as_u64()?).ok()?);
            let (first, end) = (offset(0)?, offset(1)?);
            let shape = entry.get("shape")?.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
            let tensor = Tensor {
                name: name.clone(),
                dtype: entry.get("dtype")?.as_str()?.into(),
                shape,
                bytes: file.get(first..end)?.to_vec(),
            };
            tensors.push((first, tensor));
        }
        tensors.sort_by_key(|(first, _)| *first);
        Some(Self { metadata, graph, tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect() })
    }

    /// The header's text, with zeros for its digest.
    pub(super) fn header(&self) -> String {
        let mut metadata = self.metadata.clone();
        metadata.insert("graph".into(), self.graph.to_string().into());
        metadata.insert("header_sha256".into(), "0".repeat(64).into());
        let mut header = Map::new();
        header.insert("__metadata__".into(), metadata.into());
        let mut offset = 0;
        for tensor in &self.tensors {
            let end = offset + tensor.bytes.len();
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
            header.insert(tensor.name.clone(), entry);
            offset = end;
        }
        Value::from(header).to_string()
    }

    /// The file, its header's digest right.
    pub(super) fn seal(&self) -> Vec<u8> {
        let data: Vec<u8> = self.tensors.iter().flat_map(|tensor| &tensor.bytes).copied().collect();
        let mut file = assemble(self.header().as_bytes(), &data);
        reseal(&mut file);
        file
    }

    /// Changes one thing; `other` is a model to take parts from.
    pub(super) fn change(&mut self, other: &Self, rng: &mut SmallRng) {
        match rng.random_range(0..12) {
            0..=3 => {
                let target = rng.next_u32() as usize % leaves(&self.graph).max(1);
                change_leaf(&mut self.graph, &mut { target }, rng);
            }
            4 | 5 => self.change_nodes(other, rng),
            6 => self.change_operation(rng),
            7 | 8 => self.change_tensor(rng),
            9 => self.graft(other, rng),
            10 => {
                let outputs = ["more_outputs", "more_inputs", "output", "input"];
                let key = outputs[rng.random_range(0..outputs.len())];
                let value = match key {
                    "more_outputs" => json!([self.name(rng)]),
                    "more_inputs" => json!([{ "name": text(rng), "shape": [number(rng)] }]),
                    "input" => json!({ "name": "x", "shape": [number(rng), number(rng), number(rng)] }),
                    _ => json!(self.name(rng)),
                };
                if let Some(graph) = self.graph.as_object_mut() {
                    graph.insert(key.into(), value);
                }
            }
            _ => {
                let keys: Vec<String> = self.metadata.keys().cloned().collect();
                let key = if keys.is_empty() || rng.random_ratio(1, 4) {
                    text(rng)
                } else {
                    keys[rng.random_range(0..keys.len())].clone()
                };
                match rng.random_range(0..3) {
                    0 => drop(self.metadata.remove(&key)),
                    1 => drop(self.metadata.insert(key, text(rng).into())),
                    _ => drop(self.metadata.insert(key, value(rng).to_string().into())),
                }
            }
        }
    }

    fn nodes(&mut self) -> Option<&mut Vec<Value>> {
        self.graph.get_mut("nodes")?.as_array_mut().filter(|nodes| !nodes.is_empty())
    }

    /// The name of a value.
    fn name(&mut self, rng: &mut SmallRng) -> Value {
        let Some(nodes) = self.nodes() else { return "x".into() };
        let node = &nodes[rng.random_range(0..nodes.len())];
        if rng.random_ratio(1, 6) { "x".into() } else { node.get("name").cloned().unwrap_or_default() }
    }

    /// Nodes doubled, dropped, swapped, made to read others.
    fn change_nodes(&mut self, other: &Self, rng: &mut SmallRng) {
        let name = self.name(rng);
        let Some(nodes) = self.nodes() else { return };
        let (at, to) = (rng.random_range(0..nodes.len()), rng.random_range(0..nodes.len()));
        match rng.random_range(0..5) {
            0 => {
                let mut node = nodes[at].clone();
                node["name"] = format!("copy{}", rng.random_range(0..4)).into();
                nodes.insert(to, node);
            }
            1 => drop(nodes.remove(at)),
            2 => nodes.swap(at, to),
            3 => {
                if let Some(inputs) = nodes[at].get_mut("inputs").and_then(Value::as_array_mut) {
                    if inputs.is_empty() || rng.random_ratio(1, 4) { inputs.push(name) } else { inputs[0] = name }
                }
            }
            _ => {
                // A node of another model without its tensors.
                let others = other.graph.get("nodes").and_then(Value::as_array);
                if let Some(others) = others.filter(|others| !others.is_empty()) {
                    let mut node = others[rng.random_range(0..others.len())].clone();
                    node["inputs"] = json!([name]);
                    nodes.push(node.clone());
                    self.graph["output"] = node["name"].clone();
                }
            }
        }
    }

    /// Another operation, with the fields of the old one; a field dropped, or added.
    fn change_operation(&mut self, rng: &mut SmallRng) {
        let Some(nodes) = self.nodes() else { return };
        let at = rng.random_range(0..nodes.len());
        let Some(node) = nodes[at].as_object_mut() else { return };
        let keys: Vec<String> = node.keys().cloned().collect();
        let key = keys[rng.random_range(0..keys.len())].clone();
        match rng.random_range(0..4) {
            0 | 1 => drop(node.insert("op".into(), Op::KINDS[rng.random_range(0..Op::KINDS.len())].into())),
            2 => drop(node.remove(&key)),
            _ => drop(node.insert(key, value(rng))),
        }
    }

    fn change_tensor(&mut self, rng: &mut SmallRng) {
        const BITS: [u32; 12] = [
            0,
            0x8000_0000,
            1,
            0x007f_ffff,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x7f7f_ffff,
            0x3f80_0000,
            0xbf80_0000,
            0x0080_0000,
            0xffff_ffff,
        ];
        if self.tensors.is_empty() {
            return;
        }
        let at = rng.random_range(0..self.tensors.len());
        let tensor = &mut self.tensors[at];
        match rng.random_range(0..8) {
            0..=3 if tensor.bytes.len() >= 4 => {
                let place = rng.random_range(0..tensor.bytes.len() / 4) * 4;
                let bits = if rng.random() { BITS[rng.random_range(0..BITS.len())] } else { rng.random() };
                tensor.bytes[place..place + 4].copy_from_slice(&bits.to_le_bytes());
            }
            4 => tensor.bytes.fill(rng.random()),
            5 if !tensor.shape.is_empty() => {
                let axis = rng.random_range(0..tensor.shape.len());
                tensor.shape[axis] = rng.random_range(0..70);
                let elements: u64 = tensor.shape.iter().product();
                let size = match tensor.dtype.as_str() {
                    "F32" | "U32" => 4,
                    _ => 1,
                };
                tensor.bytes.resize((elements * size).min(1 << 14) as usize, 0);
            }
            6 => tensor.dtype = ["F32", "U32", "I8", "U8", "F16", "I64", "F64", "f32"][rng.random_range(0..8)].into(),
            7 if rng.random_ratio(1, 2) => drop(self.tensors.remove(at)),
            _ => tensor.name = text(rng),
        }
    }

    /// A layer of another model with its tensors.
    fn graft(&mut self, other: &Self, rng: &mut SmallRng) {
        let name = self.name(rng);
        let Some(others) = other.graph.get("nodes").and_then(Value::as_array).filter(|nodes| !nodes.is_empty()) else {
            return;
        };
        let mut node = others[rng.random_range(0..others.len())].clone();
        let Some(own) = node.get("name").and_then(Value::as_str).map(str::to_owned) else { return };
        let prefix = format!("{own}.");
        let missing = other.tensors.iter().filter(|tensor| tensor.name.starts_with(&prefix));
        let missing: Vec<Tensor> =
            missing.filter(|tensor| self.tensors.iter().all(|mine| mine.name != tensor.name)).cloned().collect();
        self.tensors.extend(missing);
        node["inputs"] = json!([name]);
        let Some(nodes) = self.nodes() else { return };
        nodes.retain(|mine| mine.get("name").and_then(Value::as_str) != Some(&own));
        nodes.push(node);
        self.graph["output"] = own.into();
    }
}

/// How many values that are neither lists nor objects.
fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(leaves).sum(),
        Value::Object(map) => map.values().map(leaves).sum(),
        _ => 1,
    }
}

/// Changes the leaf that `left` others stand before.
fn change_leaf(at: &mut Value, left: &mut usize, rng: &mut SmallRng) -> bool {
    match at {
        Value::Array(list) => list.iter_mut().any(|value| change_leaf(value, left, rng)),
        Value::Object(map) => map.values_mut().any(|value| change_leaf(value, left, rng)),
        leaf if *left == 0 => {
            *leaf = match leaf.as_u64() {
                Some(old) if rng.random_ratio(1, 2) => match rng.random_range(0..4) {
                    0 => old.wrapping_add(1).into(),
                    1 => old.wrapping_sub(1).into(),
                    2 => old.wrapping_mul(2).into(),
                    _ => rng.random_range(0..9u64).into(),
                },
                Some(_) => number(rng),
                None => value(rng),
            };
            true
        }
        _ => {
            *left -= 1;
            false
        }
    }
}

fn number(rng: &mut SmallRng) -> Value {
    const NUMBERS: [u64; 20] =
        [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 255, 1 << 14, 1 << 31, 1 << 32, 1 << 53, u64::MAX];
    NUMBERS[rng.random_range(0..NUMBERS.len())].into()
}

fn text(rng: &mut SmallRng) -> String {
    if rng.random_ratio(1, 16) {
        "n".repeat(rng.random_range(200..300))
    } else {
        TEXTS[rng.random_range(0..TEXTS.len())].into()
    }
}

fn value(rng: &mut SmallRng) -> Value {
    match rng.random_range(0..9) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(0.5),
        3 => json!(1e300),
        4 => json!([]),
        5 => json!([number(rng), number(rng)]),
        6 => text(rng).into(),
        7 => Value::Bool(rng.random()),
        _ => number(rng),
    }
}
