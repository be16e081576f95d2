//! The parity basis: the bits of three words counted with two popcounts.
//!
//! Of three words x_i = a_i ^ w_i a full adder makes a sum s and a carry c with
//! popcount(x_1) + popcount(x_2) + popcount(x_3) = popcount(s) + 2 popcount(c). The sum is linear, s = (a_1 ^ a_2 ^ a_3) ^
//! (w_1 ^ w_2 ^ w_3), so it costs one xor where both sides hold the parity of their three words, and the carry needs no
//! third word: c is x_1 where x_1 = x_2, else not s; one vpternlog. So three words take 3 xor, 1 vpternlog, 2 vpopcnt and 2
//! additions, 8 operations rather than 9.
//!
//! Where it lives: weights stay plain in the file, and a tile makes their parities in registers, one vpternlog a panel row
//! for all its rows. Activations get theirs in memory, so that a word is broadcast by the load ports alone.
//!
//! Seven words in three counts the same way would take 18 operations rather than 18.7, with more registers than that earns.

use crate::simd::{Op, Simd};

/// Rows from this number on are worth the parity basis: one row would use each parity of weights once, 9 operations again.
pub(crate) const MIN_ROWS: usize = 4;
/// Words of a row from which on the parity basis wins where each row gets parities of its own. Its tiles are half as large as
/// plain ones, and cost as much to begin and to end: nothing is gained at 36 words, 4 % at 72, 7 % at 144 (Golden Cove).
pub(crate) const MIN_WORDS: usize = 48;
/// The same for words in triples where windows share parities: of a whole layer 2 % at 27 words, 5 % at 36, nothing at 18.
pub(crate) const MIN_SHARED: usize = 27;

/// Puts `words[i] ^ words[i + step] ^ words[i + 2 step]` to `to[i]`, as far as that goes.
///
/// Where the words are rows of `3 step` words, two of three results belong to no triple: one loop over vectors costs less
/// than picking the third.
#[inline(always)]
pub(crate) fn sweep<T>(words: &[u32], step: usize, to: &mut [T], put: impl Fn(&mut T, u32)) {
    let len = words.len().saturating_sub(2 * step);
    let (first, second, third) = (&words[..len], &words[step..][..len], &words[2 * step..][..len]);
    for (((to, a), b), c) in to[..len].iter_mut().zip(first).zip(second).zip(third) {
        put(to, a ^ b ^ c);
    }
}

/// The parities of planes: `parities` gets, for each of `planes` of `plane` words, what [`sweep`] makes of it.
pub(crate) struct SweepPlanes<'a> {
    pub planes: &'a [u32],
    pub plane: usize,
    pub step: usize,
    pub parities: &'a mut [u32],
}

impl Op for SweepPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (plane, parities) in self.planes.chunks_exact(self.plane).zip(self.parities.chunks_exact_mut(self.plane)) {
            sweep(
                plane,
                self.step,
                parities,
                #[inline(always)]
                |to, parity| *to = parity,
            );
        }
    }
}

/// Asks a backend whether it takes triples.
pub(crate) struct TakesTriples;

impl Op for TakesTriples {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        S::PARITY
    }
}
