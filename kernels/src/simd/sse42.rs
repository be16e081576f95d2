//! x86-64-v2 (Nehalem to Ivy Bridge and their like): the bits of each nibble by pshufb, summed in bytes.
//!
//! A 128-bit register is xor, two ands, a shift, two shuffles and two additions: 48 bits a cycle on three vector ports. The
//! scalar POPCNT instruction counts one lane at a time: 32 bits a cycle on Intel at best, and half of that once words are
//! carried from vector registers to scalar ones and back.

use crate::simd::portable::{Baseline, CountBaseline};
use bytemuck::must_cast;
use std::arch::x86_64::*;
use wide::u32x16;

pulp::simd_type! {
    /// Proof of x86-64-v2.
    pub(crate) struct V2 {
        pub(crate) ssse3: "ssse3",
        pub(crate) sse4_2: "sse4.2",
        pub(crate) popcnt: "popcnt",
    }
}

/// The backend, where the CPU has it.
pub(crate) fn try_new() -> Option<Baseline<V2>> {
    V2::try_new().map(Baseline)
}

/// The registers of a row.
type Quarters = [__m128i; 4];

#[inline(always)]
fn quarters(row: u32x16) -> Quarters {
    must_cast(row)
}

#[inline(always)]
fn row(quarters: Quarters) -> u32x16 {
    must_cast(quarters)
}

impl CountBaseline for V2 {
    const FLUSH: usize = 31;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn count(self, partial: u32x16, x: u32x16) -> u32x16 {
        let (mut partial, x) = (quarters(partial), quarters(x));
        // SAFETY: the token proves SSSE3.
        unsafe {
            let bits = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
            let nibble = _mm_set1_epi8(15);
            for i in 0..4 {
                let low = _mm_shuffle_epi8(bits, _mm_and_si128(x[i], nibble));
                let high = _mm_shuffle_epi8(bits, _mm_and_si128(_mm_srli_epi16::<4>(x[i]), nibble));
                partial[i] = _mm_add_epi8(_mm_add_epi8(partial[i], low), high);
            }
        }
        row(partial)
    }

    #[inline(always)]
    fn flush(self, counts: u32x16, partial: u32x16) -> u32x16 {
        let (mut counts, partial) = (quarters(counts), quarters(partial));
        // SAFETY: the token proves SSSE3.
        unsafe {
            for i in 0..4 {
                let pairs = _mm_maddubs_epi16(partial[i], _mm_set1_epi8(1));
                counts[i] = _mm_add_epi32(counts[i], _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
            }
        }
        row(counts)
    }

    #[inline(always)]
    fn lookup_bytes(self, table: [u8; 16], index: [u8; 16]) -> [u8; 16] {
        // SAFETY: the token proves SSSE3.
        must_cast(unsafe { _mm_shuffle_epi8(must_cast(table), must_cast(index)) })
    }
}
