//! AVX-512 with VPOPCNTDQ: xor, vpopcntd, vpaddd a row of 512 bits. For tables of bytes see [`super::avx512vbmi`].
//!
//! | instruction | per cycle, Zen 5 | per cycle, Golden Cove |
//! |---|---|---|
//! | vpopcntd zmm | 2 | 1 (port 5) |
//! | vpxord, vpaddd zmm | 4 | 2 (ports 0, 5) |
//! | the three together | 1.33 rows: 683 bits a cycle | 0.67 rows: 341 bits a cycle |
//! | vpermb zmm | 2 | 1 (port 5) |
//! | vpdpbusd zmm | 2 | 2 (ports 0, 5) |
//! | the two together | 2: 512 products of all planes a cycle | 1: 256 products of all planes a cycle |
//!
//! Counts are 32 bits wide from the start: they overflow only past 2^26 words, far above `MAX_DEPTH`.

use crate::simd::avx512::{Avx512, Count512};
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX-512 F, BW, VPOPCNTDQ, VBMI and VNNI.
    pub(crate) struct Vpopcnt {
        pub(crate) f: "avx512f",
        pub(crate) bw: "avx512bw",
        pub(crate) vpopcntdq: "avx512vpopcntdq",
        pub(crate) vbmi: "avx512vbmi",
        pub(crate) vnni: "avx512vnni",
        pub(crate) fma: "fma",
    }
}

/// The backend, where the CPU has it.
pub(crate) fn try_new() -> Option<Avx512<Vpopcnt>> {
    Vpopcnt::try_new().map(Avx512::new)
}

impl Count512 for Vpopcnt {
    const FLUSH: usize = usize::MAX;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn count(self, partial: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the token proves VPOPCNTDQ.
        unsafe { _mm512_add_epi32(partial, _mm512_popcnt_epi32(x)) }
    }

    #[inline(always)]
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_epi32(counts, partial) }
    }
}
