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
use crate::simd::dot_x86::{Maddubs, Vnni};
use crate::tiles::binary_weight::{self, SignedJob};
use crate::tiles::bits::BitJob;
use crate::tiles::codebook::{self, CodeJob};
use crate::tiles::floats::{self, FloatJob};
use crate::tiles::int8::{self, Int8Job};
use crate::weights::bits::LANES;
use std::arch::x86_64::*;

/// A token of AVX-512 F and BW and a way of counting bits.
#[derive(Clone, Copy)]
pub(super) struct Avx512<C>(C);

/// How a backend counts the bits of a register; the implementing token proves that its instructions are there.
pub(super) trait Count512: Copy + Send + Sync {
    /// As [`Simd::FLUSH`].
    const FLUSH: usize;
    /// As [`Simd::PARITY`].
    const PARITY: bool;
    /// As [`Simd::vectorize`].
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
    /// As [`Simd::bits`].
    fn bits(simd: Avx512<Self>, job: &BitJob<'_>);
    /// Adds the number of set bits of `x`, by lane or by byte.
    fn count(self, partial: __m512i, x: __m512i) -> __m512i;
    /// Adds what was gathered to 32-bit lanes.
    fn flush(self, counts: __m512i, partial: __m512i) -> __m512i;
}

impl<C: Count512> Avx512<C> {
    /// The backend whose counting token is `count`, which must imply AVX-512 F and BW.
    pub(super) const fn new(count: C) -> Self {
        Self(count)
    }

    /// The counting token.
    #[inline(always)]
    pub(super) const fn token(self) -> C {
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
    const PARITY: bool = C::PARITY;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
    }

    #[inline(always)]
    fn bits(self, job: &BitJob<'_>) {
        C::bits(self, job);
    }

    /// 5 rows x 4 panels: 20 accumulators, 4 weights and the 5 broadcasts, which the compiler loads ahead, in 32 registers;
    /// 6 x 4 kept accumulators in memory for them. 8 x 2 where there are fewer panels.
    #[inline(always)]
    fn floats(self, job: &FloatJob<'_>) {
        floats::floats::<Self, 5, 4, 8, 2, 8>(self, job);
    }

    /// vpdpbusd with 5 rows x 4 panels, or 8 x 2 where there are fewer, as [`Self::floats`]; else 8 x 2: 16 accumulators, 2
    /// weights, an activation, its magnitude, ones and temporaries in 32 registers.
    #[inline(always)]
    fn int8(self, job: &Int8Job<'_>) {
        match Vnni::try_new() {
            Some(vnni) if job.dot => int8::int8::<Self, Vnni, 5, 4, 8, 2, 8>(self, vnni, job),
            _ => int8::int8::<Self, Maddubs, 8, 2, 8, 2, 4>(self, Maddubs, job),
        }
    }

    #[inline(always)]
    fn has_dot(self) -> bool {
        Vnni::is_available()
    }

    #[inline(always)]
    fn signed_bytes(self, dot: bool) -> bool {
        !dot
    }

    /// 8 rows x 2 panels: 16 accumulators, a table of two registers, 2 indices, 2 signs, 2 words and constants in 32
    /// registers. Two panels rather than 12 x 1, because a table that is loaded twice as often costs 10 %.
    #[inline(always)]
    fn signed(self, job: &SignedJob<'_>) {
        binary_weight::signed::<Self, 8, 2, 8>(self, job);
    }

    /// 12 rows x 2 panels: 24 accumulators, 2 codes, 2 weights, a codebook of one or two registers and a broadcast in 32.
    #[inline(always)]
    fn codes(self, job: &CodeJob<'_>) {
        codebook::codes::<Self, 12, 2, 8>(self, job);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> __m512i {
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
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
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
        unsafe { _mm512_storeu_si512(to.cast(), counts) }
    }

    #[inline(always)]
    unsafe fn stream_counts(self, to: *mut i32, counts: __m512i) {
        // SAFETY: the caller vouches for the pointer, whose alignment is checked, the token for the instructions.
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
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn to_floats(self, counts: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(counts) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m512, range: [f32; 2], offset: i32) {
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
        unsafe {
            let x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(range[0])), _mm512_set1_ps(range[1]));
            let bytes = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(offset));
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(bytes));
        }
    }

    #[inline(always)]
    unsafe fn sums(self, base: *const i32, count: *const i32) -> __m512 {
        // SAFETY: the caller vouches for the pointers, the token for the instructions.
        unsafe {
            let twice = _mm512_slli_epi32::<1>(_mm512_loadu_si512(count.cast()));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(base.cast()), twice))
        }
    }

    #[inline(always)]
    unsafe fn above(self, counts: __m512i, limits: *const i32) -> u16 {
        // SAFETY: the caller vouches for the limits, the token for the instructions.
        unsafe { _mm512_cmpgt_epi32_mask(counts, self.load_counts(limits)) }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, values: __m512) {
        // SAFETY: the caller vouches for the pointer, the token for the instructions.
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
    fn greater(self, y: __m512, x: __m512) -> __m512 {
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
        // SAFETY: masked lanes are not read; the caller vouches for the others, the token for the instructions.
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, values: __m512, n: usize) {
        // SAFETY: masked lanes are not written; the caller vouches for the others, the token for the instructions.
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
        // SAFETY: the token proves AVX-512 F; the caller vouches for N entries.
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

    const TABLES: usize = 2 * 32 + 4 * 16;

    /// Entry i of a group of n holds the sum for weight bits b with b_{n-1} = 0 and b_j = b_{j+1} ^ (bit j of i): the index
    /// is the low bits of w ^ (w >> 1), and bit n - 1 of the group gives the sign. Sixteen entries of A = (s_0 + s_1) + s_2
    /// and P = s_3 + s_4 make a group of five, A + P. In a group of six they make the first half, A + (P + s_5); in the
    /// second half the first five signs are turned round: -A + (-P + s_5).
    #[inline(always)]
    unsafe fn tables(self, x: &[f32; 32], to: *mut f32) {
        // SAFETY: the token proves AVX-512 F; the groups lie in x; the caller vouches for 128 values at `to`.
        unsafe {
            let mut sign = [_mm512_setzero_ps(); 4];
            for j in 0..4 {
                sign[j] = _mm512_loadu_ps(GRAY_SIGNS[j].as_ptr());
            }
            for g in 0..binary_weight::GROUPS {
                let x = &x[binary_weight::FIRST[g] as usize..][..binary_weight::BITS[g] as usize];
                // Products by ±1 are exact, so fusing them with the sum changes nothing.
                let pair = _mm512_fmadd_ps(_mm512_set1_ps(x[1]), sign[1], _mm512_mul_ps(_mm512_set1_ps(x[0]), sign[0]));
                let a = _mm512_fmadd_ps(_mm512_set1_ps(x[2]), sign[2], pair);
                let p = _mm512_fmadd_ps(_mm512_set1_ps(x[3]), sign[3], _mm512_set1_ps(x[4]));
                let to = to.add(table_at(g));
                if let Some(&last) = x.get(5) {
                    let last = _mm512_set1_ps(last);
                    _mm512_storeu_ps(to, _mm512_add_ps(a, _mm512_add_ps(p, last)));
                    _mm512_storeu_ps(to.add(LANES), _mm512_sub_ps(_mm512_sub_ps(last, p), a));
                } else {
                    _mm512_storeu_ps(to, _mm512_add_ps(a, p));
                }
            }
        }
    }

    /// The indices, and +1 or -1.
    #[inline(always)]
    fn selector(self, weights: __m512i, g: usize) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let index =
                self.shift_right(_mm512_xor_si512(weights, self.shift_right(weights, 1)), binary_weight::FIRST[g]);
            let to_sign = 32 - binary_weight::FIRST[g] - binary_weight::BITS[g];
            let sign = _mm512_sllv_epi32(weights, _mm512_set1_epi32(to_sign as i32));
            // One with the sign bit: (sign & mask) | one.
            let one = _mm512_castps_si512(_mm512_set1_ps(1.0));
            [index, _mm512_ternarylogic_epi32::<0xf8>(one, sign, _mm512_set1_epi32(i32::MIN))]
        }
    }

    #[inline(always)]
    unsafe fn add_signed(self, sum: __m512, tables: *const f32, g: usize, selector: [__m512i; 2]) -> __m512 {
        // SAFETY: the token proves AVX-512 F; the caller vouches for the tables.
        unsafe {
            let table = tables.add(table_at(g));
            let found = if binary_weight::BITS[g] == 6 {
                self.lookup::<32>(table, selector[0])
            } else {
                self.lookup::<16>(table, selector[0])
            };
            _mm512_fmadd_ps(found, _mm512_castsi512_ps(selector[1]), sum)
        }
    }
}

/// Where the table of a group starts.
#[inline(always)]
const fn table_at(g: usize) -> usize {
    if g < 2 { 32 * g } else { 32 + 16 * g }
}

/// The signs of the first four activations of a group in each entry of its table.
const GRAY_SIGNS: [[f32; LANES]; 4] = {
    let mut signs = [[1.0; LANES]; 4];
    let mut entry = 0;
    while entry < LANES {
        // Bit j of the prefix xor from above: the weight bit that bits j and higher of the index stand for.
        let bits = entry ^ (entry >> 1) ^ (entry >> 2) ^ (entry >> 3);
        let mut j = 0;
        while j < 4 {
            if bits >> j & 1 == 1 {
                signs[j][entry] = -1.0;
            }
            j += 1;
        }
        entry += 1;
    }
    signs
};

/// A mask of the first `n` lanes, n at most 16.
#[inline(always)]
const fn first(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}
