//! The safetensors header: its length, its JSON, its digest.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use super::foreign;
use super::json::{self, Object, Word};
use crate::Error;
use crate::error::{FileError, TensorError};
use crate::limits::{ALIGNMENT, Limits};

/// Bytes of the header's length at the start of a file.
pub(super) const LENGTH_BYTES: usize = 8;

/// A parsed header.
pub(super) struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Metadata,
    /// Where the data starts in the file.
    pub(super) data_start: usize,
    /// Bytes of the data.
    pub(super) data_len: usize,
}

impl Header {
    /// Parses the header of a file of `file_len` bytes; `head` holds at least what [`head_len`] says.
    ///
    /// The tensors are given to the safetensors crate without the file's bytes: its own reader of whole files adds header and
    /// data lengths without a check for overflow. What it checks: the tensors lie one after the other from the start of the
    /// data, and each has the length that its type and shape give.
    pub(super) fn parse(head: &[u8], file_len: usize, limits: &Limits) -> Result<Self, Error> {
        let data_start = head_len(head, file_len, limits)?;
        let not_safetensors = |reason| Error::File(FileError::NotSafetensors { reason });
        let json =
            std::str::from_utf8(&head[LENGTH_BYTES..data_start]).map_err(|error| not_safetensors(error.to_string()))?;
        let json = json.trim_end_matches(' ');
        if !json.ends_with('}') {
            return Err(not_safetensors("the header must be a JSON object, padded with nothing but spaces".into()));
        }
        let Entries { metadata, mut tensors } = json::parse(json).map_err(not_safetensors)?;
        // Tensors of no bytes share their place with others: by name, so that the first error found does not vary.
        tensors.sort_by(|(name, info), (other, after)| (info.data_offsets, name).cmp(&(after.data_offsets, other)));
        let tensors = Metadata::new(None, tensors).map_err(|error| not_safetensors(json::brief(error)))?;
        let data_len = file_len - data_start;
        if tensors.data_len() != data_len {
            return Err(FileError::DataLength { expected: tensors.data_len(), found: data_len }.into());
        }
        Ok(Self { metadata, tensors, data_start, data_len })
    }

    /// The keys of `__metadata__` and their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The metadata's value of a key.
    pub(super) fn find(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The metadata's value of a key that must be there.
    pub(super) fn get(&self, key: &'static str) -> Result<&str, Error> {
        self.find(key).ok_or(Error::File(FileError::MissingKey { key }))
    }

    /// The names of the tensors, in the order of the data, those of one place by name.
    pub(super) fn tensor_names(&self) -> Vec<String> {
        self.tensors.offset_keys()
    }

    /// A tensor's type, shape and place in the data.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.info(name)
    }

    /// Checks that the data starts on a boundary and that tensors fill whole lines: since they lie one after the other, each
    /// then starts on a boundary too.
    pub(super) fn check_alignment(&self) -> Result<(), Error> {
        let offset = self.data_start;
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(FileError::DataUnaligned { offset }.into());
        }
        for tensor in self.tensor_names() {
            let length = self.tensor(&tensor).map_or(0, |info| info.data_offsets.1 - info.data_offsets.0);
            if !length.is_multiple_of(ALIGNMENT) {
                return Err(TensorError::TensorLength { tensor, length }.into());
            }
        }
        Ok(())
    }
}

/// Bytes of a file up to its data, by its first bytes, of which `first` holds [`FIRST_BYTES`](super::FIRST_BYTES) or more, or the whole file.
/// Refuses what can be no header before anything takes memory for it.
pub(super) fn head_len(first: &[u8], file_len: usize, limits: &Limits) -> Result<usize, Error> {
    let truncated = |needed| Error::File(FileError::Truncated { length: file_len, needed });
    foreign::check(first)?;
    let Some((length, json)) = first.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(truncated(LENGTH_BYTES as u64));
    };
    let length = u64::from_le_bytes(*length);
    match json.first() {
        Some(b'{') => {}
        Some(byte) => {
            let reason = format!("its header must begin with a brace at byte 8, but there stands {byte:#04x}");
            return Err(FileError::NotSafetensors { reason }.into());
        }
        None => return Err(truncated(length.max(1).saturating_add(LENGTH_BYTES as u64))),
    }
    if length > limits.header_bytes as u64 {
        return Err(FileError::HeaderTooLong { length, limit: limits.header_bytes }.into());
    }
    let end = LENGTH_BYTES + length as usize;
    if end > file_len { Err(truncated(end as u64)) } else { Ok(end) }
}

/// The header's JSON. The safetensors crate reads it by way of a buffer of everything, which takes up to a hundred times the
/// header's length.
struct Entries {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

/// A tensor's entry.
#[derive(Deserialize)]
struct Entry {
    dtype: Word<Dtype>,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors and `__metadata__`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Entries { metadata: BTreeMap::new(), tensors: Vec::new() };
        while let Some(key) = map.next_key::<String>()? {
            if key == "__metadata__" {
                entries.metadata = map.next_value()?;
            } else {
                let Object(Entry { dtype: Word(dtype), shape, data_offsets }) = map.next_value()?;
                entries.tensors.push((key, TensorInfo { dtype, shape, data_offsets }));
            }
        }
        Ok(entries)
    }
}

/// The sha256 of a file's first bytes up to the data, the digits of `stored` in it replaced by zeros, in lower-case hex.
pub(super) fn header_sha256(header: &[u8], stored: &str) -> String {
    let mut hasher = Sha256::new();
    // No digit lies among the bytes of the length. A search in text is some ten times as fast as one in bytes.
    let json = std::str::from_utf8(&header[LENGTH_BYTES..]).unwrap_or_default();
    match json.find(stored).map(|place| LENGTH_BYTES + place) {
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
