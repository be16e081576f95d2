//! AVX-512 BW without VPOPCNTDQ (Skylake-X, Cascade Lake): the bits of each nibble by vpshufb, summed in bytes.
//!
//! Counting a row is xor, and, shift, and, two vpshufb and two vpaddb: 8 operations, 128 bits a cycle on Golden Cove. In
//! carry-save form ([`Adder`]) it is xor, 7/8 of a full adder of two vpternlog and an eighth of the count: 3.6
//! operations, 282 bits a cycle.

use crate::simd::adder::Adder;
use crate::simd::avx512::{Avx512, Count512};
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX-512 F and BW.
    pub(crate) struct Bw {
        pub(crate) f: "avx512f",
        pub(crate) bw: "avx512bw",
        pub(crate) fma: "fma",
    }
}

/// The backend, where the CPU has it.
pub(crate) fn try_new() -> Option<Avx512<Bw>> {
    Bw::try_new().map(Avx512::new)
}

impl Bw {
    /// Adds the number of set bits of each byte of `x` to bytes.
    #[inline(always)]
    fn count_bytes(self, bytes: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let bits = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let nibble = _mm512_set1_epi8(15);
            let low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, nibble));
            let high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16::<4>(x), nibble));
            _mm512_add_epi8(_mm512_add_epi8(bytes, low), high)
        }
    }

    /// Adds `weight` times each byte to 32-bit lanes.
    #[inline(always)]
    fn widen_bytes(self, counts: __m512i, bytes: __m512i, weight: i8) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe {
            let pairs = _mm512_maddubs_epi16(bytes, _mm512_set1_epi8(weight));
            _mm512_add_epi32(counts, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

impl Count512 for Bw {
    const FLUSH: usize = 31;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn count(self, partial: __m512i, x: __m512i) -> __m512i {
        self.count_bytes(partial, x)
    }

    #[inline(always)]
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i {
        self.widen_bytes(counts, partial, 1)
    }
}

impl Adder<1> for Avx512<Bw> {
    type Register = __m512i;

    #[inline(always)]
    fn registers(self, words: __m512i) -> [__m512i; 1] {
        [words]
    }

    #[inline(always)]
    fn widen(self, counts: __m512i, [bytes]: [[__m512i; 2]; 1], weights: [i8; 2]) -> __m512i {
        let token = self.token();
        token.widen_bytes(token.widen_bytes(counts, bytes[0], weights[0]), bytes[1], weights[1])
    }

    #[inline(always)]
    fn add_bits(self, a: __m512i, b: __m512i, c: __m512i) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 F.
        unsafe { [_mm512_ternarylogic_epi32::<0x96>(a, b, c), _mm512_ternarylogic_epi32::<0xe8>(a, b, c)] }
    }

    #[inline(always)]
    fn count_bytes(self, bytes: __m512i, x: __m512i) -> __m512i {
        self.token().count_bytes(bytes, x)
    }

    #[inline(always)]
    fn add_bytes(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe { _mm512_add_epi8(a, b) }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }
}
