//! Multiply-accumulates by kind.

/// Multiply-accumulates of one sample by the kind of their operands. Padded taps are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Macs {
    /// Binary activations times binary weights, over all planes and weight bases.
    pub bit: u64,
    /// f32 activations times binary weights.
    pub binary_weight: u64,
    /// f32 activations times entries of a codebook.
    pub codebook: u64,
    /// f32 activations times f32 weights.
    pub float: u64,
    /// 8-bit activations times 8-bit weights.
    pub int8: u64,
}

impl Macs {
    /// Those of a binary layer at that order, given those at order 1.
    pub(crate) fn at_order(self, order: usize) -> Self {
        Self { bit: self.bit.saturating_mul(order as u64), ..self }
    }
}

impl std::ops::Add for Macs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bit: self.bit + other.bit,
            binary_weight: self.binary_weight + other.binary_weight,
            codebook: self.codebook + other.codebook,
            float: self.float + other.float,
            int8: self.int8 + other.int8,
        }
    }
}

impl std::iter::Sum for Macs {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}
