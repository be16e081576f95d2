//! The shapes of layers, and where their windows lie in memory.

mod geometry;
pub(crate) mod windows;

pub use geometry::{Geometry, MAX_DEPTH, MAX_ELEMENTS, MAX_ORDER, Padding, ScaleMode, Window};
