//! The layouts of packed weights: panels of sixteen output channels.
//!
//! A panel row is 64 bytes: one 512-bit register, two of 256 bits, four of 128. The lanes are output channels, so no kernel
//! ever sums across lanes, and the same bytes serve every instruction set.

pub mod bits;
pub mod codes;
pub mod floats;
pub mod int8;

pub use crate::simd::{LANES, WORD_BITS};
