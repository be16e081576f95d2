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

use std::mem::MaybeUninit;

/// Rows from this number on are worth the parity basis: one row would use each parity of weights once, 9 operations again.
pub(crate) const MIN_ROWS: usize = 4;

/// Writes `to[i] = words[i] ^ words[i + step] ^ words[i + 2 step]`, as far as that goes.
///
/// Two of three results belong to no triple: one loop over vectors costs less than picking the third.
#[inline(always)]
pub(crate) fn sweep(words: &[u32], step: usize, to: &mut [MaybeUninit<u32>]) {
    let len = words.len().saturating_sub(2 * step);
    let (first, second, third) = (&words[..len], &words[step..][..len], &words[2 * step..][..len]);
    for (((to, a), b), c) in to[..len].iter_mut().zip(first).zip(second).zip(third) {
        to.write(a ^ b ^ c);
    }
}
