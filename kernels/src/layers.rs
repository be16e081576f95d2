//! The layers that are not binary, and the plain bit product.

mod binary_weight;
mod codebook;
mod depthwise;
pub mod elementwise;
mod float;
pub mod gemm;
pub(crate) mod int8;
mod output;
pub mod pool;

pub use binary_weight::{BinaryWeightCall, BinaryWeightConv};
pub use codebook::{CodebookCall, CodebookConv};
pub use float::{FloatCall, FloatConv};
pub use int8::{Int8Call, Int8Conv, Int8Spec};
