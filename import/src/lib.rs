//! Roads into horq: networks that people already have become `.horq` files.
//!
//! Each road ends in one graph ([`graph::Graph`]), whose operations are those of the newest ONNX operator set. From there on there is
//! one way: constants are folded, values get shapes, and the recogniser looks at what is computed, not at what it is called.

pub mod error;
pub mod fold;
pub mod graph;
mod import;
mod layout;
mod lower;
pub mod onnx;
mod recognise;
pub mod report;
pub mod simplify;

pub use error::{Error, Refusal};
pub use import::{Golden, Imported, Options, Port, import, operations};
