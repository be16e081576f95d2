//! Counting in bytes: the bits of each nibble by vpshufb, and carry-save addition before that.

use crate::simd::avx2::Avx2;
use crate::tiles::bits::Count;
use crate::tiles::count::carry::{self, Adder, CarrySave, Saved};
use std::arch::x86_64::*;

impl Adder for Avx2 {
    type Word = __m256i;

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i, c: __m256i) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let either = _mm256_xor_si256(b, c);
            let carry = _mm256_or_si256(_mm256_and_si256(b, c), _mm256_and_si256(either, a));
            [_mm256_xor_si256(either, a), carry]
        }
    }

    #[inline(always)]
    fn count(self, bytes: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe {
            let bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let nibble = _mm256_set1_epi8(15);
            let low = _mm256_shuffle_epi8(bits, _mm256_and_si256(x, nibble));
            let high = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16::<4>(x), nibble));
            _mm256_add_epi8(_mm256_add_epi8(bytes, low), high)
        }
    }

    #[inline(always)]
    fn sum(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_epi8(a, b) }
    }

    #[inline(always)]
    fn widen(self, counts: __m256i, bytes: __m256i, weight: i8) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(weight));
            _mm256_add_epi32(counts, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }
}

impl Count<Avx2> for CarrySave {
    type Partial = [Saved<__m256i>; 2];
    const GROUP: usize = carry::GROUP;
    const FLUSH: usize = carry::FLUSH;

    #[inline(always)]
    fn none(simd: Avx2) -> [Saved<__m256i>; 2] {
        [Saved::new(simd.zero()); 2]
    }

    #[inline(always)]
    fn single(simd: Avx2, partial: [Saved<__m256i>; 2], x: [__m256i; 2]) -> [Saved<__m256i>; 2] {
        [partial[0].single(simd, x[0]), partial[1].single(simd, x[1])]
    }

    /// One half after the other: the sums of both and the words between them are more than sixteen registers.
    #[inline(always)]
    fn group(simd: Avx2, partial: [Saved<__m256i>; 2], x: impl Fn(usize) -> [__m256i; 2]) -> [Saved<__m256i>; 2] {
        let low = partial[0].group(
            simd,
            #[inline(always)]
            |i| x(i)[0],
        );
        let high = partial[1].group(
            simd,
            #[inline(always)]
            |i| x(i)[1],
        );
        [low, high]
    }

    #[inline(always)]
    fn flush(simd: Avx2, counts: [__m256i; 2], partial: [Saved<__m256i>; 2]) -> [__m256i; 2] {
        [partial[0].flush(simd, counts[0]), partial[1].flush(simd, counts[1])]
    }
}
