//! Tables of bytes with VBMI and VNNI, which every CPU with VPOPCNTDQ and BW has: vpermb looks up in 64 entries, vpdpbusd sums.

use crate::simd::avx512::Avx512;
use crate::simd::avx512vpopcnt::Vpopcnt;
use crate::simd::lookup_dots::LookupDots;
use std::arch::x86_64::*;

/// The bytes that a permutation takes, or a constant.
type Bytes = [u8; 64];

/// The pairs of 32 activations have four sums each, of (u or q - u) of the first and of the second. For each sum: the first
/// activation of its pair.
static FIRST: Bytes = {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 64 {
        bytes[i] = (i / 4 * 2) as u8;
        i += 1;
    }
    bytes
};
/// Where the first bit of a sum's number in its pair is set, and where the second is: there u becomes q - u.
static FLIPPED: [Bytes; 2] = {
    let mut bytes = [[0; 64]; 2];
    let mut i = 0;
    while i < 64 {
        bytes[0][i] = if i & 1 == 0 { 0 } else { u8::MAX };
        bytes[1][i] = if i & 2 == 0 { 0 } else { u8::MAX };
        i += 1;
    }
    bytes
};
/// The sums of pairs that add up to the entries of the tables of a word: by half of its bytes' bits, of the first and of the second
/// pair.
static OF_PAIRS: [[Bytes; 2]; 2] = {
    let mut bytes = [[[0; 64]; 2]; 2];
    let mut half = 0;
    while half < 2 {
        let mut i = 0;
        while i < 64 {
            let (pair, entry) = (4 * (i / 16) + 2 * half, i % 16);
            bytes[half][0][i] = (4 * pair + entry % 4) as u8;
            bytes[half][1][i] = (4 * (pair + 1) + entry / 4) as u8;
            i += 1;
        }
        half += 1;
    }
    bytes
};

#[inline(always)]
fn load(bytes: &Bytes) -> __m512i {
    bytemuck::must_cast(*bytes)
}

impl LookupDots for Avx512<Vpopcnt> {
    #[inline(always)]
    fn entries(self, words: __m512i) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let (low, places) = (_mm512_set1_epi32(0x0f0f_0f0f), _mm512_set1_epi32(0x3020_1000));
            // (words & low) | places
            let high = _mm512_srli_epi32::<4>(words);
            [
                _mm512_ternarylogic_epi32::<0xf8>(places, words, low),
                _mm512_ternarylogic_epi32::<0xf8>(places, high, low),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_words(self, to: *mut u32, words: __m512i) {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_storeu_si512(to.cast(), words) }
    }

    #[inline(always)]
    fn add_entries(self, counts: __m512i, table: __m512i, entries: __m512i) -> __m512i {
        // SAFETY: the token proves VBMI and VNNI.
        unsafe { _mm512_dpbusd_epi32(counts, _mm512_permutexvar_epi8(entries, table), _mm512_set1_epi8(1)) }
    }

    #[inline(always)]
    fn add_counts(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_epi32(a, b) }
    }

    /// The integers u by masked additions, then the sums of pairs, then those of two pairs: 22 + 3 K operations for two words, where
    /// tables of each plane would take 20 K.
    #[inline(always)]
    fn tables_of(self, planes: &[u64]) -> [[__m512i; 2]; 2] {
        // SAFETY: the token proves AVX-512 F, BW and VBMI.
        unsafe {
            let mut u = _mm512_setzero_si512();
            for &bits in planes {
                u = _mm512_add_epi8(u, u);
                u = _mm512_mask_add_epi8(u, bits, u, _mm512_set1_epi8(1));
            }
            let q = _mm512_set1_epi8(((1u32 << planes.len()) - 1) as i8);
            // q - u is u ^ q.
            let flipped = [_mm512_and_si512(load(&FLIPPED[0]), q), _mm512_and_si512(load(&FLIPPED[1]), q)];
            let mut first = load(&FIRST);
            let mut tables = [[u; 2]; 2];
            for of_word in &mut tables {
                let second = _mm512_add_epi8(first, _mm512_set1_epi8(1));
                let sums = _mm512_add_epi8(
                    _mm512_xor_si512(_mm512_permutexvar_epi8(first, u), flipped[0]),
                    _mm512_xor_si512(_mm512_permutexvar_epi8(second, u), flipped[1]),
                );
                for half in 0..2 {
                    let [first, second] = &OF_PAIRS[half];
                    of_word[half] = _mm512_add_epi8(
                        _mm512_permutexvar_epi8(load(first), sums),
                        _mm512_permutexvar_epi8(load(second), sums),
                    );
                }
                first = _mm512_add_epi8(first, _mm512_set1_epi8(32));
            }
            tables
        }
    }
}
