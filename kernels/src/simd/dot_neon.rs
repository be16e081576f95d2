//! Products of bytes on aarch64: sdot where the CPU has it (Armv8.2 and on), else four instructions that do the same.
//!
//! | operation, 16 products | per cycle, Cortex-A76 | per cycle, Apple M1 |
//! |---|---|---|
//! | sdot | 2: 32 products | 4: 64 |
//! | smull, smull2, addp, sadalp | 0.5: 8 | 1: 16 |
//!
//! The sum of two products stays within 16 bits, because no weight is -128.

use crate::simd::Simd;
use crate::simd::dot::Dot;
use crate::simd::neon::Neon;
use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

pulp::simd_type! {
    /// Proof of the dot products of Armv8.2.
    pub(crate) struct Sdot {
        pub(crate) neon: "neon",
        pub(crate) dotprod: "dotprod",
    }
}

/// Products without sdot.
#[derive(Clone, Copy)]
pub(crate) struct Smull;

/// The activations of a register.
#[inline(always)]
fn bytes(simd: Neon, bytes: u32) -> int8x16_t {
    // SAFETY: the token proves NEON.
    unsafe { vreinterpretq_s8_u32(simd.splat(bytes)[0]) }
}

impl Dot<Neon> for Sdot {
    type Activation = int8x16_t;
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, _: Neon, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn activation(self, simd: Neon, activations: u32) -> int8x16_t {
        bytes(simd, activations)
    }

    #[inline(always)]
    fn dot(self, _: Neon, sum: [uint32x4_t; 4], activation: int8x16_t, weight: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
        let mut sum = sum;
        for i in 0..4 {
            // The intrinsic is not stable in Rust yet. SAFETY: the token proves the dot products; registers only.
            unsafe {
                asm!(
                    "sdot {sum:v}.4s, {weight:v}.16b, {activation:v}.16b",
                    sum = inout(vreg) sum[i],
                    weight = in(vreg) weight[i],
                    activation = in(vreg) activation,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
        sum
    }
}

impl Dot<Neon> for Smull {
    type Activation = int8x16_t;
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, simd: Neon, f: impl FnOnce() -> R) -> R {
        simd.vectorize(f)
    }

    #[inline(always)]
    fn activation(self, simd: Neon, activations: u32) -> int8x16_t {
        bytes(simd, activations)
    }

    #[inline(always)]
    fn dot(self, _: Neon, sum: [uint32x4_t; 4], activation: int8x16_t, weight: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
        // SAFETY: the backend's token proves NEON.
        from_fn(
            #[inline(always)]
            |i| unsafe {
                let weight = vreinterpretq_s8_u32(weight[i]);
                let low = vmull_s8(vget_low_s8(weight), vget_low_s8(activation));
                let pairs = vpaddq_s16(low, vmull_high_s8(weight, activation));
                vreinterpretq_u32_s32(vpadalq_s16(vreinterpretq_s32_u32(sum[i]), pairs))
            },
        )
    }
}
