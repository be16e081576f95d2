//! NEON: 32 registers of 128 bits, four a row.

use super::Backend;
use crate::simd::dot::Dot;
use crate::simd::dot_neon::{Sdot, Smull};
use crate::simd::neon::Neon;
use crate::tiles::binary_weight::{Eights, binary_weight};
use crate::tiles::count::plain::Plain;
use crate::tiles::{
    BinaryWeightOperands, BitOperands, CodebookOperands, FloatOperands, Int8Operands, Job, TableOperands, bits::bits,
    codebook::codebook, floats::floats, int8::int8, tables::bytes::bytes,
};

impl Backend for Neon {
    type Tables = Eights;

    /// 4 rows x 1 panel: 16 byte counters, 4 weights, a broadcast and temporaries in 32 registers.
    #[inline(always)]
    fn bits(self, job: &Job<BitOperands<'_>>) {
        bits::<Self, Plain, 4, 1, 4>(self, job);
    }

    /// 6 rows x 1 panel: 24 accumulators, 4 weights and a broadcast in 32 registers.
    #[inline(always)]
    fn floats(self, job: &Job<FloatOperands<'_>>) {
        floats::<Self, 6, 1, 6, 1, 4>(self, job);
    }

    /// sdot with 6 rows x 1 panel, as [`Self::floats`]; else 4 x 1: 16 accumulators, 4 weights, an activation and temporaries
    /// in 32 registers.
    #[inline(always)]
    fn int8(self, job: &Job<Int8Operands<'_>>) {
        match Sdot::try_new() {
            Some(sdot) if job.dot => int8::<Self, Sdot, 6, 1, 6, 1, 4>(self, sdot, job),
            _ => int8::<Self, Smull, 4, 1, 4, 1, 2>(self, Smull, job),
        }
    }

    #[inline(always)]
    fn has_dot(self) -> bool {
        Sdot::is_available()
    }

    #[inline(always)]
    fn signed_bytes(self, dot: bool) -> bool {
        if dot { Sdot::SIGNED } else { Smull::SIGNED }
    }

    /// 4 rows x 1 panel: 16 accumulators, 8 byte indices, a table of two registers and temporaries in 32 registers.
    #[inline(always)]
    fn binary_weight(self, job: &Job<BinaryWeightOperands<'_>>) {
        binary_weight::<Self, Eights, 4, 1, 1>(self, job);
    }

    /// 4 rows x 1 panel: 16 accumulators, 4 codes, 4 weights and a codebook of 4 or 8 registers in 32.
    #[inline(always)]
    fn codebook(self, job: &Job<CodebookOperands<'_>>) {
        codebook::<Self, 4, 1, 2>(self, job);
    }

    /// 8 rows x 16 filters: 8 byte sums, 16 of 16 bits, 2 indices, the mask and tables in 32 registers.
    #[inline(always)]
    fn tables(self, job: &Job<TableOperands<'_>>) {
        bytes::<Self, 8, 2>(self, job);
    }
}
