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

#[cfg(target_arch = "x86_64")]
use crate::simd::ternary::Ternary;
#[cfg(target_arch = "x86_64")]
use crate::tiles::count::{Count, Group};

/// Rows from this number on are worth the parity basis: one row would use each parity of weights once, 9 operations again.
pub(crate) const MIN_ROWS: usize = 4;
/// Words of a row from which on the parity basis wins where each row gets parities of its own. Its tiles are half as large as
/// plain ones, and cost as much to begin and to end: nothing is gained at 36 words, 4 % at 72, 7 % at 144 (Golden Cove).
pub(crate) const MIN_WORDS: usize = 48;
/// Words in triples from which on the parity basis wins where windows share parities: of a whole layer 2 % at 27 words, 5 % at
/// 36, nothing at 18.
pub(crate) const MIN_SHARED: usize = 27;

/// Puts `words[i] ^ words[i + step] ^ words[i + 2 step]` to `to[i]`, as far as that goes.
///
/// Where the words are rows of `3 step` words, two of three results belong to no triple: one loop over vectors costs less
/// than picking the third.
#[inline(always)]
pub(crate) fn parities<T>(words: &[u32], step: usize, to: &mut [T], put: impl Fn(&mut T, u32)) {
    let len = words.len().saturating_sub(2 * step);
    let (first, second, third) = (&words[..len], &words[step..][..len], &words[2 * step..][..len]);
    for (((to, a), b), c) in to[..len].iter_mut().zip(first).zip(second).zip(third) {
        put(to, a ^ b ^ c);
    }
}

/// Three words in the parity basis, with a count for sums and one for carries, which weigh twice.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Triples;

#[cfg(target_arch = "x86_64")]
impl<S: Ternary> Count<S> for Triples {
    type Partial = [S::Partial; 2];
    const GROUP: usize = 3;
    const PARITY: bool = true;
    const FLUSH: usize = S::FLUSH;

    #[inline(always)]
    fn none(simd: S) -> [S::Partial; 2] {
        [simd.no_partial(); 2]
    }

    #[inline(always)]
    fn prepare(simd: S, weights: &mut Group<S::Words>) {
        weights[2] = simd.parity(weights[0], weights[1], weights[2]);
    }

    #[inline(always)]
    fn single(simd: S, [sums, carries]: [S::Partial; 2], x: S::Words) -> [S::Partial; 2] {
        [simd.count(sums, x), carries]
    }

    #[inline(always)]
    fn group(simd: S, [sums, carries]: [S::Partial; 2], x: impl Fn(usize) -> S::Words) -> [S::Partial; 2] {
        let (first, sum) = (x(0), x(2));
        let carry = simd.carry(first, x(1), sum);
        [simd.count(sums, sum), simd.count(carries, carry)]
    }

    #[inline(always)]
    fn flush(simd: S, counts: S::Counts, [sums, carries]: [S::Partial; 2]) -> S::Counts {
        simd.flush(simd.flush(simd.flush(counts, sums), carries), carries)
    }
}
