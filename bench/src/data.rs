//! Operands: the same in every run.

use bytemuck::Pod;
use horq_kernels::Aligned;

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

    /// A number below `end`, which is small beside 2^32.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.next()) * end as u64) >> 32) as usize
    }

    /// Random words.
    pub(crate) fn words(&mut self, n: usize) -> Aligned<u32> {
        filled(zeros(n), || self.next())
    }

    /// Values in (-2, 2), of mean 0, dense around it as activations are: sums of two uniform ones.
    pub(crate) fn floats(&mut self, n: usize) -> Aligned<f32> {
        let mut uniform = || self.next() as f32 / (1u32 << 31) as f32 - 1.0;
        filled(zeros(n), || uniform() + uniform())
    }

    /// Values evenly spread over [low, high).
    pub(crate) fn uniform(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| low + (high - low) * (self.next() as f32 / (1u64 << 32) as f32)).collect()
    }
}

/// Memory for that many values.
///
/// # Panics
/// If it cannot be had.
pub(crate) fn zeros<T: Pod>(len: usize) -> Aligned<T> {
    Aligned::new(len).expect("memory for the operands")
}

/// Those values.
pub(crate) fn copied<T: Pod>(values: &[T]) -> Aligned<T> {
    let mut memory = zeros(values.len());
    memory.copy_from_slice(values);
    memory
}

fn filled<T: Pod>(mut memory: Aligned<T>, next: impl FnMut() -> T) -> Aligned<T> {
    memory.fill_with(next);
    memory
}
