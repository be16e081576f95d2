//! x86-64-v2 (Nehalem to Ivy Bridge and their like): the scalar POPCNT instruction on each lane.
//!
//! popcnt r32 issues once a cycle on Intel, four times on Zen: 32 or 128 bits a cycle.

use super::portable::{Baseline, CountBaseline};
use wide::u32x16;

pulp::simd_type! {
    /// Proof of x86-64-v2.
    pub(super) struct V2 {
        pub(super) sse4_2: "sse4.2",
        pub(super) popcnt: "popcnt",
    }
}

/// The backend.
pub(super) struct Popcnt;

impl Popcnt {
    /// The backend, where the CPU has it.
    pub(super) fn try_new() -> Option<Baseline<V2>> {
        V2::try_new().map(Baseline)
    }

    /// Whether the CPU has it.
    pub(super) fn is_available() -> bool {
        V2::is_available()
    }
}

impl CountBaseline for V2 {
    const FLUSH: usize = usize::MAX;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        Self::vectorize(self, f)
    }

    #[inline(always)]
    fn count(self, partial: u32x16, x: u32x16) -> u32x16 {
        partial + u32x16::new(x.to_array().map(u32::count_ones))
    }

    #[inline(always)]
    fn flush(self, counts: u32x16, partial: u32x16) -> u32x16 {
        counts + partial
    }
}
