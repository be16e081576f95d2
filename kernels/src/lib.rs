//! The SIMD kernels of horq: packed XNOR-popcount products, the residual quantizer, and everything a layer needs around them.
//!
//! The crate knows no model and no file. Its users prepare a layer once ([`BinaryConv::new`], [`FloatConv::new`]) and run
//! it on slices, with scratch memory of their own and any [`Parallel`]; nothing allocates after preparation. Every backend
//! gives the same bits: counts are integers, and float operations stand in a fixed order. They compute in the floating-point
//! environment that they are called in; [`float_env`] puts the default one in place around a call.

mod binary_conv;
mod binary_task;
mod borders;
mod clock;
pub mod codebook;
mod codebook_conv;
mod depthwise;
pub mod elementwise;
mod epilogue;
mod error;
mod finish;
mod float_conv;
pub mod float_env;
mod float_tile;
pub mod gemm;
mod geometry;
mod handover;
pub mod int8;
mod int8_conv;
mod int8_tile;
mod isa;
mod memory;
pub mod oracle;
pub mod panel;
mod parallel;
mod parity;
pub mod pool;
mod quantize;
mod residual;
mod simd;
mod table;
mod table_conv;
mod thresholds;
mod tile;
mod walk;
mod windows;

pub use binary_conv::{
    BaseRef, BinaryCall, BinaryConv, BinaryInput, BinaryMemory, BinaryScratch, BinarySpec, Packing, ScratchLen,
};
pub use clock::{Stage, StageClock, timed};
pub use codebook_conv::{CodebookCall, CodebookConv};
pub use epilogue::{Epilogue, Step};
pub use error::Error;
pub use float_conv::{FloatCall, FloatConv};
pub use geometry::{Geometry, MAX_DEPTH, MAX_ELEMENTS, MAX_ORDER, Padding, ScaleMode, Window};
pub use handover::{PackInto, PlaneLayout};
pub use int8_conv::{Int8Call, Int8Conv, Int8Spec};
pub use isa::Isa;
pub use memory::{Aligned, Memory};
pub use parallel::{Inline, Parallel, Runner};
pub use table_conv::{BinaryWeightCall, BinaryWeightConv};
pub use thresholds::Thresholds;
