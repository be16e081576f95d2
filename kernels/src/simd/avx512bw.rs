//! AVX-512 BW without VPOPCNTDQ (Skylake-X, Cascade Lake): the bits of each nibble by vpshufb, summed in bytes.
//!
//! Counting a row is xor, and, shift, and, two vpshufb and two vpaddb: 8 operations, 128 bits a cycle on Golden Cove. In
//! carry-save form ([`super::carry`]) it is xor, 7/8 of a full adder of two vpternlog and an eighth of the count: 3.6
//! operations, 282 bits a cycle.

use crate::simd::Simd;
use crate::simd::avx512::{Avx512, Count512};
use crate::tiles::bits::{self, BitJob, Count};
use crate::tiles::count::carry::{self, Adder, CarrySave, Saved};
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
    const PARITY: bool = false;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    /// 4 rows x 1 panel: 16 sums and bytes, 8 weights, the table, the mask and temporaries in 32 registers.
    #[inline(always)]
    fn bits(simd: Avx512<Self>, job: &BitJob<'_>) {
        bits::bits::<_, CarrySave, 4, 1, 4>(simd, job);
    }

    #[inline(always)]
    fn count(self, partial: __m512i, x: __m512i) -> __m512i {
        Adder::count(self, partial, x)
    }

    #[inline(always)]
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i {
        self.widen(counts, partial, 1)
    }
}

impl Adder for Bw {
    type Word = __m512i;

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i, c: __m512i) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 F.
        unsafe { [_mm512_ternarylogic_epi32::<0x96>(a, b, c), _mm512_ternarylogic_epi32::<0xe8>(a, b, c)] }
    }

    #[inline(always)]
    fn count(self, bytes: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let bits = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let nibble = _mm512_set1_epi8(15);
            let low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, nibble));
            let high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16::<4>(x), nibble));
            _mm512_add_epi8(_mm512_add_epi8(bytes, low), high)
        }
    }

    #[inline(always)]
    fn sum(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe { _mm512_add_epi8(a, b) }
    }

    #[inline(always)]
    fn widen(self, counts: __m512i, bytes: __m512i, weight: i8) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let pairs = _mm512_maddubs_epi16(bytes, _mm512_set1_epi8(weight));
            _mm512_add_epi32(counts, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }
}

impl Count<Avx512<Bw>> for CarrySave {
    type Partial = Saved<__m512i>;
    const GROUP: usize = carry::GROUP;
    const FLUSH: usize = carry::FLUSH;

    #[inline(always)]
    fn none(simd: Avx512<Bw>) -> Saved<__m512i> {
        Saved::new(simd.no_counts())
    }

    #[inline(always)]
    fn single(simd: Avx512<Bw>, partial: Saved<__m512i>, x: __m512i) -> Saved<__m512i> {
        partial.single(simd.token(), x)
    }

    #[inline(always)]
    fn group(simd: Avx512<Bw>, partial: Saved<__m512i>, x: impl Fn(usize) -> __m512i) -> Saved<__m512i> {
        partial.group(simd.token(), x)
    }

    #[inline(always)]
    fn flush(simd: Avx512<Bw>, counts: __m512i, partial: Saved<__m512i>) -> __m512i {
        partial.flush(simd.token(), counts)
    }
}
