//! Exact zero padding for binary convolutions.
//!
//! A padded tap must add 0 to a dot product of signs, but packed planes know only +1 and -1, and padding is packed as +1
//! (zero bits). The kernel counts c, the differing bits over all taps of a window of n channels a tap; over the valid taps
//! alone the dot product is
//!
//! sum over valid taps (n - 2 c_t) = n * valid - 2 (c - sum over padded taps popcount(w_t)) = base - 2 c,
//! base = n * valid + 2 * (sum over padded taps popcount(w_t)),
//!
//! and base depends only on the filter and on which taps are valid. Windows with the same valid taps share a class; there
//! are few, since the valid taps of a window are a rectangle that depends on its row and column.

use crate::backends::{Backend, Isa, Op, dispatch};
use crate::error::Error;
use crate::memory::{bytes, filled, with_capacity};
use crate::shape::{Geometry, Padding};
use crate::simd::LANES;
use std::ops::Range;

/// The classes of a layer's windows and their bases.
#[derive(Debug, Default)]
pub(crate) struct Borders {
    /// `[weight basis][class][padded filter]`.
    bases: Vec<i32>,
    rows: Vec<u32>,
    columns: Vec<u32>,
    column_classes: usize,
    classes: usize,
    filters: usize,
}

/// The valid taps of an axis at output positions, each with the positions that have them; all taps where padding counts.
fn spans(
    geometry: &Geometry,
    axis: usize,
    out: [usize; 2],
    padding: Padding,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (window, size, out) = (geometry.window, [geometry.height, geometry.width][axis], out[axis]);
    let padded = (padding == Padding::ValidTaps).then(|| window.spans(axis, size, out));
    let plain = (padding == Padding::One).then(|| (0..window.kernel[axis], 0..out));
    padded.into_iter().flatten().chain(plain)
}

/// The distinct ranges of an axis and, for each output position, which of them it has.
fn classify(
    geometry: &Geometry,
    axis: usize,
    out: [usize; 2],
    padding: Padding,
) -> Result<(Vec<Range<usize>>, Vec<u32>), Error> {
    let mut distinct = with_capacity(spans(geometry, axis, out, padding).count())?;
    let mut of_position = with_capacity(out[axis])?;
    for (taps, positions) in spans(geometry, axis, out, padding) {
        of_position.resize(positions.end, distinct.len() as u32);
        distinct.push(taps);
    }
    Ok((distinct, of_position))
}

/// Values of a table of prefix sums over the taps of a panel.
fn prefix_len(geometry: &Geometry) -> usize {
    (geometry.window.kernel[0] + 1) * (geometry.window.kernel[1] + 1)
}

impl Borders {
    /// The most bytes that [`Self::new`] takes for `bases` weight bases, and those of a table with one value a class and
    /// filter.
    pub(crate) fn bytes(geometry: &Geometry, padding: Padding, out: [usize; 2], bases: usize) -> [usize; 2] {
        let classes = [0, 1].map(|axis| spans(geometry, axis, out, padding).count());
        let table = bytes::<i32>(&[classes[0], classes[1], geometry.padded_filters()]);
        let lists = bytes::<Range<usize>>(&[classes[0] + classes[1]]) + bytes::<u32>(&[out[0] + out[1]]);
        let prefix = bytes::<[i32; LANES]>(&[prefix_len(geometry)]);
        [table.saturating_mul(bases).saturating_add(lists + prefix), table]
    }

    /// Classes for an output of `out` rows and columns; reads the weights once if any tap is padded.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for them.
    pub(crate) fn new(
        isa: Isa,
        geometry: &Geometry,
        padding: Padding,
        out: [usize; 2],
        weights: &[&[u32]],
    ) -> Result<Self, Error> {
        let (row_ranges, rows) = classify(geometry, 0, out, padding)?;
        let (column_ranges, columns) = classify(geometry, 1, out, padding)?;
        let filters = geometry.padded_filters();
        let classes = row_ranges.len() * column_ranges.len();
        let all =
            |ranges: &[Range<usize>], axis| ranges.iter().all(|range| range.len() == geometry.window.kernel[axis]);
        let plain = all(&row_ranges, 0) && all(&column_ranges, 1);
        let mut bases = filled(weights.len() * classes * filters, geometry.depth() as i32)?;
        if !plain {
            let prefix = &mut filled(prefix_len(geometry), [0; LANES])?;
            for (panels, bases) in weights.iter().zip(bases.chunks_exact_mut(classes * filters)) {
                let (rows, columns) = (&row_ranges, &column_ranges);
                dispatch(isa, Bases { geometry, panels, rows, columns, prefix, bases });
            }
        }
        Ok(Self { bases, rows, columns, column_classes: column_ranges.len(), classes, filters })
    }

    /// How many classes of windows there are.
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// The bases of all padded filters for a weight basis and a class.
    #[inline(always)]
    pub(crate) fn of(&self, basis: usize, class: usize) -> &[i32] {
        &self.bases[(basis * self.classes + class) * self.filters..][..self.filters]
    }

    /// The classes of window after window, from output pixel `row` (counted row by row) on; with `pooled` of 2 x 2 windows
    /// after 2 x 2.
    #[inline(always)]
    pub(crate) fn from(&self, row: usize, pooled: bool) -> Classes<'_> {
        let side = if pooled { 2 } else { 1 };
        let width = self.columns.len() / side;
        let (y, x) = if self.classes == 1 { (0, 0) } else { (row / width, row % width) };
        Classes { borders: self, y: side * y, x: side * x }
    }

    #[inline(always)]
    fn class(&self, y: usize, x: usize) -> usize {
        self.rows[y] as usize * self.column_classes + self.columns[x] as usize
    }
}

/// Walks the windows of an output in order, without a division a window.
pub(crate) struct Classes<'a> {
    borders: &'a Borders,
    y: usize,
    x: usize,
}

impl Classes<'_> {
    /// The class of this window; then goes on to the next.
    #[inline(always)]
    pub(crate) fn advance(&mut self) -> usize {
        let borders = self.borders;
        let mut class = 0;
        if borders.classes > 1 {
            class = borders.class(self.y, self.x);
            self.x += 1;
            if self.x == borders.columns.len() {
                (self.y, self.x) = (self.y + 1, 0);
            }
        }
        class
    }

    /// The classes of this window, the one beside it and the two below; then goes on to the next 2 x 2.
    #[inline(always)]
    pub(crate) fn advance_pooled(&mut self) -> [usize; 4] {
        let Self { borders, y, x } = *self;
        if borders.classes == 1 {
            return [0; 4];
        }
        (self.y, self.x) = if x + 3 >= borders.columns.len() { (y + 2, 0) } else { (y, x + 2) };
        [borders.class(y, x), borders.class(y, x + 1), borders.class(y + 1, x), borders.class(y + 1, x + 1)]
    }
}

/// The bases of one weight basis, `[class][padded filter]`.
///
/// The valid taps of a class are a rectangle, so their set bits are a difference of prefix sums over rows and columns of
/// taps: each tap and each class is looked at once. As compiled for the instruction set: all weights of a model with padding
/// are counted before its first answer.
struct Bases<'a> {
    geometry: &'a Geometry,
    panels: &'a [u32],
    /// The ranges of valid taps of the classes.
    rows: &'a [Range<usize>],
    columns: &'a [Range<usize>],
    /// `[row][column]`: the set bits of the taps above and to the left, of the panel at hand. The first row and column are
    /// zeros and stay so.
    prefix: &'a mut [[i32; LANES]],
    bases: &'a mut [i32],
}

impl Op for Bases<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, _: S) {
        let Self { geometry, panels, rows, columns, prefix, bases } = self;
        let ([height, width], filters) = (geometry.window.kernel, geometry.padded_filters());
        let (tap_len, line, column_classes) = (geometry.group_words() * LANES, width + 1, columns.len());
        for (panel, taps) in panels.chunks_exact(height * width * tap_len).enumerate() {
            for (row, taps) in taps.chunks_exact(width * tap_len).enumerate() {
                let mut sums = [0i32; LANES];
                for (column, tap) in taps.chunks_exact(tap_len).enumerate() {
                    for words in tap.as_chunks::<LANES>().0 {
                        for lane in 0..LANES {
                            sums[lane] += words[lane].count_ones() as i32;
                        }
                    }
                    let above = prefix[row * line + column + 1];
                    let to = &mut prefix[(row + 1) * line + column + 1];
                    for lane in 0..LANES {
                        to[lane] = above[lane] + sums[lane];
                    }
                }
            }
            let at = |row: usize, column: usize| &prefix[row * line + column];
            let all = at(height, width);
            for (y, rows) in rows.iter().enumerate() {
                for (x, columns) in columns.iter().enumerate() {
                    let valid = (rows.len() * columns.len() * geometry.group_channels()) as i32;
                    let [[a, b], [c, d]] =
                        [rows.start, rows.end].map(|row| [columns.start, columns.end].map(|column| at(row, column)));
                    let class = y * column_classes + x;
                    let to = &mut bases[class * filters + panel * LANES..][..LANES];
                    for lane in 0..LANES {
                        let inside = a[lane] - b[lane] - c[lane] + d[lane];
                        to[lane] = valid + 2 * (all[lane] - inside);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Window;

    /// The base of each output pixel and filter by the definition at the top of this file, tap by tap.
    #[test]
    fn bases_are_sums_over_padded_taps() {
        let windows = [
            Window { kernel: [5, 4], dilation: [2, 1], padding: [6, 3, 9, 5], ..Window::square(1) },
            Window { kernel: [1, 9], stride: [1, 2], padding: [2, 8, 0, 8], ..Window::square(1) },
            Window::square(12).with_padding(11),
            Window::square(2).with_stride(3).with_padding(20),
        ];
        for window in windows {
            for (padding, groups) in [(Padding::ValidTaps, 1), (Padding::ValidTaps, 3), (Padding::One, 1)] {
                let geometry = Geometry { height: 4, width: 6, channels: 99, filters: 51, groups, window };
                let out = geometry.validate().unwrap();
                let (len, n) = (geometry.bit_panel_len(), geometry.group_channels() as i32);
                let words =
                    |seed: u32| (0..len as u32).map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9)).collect::<Vec<_>>();
                let panels = [words(1), words(7)];
                let borders = Borders::new(Isa::Portable, &geometry, padding, out, &[&panels[0], &panels[1]]).unwrap();
                let valid =
                    |axis, position, tap| padding == Padding::One || geometry.valid_taps(axis, position).contains(&tap);
                for (basis, panels) in panels.iter().enumerate() {
                    for (y, x) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
                        let found = borders.of(basis, borders.class(y, x));
                        let mut expected = vec![0; geometry.padded_filters()];
                        let rows = panels.chunks(geometry.group_words() * LANES).enumerate();
                        for (i, row) in rows {
                            let (panel, tap) = (i / window.taps(), i % window.taps());
                            let is_valid = valid(0, y, tap / window.kernel[1]) && valid(1, x, tap % window.kernel[1]);
                            for (at, word) in row.iter().enumerate() {
                                let set = 2 * word.count_ones() as i32;
                                expected[panel * LANES + at % LANES] += if is_valid { 0 } else { set };
                            }
                            expected[panel * LANES..][..LANES]
                                .iter_mut()
                                .for_each(|base| *base += n * i32::from(is_valid));
                        }
                        assert_eq!(found, expected, "{geometry:?}, {padding:?}, ({y}, {x})");
                    }
                }
            }
        }
    }

    /// Spans against positions one by one, over windows whose taps fall between pixels, outside, and all around.
    #[test]
    fn spans_are_the_ranges_of_all_positions() {
        for size in [1, 2, 3, 7, 20] {
            for [kernel, stride, dilation] in [[1, 1, 1], [3, 1, 1], [4, 3, 2], [7, 1, 5], [30, 2, 1], [2, 7, 13]] {
                for [before, after] in [[0, 0], [1, 1], [0, 40], [41, 2], [90, 90]] {
                    let window = Window {
                        kernel: [kernel; 2],
                        stride: [stride; 2],
                        dilation: [dilation; 2],
                        padding: [before, before, after, after],
                    };
                    let Ok([out, _]) = window.output(size, size) else { continue };
                    let mut all = Vec::new();
                    for (taps, positions) in window.spans(0, size, out) {
                        assert_eq!(positions.start, all.len(), "{window:?}");
                        assert_ne!(all.last(), Some(&taps), "{window:?}: two spans of the same taps");
                        all.resize(positions.end, taps);
                    }
                    let expected: Vec<_> = (0..out).map(|position| window.valid_taps(0, size, position)).collect();
                    assert_eq!(all, expected, "{window:?} on {size}");
                }
            }
        }
    }
}
