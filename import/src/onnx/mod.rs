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
use horq::{FIRST_BYTES, FileGroup, FileKind};
use prost::bytes::Bytes;
use prost::{DecodeError, Message};
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
    let bytes = bytes.into();
    let start = bytes.slice(..bytes.len().min(FIRST_BYTES));
    let model = match schema::Model::decode(bytes) {
        Ok(model) if model.graph.is_some() => model,
        // An ONNX file has no magic number, and some others can be read as one, only that nothing is in it.
        found => return Err(no_network(&start, found.err())),
    };
    convert::convert(&model, folder, options)
}

/// Why a file is no network.
fn no_network(start: &[u8], error: Option<DecodeError>) -> Error {
    let advice = |kind: FileKind| match kind.group() {
        FileGroup::Stand(remedy) => remedy,
        FileGroup::Safetensors => {
            "a .horq file needs no import: run it as it is; export any other from where it was made"
        }
        FileGroup::Network => {
            "load it where it was made and export it as ONNX (torch.onnx.export, tf2onnx), or a PyTorch module with horq.export"
        }
        FileGroup::Text => "look into it: in place of a download, servers send what went wrong",
        _ => "check that the path names an .onnx file",
    };
    match (FileKind::of(start), error) {
        (Some(found), _) if found.group() != FileGroup::Onnx => Error::OtherFormat { found, advice: advice(found) },
        (_, Some(error)) => {
            Error::Malformed(format!("{error}; a download or copy may have ended early, so copy it again"))
        }
        (_, None) => Error::Malformed("it holds no graph; export the network again".into()),
    }
}
