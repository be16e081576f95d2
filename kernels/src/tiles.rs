//! Register tiles: a few rows of activations against a few panels of weights, written once over [`crate::simd::Simd`].

pub(crate) mod binary_weight;
pub(crate) mod bits;
pub mod codebook;
pub(crate) mod count;
pub(crate) mod cover;
pub(crate) mod epilogue;
pub(crate) mod floats;
pub(crate) mod int8;

pub use epilogue::{Epilogue, Step};
