//! f32 activations times binary weights by tables of signed sums.
//!
//! Of six activations there are 64 signed sums, and half of them are the other half negated. So a table of 32 sums, read
//! with the weight bits of sixteen filters as sixteen indices (one vpermt2ps), and a fused multiply-add by +1 or -1 do 96
//! products in two operations, where f32 weights take six. A word of 32 weight bits is read in six groups; the tables of a
//! row are shared by all panels, the indices of a panel by all rows of a tile.
//!
//! # The order of the operations
//!
//! The activations of a word fall into [`GROUPS`] groups of 6, 6, 5, 5, 5 and 5, from bit 0 upwards; those past the last
//! channel are 0. With s_i = -x_i where weight bit i is set and x_i elsewhere, the sum of a group is
//! ((s_0 + s_1) + s_2) + ((s_3 + s_4) + s_5), without s_5 in a group of 5, and the groups are added to the output's sum one
//! after another, from 0, over kernel rows, kernel columns and words. Every operation is rounded on its own. A table entry
//! may be stored negated and an addition of ±0 left out or put in: neither changes a bit, since rounding is symmetric and a
//! sum that starts at +0 never becomes -0.
//!
//! Measured on Golden Cove, in products a cycle, tables in the L1 cache (an f32 fused multiply-add does 32): six groups with
//! the sign in the multiply-add 66 (tile 8 x 2), 59 (12 x 1); eight groups of four read without a sign 54. vpermps and
//! vpermt2ps have port 5 alone there.

#[cfg(target_arch = "x86_64")]
use crate::simd::ternary::Ternary;
use crate::simd::{LANES, Simd, WORD_BITS};
use crate::tiles::Job;
use crate::tiles::cover::{Tiled, cover};
use std::marker::PhantomData;

/// Groups of a word.
const GROUPS: usize = 6;
/// The first bit of each group.
const FIRST: [u32; GROUPS] = [0, 6, 12, 17, 22, 27];
/// The bits of each group.
const BITS: [u32; GROUPS] = [6, 6, 5, 5, 5, 5];

/// The signed sums of a word of activations, and how they are read.
pub(crate) trait Tables<S: Simd> {
    /// f32 that the tables of one word of activations take.
    const LEN: usize;
    /// How lanes read one group of the tables, given their words of weights.
    type Selector: Copy;
    /// Writes the tables of 32 activations.
    ///
    /// # Safety
    /// `to` must be valid for writing [`Self::LEN`] f32.
    unsafe fn write(simd: S, x: &[f32; WORD_BITS], to: *mut f32);
    /// How each lane reads group `g`, given its word of weights.
    fn selector(simd: S, weights: S::Words, g: usize) -> Self::Selector;
    /// Adds the signed sums of group `g`.
    ///
    /// # Safety
    /// `tables` must be valid for reading [`Self::LEN`] f32.
    unsafe fn add(simd: S, sum: S::Floats, tables: *const f32, g: usize, selector: Self::Selector) -> S::Floats;
}

/// Tables for backends that read eight entries at a time: for each group the eight sums of its first three activations, then
/// the eight of the others.
pub(crate) struct Eights;

/// Bit `bit` of the lane's number as a sign, in both halves of a row.
const fn signs(bit: usize) -> [f32; LANES] {
    let mut signs = [1.0; LANES];
    let mut lane = 0;
    while lane < LANES {
        if lane >> bit & 1 == 1 {
            signs[lane] = -1.0;
        }
        lane += 1;
    }
    signs
}
const SIGNS: [[f32; LANES]; 3] = [signs(0), signs(1), signs(2)];

impl<S: Simd> Tables<S> for Eights {
    const LEN: usize = GROUPS * 16;
    type Selector = [S::Words; 2];

    #[inline(always)]
    unsafe fn write(simd: S, x: &[f32; WORD_BITS], to: *mut f32) {
        for g in 0..GROUPS {
            let x = &x[FIRST[g] as usize..][..BITS[g] as usize];
            let last = x.get(5).copied().unwrap_or(0.0);
            // SAFETY: each of SIGNS is a row; the caller guarantees `to`.
            unsafe {
                let sum = simd.mul(simd.splat_halves(x[0], x[3]), simd.load_floats(SIGNS[0].as_ptr()));
                let second = simd.mul(simd.splat_halves(x[1], x[4]), simd.load_floats(SIGNS[1].as_ptr()));
                let third = simd.mul(simd.splat_halves(x[2], last), simd.load_floats(SIGNS[2].as_ptr()));
                simd.store_floats(to.add(g * 16), simd.add(simd.add(sum, second), third));
            }
        }
    }

    /// The indices of the two halves. A group of five reads its second half with a bit too many, whose activation is 0.
    #[inline(always)]
    fn selector(simd: S, weights: S::Words, g: usize) -> [S::Words; 2] {
        [simd.shift_right(weights, FIRST[g]), simd.shift_right(weights, FIRST[g] + 3)]
    }

    #[inline(always)]
    unsafe fn add(simd: S, sum: S::Floats, tables: *const f32, g: usize, selector: [S::Words; 2]) -> S::Floats {
        // SAFETY: the caller guarantees the tables, of which group g has sixteen entries.
        unsafe {
            let first = simd.lookup::<8>(tables.add(g * 16), selector[0]);
            let second = simd.lookup::<8>(tables.add(g * 16 + 8), selector[1]);
            simd.add(sum, simd.add(first, second))
        }
    }
}

/// Tables for backends that read 32 entries at a time, of sums that are negated where the weights say so.
///
/// Entry i of a group of n holds the sum for weight bits b with b_{n-1} = 0 and b_j = b_{j+1} ^ (bit j of i): the index is the
/// low bits of w ^ (w >> 1), and bit n - 1 of the group gives the sign. Sixteen entries of A = (s_0 + s_1) + s_2 and
/// P = s_3 + s_4 make a group of five, A + P. In a group of six they make the first half, A + (P + s_5); in the second half
/// the first five signs are turned round: -A + (-P + s_5).
#[cfg(target_arch = "x86_64")]
pub(crate) struct Gray;

/// Where the table of a group starts in [`Gray`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
const fn table_at(g: usize) -> usize {
    if g < 2 { 32 * g } else { 32 + 16 * g }
}

/// The signs of the first four activations of a group in each entry of its table in [`Gray`].
#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
impl<S: Ternary> Tables<S> for Gray {
    const LEN: usize = 2 * 32 + 4 * 16;
    /// The indices, and +1 or -1.
    type Selector = (S::Words, S::Floats);

    #[inline(always)]
    unsafe fn write(simd: S, x: &[f32; WORD_BITS], to: *mut f32) {
        // SAFETY: each of GRAY_SIGNS is a row; the caller guarantees `to`, where a group has 16 or 32 values.
        unsafe {
            let mut sign = [simd.splat_float(0.0); 4];
            for j in 0..4 {
                sign[j] = simd.load_floats(GRAY_SIGNS[j].as_ptr());
            }
            for g in 0..GROUPS {
                let x = &x[FIRST[g] as usize..][..BITS[g] as usize];
                // Products by ±1 are exact, so fusing them with the sum changes nothing.
                let first = simd.mul(simd.splat_float(x[0]), sign[0]);
                let a = simd.fma(simd.splat_float(x[2]), sign[2], simd.fma(simd.splat_float(x[1]), sign[1], first));
                let p = simd.fma(simd.splat_float(x[3]), sign[3], simd.splat_float(x[4]));
                let to = to.add(table_at(g));
                if let Some(&last) = x.get(5) {
                    let last = simd.splat_float(last);
                    simd.store_floats(to, simd.add(a, simd.add(p, last)));
                    simd.store_floats(to.add(LANES), simd.sub(simd.sub(last, p), a));
                } else {
                    simd.store_floats(to, simd.add(a, p));
                }
            }
        }
    }

    #[inline(always)]
    fn selector(simd: S, weights: S::Words, g: usize) -> (S::Words, S::Floats) {
        let index = simd.shift_right(simd.xor(weights, simd.shift_right(weights, 1)), FIRST[g]);
        (index, simd.signs(weights, FIRST[g] + BITS[g] - 1))
    }

    #[inline(always)]
    unsafe fn add(
        simd: S,
        sum: S::Floats,
        tables: *const f32,
        g: usize,
        (index, sign): (S::Words, S::Floats),
    ) -> S::Floats {
        // SAFETY: the caller guarantees the tables, of which group g has 32 or 16 entries.
        unsafe {
            let table = tables.add(table_at(g));
            let found = if BITS[g] == 6 { simd.lookup::<32>(table, index) } else { simd.lookup::<16>(table, index) };
            simd.fma(found, sign, sum)
        }
    }
}

/// Some rows of tables times some panels of bits.
///
/// # Contract
/// Each row is readable for the values of a word's tables ([`Tables::LEN`]) at each offset, `panels` for `offsets.len()` panel
/// rows at each multiple of `panel_len` up to `panel_count`; `sums` is valid for `panel_count * 16` values at each multiple of
/// `stride` up to `rows.len()`, written before where `first` is not set, and overlaps neither.
pub(crate) struct BinaryWeightOperands<'a> {
    /// The tables of each row's first word.
    pub rows: &'a [*const f32],
    /// Where the tables of each word start, counted from the row's first.
    pub offsets: &'a [usize],
    /// The first panel's row of the first word.
    pub panels: *const u32,
    /// Words between neighbouring panels.
    pub panel_len: usize,
    /// How many panels.
    pub panel_count: usize,
    /// `[row][stride]`, of which the first `panel_count * 16` are written.
    pub sums: *mut f32,
    /// Values between the sums of neighbouring rows.
    pub stride: usize,
    /// Whether sums start from 0 rather than from what is there.
    pub first: bool,
}

/// Sums a job on tables `T` with tiles of `MR` x `NR`, or 1 x `VR` where there is one row.
#[inline(always)]
pub(crate) fn binary_weight<S: Simd, T: Tables<S>, const MR: usize, const NR: usize, const VR: usize>(
    simd: S,
    job: &Job<BinaryWeightOperands<'_>>,
) {
    cover::<S, _, MR, NR, MR, 1, VR>(&BinaryWeight { simd, job, tables: PhantomData::<T> });
}

/// A job, the backend that it runs on and its tables.
struct BinaryWeight<'a, S, T> {
    simd: S,
    job: &'a Job<BinaryWeightOperands<'a>>,
    tables: PhantomData<T>,
}

impl<S: Simd, T: Tables<S>> Tiled<S> for BinaryWeight<'_, S, T> {
    #[inline(always)]
    fn vectorize(&self, f: impl FnOnce()) {
        self.simd.vectorize(f);
    }

    #[inline(always)]
    fn rows(&self) -> usize {
        self.job.rows.len()
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        self.job.panel_count
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job, .. } = *self;
        let mut sums = [[simd.splat_float(0.0); NR]; MR];
        let rows: [*const f32; MR] = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        // SAFETY: `panel + NR <= panel_count`, and the contract covers the panels.
        let panels: [*const u32; NR] = std::array::from_fn(
            #[inline(always)]
            |p| unsafe { job.panels.add((panel + p) * job.panel_len) },
        );
        // SAFETY: the contract covers the sums of every row and panel.
        let to = unsafe { job.sums.add(row * job.stride + panel * LANES) };
        if !job.first {
            for m in 0..MR {
                for p in 0..NR {
                    // SAFETY: as above, and they were written before.
                    sums[m][p] = unsafe { simd.load_floats(to.add(m * job.stride + p * LANES)) };
                }
            }
        }
        for (word, &offset) in job.offsets.iter().enumerate() {
            // SAFETY: the contract covers a panel row a word and panel, and for the tables of each row at the offset.
            unsafe {
                let weights: [S::Words; NR] = std::array::from_fn(
                    #[inline(always)]
                    |p| simd.load(panels[p].add(word * LANES)),
                );
                let tables: [*const f32; MR] = std::array::from_fn(
                    #[inline(always)]
                    |m| rows[m].add(offset),
                );
                // Written out, because shifts and addresses of a group must be constants.
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 0);
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 1);
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 2);
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 3);
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 4);
                group::<S, T, MR, NR>(simd, &mut sums, &tables, weights, 5);
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the contract covers the sums of every row and panel.
                unsafe { simd.store_floats(to.add(m * job.stride + p * LANES), sums[m][p]) };
            }
        }
    }
}

/// Adds group `g` of a word to every sum.
///
/// # Safety
/// Each of `tables` must be valid for reading [`Tables::LEN`] values.
#[inline(always)]
unsafe fn group<S: Simd, T: Tables<S>, const MR: usize, const NR: usize>(
    simd: S,
    sums: &mut [[S::Floats; NR]; MR],
    tables: &[*const f32; MR],
    weights: [S::Words; NR],
    g: usize,
) {
    // A loop, because `from_fn` of a closure this long is not inlined, and loses the instruction set.
    let mut selectors = [T::selector(simd, weights[0], g); NR];
    for p in 1..NR {
        selectors[p] = T::selector(simd, weights[p], g);
    }
    for m in 0..MR {
        for p in 0..NR {
            // SAFETY: the caller guarantees the tables.
            sums[m][p] = unsafe { T::add(simd, sums[m][p], tables[m], g, selectors[p]) };
        }
    }
}
