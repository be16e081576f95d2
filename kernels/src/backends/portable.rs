//! Plain Rust, and x86-64-v2, which differs in how bits are counted.

use super::Backend;
use crate::simd::dot::Dot;
use crate::simd::portable::{Baseline, CountBaseline, Halves};
use crate::tiles::binary_weight::{Eights, binary_weight};
use crate::tiles::count::plain::Plain;
use crate::tiles::{
    BinaryWeightOperands, BitOperands, CodebookOperands, FloatOperands, Int8Operands, Job, TableOperands, bits::bits,
    codebook::codebook, floats::floats, int8::int8, tables::bytes::bytes,
};

impl<C: CountBaseline> Backend for Baseline<C> {
    /// As on AVX2.
    const FLOAT_SPAN: [usize; 2] = [1, 240];
    type Tables = Eights;

    /// 2 rows x 1 panel: 8 of SSE2's 16 registers count, the rest is for the words and the temporaries.
    #[inline(always)]
    fn bits(self, job: &Job<BitOperands<'_>>) {
        bits::<Self, Plain, 2, 1, 2>(self, job);
    }

    #[inline(always)]
    fn floats(self, job: &Job<FloatOperands<'_>>) {
        floats::<Self, 2, 1, 2, 1, 2>(self, job);
    }

    #[inline(always)]
    fn int8(self, job: &Job<Int8Operands<'_>>) {
        int8::<Self, Halves, 2, 1, 2, 1, 1>(self, Halves, job);
    }

    #[inline(always)]
    fn binary_weight(self, job: &Job<BinaryWeightOperands<'_>>) {
        binary_weight::<Self, Eights, 2, 1, 1>(self, job);
    }

    #[inline(always)]
    fn codebook(self, job: &Job<CodebookOperands<'_>>) {
        codebook::<Self, 2, 1, 1>(self, job);
    }

    #[inline(always)]
    fn signed_bytes(self, _dot: bool) -> bool {
        <Halves as Dot<Self>>::SIGNED
    }

    /// 2 rows x 16 filters: 2 byte sums and 4 of 16 bits beside what a lookup takes in 16 registers.
    #[inline(always)]
    fn tables(self, job: &Job<TableOperands<'_>>) {
        bytes::<Self, 2, 1>(self, job);
    }
}
