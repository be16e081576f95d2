//! Quantizing and packing whole layers' inputs: an image with shared planes, or windows with planes of their own.

use crate::backends::{Backend, Op};
use crate::binary::residual::{PlaneWords, Taps, image_scales, next_of_taps, next_plane, pack};
use crate::binary::scales::MAX_ORDER;
use crate::parallel::Disjoint;
use crate::shape::Geometry;
use crate::simd::{LANES, WORD_BITS};
use std::ops::Range;

/// Whether all values are finite.
pub(crate) struct AllFinite<'a>(pub &'a [f32]);

impl Op for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> bool {
        // Without an early end, so that it compiles to vector instructions.
        self.0.iter().fold(true, |finite, x| finite & x.is_finite())
    }
}

/// The scales of mode `image`.
pub(crate) struct ImageScales<'a> {
    pub image: &'a [f32],
    pub row_len: usize,
    pub scales: &'a mut [f32],
}

impl Op for ImageScales<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        image_scales(simd, self.image, self.row_len, self.scales);
    }
}

/// The mean over runs whose lanes are given, sixteen a run.
pub(crate) struct MeanOfLanes<'a> {
    pub lanes: &'a [f32],
    /// Elements of all runs.
    pub elements: usize,
}

impl Op for MeanOfLanes<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> f32 {
        let mut sum = simd.splat_float(0.0);
        for lanes in self.lanes.chunks_exact(LANES) {
            // SAFETY: a chunk holds sixteen values.
            sum = simd.add(sum, unsafe { simd.load_floats(lanes.as_ptr()) });
        }
        simd.sum(sum) / self.elements as f32
    }
}

/// Packs the next plane of some runs and stores the lanes of their residuals.
pub(crate) struct NextPlane<'a> {
    /// The values of all runs, one after another.
    pub values: &'a [f32],
    /// Values of a run.
    pub run: usize,
    pub runs: Range<usize>,
    /// One an order so far.
    pub scales: &'a [f32],
    pub planes: Disjoint<'a, u32>,
    /// Where the first run of all starts in a plane.
    pub first_word: usize,
    /// Words between neighbouring runs.
    pub step: usize,
    /// Words of a plane.
    pub plane: usize,
    /// `[run][16]`.
    pub lanes: Disjoint<'a, f32>,
}

impl Op for NextPlane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let planes = PlaneWords { words: self.planes, first: self.first_word, plane: self.plane };
        let mut at = self.runs.start;
        while at < self.runs.end {
            // SAFETY: the planes hold the words and `lanes` the lanes of every run, and these runs belong to this task alone.
            unsafe {
                let (first, second) = (planes.skip(at * self.step), planes.skip((at + 1) * self.step));
                let run = &self.values[at * self.run..][..self.run];
                let n = 2.min(self.runs.end - at);
                let lanes = self.lanes.at(at * LANES, n * LANES);
                if n == 2 {
                    let next = &self.values[(at + 1) * self.run..][..self.run];
                    let both = next_plane(simd, [run, next], self.scales, [first, second]);
                    simd.store_floats(lanes, both[0]);
                    simd.store_floats(lanes.add(LANES), both[1]);
                } else {
                    let [one] = next_plane(simd, [run], self.scales, [first]);
                    simd.store_floats(lanes, one);
                }
            }
            at += 2;
        }
    }
}

/// Packs the planes of some rows of an image under given scales; false if a value is not finite.
pub(crate) struct PackPixels<'a> {
    pub geometry: &'a Geometry,
    pub image: &'a [f32],
    pub rows: Range<usize>,
    /// One an order.
    pub scales: &'a [f32],
    pub planes: Disjoint<'a, u32>,
    /// Where the first of the rows starts in a plane.
    pub first_word: usize,
    /// Words of a row of a plane.
    pub row_len: usize,
    /// Words of a plane.
    pub plane: usize,
}

impl Op for PackPixels<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> bool {
        let geometry = self.geometry;
        let (channels, words) = (geometry.group_channels(), geometry.group_words());
        let row = geometry.width * geometry.channels;
        let planes = PlaneWords { words: self.planes, first: self.first_word, plane: self.plane };
        let mut poison = simd.splat_float(0.0);
        for (y, image_row) in self.image[self.rows.start * row..self.rows.end * row].chunks_exact(row).enumerate() {
            // Channels that fill their words exactly lie in the plane as they lie in the image.
            let run = if channels == words * WORD_BITS { row } else { channels };
            for (i, run) in image_row.chunks_exact(run).enumerate() {
                // SAFETY: the planes hold every word of the image's rows, and these rows belong to this task alone.
                poison = simd
                    .add(poison, unsafe { pack(simd, run, self.scales, planes.skip(y * self.row_len + i * words)) });
            }
        }
        simd.sum(poison) == 0.0
    }
}

/// Finds the scales of some windows and packs their planes, taps side by side; false if a scale is not finite.
///
/// The first plane and the lanes of its mean are those of the pixels, which all windows share: a window copies the words and
/// adds the lanes of its valid taps. Padded taps are packed as zero bits.
pub(crate) struct PackWindows<'a> {
    pub geometry: &'a Geometry,
    pub image: &'a [f32],
    /// The first plane: `[pixel][group][word]`.
    pub signs: &'a [u32],
    /// Magnitudes: `[pixel][group][16]`.
    pub lanes: &'a [f32],
    /// Output pixels.
    pub rows: Range<usize>,
    pub out_width: usize,
    pub order: usize,
    /// `[plane][row][group][tap][word]`.
    pub planes: Disjoint<'a, u32>,
    /// Words of a plane.
    pub plane: usize,
    /// `[order][row][group]`.
    pub scales: Disjoint<'a, f32>,
    /// Rows times groups of the whole layer.
    pub lines: usize,
}

/// Windows whose planes of one order are found before those of the next: while the mean of one window is still being added up,
/// the next one can begin. Their values under 3 x 3 taps of 64 channels take 8 KiB, a quarter of an L1 cache.
const WINDOWS_TOGETHER: usize = 8;

impl Op for PackWindows<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> bool {
        let mut finite = true;
        let mut from = self.rows.start;
        while from < self.rows.end {
            let to = self.rows.end.min(from + WINDOWS_TOGETHER);
            for k in 0..self.order {
                for row in from..to {
                    for group in 0..self.geometry.groups {
                        finite &= self.plane(simd, k, row, group);
                    }
                }
            }
            from = to;
        }
        finite
    }
}

impl PackWindows<'_> {
    /// Packs plane `k`, counted from 0, of a window and finds its scale, after those of the planes before; false if it is not
    /// finite.
    #[inline(always)]
    fn plane<S: Backend>(&self, simd: S, k: usize, row: usize, group: usize) -> bool {
        let geometry = self.geometry;
        let (channels, words) = (geometry.group_channels(), geometry.group_words());
        let window = &geometry.window;
        let (y, x) = (row / self.out_width, row % self.out_width);
        let (tap_rows, tap_columns) = (geometry.valid_taps(0, y), geometry.valid_taps(1, x));
        let valid = tap_rows.len() * tap_columns.len();
        let line = row * geometry.groups + group;
        let line_len = window.taps() * words;
        let planes = PlaneWords { words: self.planes, first: line * line_len, plane: self.plane };
        // SAFETY: the line's words and scales lie in the planes and scales, belong to this task alone, and the scales of the
        // planes before `k` have been written.
        unsafe {
            if valid < window.taps() {
                self.planes.at(line * line_len + k * self.plane, line_len).write_bytes(0, line_len);
            }
            let mut scales = [0.0; MAX_ORDER];
            for j in 0..k {
                scales[j] = *self.scales.at(j * self.lines + line, 1);
            }
            let lanes = if valid == 0 {
                simd.splat_float(0.0)
            } else {
                let tap = [tap_rows.start, tap_columns.start];
                let run = self.run_of([y, x], tap) + group;
                let [down, right] =
                    [window.dilation[0] * geometry.width, window.dilation[1]].map(|by| by * geometry.groups);
                let taps = Taps {
                    values: &self.image[run * channels..],
                    channels,
                    counts: [tap_rows.len(), tap_columns.len()],
                    steps: [down * channels, right * channels],
                    planes: planes.skip((tap[0] * window.kernel[1] + tap[1]) * words),
                    word_steps: [window.kernel[1] * words, words],
                };
                if k == 0 {
                    self.first(simd, &taps, run, [down, right])
                } else {
                    next_of_taps(simd, taps, &scales[..k])
                }
            };
            let scale = if valid == 0 { 0.0 } else { simd.sum(lanes) / (valid * channels) as f32 };
            *self.scales.at(k * self.lines + line, 1) = scale;
            scale.is_finite()
        }
    }

    /// The run of the first group's channels of the pixel under a valid tap of a window.
    #[inline(always)]
    fn run_of(&self, out: [usize; 2], tap: [usize; 2]) -> usize {
        let window = &self.geometry.window;
        let row = out[0] * window.stride[0] + tap[0] * window.dilation[0] - window.padding[0];
        let column = out[1] * window.stride[1] + tap[1] * window.dilation[1] - window.padding[1];
        (row * self.geometry.width + column) * self.geometry.groups
    }

    /// Copies the first plane of the taps of a window, whose first is run `run` and whose runs are `steps` apart, and adds their
    /// lanes.
    ///
    /// # Safety
    /// The words of the taps must lie in the planes and belong to this task alone.
    #[inline(always)]
    unsafe fn first<S: Backend>(&self, simd: S, taps: &Taps<'_>, run: usize, steps: [usize; 2]) -> S::Floats {
        let words = self.geometry.group_words();
        let ([rows, columns], [down, right]) = (taps.counts, steps);
        let end = run + (rows - 1) * down + (columns - 1) * right + 1;
        let signs = self.signs[run * words..end * words].as_ptr();
        let of_taps = self.lanes[run * LANES..end * LANES].as_ptr();
        let mut lanes = simd.splat_float(0.0);
        for i in 0..rows {
            for j in 0..columns {
                let at = i * down + j * right;
                let to = taps.planes.skip(i * taps.word_steps[0] + j * taps.word_steps[1]);
                // SAFETY: the slices end behind the last tap; the caller guarantees the words.
                unsafe {
                    lanes = simd.add(lanes, simd.load_floats(of_taps.add(at * LANES)));
                    copy_words(signs.add(at * words), to.at(0, 0), words);
                }
            }
        }
        lanes
    }
}

/// Copies a few words without a call for them.
///
/// # Safety
/// `from` must be readable and `to` writable for `words` words, and they must not overlap.
#[inline(always)]
unsafe fn copy_words(from: *const u32, to: *mut u32, words: usize) {
    // SAFETY: the caller guarantees the words.
    unsafe {
        match words {
            1 => *to = *from,
            2 => to.cast::<[u32; 2]>().write(from.cast::<[u32; 2]>().read()),
            4 => to.cast::<[u32; 4]>().write(from.cast::<[u32; 4]>().read()),
            _ => to.copy_from_nonoverlapping(from, words),
        }
    }
}
