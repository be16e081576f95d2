//! Quantizing and packing whole layers' inputs: an image with shared planes, or windows with planes of their own.

use crate::Geometry;
use crate::panel::WORD_BITS;
use crate::residual::{Planes, add_magnitudes, image_scales, pack};
use crate::simd::{Op, Simd};
use crate::windows::Shared;
use std::ops::Range;

/// Whether all values are finite.
pub(crate) struct AllFinite<'a>(pub &'a [f32]);

impl Op for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
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
    fn run<S: Simd>(self, simd: S) {
        image_scales(simd, self.image, self.row_len, self.scales);
    }
}

/// Packs the planes of some rows of an image under given scales; false if a value is not finite.
pub(crate) struct PackPixels<'a> {
    pub geometry: &'a Geometry,
    pub image: &'a [f32],
    pub rows: Range<usize>,
    /// One an order.
    pub scales: &'a [f32],
    pub planes: &'a Shared<u32>,
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
    fn run<S: Simd>(self, simd: S) -> bool {
        let geometry = self.geometry;
        let (channels, words) = (geometry.group_channels(), geometry.group_words());
        let row = geometry.width * geometry.channels;
        let planes = Planes { words: self.planes.get(), plane: self.plane };
        let mut poison = simd.splat_float(0.0);
        for (y, image_row) in self.image[self.rows.start * row..self.rows.end * row].chunks_exact(row).enumerate() {
            // Channels that fill their words exactly lie in the plane as they lie in the image.
            let run = if channels == words * 32 { row } else { channels };
            for (i, run) in image_row.chunks_exact(run).enumerate() {
                // SAFETY: the planes hold every word of the image's rows, and these rows belong to this task alone.
                poison = simd.add(poison, unsafe {
                    pack(simd, run, self.scales, planes.at(self.first_word + y * self.row_len + i * words))
                });
            }
        }
        simd.sum(poison) == 0.0
    }
}

/// Finds the scales of some windows and packs their planes, taps side by side; false if a value is not finite.
///
/// The mean runs over the valid taps in order, each tap's channels starting at lane 0. Padded taps are packed as zero bits.
pub(crate) struct PackWindows<'a> {
    pub geometry: &'a Geometry,
    pub image: &'a [f32],
    /// Output pixels.
    pub rows: Range<usize>,
    pub out_width: usize,
    pub order: usize,
    /// `[plane][row][group][tap][word]`.
    pub planes: &'a Shared<u32>,
    /// Words of a plane.
    pub plane: usize,
    /// `[order][row][group]`.
    pub scales: &'a Shared<f32>,
    /// Rows times groups of the whole layer.
    pub lines: usize,
}

impl Op for PackWindows<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let mut finite = true;
        for row in self.rows.clone() {
            for group in 0..self.geometry.groups {
                finite &= self.window(simd, row, group);
            }
        }
        finite
    }
}

impl PackWindows<'_> {
    /// The channels of `taps` neighbouring valid taps of the window at output row `y` and column `x`.
    #[inline(always)]
    fn run_of(&self, y: usize, x: usize, group: usize, tap_row: usize, tap_column: usize, taps: usize) -> &[f32] {
        let (geometry, window) = (self.geometry, &self.geometry.window);
        let row = y * window.stride[0] + tap_row * window.dilation[0] - window.padding[0];
        let column = x * window.stride[1] + tap_column * window.dilation[1] - window.padding[1];
        let channels = geometry.group_channels();
        &self.image[(row * geometry.width + column) * geometry.channels + group * channels..][..channels * taps]
    }

    #[inline(always)]
    fn window<S: Simd>(&self, simd: S, row: usize, group: usize) -> bool {
        let geometry = self.geometry;
        let (channels, words) = (geometry.group_channels(), geometry.group_words());
        let window = &geometry.window;
        let (y, x) = (row / self.out_width, row % self.out_width);
        let (tap_rows, tap_columns) = (geometry.valid_taps(0, y), geometry.valid_taps(1, x));
        // Neighbouring taps whose channels fill whole words are one run: in memory, in the lanes and in the planes.
        let joined = geometry.groups == 1 && window.dilation[1] == 1 && channels == words * WORD_BITS;
        let taps = if joined { tap_columns.len().max(1) } else { 1 };
        let valid = tap_rows.len() * tap_columns.len();
        let mut scales = [0.0; crate::MAX_ORDER];
        for k in 0..if valid == 0 { 0 } else { self.order } {
            let mut lanes = simd.splat_float(0.0);
            for tap_row in tap_rows.clone() {
                for tap_column in tap_columns.clone().step_by(taps) {
                    let run = self.run_of(y, x, group, tap_row, tap_column, taps);
                    lanes = add_magnitudes(simd, lanes, run, &scales[..k]);
                }
            }
            scales[k] = simd.sum(lanes) / (valid * channels) as f32;
        }
        let line = row * geometry.groups + group;
        let line_len = window.taps() * words;
        // SAFETY: the line's words and scales lie in the planes and scales, and belong to this task alone.
        unsafe {
            let planes = Planes { words: self.planes.get(), plane: self.plane }.at(line * line_len);
            for k in 0..self.order {
                *self.scales.get().add(k * self.lines + line) = scales[k];
                if valid < window.taps() {
                    planes.words.add(k * self.plane).write_bytes(0, line_len);
                }
            }
            for tap_row in tap_rows {
                for tap_column in tap_columns.clone().step_by(taps) {
                    let run = self.run_of(y, x, group, tap_row, tap_column, taps);
                    let tap = tap_row * window.kernel[1] + tap_column;
                    pack(simd, run, &scales[..self.order], planes.at(tap * words));
                }
            }
        }
        scales.iter().all(|scale| scale.is_finite())
    }
}
