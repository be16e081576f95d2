//! Adding words bit by bit, and counting the bits of bytes: what carry-save counting takes.

use crate::simd::Simd;

/// Bitwise addition, register by register; a row is `N` of them.
pub(crate) trait Adder<const N: usize>: Simd {
    /// The register.
    type Register: Copy;
    /// The registers of a row of words.
    fn registers(self, words: Self::Words) -> [Self::Register; N];
    /// Adds `weights[i]` times each byte of `bytes[i]` to the counts, for each register of a row.
    fn widen(self, counts: Self::Counts, bytes: [[Self::Register; 2]; N], weights: [i8; 2]) -> Self::Counts;
    /// Sum and carry of each bit of three words.
    fn add_bits(self, a: Self::Register, b: Self::Register, c: Self::Register) -> [Self::Register; 2];
    /// Adds the number of set bits of each byte of `x` to bytes.
    fn count_bytes(self, bytes: Self::Register, x: Self::Register) -> Self::Register;
    /// The sum of bytes.
    fn add_bytes(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Zeros.
    fn zero(self) -> Self::Register;
}
