//! The safetensors header: its length, its JSON, its digest.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256};

use super::{ALIGNMENT, Limits};
use crate::Error;

/// Bytes of the header's length at the start of a file.
pub(super) const LENGTH_BYTES: usize = 8;

/// A tensor as the header describes it, its bytes counted from the start of the data.
pub(crate) struct TensorEntry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Range<usize>,
}

/// A parsed header.
pub(crate) struct Header {
    /// The keys of `__metadata__`.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The tensors; in the order of their names, so that the first error found does not vary.
    pub(crate) tensors: BTreeMap<String, TensorEntry>,
    /// Where the data starts in the file.
    pub(crate) data_start: usize,
    /// Bytes of the data.
    pub(crate) data_len: usize,
}

impl Header {
    /// Parses the header of a file.
    ///
    /// The JSON is given to the safetensors crate without the file's bytes: its own reader of whole files adds header and
    /// data lengths without a check for overflow.
    pub(crate) fn parse(file: &[u8], limits: &Limits) -> Result<Self, Error> {
        let truncated = |needed| Error::Truncated { length: file.len(), needed };
        let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(truncated(LENGTH_BYTES as u64));
        };
        let length = u64::from_le_bytes(*length);
        if length > rest.len() as u64 {
            return Err(truncated(length.saturating_add(LENGTH_BYTES as u64)));
        }
        if length > limits.header_bytes as u64 {
            return Err(Error::HeaderTooLong { length, limit: limits.header_bytes });
        }
        let (json, data) = rest.split_at(length as usize);
        let parsed: Metadata =
            serde_json::from_slice(json).map_err(|error| Error::NotSafetensors { reason: error.to_string() })?;
        if parsed.data_len() != data.len() {
            return Err(Error::DataLength { expected: parsed.data_len(), found: data.len() });
        }
        let tensors = parsed.tensors().into_iter().map(|(name, info)| {
            let bytes = info.data_offsets.0..info.data_offsets.1;
            (name, TensorEntry { dtype: info.dtype, shape: info.shape.clone(), bytes })
        });
        let tensors = tensors.collect();
        let metadata = parsed.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { metadata, tensors, data_start: LENGTH_BYTES + json.len(), data_len: data.len() })
    }

    /// The metadata's value of a key that must be there.
    pub(crate) fn get(&self, key: &'static str) -> Result<&str, Error> {
        self.metadata.get(key).map(String::as_str).ok_or(Error::MissingKey { key })
    }

    /// Checks that the data starts on a boundary, and with it every aligned tensor.
    pub(crate) fn check_alignment(&self) -> Result<(), Error> {
        let offset = self.data_start;
        if offset.is_multiple_of(ALIGNMENT) { Ok(()) } else { Err(Error::DataUnaligned { offset }) }
    }
}

/// The sha256 of a file's first bytes up to the data, the digits of `stored` in it replaced by zeros, in lower-case hex.
pub(crate) fn header_sha256(header: &[u8], stored: &str) -> String {
    let mut hasher = Sha256::new();
    let place = header.windows(stored.len().max(1)).position(|window| window == stored.as_bytes());
    match place {
        Some(place) => {
            hasher.update(&header[..place]);
            hasher.update("0".repeat(stored.len()));
            hasher.update(&header[place + stored.len()..]);
        }
        None => hasher.update(header),
    }
    format!("{:x}", hasher.finalize())
}

/// The sha256 of bytes, in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
