//! Carry-save counting: eight words are added bit by bit before bits are counted at all.
//!
//! Where popcount is emulated, a full adder (three words in, a sum and a carry of twice the weight out) is cheaper than the
//! count it saves. Each cell of the tile keeps sums of the weights 1, 2 and 4; eight more words take seven full adders and
//! leave one word of weight 8, the only one whose bits are counted (Harley and Seal's circuit: Warren, "Hacker's Delight",
//! section 5-1; Mula, Kurz and Lemire, "Faster population counts using AVX2 instructions", The Computer Journal 61(1), 2018).

use crate::simd::adder::Adder;
use crate::tiles::count::Count;

/// Counting in carry-save form, with `N` registers a row.
pub(crate) struct CarrySave<const N: usize>;

/// Words that [`Saved::group`] takes.
const GROUP: usize = 8;
/// Groups that the bytes hold: each adds up to 8 to a byte.
const FLUSH: usize = 31;

/// What a register of a cell has gathered.
#[derive(Clone, Copy)]
pub(crate) struct Saved<W> {
    ones: W,
    twos: W,
    fours: W,
    /// The bits of words of weight 8, counted in bytes.
    eights: W,
    /// The bits of single words, counted in bytes: fewer than eight words, so that what is left of the sums fits beside
    /// them (8 * 7 + 8 * (1 + 2 + 4) = 112).
    singles: W,
}

impl<W: Copy> Saved<W> {
    #[inline(always)]
    fn new(zero: W) -> Self {
        Self { ones: zero, twos: zero, fours: zero, eights: zero, singles: zero }
    }

    /// Eight words.
    #[inline(always)]
    fn group<const N: usize, S: Adder<N, Register = W>>(mut self, simd: S, x: impl Fn(usize) -> W) -> Self {
        let a = self.four(simd, &x);
        let b = self.four(
            simd,
            #[inline(always)]
            |i| x(4 + i),
        );
        let [sum, eight] = simd.add_bits(self.fours, a, b);
        self.fours = sum;
        self.eights = simd.count_bytes(self.eights, eight);
        self
    }

    /// Four words; their carry of weight 4.
    #[inline(always)]
    fn four<const N: usize, S: Adder<N, Register = W>>(&mut self, simd: S, x: impl Fn(usize) -> W) -> W {
        let [sum, a] = simd.add_bits(self.ones, x(0), x(1));
        let [sum, b] = simd.add_bits(sum, x(2), x(3));
        self.ones = sum;
        let [sum, carry] = simd.add_bits(self.twos, a, b);
        self.twos = sum;
        carry
    }

    /// All bits, counted in bytes: those of weight 1 in the first and those of weight 8 in the second.
    #[inline(always)]
    fn bytes<const N: usize, S: Adder<N, Register = W>>(self, simd: S) -> [W; 2] {
        let fours = simd.count_bytes(simd.zero(), self.fours);
        let twos = simd.count_bytes(simd.add_bytes(fours, fours), self.twos);
        let ones = simd.count_bytes(simd.add_bytes(simd.add_bytes(twos, twos), self.singles), self.ones);
        [ones, self.eights]
    }
}

impl<const N: usize, S: Adder<N>> Count<S> for CarrySave<N> {
    type Partial = [Saved<S::Register>; N];
    const GROUP: usize = GROUP;
    const FLUSH: usize = FLUSH;

    #[inline(always)]
    fn none(simd: S) -> Self::Partial {
        [Saved::new(simd.zero()); N]
    }

    #[inline(always)]
    fn single(simd: S, mut partial: Self::Partial, x: S::Words) -> Self::Partial {
        let x = simd.registers(x);
        for i in 0..N {
            partial[i].singles = simd.count_bytes(partial[i].singles, x[i]);
        }
        partial
    }

    /// One register after the other: on AVX2 the sums of both and the words between them are more than sixteen registers.
    #[inline(always)]
    fn group(simd: S, mut partial: Self::Partial, x: impl Fn(usize) -> S::Words) -> Self::Partial {
        for i in 0..N {
            partial[i] = partial[i].group(
                simd,
                #[inline(always)]
                |k| simd.registers(x(k))[i],
            );
        }
        partial
    }

    #[inline(always)]
    fn flush(simd: S, counts: S::Counts, partial: Self::Partial) -> S::Counts {
        let mut bytes = [[simd.zero(); 2]; N];
        for i in 0..N {
            bytes[i] = partial[i].bytes(simd);
        }
        simd.widen(counts, bytes, [1, 8])
    }
}
