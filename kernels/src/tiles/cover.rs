//! How a job is covered with register tiles: whole tiles first, then what is left of the rows in halves.

use crate::simd::Simd;

/// Work on some rows times some panels that is done a tile at a time.
pub(crate) trait Tiled<S: Simd> {
    /// Runs `f` where the instructions that the tiles need are enabled, as [`Simd::vectorize`].
    fn vectorize(&self, f: impl FnOnce());
    /// How many rows.
    fn rows(&self) -> usize;
    /// How many panels.
    fn panels(&self) -> usize;
    /// Rows `row..row + MR` times panels `panel..panel + NR`; must be `#[inline(always)]`.
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize);
}

/// Covers `work` with tiles of `MR` x `NR`, for the panels that are left `LMR` x `LNR`, then one panel. One row takes 1 x `VR`;
/// a few rows that fill one of the `LMR` high tiles, but not an `MR` high one, take those, so that they read each panel once.
#[inline(always)]
pub(crate) fn cover<
    S: Simd,
    T: Tiled<S>,
    const MR: usize,
    const NR: usize,
    const LMR: usize,
    const LNR: usize,
    const VR: usize,
>(
    work: &T,
) {
    let mut panel = 0;
    if work.rows() == 1 {
        while panel + VR <= work.panels() {
            outlined::<S, T, 1, VR>(work, 0, panel);
            panel += VR;
        }
    }
    let few = (MR + 1..=LMR).contains(&work.rows());
    while !few && panel + NR <= work.panels() {
        column::<S, T, MR, NR>(work, panel);
        panel += NR;
    }
    while panel + LNR <= work.panels() {
        column::<S, T, LMR, LNR>(work, panel);
        panel += LNR;
    }
    while panel < work.panels() {
        column::<S, T, LMR, 1>(work, panel);
        panel += 1;
    }
}

/// All rows against `NR` panels.
#[inline(always)]
fn column<S: Simd, T: Tiled<S>, const MR: usize, const NR: usize>(work: &T, panel: usize) {
    let mut row = 0;
    while row + MR <= work.rows() {
        outlined::<S, T, MR, NR>(work, row, panel);
        row += MR;
    }
    row = rest::<S, T, MR, 8, NR>(work, row, panel);
    row = rest::<S, T, MR, 4, NR>(work, row, panel);
    row = rest::<S, T, MR, 2, NR>(work, row, panel);
    rest::<S, T, MR, 1, NR>(work, row, panel);
}

/// `LESS` of the rows that are left, where there are as many and they do not fill a whole tile; returns the next row.
#[inline(always)]
fn rest<S: Simd, T: Tiled<S>, const MR: usize, const LESS: usize, const NR: usize>(
    work: &T,
    row: usize,
    panel: usize,
) -> usize {
    if LESS < MR && row + LESS <= work.rows() {
        outlined::<S, T, LESS, NR>(work, row, panel);
        row + LESS
    } else {
        row
    }
}

/// The tile behind a feature boundary of its own, so that each shape is compiled by itself.
#[inline(always)]
fn outlined<S: Simd, T: Tiled<S>, const MR: usize, const NR: usize>(work: &T, row: usize, panel: usize) {
    work.vectorize(
        #[inline(always)]
        || work.tile::<MR, NR>(row, panel),
    );
}
