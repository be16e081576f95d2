//! Operations of horq that have no tuned kernel: plain loops over f32 values in one stated order of IEEE operations, so that every
//! CPU, any number of threads and any batch give the same bits.
//!
//! A value of one sample is an image `[height, width, channels]` in memory order; a vector is an image of one pixel.

mod pool;
mod rearrange;
mod resize;
mod select;

pub use pool::{adaptive_average_pool, adaptive_max_pool, adaptive_window};
pub use rearrange::{MAX_AXES, Rearrangement, rearrange};
pub use resize::{Coordinates, Interpolation, Outside, Resizing, Rounding, Scaling, resize};
pub use select::{Border, Picks, Selection, select};
