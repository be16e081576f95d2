//! Memory for operands: on a cache line's boundary, all of it present, on huge pages where it is large. And memory for the
//! tables of a layer, whose sizes come from files: where it cannot be had, that is an error.

use crate::error::Error;
use memmap2::MmapMut;
use pulp::bytemuck::Pod;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Bytes of a huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE: usize = 2 << 20;

/// Values that are allocated once, zero at first, on a boundary of 64 bytes at least.
///
/// From 2 MiB on they lie on huge pages where the system has them (Linux, `transparent_hugepage` at `madvise` or
/// `always`): the rows, panels and results of a 4032 x 4032 x 4032 product lie on 17,000 pages of 4 KiB, and the walks of
/// the page table cost it 4 to 5 % (Golden Cove, in a virtual machine).
#[derive(Debug)]
pub struct Aligned<T> {
    memory: MmapMut,
    /// The first byte of the values in `memory`.
    start: usize,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// `len` zeros. Every page is there, so that none is missing later.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::OutOfMemory`] if the memory cannot be had.
    pub fn new(len: usize) -> std::io::Result<Self> {
        let bytes =
            len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(HUGE).map(|total| (bytes, total)));
        let (bytes, total) = bytes.ok_or(std::io::ErrorKind::OutOfMemory)?;
        let mut memory = MmapMut::map_anon(if bytes < HUGE { bytes.max(1) } else { total })?;
        let start = if bytes < HUGE { 0 } else { memory.as_ptr().align_offset(HUGE) };
        #[cfg(target_os = "linux")]
        if bytes >= HUGE {
            // The last, partial page stays small: a huge one would take up to 2 MiB for nothing. A system without huge
            // pages refuses, and the memory is as good, only slower.
            let _ = memory.advise_range(memmap2::Advice::HugePage, start, bytes / HUGE * HUGE);
        }
        // One system call for all pages instead of a fault each, which in a virtual machine takes microseconds. Systems
        // without it touch the pages instead; one that has no memory left says so here, and would kill the process there.
        #[cfg(target_os = "linux")]
        let present = match memory.advise_range(memmap2::Advice::PopulateWrite, start, bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => return Err(error),
            populated => populated.is_ok(),
        };
        #[cfg(not(target_os = "linux"))]
        let present = false;
        if !present {
            memory[start..start + bytes].fill(0);
        }
        Ok(Self { memory, start, len, values: PhantomData })
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        pulp::bytemuck::cast_slice(&self.memory[self.start..self.start + self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        pulp::bytemuck::cast_slice_mut(&mut self.memory[self.start..self.start + self.len * size_of::<T>()])
    }
}

/// What a layer takes, known from its shape before anything is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The most bytes that its tables take while it is prepared; it keeps no more.
    pub tables: usize,
    /// Words of scratch that a call needs.
    pub words: usize,
    /// f32 values of scratch that a call needs.
    pub floats: usize,
}

/// Bytes that must be left after an allocation whose size comes from a file: those of names, lists and boxes until the next
/// one. Rust ends the process where such a small allocation fails, so a lack of memory must show before.
pub const HEADROOM: usize = 64 << 10;

/// Whether that many bytes can be had now. They are given back at once.
pub fn is_left(bytes: usize) -> bool {
    let mut probe: Vec<u8> = Vec::new();
    let reserved = probe.try_reserve_exact(bytes);
    // Else the compiler may leave out an allocation that nobody uses.
    std::hint::black_box(&mut probe);
    reserved.is_ok()
}

/// An empty vector with room for `len` values, and [`HEADROOM`] beside it.
pub(crate) fn with_capacity<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) if is_left(HEADROOM) => Ok(values),
        _ => Err(Error::Memory { bytes: len.saturating_mul(size_of::<T>()) }),
    }
}

/// A vector of `len` times `value`.
pub(crate) fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>, Error> {
    let mut values = with_capacity(len)?;
    values.resize(len, value);
    Ok(values)
}

/// Bytes of a vector of `lens[0] * lens[1] * ..` values.
pub(crate) fn bytes<T>(lens: &[usize]) -> usize {
    lens.iter().fold(size_of::<T>(), |bytes, &len| bytes.saturating_mul(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_and_aligned() {
        for len in [0, 1, 100, HUGE / 4 - 1, HUGE / 4, HUGE / 4 + 1, 3 * HUGE / 4 + 5] {
            let mut values = Aligned::<u32>::new(len).unwrap();
            assert_eq!(values.len(), len);
            assert!(values.iter().all(|&value| value == 0));
            let boundary = if len * 4 < HUGE { 64 } else { HUGE };
            assert_eq!(values.as_ptr().addr() % boundary, 0, "{len}");
            values.fill(7);
        }
    }

    #[test]
    fn more_than_there_is_an_error() {
        assert!(Aligned::<u32>::new(usize::MAX / 2).is_err());
        assert!(Aligned::<u32>::new(1 << 60).is_err());
        assert_eq!(with_capacity::<u32>(1 << 60), Err(Error::Memory { bytes: 1 << 62 }));
        assert_eq!(filled(usize::MAX, 0u32), Err(Error::Memory { bytes: usize::MAX }));
    }
}
