//! AVX-512 with VPOPCNTDQ: xor, vpopcntd, vpaddd a row of 512 bits.
//!
//! | instruction | per cycle, Zen 5 | per cycle, Golden Cove |
//! |---|---|---|
//! | vpopcntd zmm | 2 | 1 (port 5) |
//! | vpxord, vpaddd zmm | 4 | 2 (ports 0, 5) |
//! | the three together | 1.33 rows: 683 bits a cycle | 0.67 rows: 341 bits a cycle |
//!
//! Counts are 32 bits wide from the start: they overflow only past 2^26 words, far above `MAX_DEPTH`.

use crate::simd::Simd;
use crate::simd::avx512::{Avx512, Count512};
use crate::tiles::bits::{self, BitJob, Count, Group, Plain};
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX-512 F, BW and VPOPCNTDQ.
    pub(super) struct Vpopcnt {
        pub(super) f: "avx512f",
        pub(super) bw: "avx512bw",
        pub(super) vpopcntdq: "avx512vpopcntdq",
        pub(super) fma: "fma",
    }
}

/// The backend, where the CPU has it.
pub(super) fn try_new() -> Option<Avx512<Vpopcnt>> {
    Vpopcnt::try_new().map(Avx512::new)
}

impl Count512 for Vpopcnt {
    const FLUSH: usize = usize::MAX;
    const PARITY: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn bits(simd: Avx512<Self>, job: &BitJob<'_>) {
        if job.walk.triples() > 0 {
            bits::bits::<_, Triples, 4, 2, 2>(simd, job);
        } else {
            bits::bits::<_, Plain, 4, 4, 8>(simd, job);
        }
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

/// Three words in the parity basis ([`crate::tiles::count::parity`]), with a count for sums and one for carries, which weigh twice.
///
/// 4 rows x 2 panels: 16 counts, 6 weights and temporaries in 32 registers. 8 x 1 counts as fast by itself, but loads 27 words
/// a triple rather than 18, and loses where the other thread of the core loads as well.
struct Triples;

impl Count<Avx512<Vpopcnt>> for Triples {
    type Partial = [__m512i; 2];
    const GROUP: usize = 3;
    const PARITY: bool = true;
    const FLUSH: usize = usize::MAX;

    #[inline(always)]
    fn none(simd: Avx512<Vpopcnt>) -> [__m512i; 2] {
        [simd.no_counts(); 2]
    }

    #[inline(always)]
    fn prepare(_: Avx512<Vpopcnt>, weights: &mut Group<__m512i>) {
        // SAFETY: the token proves AVX-512 F.
        weights[2] = unsafe { _mm512_ternarylogic_epi32::<0x96>(weights[0], weights[1], weights[2]) };
    }

    #[inline(always)]
    fn single(simd: Avx512<Vpopcnt>, [sums, carries]: [__m512i; 2], x: __m512i) -> [__m512i; 2] {
        [simd.count(sums, x), carries]
    }

    #[inline(always)]
    fn group(simd: Avx512<Vpopcnt>, [sums, carries]: [__m512i; 2], x: impl Fn(usize) -> __m512i) -> [__m512i; 2] {
        let (first, sum) = (x(0), x(2));
        // SAFETY: the token proves AVX-512 F.
        let carry = unsafe { _mm512_ternarylogic_epi32::<0xd4>(first, x(1), sum) };
        [simd.count(sums, sum), simd.count(carries, carry)]
    }

    #[inline(always)]
    fn flush(_: Avx512<Vpopcnt>, counts: __m512i, [sums, carries]: [__m512i; 2]) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_epi32(_mm512_add_epi32(counts, sums), _mm512_slli_epi32::<1>(carries)) }
    }
}
