//! Numbers that are the same everywhere: made of integers, in steps that no rounding touches.

/// A generator: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Values from -1 on, below 1. Each is a multiple of 2^-23, so the arithmetic is exact in every mode of the thread.
    pub(super) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.bits() >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0).collect()
    }

    /// Positive values of about `size`, a power of two, for scales.
    pub(super) fn scales(&mut self, len: usize, size: f32) -> Vec<f32> {
        (0..len).map(|_| ((self.bits() >> 41) as f32 * (1.0 / 8_388_608.0) + 0.5) * size).collect()
    }

    /// Zeros of both signs, denormals of both signs, and some of the smallest normal numbers, by their bits.
    pub(super) fn tiny(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| f32::from_bits((self.bits() & 0x80ff_ffff) as u32)).map(thin).collect()
    }
}

/// Makes every eighth value a zero of its sign.
fn thin(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & 7 == 0 { bits & 0x8000_0000 } else { bits })
}
