//! The safetensors header: its length, its JSON, its digest.

use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use super::{ALIGNMENT, Limits};
use crate::Error;

/// Bytes of the header's length at the start of a file.
pub(super) const LENGTH_BYTES: usize = 8;

/// A parsed header.
pub(crate) struct Header {
    parsed: Metadata,
    /// Where the data starts in the file.
    pub(crate) data_start: usize,
    /// Bytes of the data.
    pub(crate) data_len: usize,
}

impl Header {
    /// Parses the header of a file.
    ///
    /// The JSON is given to the safetensors crate without the file's bytes: its own reader of whole files adds header and
    /// data lengths without a check for overflow. What it has checked: the tensors lie one after the other from the start
    /// of the data, and each has the length that its type and shape give.
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
        Ok(Self { parsed, data_start: LENGTH_BYTES + json.len(), data_len: data.len() })
    }

    /// The keys of `__metadata__` and their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parsed.metadata().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The metadata's value of a key.
    pub(crate) fn find(&self, key: &str) -> Option<&str> {
        self.parsed.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The metadata's value of a key that must be there.
    pub(crate) fn get(&self, key: &'static str) -> Result<&str, Error> {
        self.find(key).ok_or(Error::MissingKey { key })
    }

    /// The names of the tensors, in the order of the data, so that the first error found does not vary.
    pub(crate) fn tensor_names(&self) -> Vec<String> {
        self.parsed.offset_keys()
    }

    /// A tensor's type, shape and place in the data.
    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.parsed.info(name)
    }

    /// Checks that the data starts on a boundary and that tensors fill whole lines: since they lie one after the other, each
    /// then starts on a boundary too.
    pub(crate) fn check_layout(&self) -> Result<(), Error> {
        let offset = self.data_start;
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(Error::DataUnaligned { offset });
        }
        for tensor in self.tensor_names() {
            let length = self.tensor(&tensor).map_or(0, |info| info.data_offsets.1 - info.data_offsets.0);
            if !length.is_multiple_of(ALIGNMENT) {
                return Err(Error::TensorLength { tensor, length });
            }
        }
        Ok(())
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
