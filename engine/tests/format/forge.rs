//! Takes files apart and puts them together again, right or wrong, by `docs/format.md` alone: nothing here calls the
//! library's own reader or writer.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A tensor as the header and the data hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The parts of a file, to be changed at will.
#[derive(Clone, Debug)]
pub(crate) struct Forge {
    /// `__metadata__` without the digests and the graph; an entry for one of them takes the place of the right one.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) graph: Value,
    /// In the order of the data.
    pub(crate) tensors: Vec<(String, Tensor)>,
    /// The boundary on which the data starts.
    pub(crate) alignment: usize,
}

impl Forge {
    /// Takes a file apart.
    pub(crate) fn open(file: &[u8]) -> Self {
        let start = data_start(file);
        let header: Value = serde_json::from_slice(&file[8..start]).unwrap();
        let mut metadata: BTreeMap<String, String> = serde_json::from_value(header["__metadata__"].clone()).unwrap();
        let graph = serde_json::from_str(&metadata.remove("graph").unwrap()).unwrap();
        metadata.remove("header_sha256");
        metadata.remove("data_sha256");
        let mut tensors: Vec<_> =
            header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").collect();
        tensors.sort_by_key(|(_, entry)| entry["data_offsets"][0].as_u64());
        let tensors = tensors.into_iter().map(|(name, entry)| {
            let offset = |i: usize| start + entry["data_offsets"][i].as_u64().unwrap() as usize;
            let tensor = Tensor {
                dtype: entry["dtype"].as_str().unwrap().into(),
                shape: serde_json::from_value(entry["shape"].clone()).unwrap(),
                bytes: file[offset(0)..offset(1)].to_vec(),
            };
            (name.clone(), tensor)
        });
        Self { metadata, graph, tensors: tensors.collect(), alignment: 64 }
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        &mut self.tensors.iter_mut().find(|(other, _)| other == name).unwrap().1
    }

    /// The node of that name.
    pub(crate) fn node(&mut self, name: &str) -> &mut Value {
        self.graph["nodes"].as_array_mut().unwrap().iter_mut().find(|node| node["name"] == name).unwrap()
    }

    /// Sets 32 bits of a tensor.
    pub(crate) fn set(&mut self, tensor: &str, element: usize, bits: u32) {
        self.tensor(tensor).bytes[element * 4..][..4].copy_from_slice(&bits.to_le_bytes());
    }

    /// Puts a file together, its digests right unless the metadata states others.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let data: Vec<u8> = self.tensors.iter().flat_map(|(_, tensor)| tensor.bytes.clone()).collect();
        let mut metadata = self.metadata.clone();
        metadata.entry("graph".into()).or_insert_with(|| self.graph.to_string());
        metadata.entry("data_sha256".into()).or_insert_with(|| hex(&data));
        metadata.entry("header_sha256".into()).or_insert_with(|| "0".repeat(64));
        let mut header = json!({ "__metadata__": metadata });
        let mut offset = 0;
        for (name, tensor) in &self.tensors {
            let end = offset + tensor.bytes.len();
            header[name] = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
            offset = end;
        }
        let mut file = assemble(&header.to_string(), self.alignment, &data);
        if !self.metadata.contains_key("header_sha256") {
            reseal(&mut file);
        }
        file
    }
}

/// Header and data as a file.
pub(crate) fn assemble(header: &str, alignment: usize, data: &[u8]) -> Vec<u8> {
    let length = (8 + header.len()).next_multiple_of(alignment) - 8;
    let mut file = (length as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.resize(8 + length, b' ');
    file.extend(data);
    file
}

/// Recomputes the header's digest, if the file still has a place for one.
pub(crate) fn reseal(file: &mut [u8]) {
    const KEY: &[u8] = b"\"header_sha256\":\"";
    let start = data_start(file).min(file.len());
    let Some(place) = file[..start].windows(KEY.len()).position(|window| window == KEY) else { return };
    let digits = place + KEY.len()..place + KEY.len() + 64;
    if digits.end <= start {
        file[digits.clone()].fill(b'0');
        let digest = hex(&file[..start]);
        file[digits].copy_from_slice(digest.as_bytes());
    }
}

/// Where a file's data starts; far outside if the length is nonsense.
pub(crate) fn data_start(file: &[u8]) -> usize {
    let length = file.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
