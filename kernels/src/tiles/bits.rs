//! The register tile of bits: a few rows of activations against a few panels of weights.
//!
//! A tile keeps `MR` x `NR` panel rows of accumulators in registers and walks the depth once. Rows are given by pointers
//! and the depth as a walk from there that all rows share ([`Walk`]), so a convolution needs no im2col: a row starts at its
//! window's first tap. Counts go to a small buffer that stays in the L1 cache, from where the epilogue takes them, or are
//! compared with thresholds while they are in registers.
//!
//! How bits are counted is a parameter ([`Count`]), because some words together can be counted in fewer operations than one
//! by one: as triples with their parity ([`crate::tiles::count::parity`]) or, where popcount is emulated, in carry-save form.

use crate::shape::Place;
use crate::shape::Walk;
use crate::simd::LANES;
use crate::simd::Simd;
use crate::tiles::Job;
use crate::tiles::count::{Count, MAX_GROUP};
use crate::tiles::cover::{Tiled, cover};
use std::array::from_fn;
use std::marker::PhantomData;

/// Operands and results of some rows times some panels.
///
/// # Contract
/// Each row is readable wherever `walk` leads, `panels` for `panel_count * walk.len()` panel rows, and what [`Results`] says of
/// its pointers holds.
pub(crate) struct BitOperands<'a> {
    /// The first word of each row.
    pub rows: &'a [*const u32],
    /// Where the words of a row lie.
    pub walk: Walk<'a>,
    /// The first panel; the others follow it.
    pub panels: *const u32,
    /// How many panels.
    pub panel_count: usize,
    /// What becomes of the counts.
    pub results: Results<'a>,
}

/// What becomes of the counts of differing bits of a job.
#[derive(Clone, Copy)]
pub(crate) enum Results<'a> {
    /// They are stored as `[row][stride]`, of which the first `panel_count * 16` are written: `to` is writable for as many at
    /// each multiple of `stride` up to `rows.len()` and overlaps no operand.
    Counts {
        to: *mut i32,
        /// Values between the counts of neighbouring rows.
        stride: usize,
        /// Whether to write past the caches; a fence must follow ([`Simd::fence`]).
        stream: bool,
    },
    /// Only `count > limit` is, a bit a lane and sixteen a panel: each of `to` is writable for `panel_count` values, each of
    /// `limits` readable for sixteen times as many, and there are as many of both as rows.
    Signs {
        limits: &'a [*const i32],
        to: &'a [*mut u16],
        /// The lanes of each panel in which the bit is turned round.
        flips: &'a [u16],
    },
}

/// A walk that is known when the tile is compiled.
trait Path: Copy {
    /// Words in all.
    fn len(self) -> usize;
    /// Triples at its start.
    fn triples(self) -> usize;
    /// Word `i` of triple `t`: offsets into the row and into the panel.
    ///
    /// # Safety
    /// `t` must be less than [`Self::triples`] and `i` less than 3.
    unsafe fn triple(self, t: usize, i: usize) -> [usize; 2];
    /// Word `k`, at least three times [`Self::triples`].
    ///
    /// # Safety
    /// `k` must be less than [`Self::len`].
    unsafe fn single(self, k: usize) -> [usize; 2];
}

#[derive(Clone, Copy)]
struct Straight {
    len: usize,
    triples: usize,
    parity: usize,
}

impl Path for Straight {
    #[inline(always)]
    fn len(self) -> usize {
        self.len
    }

    #[inline(always)]
    fn triples(self) -> usize {
        self.triples
    }

    #[inline(always)]
    unsafe fn triple(self, t: usize, i: usize) -> [usize; 2] {
        let k = i * self.triples + t;
        [if i == 2 { self.parity + t } else { k }, k * LANES]
    }

    #[inline(always)]
    unsafe fn single(self, k: usize) -> [usize; 2] {
        [k, k * LANES]
    }
}

#[derive(Clone, Copy)]
struct Places<'a> {
    places: &'a [Place],
    triples: usize,
}

impl Path for Places<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.places.len()
    }

    #[inline(always)]
    fn triples(self) -> usize {
        self.triples
    }

    #[inline(always)]
    unsafe fn triple(self, t: usize, i: usize) -> [usize; 2] {
        // SAFETY: the caller keeps the triple in bounds.
        unsafe { self.single(3 * t + i) }
    }

    #[inline(always)]
    unsafe fn single(self, k: usize) -> [usize; 2] {
        // SAFETY: the caller keeps k in bounds.
        let place = unsafe { self.places.get_unchecked(k) };
        [place.at as usize, place.weights as usize]
    }
}

/// Counts the differing bits of a job with tiles of `MR` x `NR`, or 1 x `VR` where there is one row.
#[inline(always)]
pub(crate) fn bits<S: Simd, C: Count<S>, const MR: usize, const NR: usize, const VR: usize>(
    simd: S,
    job: &Job<BitOperands<'_>>,
) {
    let count = PhantomData::<C>;
    match job.walk {
        Walk::Straight { len, triples, parity } => {
            cover::<_, _, MR, NR, MR, 1, VR>(&Bits { simd, job, path: Straight { len, triples, parity }, count });
        }
        Walk::Places { places, triples } => {
            cover::<_, _, MR, NR, MR, 1, VR>(&Bits { simd, job, path: Places { places, triples }, count });
        }
    }
}

/// A job, the backend it runs on and how it counts.
struct Bits<'a, S: Simd, C: Count<S>, P: Path> {
    simd: S,
    job: &'a Job<BitOperands<'a>>,
    path: P,
    count: PhantomData<C>,
}

/// Words a round of the inner loop where words are taken one by one and counters never overflow. Leaving a loop after 36
/// rounds is mispredicted and costs some 25 cycles a tile: four words a round lift 768 x 128 x 1152 bits from 96 to 99 % of
/// the limit (Golden Cove).
const UNROLL: usize = 4;

impl<S: Simd, C: Count<S>, P: Path> Tiled<S> for Bits<'_, S, C, P> {
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
        let Self { simd, job, path, .. } = *self;
        let len = path.len();
        // SAFETY: `panel + NR <= panel_count`, so every panel row read below lies in the panels that the contract covers.
        let weights = unsafe { job.panels.add(panel * len * LANES) };
        let rows = *job.rows[row..].first_chunk().expect("as many rows as the tile has");
        let mut cells = Cells::<S, C, MR, NR> {
            simd,
            rows,
            weights,
            panel_len: len * LANES,
            partials: [[C::none(simd); NR]; MR],
            totals: [[simd.no_counts(); NR]; MR],
        };
        debug_assert!(C::PARITY || path.triples() == 0, "this way of counting takes no parities");
        let groups = match C::GROUP {
            _ if C::PARITY => path.triples(),
            // Single words come in an unrolled loop where nothing has to be flushed.
            1 if C::FLUSH == usize::MAX => 0,
            group => len / group,
        };
        // SAFETY: groups and single words end inside the path, along which the contract covers rows and panel rows.
        unsafe {
            let mut from = 0;
            while from < groups {
                let to = if C::FLUSH == usize::MAX { groups } else { groups.min(from + C::FLUSH) };
                for g in from..to {
                    cells.group(
                        #[inline(always)]
                        |i| if C::PARITY { path.triple(g, i) } else { path.single(g * C::GROUP + i) },
                    );
                }
                from = to;
                if from < groups {
                    cells.flush();
                }
            }
            let mut k = groups * C::GROUP;
            if C::FLUSH == usize::MAX {
                while k + UNROLL <= len {
                    for i in 0..UNROLL {
                        cells.single(path.single(k + i));
                    }
                    k += UNROLL;
                }
            }
            while k < len {
                cells.single(path.single(k));
                k += 1;
            }
        }
        cells.flush();
        // SAFETY: the contract covers the results of every row and panel.
        unsafe {
            match job.results {
                Results::Counts { to, stride, stream } => {
                    let to = to.add(row * stride + panel * LANES);
                    if stream { cells.stream(to, stride) } else { cells.store(to, stride) }
                }
                Results::Signs { limits, to, flips } => {
                    cells.compare(&limits[row..row + MR], &to[row..row + MR], &flips[panel..panel + NR], panel);
                }
            }
        }
    }
}

/// The registers of a tile.
struct Cells<S: Simd, C: Count<S>, const MR: usize, const NR: usize> {
    simd: S,
    rows: [*const u32; MR],
    weights: *const u32,
    /// Words of a panel.
    panel_len: usize,
    partials: [[C::Partial; NR]; MR],
    totals: [[S::Counts; NR]; MR],
}

impl<S: Simd, C: Count<S>, const MR: usize, const NR: usize> Cells<S, C, MR, NR> {
    /// The words of a group, at offsets into the rows and the panels.
    ///
    /// # Safety
    /// The offsets of the first [`Count::GROUP`] words must lie inside rows and panels.
    #[inline(always)]
    unsafe fn group(&mut self, place: impl Fn(usize) -> [usize; 2]) {
        let simd = self.simd;
        let mut weights = [[simd.splat(0); MAX_GROUP]; NR];
        for p in 0..NR {
            for i in 0..C::GROUP {
                // SAFETY: the caller guarantees the panel row.
                weights[p][i] = unsafe { simd.load(self.weights.add(p * self.panel_len + place(i)[1])) };
            }
            C::prepare(simd, &mut weights[p]);
        }
        for m in 0..MR {
            for p in 0..NR {
                let weights = &weights[p];
                let row = self.rows[m];
                self.partials[m][p] = C::group(
                    simd,
                    self.partials[m][p],
                    #[inline(always)]
                    |i| {
                        // SAFETY: the caller guarantees the word of the row.
                        simd.xor(simd.splat(unsafe { *row.add(place(i)[0]) }), weights[i])
                    },
                );
            }
        }
    }

    /// One word, at offsets into the rows and the panels.
    ///
    /// # Safety
    /// The offsets must lie inside rows and panels.
    #[inline(always)]
    unsafe fn single(&mut self, [at, from]: [usize; 2]) {
        let simd = self.simd;
        // SAFETY: the caller guarantees the word of each row and the panel rows.
        unsafe {
            let weights: [S::Words; NR] = from_fn(
                #[inline(always)]
                |p| simd.load(self.weights.add(p * self.panel_len + from)),
            );
            for m in 0..MR {
                let activation = simd.splat(*self.rows[m].add(at));
                for p in 0..NR {
                    self.partials[m][p] = C::single(simd, self.partials[m][p], simd.xor(activation, weights[p]));
                }
            }
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        for m in 0..MR {
            for p in 0..NR {
                self.totals[m][p] = C::flush(self.simd, self.totals[m][p], self.partials[m][p]);
                self.partials[m][p] = C::none(self.simd);
            }
        }
    }

    /// Stores the totals, rows `stride` apart.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen values for each panel in each row.
    #[inline(always)]
    unsafe fn store(&self, to: *mut i32, stride: usize) {
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the caller guarantees the results of every row and panel.
                unsafe { self.simd.store_counts(to.add(m * stride + p * LANES), self.totals[m][p]) };
            }
        }
    }

    /// Stores the totals past the caches, rows `stride` apart.
    ///
    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn stream(&self, to: *mut i32, stride: usize) {
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the caller guarantees the results of every row and panel.
                unsafe { self.simd.stream_counts(to.add(m * stride + p * LANES), self.totals[m][p]) };
            }
        }
    }

    /// Stores which totals are above their limits, in the panels from `panel` on.
    ///
    /// # Safety
    /// Each of `limits` must be readable for sixteen values, each of `to` writable for one, for every panel up to the tile's
    /// last.
    #[inline(always)]
    unsafe fn compare(&self, limits: &[*const i32], to: &[*mut u16], flips: &[u16], panel: usize) {
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the caller guarantees the limits and the signs of every row and panel.
                unsafe {
                    let above = self.simd.above(self.totals[m][p], limits[m].add((panel + p) * LANES));
                    *to[m].add(panel + p) = above ^ flips[p];
                }
            }
        }
    }
}
