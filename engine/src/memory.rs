//! Memory whose size a file or a caller names: an error where it cannot be had.

use crate::Error;

/// A vector of `len` times `value`.
pub(crate) fn filled(len: usize, value: f32) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::Memory { bytes: len.saturating_mul(size_of::<f32>()) })?;
    values.resize(len, value);
    Ok(values)
}
