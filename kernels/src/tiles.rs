//! Register tiles: a few rows of activations against a few panels of weights, written once over [`crate::simd::Simd`].

pub(crate) mod binary_weight;
pub(crate) mod bits;
pub(crate) mod codebook;
pub(crate) mod count;
mod cover;
mod epilogue;
pub(crate) mod floats;
pub(crate) mod int8;
mod job;
pub(crate) mod tables;

pub(crate) use binary_weight::BinaryWeightOperands;
pub(crate) use bits::BitOperands;
pub(crate) use codebook::CodebookOperands;
pub use epilogue::{Epilogue, Step};
pub(crate) use epilogue::{Output, TOGETHER};
pub(crate) use floats::FloatOperands;
pub(crate) use int8::Int8Operands;
pub(crate) use job::Job;
pub(crate) use tables::TableOperands;
