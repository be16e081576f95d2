//! The file format `.horq`, version 1: a safetensors file with a graph in its metadata. `docs/format.md` specifies it.

mod contents;
mod fields;
mod foreign;
mod header;
mod json;
mod layout;
mod metadata;
mod points;
mod signatures;
mod source;
mod write;

pub(crate) use contents::{BYTES_PER_BYTE, Contents};
pub use foreign::{FIRST_BYTES, FileGroup, FileKind};
pub(crate) use header::sha256;
pub(crate) use layout::{Layout, check_values};
pub(crate) use metadata::{GoldenRef, Metadata};
pub(crate) use source::Source;
pub(crate) use write::{Parts, assemble, with_points};

use crate::Error;
use crate::error::FileError;
use crate::limits::Limits;

/// Checks a file's length, before memory is taken for it.
pub(crate) fn check_length(length: u64, limits: &Limits) -> Result<(), Error> {
    let limit = limits.file_bytes;
    if length > limit { Err(FileError::FileTooLong { length, limit }.into()) } else { Ok(()) }
}
