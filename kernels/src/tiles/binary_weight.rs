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

use crate::simd::Simd;
use crate::tiles::cover::{Tiled, walk};
use crate::weights::bits::LANES;

/// Groups of a word.
pub(crate) const GROUPS: usize = 6;
/// The first bit of each group.
pub(crate) const FIRST: [u32; GROUPS] = [0, 6, 12, 17, 22, 27];
/// The bits of each group.
pub(crate) const BITS: [u32; GROUPS] = [6, 6, 5, 5, 5, 5];
/// f32 of a word's tables in the layout of [`tables`].
pub(crate) const TABLES: usize = GROUPS * 16;

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

/// The tables of 32 activations for backends that read eight entries at a time: for each group the eight sums of its first
/// three activations, then the eight of the others.
///
/// # Safety
/// `to` must be valid for writing [`TABLES`] f32.
#[inline(always)]
pub(crate) unsafe fn tables<S: Simd>(simd: S, x: &[f32; 32], to: *mut f32) {
    for g in 0..GROUPS {
        let x = &x[FIRST[g] as usize..][..BITS[g] as usize];
        let last = x.get(5).copied().unwrap_or(0.0);
        // SAFETY: each of SIGNS is a row; the caller vouches for `to`.
        unsafe {
            let sum = simd.mul(simd.splat_halves(x[0], x[3]), simd.load_floats(SIGNS[0].as_ptr()));
            let second = simd.mul(simd.splat_halves(x[1], x[4]), simd.load_floats(SIGNS[1].as_ptr()));
            let third = simd.mul(simd.splat_halves(x[2], last), simd.load_floats(SIGNS[2].as_ptr()));
            simd.store_floats(to.add(g * 16), simd.add(simd.add(sum, second), third));
        }
    }
}

/// How lanes read group `g` of those tables: the indices of its two halves.
#[inline(always)]
pub(crate) fn selector<S: Simd>(simd: S, weights: S::Words, g: usize) -> [S::Words; 2] {
    // A group of five reads its second half with a bit too many, whose activation is 0.
    [simd.shift_right(weights, FIRST[g]), simd.shift_right(weights, FIRST[g] + 3)]
}

/// Adds the sums of group `g` from those tables.
///
/// # Safety
/// `tables` must be valid for reading [`TABLES`] f32.
#[inline(always)]
pub(crate) unsafe fn add_signed<S: Simd>(
    simd: S,
    sum: S::Floats,
    tables: *const f32,
    g: usize,
    selector: [S::Words; 2],
) -> S::Floats {
    // SAFETY: the caller vouches for the tables, of which group g has sixteen entries.
    unsafe {
        let first = simd.lookup::<8>(tables.add(g * 16), selector[0]);
        let second = simd.lookup::<8>(tables.add(g * 16 + 8), selector[1]);
        simd.add(sum, simd.add(first, second))
    }
}

/// Some rows of tables times some panels of bits.
///
/// Whoever makes a job vouches that each row is readable for the [`Simd::TABLES`] values at each offset, that `panels` is
/// readable for `offsets.len()` panel rows at each multiple of `panel_len` up to `panel_count`, and that `sums` is valid for
/// `panel_count * 16` values at each multiple of `stride` up to `rows.len()`, written before where `first` is not set, and
/// overlaps neither.
pub(crate) struct SignedJob<'a> {
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

/// Sums a job with tiles of `MR` x `NR`, or 1 x `VR` where there is one row.
#[inline(always)]
pub(crate) fn signed<S: Simd, const MR: usize, const NR: usize, const VR: usize>(simd: S, job: &SignedJob<'_>) {
    walk::<S, _, MR, NR, MR, 1, VR>(&Signed { simd, job });
}

struct Signed<'a, S> {
    simd: S,
    job: &'a SignedJob<'a>,
}

impl<S: Simd> Tiled<S> for Signed<'_, S> {
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
        let Self { simd, job } = *self;
        let mut sums = [[simd.splat_float(0.0); NR]; MR];
        let rows: [*const f32; MR] = std::array::from_fn(
            #[inline(always)]
            |m| job.rows[row + m],
        );
        // SAFETY: `panel + NR <= panel_count`, and the job vouches for the panels.
        let panels: [*const u32; NR] = std::array::from_fn(
            #[inline(always)]
            |p| unsafe { job.panels.add((panel + p) * job.panel_len) },
        );
        // SAFETY: the job vouches for the sums of every row and panel.
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
            // SAFETY: the job vouches for a panel row a word and panel, and for the tables of each row at the offset.
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
                group(simd, &mut sums, &tables, weights, 0);
                group(simd, &mut sums, &tables, weights, 1);
                group(simd, &mut sums, &tables, weights, 2);
                group(simd, &mut sums, &tables, weights, 3);
                group(simd, &mut sums, &tables, weights, 4);
                group(simd, &mut sums, &tables, weights, 5);
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the job vouches for the sums of every row and panel.
                unsafe { simd.store_floats(to.add(m * job.stride + p * LANES), sums[m][p]) };
            }
        }
    }
}

/// Adds group `g` of a word to every sum.
///
/// # Safety
/// Each of `tables` must be valid for reading [`Simd::TABLES`] values.
#[inline(always)]
unsafe fn group<S: Simd, const MR: usize, const NR: usize>(
    simd: S,
    sums: &mut [[S::Floats; NR]; MR],
    tables: &[*const f32; MR],
    weights: [S::Words; NR],
    g: usize,
) {
    // A loop, because `from_fn` of a closure this long is not inlined, and loses the instruction set.
    let mut selectors = [[weights[0]; 2]; NR];
    for p in 0..NR {
        selectors[p] = simd.selector(weights[p], g);
    }
    for m in 0..MR {
        for p in 0..NR {
            // SAFETY: the caller vouches for the tables.
            sums[m][p] = unsafe { simd.add_signed(sums[m][p], tables[m], g, selectors[p]) };
        }
    }
}
