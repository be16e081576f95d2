//! The layouts of packed weights.

pub mod bits;
pub mod int8;
