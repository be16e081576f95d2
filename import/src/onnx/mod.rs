//! ONNX files.
//!
//! The messages are our own, read by `prost`, because a reader for an importer must give up nothing: `rten-onnx` is the reader of one
//! engine and knows no local functions of models; `onnx-ir` refuses operations and operator sets that its code generator lacks, and reads
//! no domains of others, so no QONNX; `tract-onnx` brings a whole inference engine, and gives its operations, not those of the file.
//! The part of `onnx.proto` that says what is computed is ten messages.
//!
//! A file may have operator sets 7 to [`OPSET`](crate::graph::OPSET). Its operations are given their newest form, so that nobody
//! behind this module needs to know of versions. Local functions are put in the place of their calls. A batch is one sample: the first
//! size of every input becomes 1.

mod body;
mod convert;
mod external;
mod functions;
mod input;
mod normalise;
pub mod schema;
mod tensor;

use crate::error::Error;
use crate::graph::Graph;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// What a user says about a file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The shapes of inputs whose sizes the file leaves open, with the batch of one.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// Reads a file, and the files of external data in its folder.
///
/// # Errors
/// If a file cannot be read, the bytes are no ONNX model, or parts of it cannot be had.
pub fn read(path: impl AsRef<Path>, options: &Options) -> Result<Graph, Error> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    parse(bytes, path.parent(), options)
}

/// Reads the bytes of a file. External data may lie in `folder`; without one it is refused.
///
/// # Errors
/// If the bytes are no ONNX model, or parts of it cannot be had.
pub fn parse(bytes: impl Into<Bytes>, folder: Option<&Path>, options: &Options) -> Result<Graph, Error> {
    let model = schema::Model::decode(bytes.into()).map_err(|error| Error::Malformed(error.to_string()))?;
    convert::convert(&model, folder, options)
}
