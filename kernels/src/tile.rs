//! The register tile of bits: a few rows of activations against a few panels of weights.
//!
//! A tile keeps `MR` x `NR` panel rows of accumulators in registers and walks the depth once. Rows are given by pointers
//! and the depth as a walk from there that all rows share ([`Walk`]), so a convolution needs no im2col: a row starts at its
//! window's first tap. Counts go to a small buffer that stays
//! in the L1 cache, from where the epilogue takes them.

use crate::panel::LANES;
use crate::simd::Simd;
use std::marker::PhantomData;
use std::ops::Range;

/// Operands and results of some rows times some panels.
///
/// Whoever makes a job vouches that each row is readable wherever `walk` leads, that `panels` is readable for
/// `panel_count * walk.len()` panel rows, and that `results` is writable for `panel_count * 16` values at each multiple of
/// `stride` up to `rows.len()` and overlaps neither.
pub(crate) struct Job<'a, In, Out> {
    /// The first element of each row.
    pub rows: &'a [*const In],
    /// Where the elements of a row lie.
    pub walk: Walk<'a>,
    /// The first panel; the others follow it.
    pub panels: *const In,
    /// How many panels.
    pub panel_count: usize,
    /// `[row][stride]`, of which the first `panel_count * 16` are written.
    pub results: *mut Out,
    /// Values between the results of neighbouring rows.
    pub stride: usize,
    /// Whether to write the results past the caches; whoever says so fences afterwards ([`Simd::fence`]).
    pub stream: bool,
}

/// Where the elements of a row lie, counted from its first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Walk<'a> {
    /// So many, one after another.
    Straight(usize),
    /// At these offsets. One loop over all of them, whatever the taps: a loop a kernel row, of six words at 64 channels, cost
    /// a fifth of a convolution's time in exits and remainders.
    Offsets(&'a [u32]),
}

/// A walk that is known when the tile is compiled.
trait Path: Copy {
    fn len(self) -> usize;
    /// The offset of element `k`.
    ///
    /// # Safety
    /// `k` must be less than [`Self::len`].
    unsafe fn at(self, k: usize) -> usize;
}

#[derive(Clone, Copy)]
struct Straight(usize);

impl Path for Straight {
    #[inline(always)]
    fn len(self) -> usize {
        self.0
    }

    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        k
    }
}

impl Path for &[u32] {
    #[inline(always)]
    fn len(self) -> usize {
        (*self).len()
    }

    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        // SAFETY: the caller keeps k in bounds.
        unsafe { *self.get_unchecked(k) as usize }
    }
}

/// Words of signs to counts of differing bits.
pub(crate) type BitJob<'a> = Job<'a, u32, i32>;

/// What a tile does with an element of a row and a panel row.
trait Cell<S: Simd> {
    type In: Copy;
    type Out;
    type Row: Copy;
    type Partial: Copy;
    type Total: Copy;
    /// Elements that a partial result can gather.
    const FLUSH: usize;
    /// Elements a round of the inner loop. Leaving a loop after 36 rounds is mispredicted and costs some 25 cycles a tile:
    /// four elements a round lift 768 x 128 x 1152 bits from 96 to 99 % of the limit (Golden Cove).
    const UNROLL: usize;
    unsafe fn load(simd: S, from: *const Self::In) -> Self::Row;
    fn splat(simd: S, element: Self::In) -> Self::Row;
    fn no_partial(simd: S) -> Self::Partial;
    fn step(simd: S, partial: Self::Partial, activation: Self::Row, weight: Self::Row) -> Self::Partial;
    fn no_total(simd: S) -> Self::Total;
    fn flush(simd: S, total: Self::Total, partial: Self::Partial) -> Self::Total;
    unsafe fn store(simd: S, to: *mut Self::Out, total: Self::Total);
    /// The same past the caches, where the backend can.
    unsafe fn stream(simd: S, to: *mut Self::Out, total: Self::Total);
}

/// Counting the bits in which signs differ.
struct Bits;

impl<S: Simd> Cell<S> for Bits {
    type In = u32;
    type Out = i32;
    type Row = S::Words;
    type Partial = S::Partial;
    type Total = S::Counts;
    const FLUSH: usize = S::FLUSH;
    // Runs that end at a flush do not divide by four, and have enough operations an element without it.
    const UNROLL: usize = if S::FLUSH == usize::MAX { 4 } else { 1 };

    #[inline(always)]
    unsafe fn load(simd: S, from: *const u32) -> S::Words {
        // SAFETY: the caller vouches for sixteen words.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    fn splat(simd: S, element: u32) -> S::Words {
        simd.splat(element)
    }

    #[inline(always)]
    fn no_partial(simd: S) -> S::Partial {
        simd.no_partial()
    }

    #[inline(always)]
    fn step(simd: S, partial: S::Partial, activation: S::Words, weight: S::Words) -> S::Partial {
        simd.count(partial, activation, weight)
    }

    #[inline(always)]
    fn no_total(simd: S) -> S::Counts {
        simd.no_counts()
    }

    #[inline(always)]
    fn flush(simd: S, total: S::Counts, partial: S::Partial) -> S::Counts {
        simd.flush(total, partial)
    }

    #[inline(always)]
    unsafe fn store(simd: S, to: *mut i32, total: S::Counts) {
        // SAFETY: the caller vouches for sixteen values.
        unsafe { simd.store_counts(to, total) }
    }

    #[inline(always)]
    unsafe fn stream(simd: S, to: *mut i32, total: S::Counts) {
        // SAFETY: the caller vouches for sixteen values.
        unsafe { simd.stream_counts(to, total) }
    }
}

/// Counts the differing bits of a job with tiles of `MR` x `NR`, or 1 x `VR` where there is one row.
#[inline(always)]
pub(crate) fn bits<S: Simd, const MR: usize, const NR: usize, const VR: usize>(simd: S, job: &BitJob<'_>) {
    match job.walk {
        Walk::Straight(len) => Tiles::<S, Bits, _>::new(simd, job, Straight(len)).run::<MR, NR, VR>(),
        Walk::Offsets(offsets) => Tiles::<S, Bits, _>::new(simd, job, offsets).run::<MR, NR, VR>(),
    }
}

/// A job and the backend it runs on.
struct Tiles<'a, S: Simd, C: Cell<S>, P: Path> {
    simd: S,
    job: &'a Job<'a, C::In, C::Out>,
    path: P,
    cell: PhantomData<C>,
}

impl<'a, S: Simd, C: Cell<S>, P: Path> Tiles<'a, S, C, P> {
    #[inline(always)]
    fn new(simd: S, job: &'a Job<'a, C::In, C::Out>, path: P) -> Self {
        Self { simd, job, path, cell: PhantomData }
    }

    #[inline(always)]
    fn run<const MR: usize, const NR: usize, const VR: usize>(&self) {
        let mut panel = 0;
        if self.job.rows.len() == 1 {
            while panel + VR <= self.job.panel_count {
                self.outlined::<1, VR>(0, panel);
                panel += VR;
            }
        }
        while panel + NR <= self.job.panel_count {
            self.column::<MR, NR>(panel);
            panel += NR;
        }
        while panel < self.job.panel_count {
            self.column::<MR, 1>(panel);
            panel += 1;
        }
    }

    /// All rows against `NR` panels.
    #[inline(always)]
    fn column<const MR: usize, const NR: usize>(&self, panel: usize) {
        let rows = self.job.rows.len();
        let mut row = 0;
        while row + MR <= rows {
            self.outlined::<MR, NR>(row, panel);
            row += MR;
        }
        row = self.rest::<MR, 8, NR>(row, panel);
        row = self.rest::<MR, 4, NR>(row, panel);
        row = self.rest::<MR, 2, NR>(row, panel);
        self.rest::<MR, 1, NR>(row, panel);
    }

    /// `LESS` of the rows that are left, where there are as many and they do not fill a whole tile; returns the next row.
    #[inline(always)]
    fn rest<const MR: usize, const LESS: usize, const NR: usize>(&self, row: usize, panel: usize) -> usize {
        if LESS < MR && row + LESS <= self.job.rows.len() {
            self.outlined::<LESS, NR>(row, panel);
            row + LESS
        } else {
            row
        }
    }

    /// The tile behind a feature boundary of its own, so that each shape is compiled by itself.
    #[inline(always)]
    fn outlined<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        self.simd.vectorize(
            #[inline(always)]
            || self.tile::<MR, NR>(row, panel),
        );
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job, path, .. } = *self;
        let len = path.len();
        let rows: [*const C::In; MR] = std::array::from_fn(
            #[inline(always)]
            |m| job.rows[row + m],
        );
        let mut totals = [[C::no_total(simd); NR]; MR];
        let mut partials = [[C::no_partial(simd); NR]; MR];
        // SAFETY: `panel + NR <= panel_count`, so every panel row read below lies in the panels that the job vouches for.
        let weights = unsafe { job.panels.add(panel * len * LANES) };
        let mut from = 0;
        while from < len {
            let to = if C::FLUSH == usize::MAX { len } else { len.min(from + C::FLUSH) };
            // SAFETY: the job vouches for every row along the path and for the panel rows beside it.
            unsafe { self.run_of::<MR, NR>(&mut partials, &rows, weights, from..to) };
            from = to;
            if from < len {
                Self::flush(simd, &mut totals, &mut partials);
            }
        }
        Self::flush(simd, &mut totals, &mut partials);
        // SAFETY: the job vouches for the results of every row and panel.
        unsafe {
            let to = job.results.add(row * job.stride + panel * LANES);
            if job.stream {
                Self::stream(simd, to, job.stride, &totals);
            } else {
                for m in 0..MR {
                    for p in 0..NR {
                        C::store(simd, to.add(m * job.stride + p * LANES), totals[m][p]);
                    }
                }
            }
        }
    }

    /// Stores a tile past the caches.
    ///
    /// # Safety
    /// As the results of a job.
    #[inline(always)]
    unsafe fn stream<const MR: usize, const NR: usize>(
        simd: S,
        to: *mut C::Out,
        stride: usize,
        totals: &[[C::Total; NR]; MR],
    ) {
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the caller vouches for the results of every row and panel.
                unsafe { C::stream(simd, to.add(m * stride + p * LANES), totals[m][p]) };
            }
        }
    }

    /// The inner loop: some elements of each row.
    ///
    /// # Safety
    /// Each row must be readable at these elements of the path, and each of the `NR` panels for their panel rows.
    #[inline(always)]
    unsafe fn run_of<const MR: usize, const NR: usize>(
        &self,
        partials: &mut [[C::Partial; NR]; MR],
        rows: &[*const C::In; MR],
        weights: *const C::In,
        elements: Range<usize>,
    ) {
        let mut k = elements.start;
        while k + C::UNROLL <= elements.end {
            for i in 0..C::UNROLL {
                // SAFETY: k + i is one of the elements.
                unsafe { self.element(partials, rows, weights, k + i) };
            }
            k += C::UNROLL;
        }
        while k < elements.end {
            // SAFETY: k is one of the elements.
            unsafe { self.element(partials, rows, weights, k) };
            k += 1;
        }
    }

    /// Element `k` of each row against its panel row.
    ///
    /// # Safety
    /// As [`Self::run_of`] with an element k.
    #[inline(always)]
    unsafe fn element<const MR: usize, const NR: usize>(
        &self,
        partials: &mut [[C::Partial; NR]; MR],
        rows: &[*const C::In; MR],
        weights: *const C::In,
        k: usize,
    ) {
        let simd = self.simd;
        let panel_len = self.path.len() * LANES;
        // SAFETY: the caller vouches for element k of the rows and panels.
        unsafe {
            let at = self.path.at(k);
            let weight: [C::Row; NR] = std::array::from_fn(
                #[inline(always)]
                |p| C::load(simd, weights.add(p * panel_len + k * LANES)),
            );
            for m in 0..MR {
                let activation = C::splat(simd, *rows[m].add(at));
                for p in 0..NR {
                    partials[m][p] = C::step(simd, partials[m][p], activation, weight[p]);
                }
            }
        }
    }

    #[inline(always)]
    fn flush<const MR: usize, const NR: usize>(
        simd: S,
        totals: &mut [[C::Total; NR]; MR],
        partials: &mut [[C::Partial; NR]; MR],
    ) {
        for m in 0..MR {
            for p in 0..NR {
                totals[m][p] = C::flush(simd, totals[m][p], partials[m][p]);
                partials[m][p] = C::no_partial(simd);
            }
        }
    }
}
