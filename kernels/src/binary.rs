//! Layers of residual-quantized activations and binary weights.

mod borders;
mod conv;
mod handover;
mod quantize;
mod residual;
mod scales;
mod spec;
mod task;
mod thresholds;

pub use conv::BinaryConv;
pub use handover::{PackInto, PlaneLayout};
pub use scales::{MAX_ORDER, MIN_HALVING_SCALE, ScaleMode};
pub use spec::{Basis, BinaryCall, BinaryInput, BinaryMemory, BinaryScratch, BinarySpec, Packing, ScratchLen};
pub use thresholds::Thresholds;
