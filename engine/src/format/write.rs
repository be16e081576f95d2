//! The bytes of a file from its parts.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::header::LENGTH_BYTES;
use super::metadata::{
    DATA_SHA256, DIGITS, FORMAT, FORMAT_VALUE, FORMAT_VERSION, GOLDEN, GRAPH, HEADER_SHA256, NOTE, PRODUCER,
};
use super::{GoldenRef, sha256};
use crate::graph::Graph;
use crate::limits::{ALIGNMENT, VERSION};
use crate::tensor::TensorData;

/// The least minor version that has all that the graph uses, so that older readers take every file that they can read.
fn minor_version(graph: &Graph) -> u32 {
    let of_nodes = graph.nodes.iter().map(|node| node.op.minor_version());
    let of_ends = u32::from(graph.inputs.len() > 1 || graph.outputs.len() > 1);
    of_nodes.fold(of_ends, u32::max)
}

/// The parts of a file.
pub(crate) struct Parts<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) golden: Option<&'a GoldenRef>,
    pub(crate) producer: &'a str,
    pub(crate) notes: &'a BTreeMap<String, String>,
    /// In the order in which they shall lie in the file.
    pub(crate) tensors: &'a [(String, Vec<usize>, TensorData)],
}

/// The bytes of a file; the same parts give the same bytes.
///
/// The header is written here and not by the safetensors crate, whose metadata is a hash map and comes out in any order.
pub(crate) fn assemble(parts: &Parts<'_>) -> Vec<u8> {
    let mut data_hash = Sha256::new();
    let mut data_len = 0;
    let mut entries = String::new();
    for (name, shape, data) in parts.tensors {
        let bytes = data.bytes();
        data_hash.update(bytes);
        let (start, end) = (data_len, data_len + bytes.len());
        let (name, dtype, shape) = (json(name), data.dtype(), json(shape));
        entries += &format!(",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}");
        data_len = end;
    }
    let unset = "0".repeat(DIGITS);
    let mut metadata = BTreeMap::from([
        (FORMAT.to_owned(), FORMAT_VALUE.to_owned()),
        (FORMAT_VERSION.to_owned(), format!("{}.{}", VERSION.0, minor_version(parts.graph))),
        (HEADER_SHA256.to_owned(), unset.clone()),
        (DATA_SHA256.to_owned(), format!("{:x}", data_hash.finalize())),
        (GRAPH.to_owned(), json(parts.graph)),
        (PRODUCER.to_owned(), parts.producer.to_owned()),
    ]);
    metadata.extend(parts.golden.map(|golden| (GOLDEN.to_owned(), json(golden))));
    metadata.extend(parts.notes.iter().map(|(key, value)| (format!("{NOTE}{key}"), value.clone())));
    let header = format!("{{\"__metadata__\":{}{entries}}}", json(&metadata));

    let data_start = (LENGTH_BYTES + header.len()).next_multiple_of(ALIGNMENT);
    let mut file = Vec::with_capacity(data_start + data_len);
    file.extend_from_slice(&((data_start - LENGTH_BYTES) as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.resize(data_start, b' ');
    let digest = sha256(&file);
    // Quotes inside values are escaped, so the first match is the key.
    let place = header.find(&format!("\"{HEADER_SHA256}\":\"{unset}\"")).expect("the key was just written");
    let place = LENGTH_BYTES + place + HEADER_SHA256.len() + "\"\":\"".len();
    file[place..place + DIGITS].copy_from_slice(digest.as_bytes());
    for (_, _, data) in parts.tensors {
        file.extend_from_slice(data.bytes());
    }
    file
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps with string keys always serialize")
}
