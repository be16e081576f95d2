//! Layers of residual-quantized activations and binary weights.

mod borders;
mod conv;
pub(crate) mod handover;
mod quantize;
mod residual;
mod spec;
mod task;
mod thresholds;

pub use conv::BinaryConv;
pub use handover::{PackInto, PlaneLayout};
pub use spec::{BaseRef, BinaryCall, BinaryInput, BinaryMemory, BinaryScratch, BinarySpec, Packing, ScratchLen};
pub use thresholds::Thresholds;
