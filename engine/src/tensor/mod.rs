//! Tensors: what they hold, their plain values, their checks, and their place in a file.

mod check;
mod content;
mod memory;
mod plain;
#[cfg(target_os = "linux")]
mod sealed;
mod storage;
mod view;

pub(crate) use check::{Place, check_tensor};
pub(crate) use content::code_bits;
pub use content::{Content, TensorSpec};
pub(crate) use memory::{Aligned, Memory, headroom};
pub use plain::{Plain, PlainValues};
pub(crate) use plain::{Source, padded};
#[cfg(target_os = "linux")]
pub(crate) use sealed::Sealed;
pub(crate) use storage::{TensorData, Tensors};
pub(crate) use view::{PerFilter, View};

use crate::Error;
use crate::error::ResourceError;

/// A vector of `len` times `value`; an error where a file or a caller names more than can be had.
pub(crate) fn filled(len: usize, value: f32) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(len)
        .map_err(|_| Error::Resource(ResourceError::Memory { bytes: len.saturating_mul(size_of::<f32>()) }))?;
    headroom(0)?;
    values.resize(len, value);
    Ok(values)
}
