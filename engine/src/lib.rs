//! CPU inference for binary neural networks with high-order residual quantized activations.

mod builder;
mod error;
mod format;
pub mod graph;
mod model;
pub mod provenance;

pub use builder::{BinaryBase, Builder, Layer, Quantize};
pub use error::Error;
pub use format::{
    ALIGNMENT, Limits, MAX_BASES, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_NODES, MAX_VALUE_ELEMENTS,
    VERSION,
};
pub use model::{Golden, Model};
