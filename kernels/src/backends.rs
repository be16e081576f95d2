//! Which instruction sets there are.

mod isa;

pub use isa::Isa;
