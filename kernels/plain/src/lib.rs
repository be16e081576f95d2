//! Operations of horq that have no tuned kernel: plain loops over f32 values in one stated order of IEEE operations, so that every
//! CPU, any number of threads and any batch give the same bits.
//!
//! A value of one sample is an image `[height, width, channels]` in memory order; a vector is an image of one pixel.

mod math;
mod pixels;

mod broadcast;
pub mod embedding;
pub mod matmul;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod quantize;
pub mod rank;
pub mod rearrange;
pub mod reduce;
pub mod resize;
pub mod select;

pub use broadcast::{Broadcast, broadcast_shape};
