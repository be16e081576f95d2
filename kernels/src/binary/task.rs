//! One task of a binary layer: some rows times some panels of a group, from packed planes to stored f32.

mod sums;

use self::sums::SumStage;
use crate::backends::{Backend, Op};
use crate::binary::borders::{Borders, Classes};
use crate::binary::handover::PackInto;
use crate::binary::spec::{BinaryCall, Packing};
use crate::binary::tables::TableWeights;
use crate::binary::thresholds::Thresholds;
use crate::clock::{Stage, Timer};
use crate::parallel::{Disjoint, ROW_GROUP, ROWS};
use crate::shape::{Block, Geometry, Starts, Walk, Windows};
use crate::simd::LANES;
use crate::tiles::bits::{BitOperands, Results};
use crate::tiles::tables::{DEPTH, TABLE_WORDS, byte_panels_len};
use crate::tiles::{Job, Output, TOGETHER, TableOperands};
use std::mem::MaybeUninit;

/// Windows under a pool.
const POOLED: usize = 4;

/// The scales of a layer: one an order, or one an order, row and group.
#[derive(Clone, Copy)]
pub(crate) struct RowScales<'a> {
    pub scales: &'a [f32],
    pub by_window: bool,
    /// Rows times groups.
    pub lines: usize,
}

impl RowScales<'_> {
    /// The scales of a task's rows from `row` on.
    #[inline(always)]
    fn from(&self, task: &BinaryTask<'_>, row: usize) -> Scales {
        let groups = task.geometry.groups;
        if self.by_window {
            Scales { first: self.scales[row * groups + task.block.group..].as_ptr(), plane: self.lines, row: groups }
        } else {
            Scales { first: self.scales.as_ptr(), plane: 1, row: 0 }
        }
    }
}

/// The scales of neighbouring rows.
struct Scales {
    first: *const f32,
    /// Values between the scales of neighbouring planes.
    plane: usize,
    /// Values between the scales of neighbouring rows.
    row: usize,
}

impl Scales {
    /// b_{k+1} of row `i`.
    ///
    /// # Safety
    /// The row and the plane must be the layer's.
    #[inline(always)]
    unsafe fn of(&self, k: usize, i: usize) -> f32 {
        // SAFETY: the caller keeps the row and the plane in bounds.
        unsafe { *self.first.add(k * self.plane + i * self.row) }
    }
}

pub(crate) struct BinaryTask<'a> {
    pub call: &'a BinaryCall<'a>,
    pub geometry: &'a Geometry,
    /// How windows lie in the planes; none where each row has its words to itself.
    pub windows: Option<&'a Windows>,
    /// Where the words of a row lie.
    pub walk: Walk<'a>,
    pub borders: &'a Borders,
    /// Packed planes, or tables.
    pub words: &'a [u32],
    /// The word of a plane whose tables come first in `words`; 0 for planes.
    pub first_word: usize,
    /// The weights as tables take them, if `words` are tables.
    pub tables: Option<&'a TableWeights>,
    /// [`crate::BinarySpec::pool`].
    pub pool: Option<usize>,
    /// Whether planes count 2^(K-1), .. 2, 1 times ([`crate::ScaleMode::Halving`]).
    pub halves: bool,
    /// Words of a plane.
    pub plane: usize,
    pub scales: RowScales<'a>,
    /// None where the output is only packed.
    pub output: Option<Disjoint<'a, f32>>,
    pub first_output: usize,
    /// Which sample of the call this is; for a matrix product the first of all.
    pub sample: usize,
    /// What to multiply; its rows are output pixels after a pool.
    pub block: Block,
}

/// Signs that are decided by thresholds on counts, row after row.
struct Signs<'a> {
    thresholds: &'a Thresholds,
    into: &'a PackInto<'a>,
    classes: Classes<'a>,
    places: Starts,
}

/// The buffers of a task: on its thread's stack, small enough for the L1 cache.
///
/// Uninitialised, because clearing them would cost a small layer more than its products do. Every count that is read was
/// written by the tiles of the same basis, every sum by the basis before.
#[repr(align(64))]
struct Buffers {
    counts: [MaybeUninit<i32>; ROWS * ROW_GROUP * LANES],
    /// Sums over the weight bases so far; used where there are several.
    sums: [MaybeUninit<f32>; ROWS * ROW_GROUP * LANES],
}

impl Op for BinaryTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let planes = self.planes();
        let mut signs = self.signs();
        let mut buffers = Buffers { counts: [MaybeUninit::uninit(); _], sums: [MaybeUninit::uninit(); _] };
        // The planes of a row are rows of the tile: all of a block's rows of one plane, then of the next.
        let joined = if self.pool.is_some() { POOLED } else { 1 };
        let rows_of_block = if self.tables.is_some() { S::TABLES.rows } else { ROWS / planes } / joined;
        let line_len = self.line_len();
        let mut from = self.block.rows.start;
        let mut starts = match self.windows {
            Some(windows) => windows.starts(from, self.block.group),
            None => Starts::evenly(
                (from * self.geometry.groups + self.block.group) * line_len,
                self.geometry.groups * line_len,
            ),
        };
        while from < self.block.rows.end {
            let n = rows_of_block.min(self.block.rows.end - from);
            let windows = n * joined;
            let mut pointers = [std::ptr::null(); ROWS];
            // Two loops, here and in `by_class`: one for both costs layers that do not pool two to four per cent (56 x 56 x 64 at
            // order 1, Zen 4).
            match self.windows {
                Some(placed) if self.pool.is_some() => {
                    for i in 0..n {
                        let first = starts.advance();
                        for (j, to_window) in placed.joined().iter().enumerate() {
                            self.point(&mut pointers, windows, i * POOLED + j, first + to_window);
                        }
                    }
                }
                _ => {
                    for i in 0..n {
                        self.point(&mut pointers, windows, i, starts.advance());
                    }
                }
            }
            if let Some(signs) = &mut signs {
                let _timer = Timer::new(self.call.clock, Stage::Bits);
                self.compare(simd, signs, &pointers[..windows], n);
                from += n;
                continue;
            }
            for basis in 0..self.call.bases.len() {
                {
                    let _timer = Timer::new(self.call.clock, Stage::Bits);
                    let (to, stride) = (buffers.counts.as_mut_ptr().cast(), self.stride::<S>());
                    let results = Results::Counts { to, stride, stream: false };
                    let rows = &pointers[..windows * planes];
                    // SAFETY: the rows are windows, and the counts have room for ROWS rows of up to ROW_GROUP panels, or for
                    // those of a backend's form of tables and as many panels as it leaves room for.
                    unsafe {
                        match self.tables {
                            Some(tables) => self.look_up(simd, tables, basis, rows, to, stride),
                            None => self.count(simd, basis, rows, results),
                        }
                    }
                }
                let _timer = Timer::new(self.call.clock, Stage::Epilogue);
                self.finish(simd, basis, from, n, &mut buffers);
            }
            from += n;
        }
    }
}

impl BinaryTask<'_> {
    /// Words of a window in one group.
    #[inline(always)]
    fn line_len(&self) -> usize {
        self.geometry.window.taps() * self.geometry.group_words()
    }

    /// Planes that have counts of their own.
    #[inline(always)]
    fn planes(&self) -> usize {
        if self.tables.is_some() { 1 } else { self.call.order }
    }

    /// Values between neighbouring rows of the buffers.
    #[inline(always)]
    fn stride<S: Backend>(&self) -> usize {
        let filters = self.block.panels * LANES;
        if self.tables.is_some() { filters.next_multiple_of(S::TABLES.lanes) } else { filters }
    }

    /// Sums the tables of windows under a weight basis: what the counts of all planes come to together.
    ///
    /// # Safety
    /// `rows` must be tables of windows, and `counts` writable for a row of the buffers at each multiple of `stride`.
    #[inline(always)]
    unsafe fn look_up<S: Backend>(
        &self,
        simd: S,
        tables: &TableWeights,
        basis: usize,
        rows: &[*const u32],
        counts: *mut i32,
        stride: usize,
    ) {
        let (words, lanes) = (tables.offsets.len(), S::TABLES.lanes);
        let of_panel = byte_panels_len(1, 1, words, lanes);
        let of_group = byte_panels_len(1, self.geometry.group_panels(), words, lanes);
        let first = self.block.group * of_group + self.block.first_panel * LANES / lanes * of_panel;
        let panel_count = stride / lanes;
        let weights = tables.basis(basis, self.call.bases[basis].panels);
        let weights = &weights[first..first + panel_count * of_panel];
        for (i, offsets) in tables.offsets.chunks(DEPTH).enumerate() {
            // SAFETY: the windows of a validated geometry end inside the padded image, every word of which has its tables;
            // `weights` was just sliced to the panels' length, and the caller guarantees the counts.
            let job = unsafe {
                Job::new(TableOperands {
                    rows,
                    offsets,
                    weights: weights[i * DEPTH * of_panel / words..].as_ptr(),
                    panel_len: of_panel,
                    panel_count,
                    order: self.call.order,
                    counts,
                    stride,
                    first: i == 0,
                })
            };
            simd.tables(&job);
        }
    }

    /// Counts the bits in which windows differ from a weight basis.
    ///
    /// # Safety
    /// `rows` must be windows of the planes, and `results` hold what [`Results`] says for them and the panels of the block.
    #[inline(always)]
    unsafe fn count<S: Backend>(&self, simd: S, basis: usize, rows: &[*const u32], results: Results<'_>) {
        let panel_len = self.line_len() * LANES;
        let panel = self.block.panel(self.geometry);
        let panels = &self.call.bases[basis].panels[panel * panel_len..][..self.block.panels * panel_len];
        let (panels, panel_count) = (panels.as_ptr(), self.block.panels);
        // SAFETY: the windows of a validated geometry end inside the padded planes, `panels` was just sliced to the panels'
        // length, and the caller guarantees the results.
        let job = unsafe { Job::new(BitOperands { rows, walk: self.walk, panels, panel_count, results }) };
        simd.bits(&job);
    }

    /// Points at the words of a window in each plane: of a block of `windows`, plane by plane; or at its tables.
    #[inline(always)]
    fn point(&self, pointers: &mut [*const u32; ROWS], windows: usize, window: usize, first: usize) {
        if self.tables.is_some() {
            pointers[window] = self.words[(first - self.first_word) * TABLE_WORDS..].as_ptr();
            return;
        }
        for k in 0..self.call.order {
            pointers[k * windows + window] = self.words[k * self.plane + first..].as_ptr();
        }
    }

    /// What it takes to decide signs by thresholds, if that is all this task is to do.
    #[inline(always)]
    fn signs(&self) -> Option<Signs<'_>> {
        match (self.call.pack, self.output, self.call.order) {
            (Some(Packing { into, thresholds: Some(thresholds) }), None, 1)
                if into.order() == 1 && self.tables.is_none() =>
            {
                let from = self.block.rows.start;
                let classes = self.borders.from(from, self.pool.is_some());
                Some(Signs { thresholds, into, classes, places: self.places(into, from) })
            }
            _ => None,
        }
    }

    /// Where the outputs of rows lie in planes, from row `from` on.
    #[inline(always)]
    fn places(&self, into: &PackInto<'_>, from: usize) -> Starts {
        // The rows of a matrix product are the pixels of one sample to the task, and samples of a pixel to the planes.
        let [height, width, _] = into.shape();
        if height * width == 1 { into.samples(self.sample + from) } else { into.pixels(self.sample, from) }
    }

    /// What `of` makes of the class of every window of the next output pixels, as many as `to` holds.
    #[inline(always)]
    fn by_class<T>(&self, classes: &mut Classes<'_>, to: &mut [*const T], of: impl Fn(usize) -> *const T) {
        if self.pool.is_none() {
            for to in to {
                *to = of(classes.advance());
            }
            return;
        }
        for to in to.as_chunks_mut::<POOLED>().0 {
            *to = classes.advance_pooled().map(&of);
        }
    }

    /// Packs the signs of a block of `n` outputs, decided while the counts are in registers.
    #[inline(always)]
    fn compare<S: Backend>(&self, simd: S, signs: &mut Signs<'_>, rows: &[*const u32], n: usize) {
        let filter = self.block.panel(self.geometry) * LANES;
        let half = PackInto::half(self.block.channel(self.geometry));
        let Signs { thresholds, into, classes, places } = signs;
        let mut limits = [std::ptr::null(); ROWS];
        self.by_class(
            classes,
            &mut limits[..rows.len()],
            #[inline(always)]
            |class| thresholds.of(class)[filter..].as_ptr(),
        );
        let mut outputs = [std::ptr::null_mut(); ROWS];
        for to in &mut outputs[..n] {
            // SAFETY: a pixel of the layout; the signs of these filters belong to this task alone.
            *to = unsafe { into.halves(0, places.advance(), half, self.block.panels) };
        }
        let panels = filter / LANES..filter / LANES + self.block.panels;
        let (limits, flips) = (&limits[..rows.len()], &thresholds.flips()[panels.clone()]);
        if self.pool.is_none() {
            // SAFETY: the thresholds hold a value a padded filter, and the outputs a half a panel.
            return unsafe { self.count(simd, 0, rows, Results::Signs { limits, to: &outputs[..n], flips }) };
        }
        let mut of_windows = [[0; ROW_GROUP]; ROWS];
        let mut to = [std::ptr::null_mut(); ROWS];
        for (to, signs) in to.iter_mut().zip(&mut of_windows) {
            *to = signs.as_mut_ptr();
        }
        // SAFETY: the thresholds hold a value a padded filter, and a window's signs a half a panel.
        unsafe { self.count(simd, 0, rows, Results::Signs { limits, to: &to[..rows.len()], flips }) };
        let joined = &thresholds.any()[panels];
        for (to, windows) in outputs[..n].iter().zip(of_windows.as_chunks::<POOLED>().0) {
            for (p, any) in joined.iter().enumerate() {
                let (mut all, mut one) = (u16::MAX, 0);
                for window in windows {
                    (all, one) = (all & window[p], one | window[p]);
                }
                // SAFETY: the outputs hold a half a panel, which belong to this task alone.
                unsafe { *to.add(p) = all & !any | one & any };
            }
        }
    }

    /// alpha_l sum_k b_k (base - 2 count), or what [`SumStage::halving`] makes of the counts, added to the bases before; after the last one the epilogue and the store.
    #[inline(always)]
    fn finish<S: Backend>(&self, simd: S, basis: usize, from: usize, n: usize, buffers: &mut Buffers) {
        let mut pixels = [0; ROWS];
        if let Some(pack) = self.call.pack {
            let mut places = self.places(pack.into, from);
            for pixel in &mut pixels[..n] {
                *pixel = places.advance();
            }
        }
        let mut borders = [std::ptr::null(); ROWS];
        let windows = if self.pool.is_some() { n * POOLED } else { n };
        self.by_class(
            &mut self.borders.from(from, self.pool.is_some()),
            &mut borders[..windows],
            #[inline(always)]
            |class| self.borders.of(basis, class).as_ptr(),
        );
        let stage = SumStage { task: self, basis, windows, borders: &borders, scales: self.scales.from(self, from) };
        let steps = &self.call.epilogue.steps[self.pool.unwrap_or(0)..];
        let output = Output::new(self.geometry, &self.block, steps, self.output, self.first_output, from);
        for p in 0..self.block.panels {
            let mut i = 0;
            while i < n {
                // SAFETY: the output values of these rows and this panel lie in the output and belong to this task alone;
                // `Epilogue::check` made sure of the steps' vectors.
                unsafe {
                    if i + TOGETHER <= n {
                        stage.store::<S, TOGETHER>(simd, &output, p, i, &pixels, buffers);
                        i += TOGETHER;
                    } else {
                        stage.store::<S, 1>(simd, &output, p, i, &pixels, buffers);
                        i += 1;
                    }
                }
            }
        }
    }
}
