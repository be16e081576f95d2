//! The layers that are not binary, and the plain bit product.

mod binary_weight;
mod codebook;
mod depthwise;
pub mod elementwise;
mod float;
pub mod gemm;
mod int8;
mod lines;
pub mod pool;
mod skeleton;

pub use binary_weight::{BinaryWeightCall, BinaryWeightConv};
pub use codebook::{CodebookCall, CodebookConv};
pub use float::{FloatCall, FloatConv};
pub use int8::{Int8Call, Int8Conv, Int8Spec};
pub use lines::by_line;
