//! AVX-512 BW without VPOPCNTDQ (Skylake-X, Cascade Lake): the bits of each nibble by vpshufb, summed in bytes.
//!
//! A row is xor, and, shift, and, two vpshufb and two vpaddb: 8 operations, of which the shuffles have port 5 alone on
//! Intel. A byte gains at most 8 a word, so 31 words fit before [`Count512::flush`] widens bytes to 32 bits.

use super::avx512::{Avx512, Count512};
use crate::tile::{self, BitJob};
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX-512 F and BW.
    pub(super) struct Bw {
        pub(super) f: "avx512f",
        pub(super) bw: "avx512bw",
        pub(super) fma: "fma",
    }
}

/// The backend, where the CPU has it.
pub(super) fn try_new() -> Option<Avx512<Bw>> {
    Bw::try_new().map(Avx512::new)
}

impl Count512 for Bw {
    const FLUSH: usize = 31;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn bits(simd: Avx512<Self>, job: &BitJob<'_>) {
        tile::bits::<_, 4, 2, 4>(simd, job);
    }

    #[inline(always)]
    fn count(self, partial: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let bits = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let nibble = _mm512_set1_epi8(15);
            let low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, nibble));
            let high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16::<4>(x), nibble));
            _mm512_add_epi8(_mm512_add_epi8(partial, low), high)
        }
    }

    #[inline(always)]
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let pairs = _mm512_maddubs_epi16(partial, _mm512_set1_epi8(1));
            _mm512_add_epi32(counts, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}
