//! Operations on three words at once.

use crate::simd::Simd;

/// A backend that has any function of three bits as one instruction.
pub(crate) trait Ternary: Simd {
    /// a ^ b ^ c.
    fn parity(self, a: Self::Words, b: Self::Words, c: Self::Words) -> Self::Words;
    /// The carry of the bits of three words whose first are `a` and `b`: `a` where they are equal, else not their parity.
    fn carry(self, a: Self::Words, b: Self::Words, parity: Self::Words) -> Self::Words;
    /// -1.0 where bit `bit` of a word is set, else 1.0.
    fn signs(self, words: Self::Words, bit: u32) -> Self::Floats;
}
