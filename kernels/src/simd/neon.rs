//! aarch64 NEON: a row is four 128-bit registers; vcntq_u8 counts the bits of each byte.
//!
//! | operation | per cycle, Cortex-A76 | per cycle, Apple M1 |
//! |---|---|---|
//! | eor, add, cnt (128 bits) | 2 | 4 |
//! | fmla (4 x f32) | 2 | 4 |
//! | the three of a register | 85 bits | 171 bits |
//!
//! A byte gains at most 8 a word, so 31 words fit before [`Simd::flush`] widens bytes to 32 bits.

use crate::simd::Simd;
use std::arch::aarch64::*;

pulp::simd_type! {
    /// Proof of NEON.
    pub(crate) struct Neon {
        pub(crate) neon: "neon",
    }
}

/// The four registers of a row. NEON is part of every aarch64 target, so closures here lose no instruction set.
#[inline(always)]
fn from_fn<T>(f: impl Fn(usize) -> T) -> [T; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// One bit a lane from masks of all ones or zeros.
#[inline(always)]
fn lane_bits(masks: [uint32x4_t; 4]) -> u16 {
    let weights: [u32; 4] = [1, 2, 4, 8];
    let mut bits = 0;
    for i in 0..4 {
        // SAFETY: every aarch64 CPU has NEON; `weights` holds four words.
        let nibble = unsafe { vaddvq_u32(vandq_u32(masks[i], vld1q_u32(weights.as_ptr()))) };
        bits |= (nibble as u16) << (4 * i);
    }
    bits
}

impl Simd for Neon {
    type Words = [uint32x4_t; 4];
    type Floats = [float32x4_t; 4];
    type Partial = [uint8x16_t; 4];
    type Counts = [uint32x4_t; 4];
    const FLUSH: usize = 31;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> [uint32x4_t; 4] {
        // SAFETY: the caller guarantees sixteen words, the token for the instructions.
        from_fn(|i| unsafe { vld1q_u32(from.add(4 * i)) })
    }

    #[inline(always)]
    fn splat(self, word: u32) -> [uint32x4_t; 4] {
        // SAFETY: the token proves NEON.
        [unsafe { vdupq_n_u32(word) }; 4]
    }

    #[inline(always)]
    fn no_partial(self) -> [uint8x16_t; 4] {
        // SAFETY: the token proves NEON.
        [unsafe { vdupq_n_u8(0) }; 4]
    }

    #[inline(always)]
    fn xor(self, a: [uint32x4_t; 4], b: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { veorq_u32(a[i], b[i]) })
    }

    #[inline(always)]
    fn count(self, partial: [uint8x16_t; 4], x: [uint32x4_t; 4]) -> [uint8x16_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vaddq_u8(partial[i], vcntq_u8(vreinterpretq_u8_u32(x[i]))) })
    }

    #[inline(always)]
    fn no_counts(self) -> [uint32x4_t; 4] {
        self.splat(0)
    }

    #[inline(always)]
    fn flush(self, counts: [uint32x4_t; 4], partial: [uint8x16_t; 4]) -> [uint32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vpadalq_u16(counts[i], vpaddlq_u8(partial[i])) })
    }

    #[inline(always)]
    unsafe fn store_counts(self, to: *mut i32, counts: [uint32x4_t; 4]) {
        for i in 0..4 {
            // SAFETY: the caller guarantees sixteen values, the token for the instructions.
            unsafe { vst1q_s32(to.add(4 * i), vreinterpretq_s32_u32(counts[i])) }
        }
    }

    #[inline(always)]
    unsafe fn load_counts(self, from: *const i32) -> [uint32x4_t; 4] {
        // SAFETY: passed on to the caller.
        unsafe { self.load(from.cast()) }
    }

    #[inline(always)]
    fn to_floats(self, counts: [uint32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vcvtq_f32_s32(vreinterpretq_s32_u32(counts[i])) })
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: [float32x4_t; 4], range: [f32; 2], offset: i32) {
        // SAFETY: the caller guarantees sixteen bytes, the token for the instructions.
        unsafe {
            let words: [int16x4_t; 4] = from_fn(|i| {
                let x = vminq_f32(vmaxq_f32(x[i], vdupq_n_f32(range[0])), vdupq_n_f32(range[1]));
                vmovn_s32(vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(offset)))
            });
            let low = vmovn_s16(vcombine_s16(words[0], words[1]));
            let high = vmovn_s16(vcombine_s16(words[2], words[3]));
            vst1q_u8(to, vreinterpretq_u8_s8(vcombine_s8(low, high)));
        }
    }

    #[inline(always)]
    unsafe fn sums(self, base: *const i32, count: *const i32) -> [float32x4_t; 4] {
        // SAFETY: the caller guarantees sixteen values behind each pointer, the token for the instructions.
        from_fn(|i| unsafe {
            let twice = vshlq_n_s32::<1>(vld1q_s32(count.add(4 * i)));
            vcvtq_f32_s32(vsubq_s32(vld1q_s32(base.add(4 * i)), twice))
        })
    }

    #[inline(always)]
    fn twice_plus(self, a: [uint32x4_t; 4], b: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vaddq_u32(vshlq_n_u32::<1>(a[i]), b[i]) })
    }

    #[inline(always)]
    unsafe fn weighted_sums(self, base: *const i32, count: [uint32x4_t; 4], order: u32) -> [float32x4_t; 4] {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        from_fn(|i| unsafe {
            let base = vld1q_s32(base.add(4 * i));
            let base = vsubq_s32(vshlq_s32(base, vdupq_n_s32(order as i32)), base);
            vcvtq_f32_s32(vsubq_s32(base, vreinterpretq_s32_u32(vshlq_n_u32::<1>(count[i]))))
        })
    }

    #[inline(always)]
    unsafe fn above(self, counts: [uint32x4_t; 4], limits: *const i32) -> u16 {
        // SAFETY: the caller guarantees the limits, the token for the instructions.
        lane_bits(from_fn(|i| unsafe { vcgtq_s32(vreinterpretq_s32_u32(counts[i]), vld1q_s32(limits.add(4 * i))) }))
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> [float32x4_t; 4] {
        // SAFETY: the caller guarantees sixteen values, the token for the instructions.
        from_fn(|i| unsafe { vld1q_f32(from.add(4 * i)) })
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, values: [float32x4_t; 4]) {
        for i in 0..4 {
            // SAFETY: the caller guarantees sixteen values, the token for the instructions.
            unsafe { vst1q_f32(to.add(4 * i), values[i]) }
        }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        [unsafe { vdupq_n_f32(value) }; 4]
    }

    #[inline(always)]
    fn add(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn sub(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vsubq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn mul(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn div(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn max(self, y: [float32x4_t; 4], x: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe {
            let number = vceqq_f32(x[i], x[i]);
            vbslq_f32(vornq_u32(vcgtq_f32(x[i], y[i]), number), x[i], y[i])
        })
    }

    #[inline(always)]
    fn fma(self, a: [float32x4_t; 4], b: [float32x4_t; 4], c: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }

    #[inline(always)]
    fn finite_or_nan(self, x: [float32x4_t; 4]) -> [float32x4_t; 4] {
        self.fma(x, self.splat_float(0.0), x)
    }

    #[inline(always)]
    fn abs(self, a: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vabsq_f32(a[i]) })
    }

    #[inline(always)]
    fn less(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> u16 {
        // SAFETY: the token proves NEON.
        lane_bits(from_fn(|i| unsafe { vcltq_f32(a[i], b[i]) }))
    }

    #[inline(always)]
    fn if_negative(self, x: [float32x4_t; 4], a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vbslq_f32(vcltzq_f32(x[i]), a[i], b[i]) })
    }

    #[inline(always)]
    fn splat_halves(self, low: f32, high: f32) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON.
        let (low, high) = unsafe { (vdupq_n_f32(low), vdupq_n_f32(high)) };
        [low, low, high, high]
    }

    #[inline(always)]
    fn shift_right(self, words: [uint32x4_t; 4], by: u32) -> [uint32x4_t; 4] {
        // SAFETY: the token proves NEON.
        from_fn(|i| unsafe { vshlq_u32(words[i], vdupq_n_s32(-(by as i32))) })
    }

    /// tbl reads bytes: index i becomes the bytes 4 i to 4 i + 3. One tbl reaches 16 entries; a tbx adds the other 16 of 32.
    #[inline(always)]
    unsafe fn lookup<const N: usize>(self, table: *const f32, index: [uint32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: the token proves NEON; the caller guarantees N entries, 4 N bytes.
        unsafe {
            let table = table.cast::<u8>();
            let bytes = from_fn(|i| {
                let index = vandq_u32(index[i], vdupq_n_u32(N as u32 - 1));
                let first = vdupq_n_u32(0x0302_0100);
                vreinterpretq_u8_u32(vmlaq_u32(first, index, vdupq_n_u32(0x0404_0404)))
            });
            let found: [uint8x16_t; 4] = match N {
                8 => {
                    let entries = vld1q_u8_x2(table);
                    from_fn(|i| vqtbl2q_u8(entries, bytes[i]))
                }
                16 => {
                    let entries = vld1q_u8_x4(table);
                    from_fn(|i| vqtbl4q_u8(entries, bytes[i]))
                }
                _ => {
                    let (low, high) = (vld1q_u8_x4(table), vld1q_u8_x4(table.add(64)));
                    from_fn(|i| vqtbx4q_u8(vqtbl4q_u8(low, bytes[i]), high, vsubq_u8(bytes[i], vdupq_n_u8(64))))
                }
            };
            from_fn(|i| vreinterpretq_f32_u8(found[i]))
        }
    }
}
