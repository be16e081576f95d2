//! Products of bytes: four of a lane at a time, or two that were widened to 16 bits.

use crate::simd::Simd;

/// A way of multiplying four bytes a lane, or two values of 16 bits; a token proves that its instructions are there.
pub(crate) trait Dot<S: Simd>: Copy {
    /// The activations of a lane, the same in every lane, as the products want them.
    type Activation: Copy;
    /// Whether activations are signed, -128 to 127, rather than 0 to 255.
    const SIGNED: bool;
    /// Runs `f` where the token's instructions are enabled beside the backend's, as [`Simd::vectorize`].
    fn vectorize<R>(self, simd: S, f: impl FnOnce() -> R) -> R;
    /// Prepares the activations of a lane.
    fn activation(self, simd: S, bytes: u32) -> Self::Activation;
    /// Adds the products of each lane, exactly. Weights are i8 other than -128.
    fn dot(self, simd: S, sum: S::Counts, activation: Self::Activation, weight: S::Words) -> S::Counts;
}

/// A way of multiplying pairs of 16 bits.
#[cfg(target_arch = "x86_64")]
pub(crate) trait Widen<S: Simd>: Dot<S> {
    /// The first two and the last two of four signed bytes a lane, as pairs of 16 bits.
    fn widen(self, simd: S, quads: S::Words) -> [S::Counts; 2];
}
