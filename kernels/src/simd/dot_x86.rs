//! Products of bytes on x86: vpdpbusd where the CPU has it, else three instructions that do the same, or two on bytes that
//! were widened to 16 bits.
//!
//! | operation, 64 products | per cycle, Golden Cove | per cycle, Zen 5 | per cycle, Zen 3 |
//! |---|---|---|---|
//! | vpdpbusd zmm | 2: 128 products | 2: 128 | |
//! | sign, vpmaddubsw, vpmaddwd, vpaddd zmm; ymm on Zen 3 | 0.5: 32 (18 reached) | 0.67: 43 | 0.33 to 0.5: 21 to 32 (19 reached) |
//! | 4 vpmaddwd, 4 vpaddd ymm | | | 0.5: 32 (21 to 25 reached) |
//!
//! vpmaddubsw adds two products of an unsigned and a signed byte and saturates. With the activation's magnitude (at most 128)
//! as the one and the weight (at most 127), carrying the activation's sign, as the other, a pair stays within ±32512.

use crate::simd::Simd;
use crate::simd::avx2::Avx2;
use crate::simd::avx512::{Avx512, Count512};
use crate::simd::dot::{Dot, Widen};
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX-512 VNNI.
    pub(crate) struct Vnni {
        pub(crate) f: "avx512f",
        pub(crate) bw: "avx512bw",
        pub(crate) vnni: "avx512vnni",
        pub(crate) fma: "fma",
    }
}

/// Proof of AVX-VNNI, beside the token of [`Avx2`]; `pulp::simd_type!` does not know the feature.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(());

impl AvxVnni {
    /// Whether the CPU has it.
    pub(crate) fn is_available() -> bool {
        Avx2::is_available() && std::arch::is_x86_feature_detected!("avxvnni")
    }

    /// The proof, where the CPU has it.
    pub(crate) fn try_new() -> Option<Self> {
        Self::is_available().then_some(Self(()))
    }
}

/// Runs `f` where AVX-VNNI is enabled.
#[inline]
#[target_feature(enable = "avx2,fma,popcnt,avxvnni")]
fn with_avx_vnni<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Products without VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Maddubs;

/// Products of pairs of 16 bits, which an i32 always holds.
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

impl<C: Count512> Dot<Avx512<C>> for Vnni {
    type Activation = __m512i;
    const SIGNED: bool = false;

    #[inline(always)]
    fn vectorize<R>(self, _: Avx512<C>, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn activation(self, simd: Avx512<C>, bytes: u32) -> __m512i {
        simd.splat(bytes)
    }

    #[inline(always)]
    fn dot(self, _: Avx512<C>, sum: __m512i, activation: __m512i, weight: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(sum, activation, weight) }
    }
}

impl<C: Count512> Dot<Avx512<C>> for Maddubs {
    /// Magnitudes, and a mask of those that are negative.
    type Activation = (__m512i, __mmask64);
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, simd: Avx512<C>, f: impl FnOnce() -> R) -> R {
        simd.vectorize(f)
    }

    #[inline(always)]
    fn activation(self, simd: Avx512<C>, bytes: u32) -> (__m512i, __mmask64) {
        let bytes = simd.splat(bytes);
        // SAFETY: the backend's token proves AVX-512 BW.
        unsafe { (_mm512_abs_epi8(bytes), _mm512_movepi8_mask(bytes)) }
    }

    #[inline(always)]
    fn dot(self, _: Avx512<C>, sum: __m512i, (magnitude, negative): (__m512i, __mmask64), weight: __m512i) -> __m512i {
        // SAFETY: the backend's token proves AVX-512 BW.
        unsafe {
            let signed = _mm512_mask_sub_epi8(weight, negative, _mm512_setzero_si512(), weight);
            let pairs = _mm512_maddubs_epi16(magnitude, signed);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

impl Dot<Avx2> for AvxVnni {
    type Activation = __m256i;
    const SIGNED: bool = false;

    #[inline(always)]
    fn vectorize<R>(self, _: Avx2, f: impl FnOnce() -> R) -> R {
        // SAFETY: the tokens prove AVX2, FMA, POPCNT and AVX-VNNI.
        unsafe { with_avx_vnni(f) }
    }

    #[inline(always)]
    fn activation(self, simd: Avx2, bytes: u32) -> __m256i {
        simd.splat(bytes)[0]
    }

    #[inline(always)]
    fn dot(self, _: Avx2, sum: [__m256i; 2], activation: __m256i, weight: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the token proves AVX-VNNI.
        unsafe {
            [
                _mm256_dpbusd_avx_epi32(sum[0], activation, weight[0]),
                _mm256_dpbusd_avx_epi32(sum[1], activation, weight[1]),
            ]
        }
    }
}

impl Dot<Avx2> for Maddubs {
    /// The bytes and their magnitudes.
    type Activation = [__m256i; 2];
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, simd: Avx2, f: impl FnOnce() -> R) -> R {
        simd.vectorize(f)
    }

    #[inline(always)]
    fn activation(self, simd: Avx2, bytes: u32) -> [__m256i; 2] {
        let bytes = simd.splat(bytes)[0];
        // SAFETY: the backend's token proves AVX2.
        [bytes, unsafe { _mm256_abs_epi8(bytes) }]
    }

    #[inline(always)]
    fn dot(self, _: Avx2, sum: [__m256i; 2], [bytes, magnitude]: [__m256i; 2], weight: [__m256i; 2]) -> [__m256i; 2] {
        let mut sum = sum;
        for i in 0..2 {
            // SAFETY: the backend's token proves AVX2.
            unsafe {
                let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(weight[i], bytes));
                sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        sum
    }
}

impl Dot<Avx2> for Pairs {
    type Activation = __m256i;
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, simd: Avx2, f: impl FnOnce() -> R) -> R {
        simd.vectorize(f)
    }

    #[inline(always)]
    fn activation(self, simd: Avx2, pair: u32) -> __m256i {
        simd.splat(pair)[0]
    }

    #[inline(always)]
    fn dot(self, _: Avx2, sum: [__m256i; 2], activation: __m256i, weight: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the backend's token proves AVX2.
        unsafe {
            [
                _mm256_add_epi32(sum[0], _mm256_madd_epi16(activation, weight[0])),
                _mm256_add_epi32(sum[1], _mm256_madd_epi16(activation, weight[1])),
            ]
        }
    }
}

impl Widen<Avx2> for Pairs {
    /// Each byte goes to the upper half of its 16 bits, from where a shift takes it down with its sign.
    #[inline(always)]
    fn widen(self, _: Avx2, quads: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        // SAFETY: the backend's token proves AVX2.
        unsafe {
            let first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 1, 4, 4, 4, 5, 8, 8, 8, 9, 12, 12, 12, 13));
            let last = _mm256_add_epi8(first, _mm256_set1_epi8(2));
            [first, last].map(
                #[inline(always)]
                |place| {
                    [
                        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(quads[0], place)),
                        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(quads[1], place)),
                    ]
                },
            )
        }
    }
}
