//! AVX2: sixteen registers of 256 bits, two a row.

use super::Backend;
use crate::simd::avx2::Avx2;
use crate::simd::dot::Dot;
use crate::simd::dot_x86::{AvxVnni, Maddubs, Pairs};
use crate::tiles::binary_weight::{Eights, binary_weight};
use crate::tiles::count::carry::CarrySave;
use crate::tiles::count::plain::Plain;
use crate::tiles::{
    BinaryWeightOperands, BitOperands, CodebookOperands, FloatOperands, Int8Operands, Job, TableOperands,
    bits::bits,
    codebook::codebook,
    floats::floats,
    int8::{int8, widen},
    tables::bytes::bytes,
};
use std::mem::MaybeUninit;

/// Words of a row from which on carry-save counting wins: what it leaves to count at the end of a row costs as much as it
/// saves on 36 words (Golden Cove). One row alone is left plain: four panels side by side are four streams from memory.
const CARRY_SAVE: usize = 48;

impl Backend for Avx2 {
    /// 15 KiB of an L1 cache of 32 KiB. Tiles are one panel wide, so other panels would gain nothing.
    const FLOAT_SPAN: [usize; 2] = [1, 240];
    /// 14 KiB of tables beside 6 KiB of sums in an L1 cache of 32 KiB.
    const TABLE_BLOCK: [usize; 2] = [6, 6];
    type Tables = Eights;

    /// 4 rows x 1 panel: 8 byte counters, 2 weights, the table, the mask and 4 temporaries in 16 registers. In carry-save
    /// form half a row takes 5 and the temporaries the rest.
    #[inline(always)]
    fn bits(self, job: &Job<BitOperands<'_>>) {
        if job.rows.len() > 1 && job.walk.len() >= CARRY_SAVE {
            bits::<Self, CarrySave<2>, 1, 1, 1>(self, job);
        } else {
            bits::<Self, Plain, 4, 1, 4>(self, job);
        }
    }

    /// 4 rows x 1 panel: 8 accumulators, 2 weights and 4 broadcasts, which the compiler loads ahead, in 16 registers.
    #[inline(always)]
    fn floats(self, job: &Job<FloatOperands<'_>>) {
        floats::<Self, 4, 1, 4, 1, 4>(self, job);
    }

    /// vpdpbusd, or vpmaddwd on pairs of 16 bits, with 6 rows x 1 panel: 12 accumulators, 2 weights, a broadcast and a product in
    /// 16 registers. On bytes without vpdpbusd 4 x 1: 8 accumulators, 2 weights, an activation, its magnitude, ones and
    /// temporaries.
    #[inline(always)]
    fn int8(self, job: &Job<Int8Operands<'_>>) {
        match AvxVnni::try_new() {
            Some(vnni) if job.dot => int8::<Self, AvxVnni, 6, 1, 6, 1, 4>(self, vnni, job),
            _ if job.wide => int8::<Self, Pairs, 6, 1, 6, 1, 1>(self, Pairs, job),
            _ => int8::<Self, Maddubs, 4, 1, 4, 1, 2>(self, Maddubs, job),
        }
    }

    #[inline(always)]
    fn widens_bytes(self, dot: bool) -> bool {
        !dot
    }

    #[inline(always)]
    fn widen(self, quads: &[i8], pairs: &mut [MaybeUninit<u32>]) {
        widen(self, Pairs, quads, pairs);
    }

    #[inline(always)]
    fn has_dot(self) -> bool {
        AvxVnni::is_available()
    }

    #[inline(always)]
    fn signed_bytes(self, dot: bool) -> bool {
        if dot { AvxVnni::SIGNED } else { <Maddubs as Dot<Self>>::SIGNED }
    }

    /// 3 rows x 1 panel: 6 accumulators, 4 indices, a table of two registers and 4 temporaries in 16 registers. Both halves of a
    /// panel read a table from a register: vpermps with the table in memory takes twice as long on Zen 3.
    #[inline(always)]
    fn binary_weight(self, job: &Job<BinaryWeightOperands<'_>>) {
        binary_weight::<Self, Eights, 3, 1, 2>(self, job);
    }

    /// 4 rows x 1 panel: 8 accumulators, 2 codes, 2 weights and temporaries in 16 registers.
    #[inline(always)]
    fn codebook(self, job: &Job<CodebookOperands<'_>>) {
        codebook::<Self, 4, 1, 2>(self, job);
    }

    /// 4 rows x 32 filters: 4 byte sums, 8 of 16 bits, 2 indices, the mask and a table in 16 registers.
    #[inline(always)]
    fn tables(self, job: &Job<TableOperands<'_>>) {
        bytes::<Self, 4, 2>(self, job);
    }
}
