//! AVX2 and FMA: a row is two 256-bit registers; the bits of each nibble by vpshufb, summed in bytes.
//!
//! | operation | per cycle, Zen 5 | per cycle, Golden Cove |
//! |---|---|---|
//! | vpxor, vpand, vpaddb ymm | 4 | 3 |
//! | vpshufb ymm | 2 | 2 |
//! | vpsrlw ymm, imm | 2 | 2 |
//! | the eight of a register (xor, and, shift, and, 2 shuffles, 2 adds) | 128 bits | 96 bits |
//!
//! A byte gains at most 8 a word, so 31 words fit before [`Simd::flush`] widens bytes to 32 bits.

use crate::simd::Simd;
use crate::simd::adder::Adder;
use std::arch::x86_64::*;

pulp::simd_type! {
    /// Proof of AVX2, FMA and POPCNT.
    pub(crate) struct Avx2 {
        pub(crate) avx: "avx",
        pub(crate) avx2: "avx2",
        pub(crate) fma: "fma",
        pub(crate) popcnt: "popcnt",
    }
}

/// Applies an operation to both halves of a row.
#[inline(always)]
fn both<A: Copy, B>(a: [A; 2], f: impl Fn(A) -> B) -> [B; 2] {
    [f(a[0]), f(a[1])]
}

/// One bit a lane from masks of all ones or zeros.
///
/// # Safety
/// The CPU must have AVX.
#[inline(always)]
unsafe fn masks(masks: [__m256; 2]) -> u16 {
    // SAFETY: the caller's CPU has AVX.
    let [low, high] = unsafe { [_mm256_movemask_ps(masks[0]), _mm256_movemask_ps(masks[1])] };
    low as u16 | (high as u16) << 8
}

/// Entry `index mod 8` for each lane.
///
/// # Safety
/// The CPU must have AVX2, and `table` be valid for reading eight f32.
#[inline(always)]
unsafe fn eight(table: *const f32, index: __m256i) -> __m256 {
    // SAFETY: the caller guarantees both.
    unsafe { _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index) }
}

impl Simd for Avx2 {
    type Words = [__m256i; 2];
    type Floats = [__m256; 2];
    type Partial = [__m256i; 2];
    type Counts = [__m256i; 2];
    const FLUSH: usize = 31;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> [__m256i; 2] {
        // SAFETY: the caller guarantees sixteen words, the token for the instructions.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())] }
    }

    #[inline(always)]
    fn splat(self, word: u32) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        [unsafe { _mm256_set1_epi32(word as i32) }; 2]
    }

    #[inline(always)]
    fn no_partial(self) -> [__m256i; 2] {
        self.no_counts()
    }

    #[inline(always)]
    fn xor(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_xor_si256(a[0], b[0]), _mm256_xor_si256(a[1], b[1])] }
    }

    #[inline(always)]
    fn count(self, partial: [__m256i; 2], x: [__m256i; 2]) -> [__m256i; 2] {
        [self.count_bytes(partial[0], x[0]), self.count_bytes(partial[1], x[1])]
    }

    #[inline(always)]
    fn no_counts(self) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        [unsafe { _mm256_setzero_si256() }; 2]
    }

    #[inline(always)]
    fn flush(self, counts: [__m256i; 2], partial: [__m256i; 2]) -> [__m256i; 2] {
        [self.widen_bytes(counts[0], partial[0], 1), self.widen_bytes(counts[1], partial[1], 1)]
    }

    #[inline(always)]
    unsafe fn store_counts(self, to: *mut i32, counts: [__m256i; 2]) {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        unsafe {
            _mm256_storeu_si256(to.cast(), counts[0]);
            _mm256_storeu_si256(to.add(8).cast(), counts[1]);
        }
    }

    #[inline(always)]
    unsafe fn stream_counts(self, to: *mut i32, counts: [__m256i; 2]) {
        // SAFETY: the caller guarantees sixteen values at the pointer, whose alignment is checked, the token for the
        // instructions.
        unsafe {
            if to.cast::<__m256i>().is_aligned() {
                _mm256_stream_si256(to.cast(), counts[0]);
                _mm256_stream_si256(to.add(8).cast(), counts[1]);
            } else {
                self.store_counts(to, counts);
            }
        }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: SSE is part of x86-64.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn load_counts(self, from: *const i32) -> [__m256i; 2] {
        // SAFETY: passed on to the caller.
        unsafe { self.load(from.cast()) }
    }

    #[inline(always)]
    fn to_floats(self, counts: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [_mm256_cvtepi32_ps(counts[0]), _mm256_cvtepi32_ps(counts[1])] }
    }

    /// vpackssdw works within halves of a register: vpermq puts the quarters in order.
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: [__m256; 2], range: [f32; 2], offset: i32) {
        // SAFETY: the caller guarantees sixteen bytes, the token for the instructions.
        unsafe {
            let [low, high] = both(
                x,
                #[inline(always)]
                |x| {
                    let x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(range[0])), _mm256_set1_ps(range[1]));
                    let byte = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(offset));
                    _mm256_and_si256(byte, _mm256_set1_epi32(255))
                },
            );
            let words = _mm256_permute4x64_epi64::<0b1101_1000>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn sums(self, base: *const i32, count: *const i32) -> [__m256; 2] {
        // SAFETY: the caller guarantees sixteen values behind each pointer, the token for the instructions.
        unsafe {
            let (base, count) = (self.load(base.cast()), self.load(count.cast()));
            let twice = [_mm256_slli_epi32::<1>(count[0]), _mm256_slli_epi32::<1>(count[1])];
            self.to_floats([_mm256_sub_epi32(base[0], twice[0]), _mm256_sub_epi32(base[1], twice[1])])
        }
    }

    #[inline(always)]
    fn twice_plus(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            [_mm256_add_epi32(_mm256_slli_epi32::<1>(a[0]), b[0]), _mm256_add_epi32(_mm256_slli_epi32::<1>(a[1]), b[1])]
        }
    }

    #[inline(always)]
    unsafe fn weighted_sums(self, base: *const i32, count: [__m256i; 2], order: u32) -> [__m256; 2] {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        unsafe {
            let (base, order) = (self.load_counts(base), _mm_cvtsi32_si128(order as i32));
            let mut sums = count;
            for i in 0..2 {
                let base = _mm256_sub_epi32(_mm256_sll_epi32(base[i], order), base[i]);
                sums[i] = _mm256_sub_epi32(base, _mm256_slli_epi32::<1>(count[i]));
            }
            self.to_floats(sums)
        }
    }

    #[inline(always)]
    unsafe fn above(self, counts: [__m256i; 2], limits: *const i32) -> u16 {
        // SAFETY: the caller guarantees the limits, the token for the instructions.
        unsafe {
            let limits = self.load_counts(limits);
            let above = [_mm256_cmpgt_epi32(counts[0], limits[0]), _mm256_cmpgt_epi32(counts[1], limits[1])];
            masks([_mm256_castsi256_ps(above[0]), _mm256_castsi256_ps(above[1])])
        }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> [__m256; 2] {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, values: [__m256; 2]) {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        unsafe {
            _mm256_storeu_ps(to, values[0]);
            _mm256_storeu_ps(to.add(8), values[1]);
        }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        [unsafe { _mm256_set1_ps(value) }; 2]
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    /// vmaxps gives its second operand where the first is not greater.
    #[inline(always)]
    fn max(self, y: [__m256; 2], x: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe {
            let nan = [_mm256_cmp_ps::<_CMP_UNORD_Q>(x[0], x[0]), _mm256_cmp_ps::<_CMP_UNORD_Q>(x[1], x[1])];
            let max = [_mm256_max_ps(x[0], y[0]), _mm256_max_ps(x[1], y[1])];
            [_mm256_blendv_ps(max[0], x[0], nan[0]), _mm256_blendv_ps(max[1], x[1], nan[1])]
        }
    }

    /// vmaxps gives its second operand where neither is greater: -0.0 and NaN.
    #[inline(always)]
    fn relu(self, x: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_max_ps(_mm256_setzero_ps(), x[0]), _mm256_max_ps(_mm256_setzero_ps(), x[1])] }
    }

    #[inline(always)]
    fn fma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves FMA.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn finite_or_nan(self, x: [__m256; 2]) -> [__m256; 2] {
        self.fma(x, self.splat_float(0.0), x)
    }

    #[inline(always)]
    fn abs(self, a: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_andnot_ps(_mm256_set1_ps(-0.0), a[0]), _mm256_andnot_ps(_mm256_set1_ps(-0.0), a[1])] }
    }

    #[inline(always)]
    fn less(self, a: [__m256; 2], b: [__m256; 2]) -> u16 {
        // SAFETY: the token proves AVX.
        unsafe { masks([_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])]) }
    }

    #[inline(always)]
    fn if_negative(self, x: [__m256; 2], a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe {
            let zero = _mm256_setzero_ps();
            let below = [_mm256_cmp_ps::<_CMP_LT_OQ>(x[0], zero), _mm256_cmp_ps::<_CMP_LT_OQ>(x[1], zero)];
            [_mm256_blendv_ps(b[0], a[0], below[0]), _mm256_blendv_ps(b[1], a[1], below[1])]
        }
    }

    #[inline(always)]
    fn splat_halves(self, low: f32, high: f32) -> [__m256; 2] {
        // SAFETY: the token proves AVX.
        unsafe { [_mm256_set1_ps(low), _mm256_set1_ps(high)] }
    }

    #[inline(always)]
    fn shift_right(self, words: [__m256i; 2], by: u32) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let by = _mm256_set1_epi32(by as i32);
            [_mm256_srlv_epi32(words[0], by), _mm256_srlv_epi32(words[1], by)]
        }
    }

    /// vpermps reads eight entries; of more, the pieces are chosen between by the next index bits, moved to the sign.
    #[inline(always)]
    unsafe fn lookup<const N: usize>(self, table: *const f32, index: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2; the caller guarantees N entries.
        both(
            index,
            #[inline(always)]
            |index| unsafe {
                if N == 8 {
                    return eight(table, index);
                }
                let bit3 = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
                let low = _mm256_blendv_ps(eight(table, index), eight(table.add(8), index), bit3);
                if N == 16 {
                    return low;
                }
                let high = _mm256_blendv_ps(eight(table.add(16), index), eight(table.add(24), index), bit3);
                _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<27>(index)))
            },
        )
    }
}

impl Avx2 {
    /// Adds `weight` times each byte to 32-bit lanes.
    #[inline(always)]
    fn widen_bytes(self, counts: __m256i, bytes: __m256i, weight: i8) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(weight));
            _mm256_add_epi32(counts, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

impl Adder<2> for Avx2 {
    type Register = __m256i;

    #[inline(always)]
    fn registers(self, words: [__m256i; 2]) -> [__m256i; 2] {
        words
    }

    #[inline(always)]
    fn widen(self, mut counts: [__m256i; 2], bytes: [[__m256i; 2]; 2], weights: [i8; 2]) -> [__m256i; 2] {
        for i in 0..2 {
            for j in 0..2 {
                counts[i] = self.widen_bytes(counts[i], bytes[i][j], weights[j]);
            }
        }
        counts
    }

    #[inline(always)]
    fn add_bits(self, a: __m256i, b: __m256i, c: __m256i) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let either = _mm256_xor_si256(b, c);
            let carry = _mm256_or_si256(_mm256_and_si256(b, c), _mm256_and_si256(either, a));
            [_mm256_xor_si256(either, a), carry]
        }
    }

    #[inline(always)]
    fn count_bytes(self, bytes: __m256i, x: __m256i) -> __m256i {
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
    fn add_bytes(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_epi8(a, b) }
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }
}
