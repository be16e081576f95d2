//! The bytes of a file from its parts.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::header::LENGTH_BYTES;
use super::json::{self, text};
use super::metadata::{
    DATA_SHA256, DIGITS, FORMAT, FORMAT_VALUE, FORMAT_VERSION, GOLDEN, GRAPH, HEADER_SHA256, NOTE, POINTS, PRODUCER,
};
use super::{GoldenRef, points, sha256};
use crate::error::FileError;
use crate::graph::Graph;
use crate::limits::{ALIGNMENT, VERSION};
use crate::tensor::TensorData;
use crate::{Error, Points};

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
    pub(crate) points: &'a Points,
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
        let (name, dtype, shape) = (text(name), data.dtype(), text(shape));
        entries += &format!(",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}");
        data_len = end;
    }
    let mut metadata = BTreeMap::from([
        (FORMAT.to_owned(), FORMAT_VALUE.to_owned()),
        (FORMAT_VERSION.to_owned(), format!("{}.{}", VERSION.0, minor_version(parts.graph))),
        (DATA_SHA256.to_owned(), format!("{:x}", data_hash.finalize())),
        (GRAPH.to_owned(), text(parts.graph)),
        (PRODUCER.to_owned(), parts.producer.to_owned()),
    ]);
    metadata.extend(parts.golden.map(|golden| (GOLDEN.to_owned(), text(golden))));
    metadata.extend(parts.notes.iter().map(|(key, value)| (format!("{NOTE}{key}"), value.clone())));
    set_points(&mut metadata, parts.points);
    let mut file = head(metadata, &entries, data_len);
    for (_, _, data) in parts.tensors {
        file.extend_from_slice(data.bytes());
    }
    file
}

/// The bytes of a file with other operating points; all else is as it was, whether this library knows it or not.
///
/// # Errors
/// [`FileError::NotSafetensors`] for a mapped file that was changed since it was opened.
pub(crate) fn with_points(file: &[u8], data_start: usize, points: &Points) -> Result<Vec<u8>, Error> {
    let not_safetensors = |reason: String| Error::File(FileError::NotSafetensors { reason });
    let (head_bytes, data) = file.split_at(data_start);
    let json = std::str::from_utf8(&head_bytes[LENGTH_BYTES..]).map_err(|error| not_safetensors(error.to_string()))?;
    let RawHeader { mut metadata, entries } =
        serde_json::from_str(json).map_err(|error| not_safetensors(json::brief(error)))?;
    set_points(&mut metadata, points);
    let mut file = head(metadata, &entries, data.len());
    file.extend_from_slice(data);
    Ok(file)
}

/// States the points, or none.
fn set_points(metadata: &mut BTreeMap<String, String>, points: &Points) {
    match points.is_empty() {
        true => metadata.remove(POINTS),
        false => metadata.insert(POINTS.to_owned(), points::text(points)),
    };
}

/// The bytes of a file up to its data, with room for that; `entries` are those of the tensors, with a comma before each.
fn head(mut metadata: BTreeMap<String, String>, entries: &str, data_len: usize) -> Vec<u8> {
    let unset = "0".repeat(DIGITS);
    metadata.insert(HEADER_SHA256.to_owned(), unset.clone());
    let header = format!("{{\"__metadata__\":{}{entries}}}", text(&metadata));
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
    file
}

/// A header whose tensors are not looked into.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    entries: String,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors and `__metadata__`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader { metadata: BTreeMap::new(), entries: String::new() };
        while let Some(key) = map.next_key::<String>()? {
            if key == "__metadata__" {
                header.metadata = map.next_value()?;
            } else {
                let entry: &RawValue = map.next_value()?;
                header.entries += &format!(",{}:{}", text(&key), entry.get());
            }
        }
        Ok(header)
    }
}
