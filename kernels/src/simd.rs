//! The instructions of a CPU behind one trait.
//!
//! Every register-level algorithm of the crate is written once over [`Simd`]; the files below hold only implementations.
//! A token of the implementing type proves that the CPU has the instructions, so the methods are safe where they take no
//! pointer. All methods are `#[inline(always)]`: they belong below the one `#[target_feature]` boundary that
//! [`Simd::vectorize`] opens, made by `pulp::simd_type!` from the token's feature list.
//!
//! The unit is a row of a panel: sixteen 32-bit lanes, whatever number of registers hold it. Float methods are single
//! IEEE-754 operations on each lane, so their results have the same bits on every backend.

#[cfg(target_arch = "x86_64")]
pub(crate) mod adder;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512bw;
#[cfg(target_arch = "x86_64")]
mod avx512vbmi;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vpopcnt;
pub(crate) mod dot;
#[cfg(target_arch = "aarch64")]
pub(crate) mod dot_neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod dot_x86;
#[cfg(target_arch = "x86_64")]
pub(crate) mod lookup_dots;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod sse42;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ternary;

/// Lanes of a row: output channels of a panel.
pub const LANES: usize = 16;
/// Bits of a lane: input channels of a word.
pub const WORD_BITS: usize = 32;

/// The instructions of a backend.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen u32.
    type Words: Copy;
    /// Sixteen f32.
    type Floats: Copy;
    /// Counts of sixteen lanes as [`Self::count`] gathers them; may be narrower than 32 bits.
    type Partial: Copy;
    /// Sixteen i32.
    type Counts: Copy;
    /// Bytes of [`Self::BYTES`] lanes.
    type Bytes: Copy;
    /// Sums of as many bytes, of 16 bits each.
    type Pairs: Copy;
    /// How many lanes [`Self::Bytes`] has: 16, 32 or 64.
    const BYTES: usize;
    /// How many words a [`Self::Partial`] can gather before it must be flushed; `usize::MAX` if it never overflows.
    const FLUSH: usize;
    /// How many rows of sixteen lanes the registers hold.
    const REGISTERS: usize = 8;

    /// Runs `f` where the token's instructions are enabled; `f` must be inlined into it to profit.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Loads sixteen words.
    ///
    /// # Safety
    /// `from` must be valid for reading sixteen words.
    unsafe fn load(self, from: *const u32) -> Self::Words;
    /// One word in every lane.
    fn splat(self, word: u32) -> Self::Words;
    /// No counts.
    fn no_partial(self) -> Self::Partial;
    /// a ^ b.
    fn xor(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Adds the number of set bits of each lane of `x`.
    fn count(self, partial: Self::Partial, x: Self::Words) -> Self::Partial;
    /// Zero in every lane.
    fn no_counts(self) -> Self::Counts;
    /// Adds what was gathered.
    fn flush(self, counts: Self::Counts, partial: Self::Partial) -> Self::Counts;
    /// Stores sixteen counts.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen i32.
    unsafe fn store_counts(self, to: *mut i32, counts: Self::Counts);
    /// Stores sixteen counts past the caches where there is an instruction for it and the address allows it; otherwise as
    /// [`Self::store_counts`]. Other threads may see the values only after [`Self::fence`].
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen i32.
    #[inline(always)]
    unsafe fn stream_counts(self, to: *mut i32, counts: Self::Counts) {
        // SAFETY: passed on to the caller.
        unsafe { self.store_counts(to, counts) }
    }
    /// Makes all that was streamed visible.
    #[inline(always)]
    fn fence(self) {}
    /// Loads sixteen counts.
    ///
    /// # Safety
    /// `from` must be valid for reading sixteen i32.
    unsafe fn load_counts(self, from: *const i32) -> Self::Counts;
    /// The nearest f32 of each count, as an i32; ties to even.
    fn to_floats(self, counts: Self::Counts) -> Self::Floats;
    /// Stores the low byte of `round(clamp(x, low, high)) + offset` for each lane, `[low, high]` being integers within ±255
    /// and rounding to even. Of NaN, any byte.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen bytes.
    unsafe fn store_bytes(self, to: *mut u8, x: Self::Floats, range: [f32; 2], offset: i32);
    /// `base - 2 * count` of each lane as f32; exact below 2^24.
    ///
    /// # Safety
    /// Both pointers must be valid for reading sixteen i32.
    unsafe fn sums(self, base: *const i32, count: *const i32) -> Self::Floats;

    /// 2 a + b, wrapping around.
    fn twice_plus(self, a: Self::Counts, b: Self::Counts) -> Self::Counts;
    /// (2^order - 1) base - 2 count of each lane, wrapping around, as the nearest f32; ties to even.
    ///
    /// # Safety
    /// `base` must be valid for reading sixteen i32, `order` be less than 32.
    unsafe fn weighted_sums(self, base: *const i32, count: Self::Counts, order: u32) -> Self::Floats;

    /// Bit i is set where count i is greater than limit i.
    ///
    /// # Safety
    /// `limits` must be valid for reading sixteen i32.
    unsafe fn above(self, counts: Self::Counts, limits: *const i32) -> u16;

    /// Loads sixteen floats.
    ///
    /// # Safety
    /// `from` must be valid for reading sixteen f32.
    unsafe fn load_floats(self, from: *const f32) -> Self::Floats;
    /// Stores sixteen floats.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen f32.
    unsafe fn store_floats(self, to: *mut f32, values: Self::Floats);
    /// One value in every lane.
    fn splat_float(self, value: f32) -> Self::Floats;
    /// a + b.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a - b.
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a * b.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a / b.
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The maximum of the running maximum `y` and `x`: `x` where it is greater than `y` or NaN, else `y`. Of equal values, zeros
    /// of either sign among them, it is the first.
    fn max(self, y: Self::Floats, x: Self::Floats) -> Self::Floats;
    /// a * b + c, rounded once.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// |a|.
    fn abs(self, a: Self::Floats) -> Self::Floats;
    /// Bit i is set where lane i of `a` is less than that of `b`.
    fn less(self, a: Self::Floats, b: Self::Floats) -> u16;
    /// `a` where `x` is less than zero, else `b`.
    fn if_negative(self, x: Self::Floats, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `x` where it is finite, else NaN: an infinity that a comparison drops would end as a wrong answer without a word.
    #[inline(always)]
    fn finite_or_nan(self, x: Self::Floats) -> Self::Floats {
        self.add(self.mul(x, self.splat_float(0.0)), x)
    }

    /// 0 where `x` is less than zero, else `x`: -0.0 and NaN stay what they are.
    #[inline(always)]
    fn relu(self, x: Self::Floats) -> Self::Floats {
        self.if_negative(x, self.splat_float(0.0), x)
    }

    /// `low` in the first eight lanes, `high` in the others.
    fn splat_halves(self, low: f32, high: f32) -> Self::Floats;
    /// Each lane shifted right by `by` bits, less than 32.
    fn shift_right(self, words: Self::Words, by: u32) -> Self::Words;
    /// Entry `index mod N` of a table for each lane; N is 8, 16 or 32.
    ///
    /// # Safety
    /// `table` must be valid for reading N f32.
    unsafe fn lookup<const N: usize>(self, table: *const f32, index: Self::Words) -> Self::Floats;

    /// Loads [`Self::BYTES`] bytes.
    ///
    /// # Safety
    /// `from` must be valid for reading as many bytes.
    unsafe fn load_bytes(self, from: *const u8) -> Self::Bytes;
    /// Zero in every byte.
    fn no_bytes(self) -> Self::Bytes;
    /// The low four bits of each byte, and the high ones.
    fn nibbles(self, bytes: Self::Bytes) -> [Self::Bytes; 2];
    /// Entry `index` of a table of sixteen bytes for each lane.
    ///
    /// # Safety
    /// `table` must be valid for reading sixteen bytes, and each index be less than sixteen.
    unsafe fn lookup_bytes(self, table: *const u8, index: Self::Bytes) -> Self::Bytes;
    /// a + b of each byte, which must not pass 255.
    fn sum_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// No sums.
    fn no_pairs(self) -> Self::Pairs;
    /// Adds each byte to its sum, which must not pass 65535.
    fn widen_pairs(self, sums: Self::Pairs, bytes: Self::Bytes) -> Self::Pairs;
    /// Adds the sums to [`Self::BYTES`] values, or writes them if `first`: that of byte 4 i + r to value r BYTES / 4 + i.
    ///
    /// # Safety
    /// `to` must be valid for writing as many i32, and unless `first` for reading them.
    unsafe fn add_pairs(self, to: *mut i32, sums: Self::Pairs, first: bool);

    /// Loads `n` floats (1 to 16) and zeros.
    ///
    /// # Safety
    /// `from` must be valid for reading `n` f32.
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> Self::Floats {
        debug_assert!(n <= 16);
        let mut lanes = [0.0f32; 16];
        // SAFETY: `from` is valid for n <= 16 values, `lanes` holds sixteen and is no part of the source.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            self.load_floats(lanes.as_ptr())
        }
    }

    /// Stores the first `n` lanes (1 to 16).
    ///
    /// # Safety
    /// `to` must be valid for writing `n` f32.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, values: Self::Floats, n: usize) {
        debug_assert!(n <= 16);
        let mut lanes = [0.0f32; 16];
        // SAFETY: `to` is valid for n <= 16 values, `lanes` holds sixteen and is no part of the target.
        unsafe {
            self.store_floats(lanes.as_mut_ptr(), values);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }

    /// `a` in the first `n` lanes, zero in the rest.
    #[inline(always)]
    fn keep_first(self, a: Self::Floats, n: usize) -> Self::Floats {
        let mut lanes = [0.0f32; 16];
        // SAFETY: both calls stay inside `lanes`.
        unsafe {
            self.store_floats(lanes.as_mut_ptr(), a);
            lanes[n..].fill(0.0);
            self.load_floats(lanes.as_ptr())
        }
    }

    /// The sum of the lanes, as a tree: i with i + 8, then + 4, + 2, + 1.
    #[inline(always)]
    fn sum(self, a: Self::Floats) -> f32 {
        let mut lanes = [0.0f32; 16];
        // SAFETY: `lanes` holds sixteen values.
        unsafe { self.store_floats(lanes.as_mut_ptr(), a) };
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }
}
