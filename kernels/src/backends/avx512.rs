//! The two AVX-512 backends: 32 registers of 512 bits, one a row. They differ in how bits are counted.

use super::Backend;
use crate::simd::avx512::{Avx512, Count512};
use crate::simd::avx512bw::Bw;
use crate::simd::avx512vpopcnt::Vpopcnt;
use crate::simd::dot::Dot;
use crate::simd::dot_x86::{Maddubs, Vnni};
use crate::tiles::binary_weight::{Gray, binary_weight};
use crate::tiles::count::carry::CarrySave;
use crate::tiles::count::parity::Triples;
use crate::tiles::count::plain::Plain;
use crate::tiles::tables::{self, BuildTables, TableForm, bytes::bytes, dots::dots};
use crate::tiles::{
    BinaryWeightOperands, BitOperands, CodebookOperands, FloatOperands, Int8Operands, Job, TableOperands, bits::bits,
    codebook::codebook, floats::floats, int8::int8,
};

/// How a backend counts the bits of a job.
trait Counting: Count512 {
    /// As [`Backend::PARITY`].
    const PARITY: bool = false;
    /// As [`Backend::TABLES`].
    const TABLES: TableForm;
    /// As [`Backend::bits`].
    fn bits(simd: Avx512<Self>, job: &Job<BitOperands<'_>>);
    /// As [`Backend::tables`].
    fn tables(simd: Avx512<Self>, job: &Job<TableOperands<'_>>);
    /// As [`Backend::build_tables`].
    fn build_tables(simd: Avx512<Self>, work: BuildTables<'_>);
}

impl Counting for Bw {
    const TABLES: TableForm = tables::bytes::form::<Avx512<Self>>();

    /// 4 rows x 1 panel: 16 sums and bytes, 8 weights, the table, the mask and temporaries in 32 registers.
    #[inline(always)]
    fn bits(simd: Avx512<Self>, job: &Job<BitOperands<'_>>) {
        bits::<_, CarrySave<1>, 4, 1, 4>(simd, job);
    }

    /// 8 rows x 64 filters: 8 byte sums, 16 of 16 bits, 2 indices, the mask and tables in 32 registers.
    #[inline(always)]
    fn tables(simd: Avx512<Self>, job: &Job<TableOperands<'_>>) {
        bytes::<_, 8, 2>(simd, job);
    }

    #[inline(always)]
    fn build_tables(_: Avx512<Self>, work: BuildTables<'_>) {
        work.build();
    }
}

impl Counting for Vpopcnt {
    const PARITY: bool = true;
    const TABLES: TableForm = tables::dots::form(12);

    /// Triples with 4 rows x 2 panels: 16 counts, 6 weights and temporaries in 32 registers. 8 x 1 counts as fast by itself,
    /// but loads 27 words a triple rather than 18, and loses where the other thread of the core loads as well.
    #[inline(always)]
    fn bits(simd: Avx512<Self>, job: &Job<BitOperands<'_>>) {
        if job.walk.triples() > 0 {
            bits::<_, Triples, 4, 2, 2>(simd, job);
        } else {
            bits::<_, Plain, 4, 4, 8>(simd, job);
        }
    }

    /// 12 rows x 2 panels: 24 counts, 2 of entries, a table, ones, 2 masks and temporaries in 32 registers. Alone it takes 0.94 of
    /// the time of 8 x 2, and a half of that of 16 x 1, which loads a table for each lookup (Golden Cove).
    #[inline(always)]
    fn tables(simd: Avx512<Self>, job: &Job<TableOperands<'_>>) {
        dots::<_, 12, 2, 4>(simd, job);
    }

    #[inline(always)]
    fn build_tables(simd: Avx512<Self>, work: BuildTables<'_>) {
        tables::dots::build(simd, work);
    }
}

impl<C: Counting> Backend for Avx512<C> {
    const PARITY: bool = C::PARITY;
    const TABLES: TableForm = C::TABLES;
    /// A lookup is one instruction, shared by 12 rows.
    const DECODE_ONCE: bool = false;
    type Tables = Gray;

    #[inline(always)]
    fn bits(self, job: &Job<BitOperands<'_>>) {
        C::bits(self, job);
    }

    /// 5 rows x 4 panels: 20 accumulators, 4 weights and the 5 broadcasts, which the compiler loads ahead, in 32 registers;
    /// 6 x 4 kept accumulators in memory for them. 8 x 2 where there are fewer panels.
    #[inline(always)]
    fn floats(self, job: &Job<FloatOperands<'_>>) {
        floats::<Self, 5, 4, 8, 2, 8>(self, job);
    }

    /// vpdpbusd with 5 rows x 4 panels, or 8 x 2 where there are fewer, as [`Self::floats`]; else 8 x 2: 16 accumulators, 2
    /// weights, an activation, its magnitude, ones and temporaries in 32 registers.
    #[inline(always)]
    fn int8(self, job: &Job<Int8Operands<'_>>) {
        match Vnni::try_new() {
            Some(vnni) if job.dot => int8::<Self, Vnni, 5, 4, 8, 2, 8>(self, vnni, job),
            _ => int8::<Self, Maddubs, 8, 2, 8, 2, 4>(self, Maddubs, job),
        }
    }

    #[inline(always)]
    fn has_dot(self) -> bool {
        Vnni::is_available()
    }

    #[inline(always)]
    fn signed_bytes(self, dot: bool) -> bool {
        if dot { <Vnni as Dot<Self>>::SIGNED } else { <Maddubs as Dot<Self>>::SIGNED }
    }

    /// 8 rows x 2 panels: 16 accumulators, a table of two registers, 2 indices, 2 signs, 2 words and constants in 32
    /// registers. Two panels rather than 12 x 1, because a table that is loaded twice as often costs 10 %.
    #[inline(always)]
    fn binary_weight(self, job: &Job<BinaryWeightOperands<'_>>) {
        binary_weight::<Self, Gray, 8, 2, 8>(self, job);
    }

    /// 12 rows x 2 panels: 24 accumulators, 2 codes, 2 weights, a codebook of one or two registers and a broadcast in 32.
    #[inline(always)]
    fn codebook(self, job: &Job<CodebookOperands<'_>>) {
        codebook::<Self, 12, 2, 8>(self, job);
    }

    #[inline(always)]
    fn tables(self, job: &Job<TableOperands<'_>>) {
        C::tables(self, job);
    }

    #[inline(always)]
    fn build_tables(self, work: BuildTables<'_>) {
        C::build_tables(self, work);
    }
}
