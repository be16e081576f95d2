//! Ways of counting the bits that a tile of bits meets: some words together take fewer operations than one by one.

#[cfg(target_arch = "x86_64")]
pub(crate) mod carry;
pub(crate) mod parity;
pub(crate) mod plain;

use crate::simd::Simd;

/// A way of counting the bits of the words that a cell of a tile meets.
pub(crate) trait Count<S: Simd> {
    /// What a cell gathers before it is flushed.
    type Partial: Copy;
    /// Words that [`Self::group`] takes, up to [`MAX_GROUP`].
    const GROUP: usize = 1;
    /// Whether a group is a triple of the walk; otherwise it is any words in turn.
    const PARITY: bool = false;
    /// How many groups, and fewer than a group's words beside them, a partial count can gather before it must be flushed;
    /// `usize::MAX` if it never overflows, however many single words there are.
    const FLUSH: usize;
    /// No counts.
    fn none(simd: S) -> Self::Partial;
    /// Prepares the weights of a group for all rows of the tile.
    #[inline(always)]
    fn prepare(_: S, _: &mut Group<S::Words>) {}
    /// Adds the number of set bits of each lane of `x`.
    fn single(simd: S, partial: Self::Partial, x: S::Words) -> Self::Partial;
    /// Adds those of a group of words.
    #[inline(always)]
    fn group(simd: S, partial: Self::Partial, x: impl Fn(usize) -> S::Words) -> Self::Partial {
        Self::single(simd, partial, x(0))
    }
    /// Adds what was gathered.
    fn flush(simd: S, counts: S::Counts, partial: Self::Partial) -> S::Counts;
}

/// The words of a group; those past [`Count::GROUP`] are zero.
pub(crate) type Group<W> = [W; MAX_GROUP];
/// The most words of a group.
pub(crate) const MAX_GROUP: usize = 8;
