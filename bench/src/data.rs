//! Operands: the same in every run.

use std::ops::{Deref, DerefMut};

/// Pseudo-random numbers (Marsaglia's xorshift64).
pub(crate) struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Random words.
    pub(crate) fn words(&mut self, n: usize) -> Aligned<u32> {
        Aligned::filled(n, || self.next())
    }

    /// Values in (-2, 2), of mean 0, dense around it as activations are: sums of two uniform ones.
    pub(crate) fn floats(&mut self, n: usize) -> Aligned<f32> {
        let mut uniform = || self.next() as f32 / (1u32 << 31) as f32 - 1.0;
        Aligned::filled(n, || uniform() + uniform())
    }
}

/// Memory that starts on a cache line, as the engine's does: registers of 64 bytes then never straddle two lines.
pub(crate) struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<T: Copy + Default> Aligned<T> {
    /// That many zeros.
    pub(crate) fn new(len: usize) -> Self {
        let memory = vec![T::default(); len + LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(LINE);
        Self { memory, start, len }
    }

    /// That many values of `next`.
    fn filled(len: usize, mut next: impl FnMut() -> T) -> Self {
        let mut aligned = Self::new(len);
        aligned.fill_with(&mut next);
        aligned
    }
}

impl<T: Copy + Default> From<Vec<T>> for Aligned<T> {
    fn from(values: Vec<T>) -> Self {
        let mut aligned = Self::new(values.len());
        aligned.copy_from_slice(&values);
        aligned
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
