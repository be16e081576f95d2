//! Plain Rust for any CPU, over the crate `wide`: a row is one sixteen-lane value, whose bits are counted within words.
//!
//! The x86-64-v2 backend shares everything here but the counting.

use crate::simd::Simd;
use crate::simd::dot::Dot;
use bytemuck::must_cast;
use wide::{f32x16, i16x8, i32x16, u32x16};

/// The backend that needs no instruction set.
pub(crate) type PortableSimd = Baseline<Swar>;
/// Its token.
#[allow(non_upper_case_globals)]
pub(crate) const Portable: PortableSimd = Baseline(Swar);

/// A baseline backend with a way of counting bits.
#[derive(Clone, Copy)]
pub(crate) struct Baseline<C>(pub(crate) C);

/// How a baseline backend counts.
pub(crate) trait CountBaseline: Copy + Send + Sync {
    /// As [`Simd::FLUSH`].
    const FLUSH: usize;
    /// As [`Simd::vectorize`].
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
    /// Adds the number of set bits of each lane of `x`, by lane or by byte.
    fn count(self, partial: u32x16, x: u32x16) -> u32x16;
    /// Adds what was gathered to 32-bit lanes.
    fn flush(self, counts: u32x16, partial: u32x16) -> u32x16;
}

/// Counting by adding neighbouring bits, pairs and nibbles within a word; bytes are summed 31 words at a time.
#[derive(Clone, Copy)]
pub(crate) struct Swar;

impl CountBaseline for Swar {
    const FLUSH: usize = 31;

    /// Never inlined, as the feature boundaries of the other backends: a layer with all its tiles in one function took the
    /// compiler minutes.
    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    fn count(self, partial: u32x16, x: u32x16) -> u32x16 {
        let pairs = x - ((x >> 1) & u32x16::splat(0x5555_5555));
        let nibbles = (pairs & u32x16::splat(0x3333_3333)) + ((pairs >> 2) & u32x16::splat(0x3333_3333));
        partial + ((nibbles + (nibbles >> 4)) & u32x16::splat(0x0f0f_0f0f))
    }

    #[inline(always)]
    fn flush(self, counts: u32x16, partial: u32x16) -> u32x16 {
        let pairs = (partial & u32x16::splat(0x00ff_00ff)) + ((partial >> 8) & u32x16::splat(0x00ff_00ff));
        counts + (pairs & u32x16::splat(0xffff)) + (pairs >> 16)
    }
}

impl<C: CountBaseline> Simd for Baseline<C> {
    type Words = u32x16;
    type Floats = f32x16;
    type Partial = u32x16;
    type Counts = u32x16;
    const FLUSH: usize = C::FLUSH;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u32) -> u32x16 {
        // SAFETY: the caller guarantees sixteen words.
        u32x16::new(unsafe { from.cast::<[u32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    fn splat(self, word: u32) -> u32x16 {
        u32x16::splat(word)
    }

    #[inline(always)]
    fn no_partial(self) -> u32x16 {
        u32x16::splat(0)
    }

    #[inline(always)]
    fn xor(self, a: u32x16, b: u32x16) -> u32x16 {
        a ^ b
    }

    #[inline(always)]
    fn count(self, partial: u32x16, x: u32x16) -> u32x16 {
        self.0.count(partial, x)
    }

    #[inline(always)]
    fn no_counts(self) -> u32x16 {
        u32x16::splat(0)
    }

    #[inline(always)]
    fn flush(self, counts: u32x16, partial: u32x16) -> u32x16 {
        self.0.flush(counts, partial)
    }

    #[inline(always)]
    unsafe fn store_counts(self, to: *mut i32, counts: u32x16) {
        // SAFETY: the caller guarantees sixteen values.
        unsafe { to.cast::<[u32; 16]>().write_unaligned(counts.to_array()) }
    }

    #[inline(always)]
    unsafe fn load_counts(self, from: *const i32) -> u32x16 {
        // SAFETY: passed on to the caller.
        unsafe { self.load(from.cast()) }
    }

    #[inline(always)]
    fn to_floats(self, counts: u32x16) -> f32x16 {
        f32x16::from_i32x16(i32x16::new(counts.to_array().map(|count| count as i32)))
    }

    /// Adding 1.5 * 2^23 leaves no bit for a fraction: the sum's last bits are the rounded integer.
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: f32x16, range: [f32; 2], offset: i32) {
        const MAGIC: f32 = 12_582_912.0;
        let x = x.fast_max(f32x16::splat(range[0])).fast_min(f32x16::splat(range[1])) + f32x16::splat(MAGIC);
        let bytes = x.to_array().map(|x| (x.to_bits() as i32 + offset) as u8);
        // SAFETY: the caller guarantees sixteen bytes. The low byte of MAGIC's bits is 0.
        unsafe { to.cast::<[u8; 16]>().write_unaligned(bytes) }
    }

    #[inline(always)]
    unsafe fn sums(self, base: *const i32, count: *const i32) -> f32x16 {
        // SAFETY: the caller guarantees sixteen values behind each pointer.
        let (base, count) =
            unsafe { (base.cast::<[i32; 16]>().read_unaligned(), count.cast::<[i32; 16]>().read_unaligned()) };
        f32x16::from_i32x16(i32x16::new(base) - (i32x16::new(count) << 1))
    }

    #[inline(always)]
    fn twice_plus(self, a: u32x16, b: u32x16) -> u32x16 {
        (a << 1) + b
    }

    #[inline(always)]
    unsafe fn weighted_sums(self, base: *const i32, count: u32x16, order: u32) -> f32x16 {
        // SAFETY: the caller guarantees sixteen values.
        let base = u32x16::new(unsafe { base.cast::<[u32; 16]>().read_unaligned() });
        self.to_floats((base << order) - base - (count << 1))
    }

    #[inline(always)]
    unsafe fn above(self, counts: u32x16, limits: *const i32) -> u16 {
        // SAFETY: the caller guarantees the limits.
        let limits = unsafe { limits.cast::<[i32; 16]>().read_unaligned() };
        let counts = counts.to_array().map(|count| count as i32);
        i32x16::new(counts).simd_gt(i32x16::new(limits)).to_bitmask() as u16
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> f32x16 {
        // SAFETY: the caller guarantees sixteen values.
        f32x16::new(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, values: f32x16) {
        // SAFETY: the caller guarantees sixteen values.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(values.to_array()) }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> f32x16 {
        f32x16::splat(value)
    }

    #[inline(always)]
    fn add(self, a: f32x16, b: f32x16) -> f32x16 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32x16, b: f32x16) -> f32x16 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32x16, b: f32x16) -> f32x16 {
        a * b
    }

    #[inline(always)]
    fn div(self, a: f32x16, b: f32x16) -> f32x16 {
        a / b
    }

    #[inline(always)]
    fn max(self, y: f32x16, x: f32x16) -> f32x16 {
        (x.simd_gt(y) | x.is_nan()).bitselect(x, y)
    }

    #[inline(always)]
    fn fma(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        f32x16::new(exact_fmas(&a.to_array(), &b.to_array(), &c.to_array()))
    }

    #[inline(always)]
    fn abs(self, a: f32x16) -> f32x16 {
        a.abs()
    }

    #[inline(always)]
    fn less(self, a: f32x16, b: f32x16) -> u16 {
        a.simd_lt(b).to_bitmask() as u16
    }

    #[inline(always)]
    fn if_negative(self, x: f32x16, a: f32x16, b: f32x16) -> f32x16 {
        x.simd_lt(f32x16::splat(0.0)).bitselect(a, b)
    }

    #[inline(always)]
    fn splat_halves(self, low: f32, high: f32) -> f32x16 {
        f32x16::new(std::array::from_fn(|i| if i < 8 { low } else { high }))
    }

    #[inline(always)]
    fn shift_right(self, words: u32x16, by: u32) -> u32x16 {
        words >> by
    }

    #[inline(always)]
    unsafe fn lookup<const N: usize>(self, table: *const f32, index: u32x16) -> f32x16 {
        // SAFETY: the caller guarantees N entries.
        f32x16::new(index.to_array().map(|index| unsafe { *table.add(index as usize % N) }))
    }
}

/// Products of bytes as 16-bit halves, even bytes and odd ones: two pmaddwd.
#[derive(Clone, Copy)]
pub(crate) struct Halves;

/// The even and the odd bytes of a row, as i16.
#[inline(always)]
fn halves(bytes: u32x16) -> [[i16x8; 4]; 2] {
    let words: [i16x8; 4] = must_cast(bytes);
    let (mut even, mut odd) = (words, words);
    for i in 0..4 {
        even[i] = (words[i] << 8) >> 8;
        odd[i] = words[i] >> 8;
    }
    [even, odd]
}

impl<C: CountBaseline> Dot<Baseline<C>> for Halves {
    type Activation = [[i16x8; 4]; 2];
    const SIGNED: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, simd: Baseline<C>, f: impl FnOnce() -> R) -> R {
        simd.vectorize(f)
    }

    #[inline(always)]
    fn activation(self, simd: Baseline<C>, bytes: u32) -> Self::Activation {
        halves(simd.splat(bytes))
    }

    #[inline(always)]
    fn dot(self, _: Baseline<C>, sum: u32x16, activation: Self::Activation, weight: u32x16) -> u32x16 {
        let [even, odd] = halves(weight);
        let mut sums: [wide::i32x4; 4] = must_cast(sum);
        for i in 0..4 {
            sums[i] += even[i].dot(activation[0][i]) + odd[i].dot(activation[1][i]);
        }
        must_cast(sums)
    }
}

/// [`exact_fma`] of sixteen lanes. Out of line: some three hundred instructions that a tile would hold a dozen times.
#[inline(never)]
fn exact_fmas(a: &[f32; 16], b: &[f32; 16], c: &[f32; 16]) -> [f32; 16] {
    let mut results = [0.0; 16];
    for i in 0..16 {
        results[i] = exact_fma(a[i], b[i], c[i]);
    }
    results
}

/// a * b + c rounded once, on CPUs without the instruction.
///
/// The product of two f32 is exact in f64; the sum is not, and rounding it twice (to f64, then to f32) could differ from
/// rounding once. So the f64 sum is rounded to odd: where the error of the sum (Knuth's two-sum) is not zero and the last
/// bit is even, the neighbour towards the error is taken. 53 bits rounded to odd round to 24 bits as the exact sum does
/// (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Transactions on Computers 57(4), 2008).
#[inline(always)]
pub(crate) fn exact_fma(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let virtual_c = sum - product;
    let error = (product - (sum - virtual_c)) + (c - virtual_c);
    let bits = sum.to_bits();
    let towards_zero = (error < 0.0) == (sum > 0.0);
    let odd = if towards_zero { bits.wrapping_sub(1) } else { bits.wrapping_add(1) };
    let inexact = error != 0.0 && bits & 1 == 0 && sum.is_finite();
    (if inexact { f64::from_bits(odd) } else { sum }) as f32
}

#[cfg(test)]
mod tests {
    use super::exact_fma;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn fma_is_exact() {
        let mut rng = StdRng::seed_from_u64(1);
        for case in 0..2_000_000 {
            // Exponents close together, so that sums cancel and round in every way.
            let mut draw = || f32::from_bits(rng.random::<u32>() & 0x807f_ffff | rng.random_range(100..154u32) << 23);
            let (a, b, mut c) = (draw(), draw(), draw());
            if case % 3 == 0 {
                c = -(a * b);
            }
            assert_eq!(exact_fma(a, b, c).to_bits(), a.mul_add(b, c).to_bits(), "{a:e} * {b:e} + {c:e}");
        }
        for (a, b, c) in [(f32::MAX, f32::MAX, 0.0), (0.0, 1.0, -0.0), (-0.0, 1.0, -0.0), (1.0, 1.0, -1.0)] {
            assert_eq!(exact_fma(a, b, c).to_bits(), a.mul_add(b, c).to_bits(), "{a:e} * {b:e} + {c:e}");
        }
        assert!(exact_fma(f32::INFINITY, 0.0, 1.0).is_nan());
    }
}
