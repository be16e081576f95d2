//! One task of a binary layer: some rows times some panels of a group, from packed planes to stored f32.

use crate::binary_conv::BinaryCall;
use crate::borders::Borders;
use crate::clock::{Stage, timed};
use crate::epilogue::apply;
use crate::panel::LANES;
use crate::simd::{Op, Simd};
use crate::tile::BitJob;
use crate::windows::{ROW_GROUP, ROWS, Shared, Windows};
use crate::{Geometry, MAX_ORDER};
use std::mem::MaybeUninit;
use std::ops::Range;

/// The scales of a layer: one an order, or one an order, row and group.
#[derive(Clone, Copy)]
pub(crate) struct RowScales<'a> {
    pub scales: &'a [f32],
    pub by_window: bool,
    /// Rows times groups.
    pub lines: usize,
}

impl RowScales<'_> {
    /// b_{k+1} of a row and group, `line` being row * groups + group.
    #[inline(always)]
    fn of(&self, k: usize, line: usize) -> f32 {
        if self.by_window { self.scales[k * self.lines + line] } else { self.scales[k] }
    }
}

pub(crate) struct BinaryTask<'a> {
    pub call: &'a BinaryCall<'a>,
    pub geometry: &'a Geometry,
    /// How windows lie in the planes; none where each row has its words to itself.
    pub windows: Option<&'a Windows>,
    pub borders: &'a Borders,
    /// Packed planes.
    pub words: &'a [u32],
    /// Words of a plane.
    pub plane: usize,
    pub scales: RowScales<'a>,
    pub output: &'a Shared<f32>,
    pub first_output: usize,
    pub group: usize,
    /// The first panel, counted within the group.
    pub first_panel: usize,
    pub panels: usize,
    pub rows: Range<usize>,
}

/// The buffers of a task: on its thread's stack, small enough for the L1 cache.
///
/// Uninitialised, because clearing them would cost a small layer more than its products do. Every count that is read was
/// written by the tiles of the same basis, every sum by the basis before.
struct Buffers {
    counts: [MaybeUninit<i32>; ROWS * ROW_GROUP * LANES],
    /// Sums over the weight bases so far; used where there are several.
    sums: [MaybeUninit<f32>; ROWS * ROW_GROUP * LANES],
}

impl Op for BinaryTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let order = self.call.order;
        let mut buffers = Buffers { counts: [MaybeUninit::uninit(); _], sums: [MaybeUninit::uninit(); _] };
        // The planes of a row are rows of the tile: all of a block's rows of one plane, then of the next.
        let rows_of_block = ROWS / order;
        let mut from = self.rows.start;
        while from < self.rows.end {
            let n = rows_of_block.min(self.rows.end - from);
            let mut pointers = [std::ptr::null(); ROWS];
            for k in 0..order {
                for i in 0..n {
                    pointers[k * n + i] = self.words[k * self.plane + self.first_word(from + i)..].as_ptr();
                }
            }
            for basis in 0..self.call.bases.len() {
                timed(
                    self.call.clock,
                    Stage::Bits,
                    #[inline(always)]
                    || self.count(simd, basis, &pointers[..n * order], &mut buffers),
                );
                timed(
                    self.call.clock,
                    Stage::Epilogue,
                    #[inline(always)]
                    || self.finish(simd, basis, from, n, &mut buffers),
                );
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

    #[inline(always)]
    fn first_word(&self, row: usize) -> usize {
        match self.windows {
            Some(windows) => windows.first(row, self.group),
            None => (row * self.geometry.groups + self.group) * self.line_len(),
        }
    }

    #[inline(always)]
    fn count<S: Simd>(&self, simd: S, basis: usize, rows: &[*const u32], buffers: &mut Buffers) {
        let panel_len = self.line_len() * LANES;
        let panel = self.group * self.geometry.group_panels() + self.first_panel;
        let panels = &self.call.bases[basis].panels[panel * panel_len..][..self.panels * panel_len];
        let whole = ([0], self.line_len());
        let (segments, segment_len) = match self.windows {
            Some(windows) => (&windows.segments[..], windows.segment_len),
            None => (&whole.0[..], whole.1),
        };
        // The windows of a validated geometry end inside the padded planes, `panels` was just sliced to the panels' length,
        // and `counts` holds ROWS rows of up to ROW_GROUP panels.
        simd.bits(&BitJob {
            rows,
            segments,
            segment_len,
            panels: panels.as_ptr(),
            panel_count: self.panels,
            results: buffers.counts.as_mut_ptr().cast(),
            stride: self.panels * LANES,
            stream: false,
        });
    }

    /// alpha_l sum_k b_k (base - 2 count), added to the bases before; after the last one the epilogue and the store.
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, basis: usize, from: usize, n: usize, buffers: &mut Buffers) {
        match self.call.order {
            1 => self.finish_order::<S, 1>(simd, basis, from, n, buffers),
            2 => self.finish_order::<S, 2>(simd, basis, from, n, buffers),
            3 => self.finish_order::<S, 3>(simd, basis, from, n, buffers),
            4 => self.finish_order::<S, 4>(simd, basis, from, n, buffers),
            5 => self.finish_order::<S, 5>(simd, basis, from, n, buffers),
            6 => self.finish_order::<S, 6>(simd, basis, from, n, buffers),
            7 => self.finish_order::<S, 7>(simd, basis, from, n, buffers),
            _ => self.finish_order::<S, MAX_ORDER>(simd, basis, from, n, buffers),
        }
    }

    #[inline(always)]
    fn finish_order<S: Simd, const K: usize>(
        &self,
        simd: S,
        basis: usize,
        from: usize,
        n: usize,
        buffers: &mut Buffers,
    ) {
        let geometry = self.geometry;
        let stride = self.panels * LANES;
        let last = basis + 1 == self.call.bases.len();
        let alpha = self.call.bases[basis].alpha;
        let first_lane = self.first_panel * LANES;
        let first_filter = self.group * geometry.group_panels() * LANES + first_lane;
        let mut classes = self.borders.from(from);
        for i in 0..n {
            let row = from + i;
            let border = classes.next(basis);
            let scales: [S::Floats; K] = std::array::from_fn(
                #[inline(always)]
                |k| simd.splat_float(self.scales.of(k, row * geometry.groups + self.group)),
            );
            let first_output =
                self.first_output + row * geometry.filters + self.group * geometry.group_filters() + first_lane;
            for p in 0..self.panels {
                let filter = first_filter + p * LANES;
                // SAFETY: `border` and `alpha` hold a value a padded filter, `counts` and `sums` n rows a plane of `stride`
                // values; `Epilogue::check` made sure of the steps' vectors; the output values of this row and panel lie
                // in the output and belong to this task alone.
                unsafe {
                    let mut sum = simd.splat_float(0.0);
                    for k in 0..K {
                        let count = buffers.counts.as_ptr().cast::<i32>().add((k * n + i) * stride + p * LANES);
                        let products = simd.sums(border.as_ptr().add(filter), count);
                        sum = simd.add(sum, simd.mul(scales[k], products));
                    }
                    let mut y = simd.mul(simd.load_floats(alpha.as_ptr().add(filter)), sum);
                    let so_far = buffers.sums.as_mut_ptr().cast::<f32>().add(i * stride + p * LANES);
                    if basis > 0 {
                        y = simd.add(simd.load_floats(so_far), y);
                    }
                    if !last {
                        simd.store_floats(so_far, y);
                        continue;
                    }
                    let lanes = LANES.min(geometry.group_filters() - first_lane - p * LANES);
                    let at = first_output + p * LANES;
                    let y = apply(simd, self.call.epilogue.steps, y, filter, at, lanes);
                    let to = self.output.get().add(at);
                    if lanes == LANES { simd.store_floats(to, y) } else { simd.store_first(to, y, lanes) }
                }
            }
        }
    }
}
