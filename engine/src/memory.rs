//! Memory that is allocated once, on a cache line's boundary, and never again.

use crate::Error;

/// Zeros on a 64-byte boundary.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    memory: Vec<T>,
    /// The first element on the boundary.
    start: usize,
}

impl<T: Copy + Default> Aligned<T> {
    const BOUNDARY: usize = 64;

    /// `len` zeros. They are written, so that no page is missing later.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        let spare = Self::BOUNDARY / size_of::<T>();
        let refusal = || Error::Memory { bytes: len.saturating_mul(size_of::<T>()) };
        let total = len.checked_add(spare).ok_or_else(refusal)?;
        let mut memory: Vec<T> = Vec::new();
        memory.try_reserve_exact(total).map_err(|_| refusal())?;
        let start = memory.as_ptr().align_offset(Self::BOUNDARY);
        memory.resize(start + len, T::default());
        Ok(Self { memory, start })
    }

    pub(crate) fn get(&mut self) -> &mut [T] {
        &mut self.memory[self.start..]
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.memory.len() - self.start) * size_of::<T>()
    }
}
