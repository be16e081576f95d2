//! The SIMD kernels of horq: packed XNOR-popcount products, the residual quantizer, and everything a layer needs around them.
//!
//! This crate is a part of horq: its API may change in any release, so depend on `horq` instead.
//!
//! The crate knows no model and no file. Its users prepare a layer once ([`BinaryConv::new`], [`FloatConv::new`]) and run
//! it on slices, with scratch memory of their own and any [`Parallel`]; nothing allocates after preparation. Every backend
//! gives the same bits: counts are integers, and float operations stand in a fixed order. They compute in the floating-point
//! environment that they are called in; [`float_env`] puts the default one in place around a call.
//!
//! The modules are floors, each of which imports only those above it in the list below.

mod clock;
mod error;
pub mod float_env;
mod memory;
mod parallel;

mod simd;

mod shape;

pub mod weights;

mod tiles;

mod backends;

mod binary;

mod layers;

pub use backends::{Isa, Runner};
pub use binary::{
    Basis, BinaryCall, BinaryConv, BinaryInput, BinaryKernel, BinaryMemory, BinaryScratch, BinarySpec, MAX_ORDER,
    MIN_HALVING_SCALE, PackInto, Packing, PlaneLayout, ScaleMode, ScratchLen, Thresholds,
};
pub use clock::{Stage, StageClock, StageObserver, timed};
pub use error::Error;
pub use layers::{
    BinaryWeightCall, BinaryWeightConv, CodebookCall, CodebookConv, FloatCall, FloatConv, Int8Call, Int8Conv, Int8Spec,
    by_line, elementwise, gemm, pool,
};
pub use memory::{Aligned, HEADROOM, Memory, is_left};
pub use parallel::{Inline, Interrupt, Parallel, Pieces};
pub use shape::{Geometry, MAX_DEPTH, MAX_ELEMENTS, Padding, Window};
pub use tiles::{Epilogue, Step};
