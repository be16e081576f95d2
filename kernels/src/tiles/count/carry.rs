//! Carry-save counting: eight words are added bit by bit before bits are counted at all.
//!
//! Where popcount is emulated, a full adder (three words in, a sum and a carry of twice the weight out) is cheaper than the
//! count it saves. Each cell of the tile keeps sums of the weights 1, 2 and 4; eight more words take seven full adders and
//! leave one word of weight 8, the only one whose bits are counted (Harley and Seal's circuit: Warren, "Hacker's Delight",
//! section 5-1; Mula, Kurz and Lemire, "Faster population counts using AVX2 instructions", The Computer Journal 61(1), 2018).

/// A way of adding registers bit by bit and of counting their bits in bytes.
pub(crate) trait Adder: Copy {
    /// The register.
    type Word: Copy;
    /// Sum and carry of each bit of three words.
    fn add(self, a: Self::Word, b: Self::Word, c: Self::Word) -> [Self::Word; 2];
    /// Adds the number of set bits of each byte of `x` to bytes.
    fn count(self, bytes: Self::Word, x: Self::Word) -> Self::Word;
    /// Adds `weight` times each byte to 32-bit lanes.
    fn widen(self, counts: Self::Word, bytes: Self::Word, weight: i8) -> Self::Word;
    /// The sum of bytes.
    fn sum(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Zeros.
    fn zero(self) -> Self::Word;
}

/// Counting in carry-save form: each register of a cell is a [`Saved`].
pub(crate) struct CarrySave;

/// Words that [`Saved::group`] takes.
pub(crate) const GROUP: usize = 8;
/// Groups that the bytes hold: each adds up to 8 to a byte.
pub(crate) const FLUSH: usize = 31;

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
    pub(crate) fn new(zero: W) -> Self {
        Self { ones: zero, twos: zero, fours: zero, eights: zero, singles: zero }
    }

    /// One word.
    #[inline(always)]
    pub(crate) fn single<A: Adder<Word = W>>(mut self, adder: A, x: W) -> Self {
        self.singles = adder.count(self.singles, x);
        self
    }

    /// Eight words.
    #[inline(always)]
    pub(crate) fn group<A: Adder<Word = W>>(mut self, adder: A, x: impl Fn(usize) -> W) -> Self {
        let a = self.four(adder, &x);
        let b = self.four(
            adder,
            #[inline(always)]
            |i| x(4 + i),
        );
        let [sum, eight] = adder.add(self.fours, a, b);
        self.fours = sum;
        self.eights = adder.count(self.eights, eight);
        self
    }

    /// Four words; their carry of weight 4.
    #[inline(always)]
    fn four<A: Adder<Word = W>>(&mut self, adder: A, x: impl Fn(usize) -> W) -> W {
        let [sum, a] = adder.add(self.ones, x(0), x(1));
        let [sum, b] = adder.add(sum, x(2), x(3));
        self.ones = sum;
        let [sum, carry] = adder.add(self.twos, a, b);
        self.twos = sum;
        carry
    }

    /// Adds everything to 32-bit lanes.
    #[inline(always)]
    pub(crate) fn flush<A: Adder<Word = W>>(self, adder: A, counts: W) -> W {
        let fours = adder.count(adder.zero(), self.fours);
        let twos = adder.count(adder.sum(fours, fours), self.twos);
        let ones = adder.count(adder.sum(adder.sum(twos, twos), self.singles), self.ones);
        adder.widen(adder.widen(counts, ones, 1), self.eights, 8)
    }
}
