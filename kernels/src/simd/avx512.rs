//! What the two AVX-512 backends share: one 512-bit register a row. They differ in how a row's bits are counted.
//!
//! | instruction | per cycle, Zen 5 | per cycle, Golden Cove | for |
//! |---|---|---|---|
//! | vpxord, vpaddd zmm | 4 | 2 | xor, accumulate |
//! | vfmadd231ps, vaddps, vmulps zmm | 2 | 2 | float layers, quantizer, epilogue |
//! | vcmpps to k, kmovw | 2, 1 | 1, 1 | sign bits |
//! | vpbroadcastd zmm, m32 | 2 | 2 | activation words (load ports only) |
//! | vpermps, vpermt2ps zmm | 2 | 1 (port 5) | tables of signed sums, codebooks |

use crate::simd::Simd;
use crate::simd::ternary::Ternary;
use std::arch::x86_64::*;

/// A token of AVX-512 F and BW and a way of counting bits.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<C>(C);

/// How a backend counts the bits of a register; the implementing token proves that its instructions are there.
pub(crate) trait Count512: Copy + Send + Sync {
    /// As [`Simd::FLUSH`].
    const FLUSH: usize;
    /// As [`Simd::vectorize`].
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
    /// Adds the number of set bits of `x`, by lane or by byte.
    fn count(self, partial: __m512i, x: __m512i) -> __m512i;
    /// Adds what was gathered to 32-bit lanes.
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i;
}

impl<C: Count512> Avx512<C> {
    /// The backend whose counting token is `count`, which must imply AVX-512 F and BW.
    pub(crate) const fn new(count: C) -> Self {
        Self(count)
    }

    /// The counting token.
    #[inline(always)]
    pub(crate) const fn token(self) -> C {
        self.0
    }
}

impl<C: Count512> Simd for Avx512<C> {
    type Words = __m512i;
    type Floats = __m512;
    type Partial = __m512i;
    type Counts = __m512i;
    const FLUSH: usize = C::FLUSH;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> __m512i {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_epi32(word as i32) }
    }

    #[inline(always)]
    fn no_partial(self) -> __m512i {
        self.no_counts()
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn count(self, partial: __m512i, x: __m512i) -> __m512i {
        self.0.count(partial, x)
    }

    #[inline(always)]
    fn no_counts(self) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i {
        self.0.flush(counts, partial)
    }

    #[inline(always)]
    unsafe fn store_counts(self, to: *mut i32, counts: __m512i) {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_storeu_si512(to.cast(), counts) }
    }

    #[inline(always)]
    unsafe fn stream_counts(self, to: *mut i32, counts: __m512i) {
        // SAFETY: the caller guarantees the pointer, whose alignment is checked, the token for the instructions.
        unsafe {
            if to.cast::<__m512i>().is_aligned() {
                _mm512_stream_si512(to.cast(), counts);
            } else {
                _mm512_storeu_si512(to.cast(), counts);
            }
        }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: SSE is part of x86-64.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn load_counts(self, from: *const i32) -> __m512i {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn to_floats(self, counts: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(counts) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m512, range: [f32; 2], offset: i32) {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe {
            let x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(range[0])), _mm512_set1_ps(range[1]));
            let bytes = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(offset));
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(bytes));
        }
    }

    #[inline(always)]
    unsafe fn sums(self, base: *const i32, count: *const i32) -> __m512 {
        // SAFETY: the caller guarantees the pointers, the token for the instructions.
        unsafe {
            let twice = _mm512_slli_epi32::<1>(_mm512_loadu_si512(count.cast()));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(base.cast()), twice))
        }
    }

    #[inline(always)]
    fn twice_plus(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_epi32(_mm512_slli_epi32::<1>(a), b) }
    }

    #[inline(always)]
    unsafe fn weighted_sums(self, base: *const i32, count: __m512i, order: u32) -> __m512 {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe {
            let base = self.load_counts(base);
            let base = _mm512_sub_epi32(_mm512_sll_epi32(base, _mm_cvtsi32_si128(order as i32)), base);
            _mm512_cvtepi32_ps(_mm512_sub_epi32(base, _mm512_slli_epi32::<1>(count)))
        }
    }

    #[inline(always)]
    unsafe fn above(self, counts: __m512i, limits: *const i32) -> u16 {
        // SAFETY: the caller guarantees the limits, the token for the instructions.
        unsafe { _mm512_cmpgt_epi32_mask(counts, self.load_counts(limits)) }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> __m512 {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, values: __m512) {
        // SAFETY: the caller guarantees the pointer, the token for the instructions.
        unsafe { _mm512_storeu_ps(to, values) }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_div_ps(a, b) }
    }

    /// vmaxps gives its second operand where the first is not greater.
    #[inline(always)]
    fn max(self, y: __m512, x: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(x, y), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), x) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn finite_or_nan(self, x: __m512) -> __m512 {
        self.fma(x, self.splat_float(0.0), x)
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn less(self, a: __m512, b: __m512) -> u16 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }

    #[inline(always)]
    fn if_negative(self, x: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), b, a) }
    }

    /// vmaxps gives its second operand where neither is greater: -0.0 and NaN.
    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m512 {
        // SAFETY: masked lanes are not read; the caller guarantees the others, the token for the instructions.
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, values: __m512, n: usize) {
        // SAFETY: masked lanes are not written; the caller guarantees the others, the token for the instructions.
        unsafe { _mm512_mask_storeu_ps(to, first(n), values) }
    }

    #[inline(always)]
    fn keep_first(self, a: __m512, n: usize) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_maskz_mov_ps(first(n), a) }
    }

    #[inline(always)]
    fn splat_halves(self, low: f32, high: f32) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(low), _mm512_set1_ps(high)) }
    }

    #[inline(always)]
    fn shift_right(self, words: __m512i, by: u32) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_srlv_epi32(words, _mm512_set1_epi32(by as i32)) }
    }

    /// vpermps reads the low four bits of an index, vpermt2ps five; eight entries stand in both halves of a register.
    #[inline(always)]
    unsafe fn lookup<const N: usize>(self, table: *const f32, index: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512 F; the caller guarantees N entries.
        unsafe {
            match N {
                8 => {
                    let entries = _mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(table)));
                    _mm512_permutexvar_ps(index, _mm512_castpd_ps(entries))
                }
                16 => _mm512_permutexvar_ps(index, _mm512_loadu_ps(table)),
                _ => _mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table.add(16))),
            }
        }
    }
}

impl<C: Count512> Ternary for Avx512<C> {
    #[inline(always)]
    fn parity(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<0x96>(a, b, c) }
    }

    #[inline(always)]
    fn carry(self, a: __m512i, b: __m512i, parity: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<0xd4>(a, b, parity) }
    }

    /// One with the bit moved to the sign: (word & mask) | one.
    #[inline(always)]
    fn signs(self, words: __m512i, bit: u32) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let sign = _mm512_sllv_epi32(words, _mm512_set1_epi32(31 - bit as i32));
            let one = _mm512_castps_si512(_mm512_set1_ps(1.0));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xf8>(one, sign, _mm512_set1_epi32(i32::MIN)))
        }
    }
}

/// A mask of the first `n` lanes, n at most 16.
#[inline(always)]
const fn first(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}
