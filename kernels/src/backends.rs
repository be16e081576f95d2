//! The backends: which tiles each instruction set runs, and the one place where a backend is entered.
//!
//! A backend is a row of the table in `isa.rs`, an implementation of [`Backend`] in a file here, one of [`Simd`] below, and an
//! arm of [`try_dispatch`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

pub use isa::Isa;

use crate::parallel::{Inline, Parallel};
use crate::simd::Simd;
use crate::tiles::binary_weight::Tables;
use crate::tiles::tables::{BuildTables, TableForm};
use crate::tiles::{
    BinaryWeightOperands, BitOperands, CodebookOperands, FloatOperands, Int8Operands, Job, TableOperands,
};
use std::mem::MaybeUninit;

/// A backend: its tile shapes and its ways of counting and multiplying.
pub(crate) trait Backend: Simd {
    /// Whether [`Self::bits`] takes triples of words in the parity basis ([`crate::tiles::count::parity`]).
    const PARITY: bool = false;
    /// Panels that pass by all rows of a task of f32 weights before the next do, and elements of the depth at a time: what
    /// the L1 cache holds beside a few rows.
    const FLOAT_SPAN: [usize; 2] = [4, 144];
    /// Whether weights of a codebook are decoded once into the L1 cache for many rows, rather than in each tile: where a
    /// lookup of sixteen weights takes more instructions than the products of a tile hide.
    const DECODE_ONCE: bool = true;
    /// Rows and words of a window whose tables of signed sums lie in the L1 cache while all panels of a task read them. Rows are
    /// a multiple of the height of [`Self::binary_weight`]'s tile, and 8 at most.
    const TABLE_BLOCK: [usize; 2] = [8, 4];
    /// How [`Self::tables`] takes tables and weights.
    const TABLES: TableForm = crate::tiles::tables::bytes::form::<Self>();
    /// The tables of signed sums that suit this backend's lookups.
    type Tables: Tables<Self>;
    /// Runs [`crate::tiles::bits::bits`] with the way of counting and the tile shape that suit this backend.
    fn bits(self, job: &Job<BitOperands<'_>>);
    /// Runs [`crate::tiles::floats::floats`] with the tile shape that suits this backend's registers.
    fn floats(self, job: &Job<FloatOperands<'_>>);
    /// Runs [`crate::tiles::int8::int8`] with the tile shape that suits this backend's registers and way of multiplying bytes.
    fn int8(self, job: &Job<Int8Operands<'_>>);
    /// Runs [`crate::tiles::binary_weight::binary_weight`] with the tile shape that suits this backend's registers.
    fn binary_weight(self, job: &Job<BinaryWeightOperands<'_>>);
    /// Runs [`crate::tiles::codebook::codebook`] with the tile shape that suits this backend's registers.
    fn codebook(self, job: &Job<CodebookOperands<'_>>);
    /// Runs [`crate::tiles::tables::bytes::bytes`] or [`crate::tiles::tables::dots::dots`], as [`Self::TABLES`] says, with the tile
    /// shape that suits this backend's registers.
    fn tables(self, job: &Job<TableOperands<'_>>);
    /// Makes the tables of [`Self::tables`].
    #[inline(always)]
    fn build_tables(self, work: BuildTables<'_>) {
        work.build();
    }
    /// Whether the CPU has an instruction for dot products of bytes that [`Self::int8`] can use.
    #[inline(always)]
    fn has_dot(self) -> bool {
        false
    }
    /// Whether [`Self::int8`] wants activations of -128 to 127 rather than of 0 to 255, given [`Int8Operands::dot`].
    fn signed_bytes(self, dot: bool) -> bool;
    /// Whether [`Self::int8`] is faster on pairs of 16 bits ([`Int8Operands::wide`]), which then hold signed bytes, given
    /// [`Int8Operands::dot`].
    #[inline(always)]
    fn widens_bytes(self, _dot: bool) -> bool {
        false
    }
    /// Runs [`crate::tiles::int8::widen`], where [`Self::widens_bytes`] says so.
    #[inline(always)]
    fn widen(self, _quads: &[i8], _pairs: &mut [MaybeUninit<u32>]) {
        unreachable!("this backend multiplies bytes");
    }
}

/// Work that is written once over [`Backend`].
pub(crate) trait Op {
    /// What it returns.
    type Output;
    /// Does it; must be `#[inline(always)]`.
    fn run<S: Backend>(self, simd: S) -> Self::Output;
}

/// Runs `op` on a backend; none where this CPU lacks it.
pub(crate) fn try_dispatch<O: Op>(isa: Isa, op: O) -> Option<O::Output> {
    #[inline(always)]
    fn enter<S: Backend, O: Op>(token: Option<S>, op: O) -> Option<O::Output> {
        let token = token?;
        Some(token.vectorize(
            #[inline(always)]
            || op.run(token),
        ))
    }
    #[cfg(target_arch = "x86_64")]
    use crate::simd::{avx2::Avx2, avx512bw, avx512vpopcnt, sse42};
    match isa {
        Isa::Portable => enter(Some(crate::simd::portable::Portable), op),
        #[cfg(target_arch = "x86_64")]
        Isa::Sse42 => enter(sse42::try_new(), op),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => enter(Avx2::try_new(), op),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bw => enter(avx512bw::try_new(), op),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vpopcnt => enter(avx512vpopcnt::try_new(), op),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => enter(crate::simd::neon::Neon::try_new(), op),
        #[allow(unreachable_patterns, reason = "backends of other architectures")]
        _ => None,
    }
}

/// Runs `op` on a backend.
///
/// # Panics
/// If this CPU lacks `isa`; the constructors of the layers check that.
pub(crate) fn dispatch<O: Op>(isa: Isa, op: O) -> O::Output {
    try_dispatch(isa, op).expect("the layer's constructor checked that the CPU has this instruction set")
}

/// The instruction set of an operation and who runs its tasks; made from an [`Isa`] alone, the caller's thread.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
}

impl From<Isa> for Runner<'_> {
    fn from(isa: Isa) -> Self {
        Self { isa, parallel: &Inline }
    }
}
