//! CPU inference for binary neural networks with high-order residual quantized activations.

mod builder;
mod error;
mod format;
pub mod graph;
mod layers;
mod memory;
mod model;
mod plan;
mod profile;
pub mod provenance;
mod session;
mod threads;

pub use builder::{BinaryBase, Builder, Layer, Quantize};
pub use error::Error;
pub use format::{
    ALIGNMENT, Limits, MAX_BASES, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_NODES, MAX_VALUE_ELEMENTS,
    VERSION,
};
pub use horq_kernels::{Isa, MAX_ORDER, Padding, ScaleMode, Stage, Window};
pub use model::{Golden, Model};
pub use profile::{BinaryProfile, LayerProfile};
pub use session::{Session, SessionOptions};
pub use threads::Threads;
