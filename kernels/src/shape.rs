//! The shapes of layers, and where their windows lie in memory.

mod blocks;
mod geometry;
mod walk;
mod windows;

pub(crate) use blocks::{Block, Blocks, Cut};
pub use geometry::{Geometry, MAX_DEPTH, MAX_ELEMENTS, Padding, Window};
pub(crate) use walk::{Place, Walk};
pub(crate) use windows::{Starts, Windows};
