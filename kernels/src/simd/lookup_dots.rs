//! Lookups in tables of 64 bytes, and their sums.

use crate::simd::Simd;

/// A backend that looks bytes up in 64 entries and adds four of them to a count.
pub(crate) trait LookupDots: Simd {
    /// The entries that the low four bits of each byte mean in tables of 64 bytes, and those that the high four bits do: the bits,
    /// and 16 times the place of the byte in its word.
    fn entries(self, words: Self::Words) -> [Self::Words; 2];
    /// Stores sixteen words.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen words.
    unsafe fn store_words(self, to: *mut u32, words: Self::Words);
    /// Adds to each count the four entries of a table of 64 bytes that the low six bits of each byte of `entries` name.
    fn add_entries(self, counts: Self::Counts, table: Self::Words, entries: Self::Words) -> Self::Counts;
    /// a + b.
    fn add_counts(self, a: Self::Counts, b: Self::Counts) -> Self::Counts;
    /// The tables of two words, given these words of each plane, the first in the low bits: of each word those of the low and of
    /// the high bits of its bytes.
    fn tables_of(self, planes: &[u64]) -> [[Self::Words; 2]; 2];
}
