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

use crate::panel::LANES;
use crate::simd::{Op, Simd, dispatch};
use crate::{Geometry, Isa, Padding};
use std::ops::Range;

/// The classes of a layer's windows and their bases.
#[derive(Debug)]
pub(crate) struct Borders {
    /// `[weight basis][class][padded filter]`.
    bases: Vec<i32>,
    rows: Vec<u32>,
    columns: Vec<u32>,
    column_classes: usize,
    classes: usize,
    filters: usize,
}

impl Geometry {
    /// The valid taps of an axis (0: rows, 1: columns) at an output position.
    #[inline(always)]
    pub(crate) fn valid_taps(&self, axis: usize, position: usize) -> Range<usize> {
        self.window.valid_taps(axis, [self.height, self.width][axis], position)
    }
}

/// The distinct ranges of an axis and, for each output position, which of them it has.
fn classify(geometry: &Geometry, axis: usize, out: usize, padding: Padding) -> (Vec<Range<usize>>, Vec<u32>) {
    let mut distinct: Vec<Range<usize>> = Vec::new();
    let of_position = (0..out).map(|position| {
        let range = match padding {
            Padding::ValidTaps => geometry.valid_taps(axis, position),
            Padding::One => 0..geometry.window.kernel[axis],
        };
        let known = distinct.iter().position(|known| *known == range);
        known.unwrap_or_else(|| {
            distinct.push(range);
            distinct.len() - 1
        }) as u32
    });
    let of_position = of_position.collect();
    (distinct, of_position)
}

impl Borders {
    /// Classes for an output of `out` rows and columns; reads the weights once if any tap is padded.
    pub(crate) fn new(isa: Isa, geometry: &Geometry, padding: Padding, out: [usize; 2], weights: &[&[u32]]) -> Self {
        let (row_ranges, rows) = classify(geometry, 0, out[0], padding);
        let (column_ranges, columns) = classify(geometry, 1, out[1], padding);
        let (taps, filters) = (geometry.window.taps(), geometry.padded_filters());
        let classes = row_ranges.len() * column_ranges.len();
        let all =
            |ranges: &[Range<usize>], axis| ranges.iter().all(|range| range.len() == geometry.window.kernel[axis]);
        let padded = !(all(&row_ranges, 0) && all(&column_ranges, 1));
        let mut bases = Vec::with_capacity(weights.len() * classes * filters);
        for panels in weights {
            let counts = if padded { dispatch(isa, TapCounts { geometry, panels }) } else { Vec::new() };
            for rows in &row_ranges {
                for columns in &column_ranges {
                    let valid = (rows.len() * columns.len() * geometry.group_channels()) as i32;
                    let mut base = vec![valid; filters];
                    for tap in 0..taps {
                        let (row, column) = (tap / geometry.window.kernel[1], tap % geometry.window.kernel[1]);
                        if !(rows.contains(&row) && columns.contains(&column)) {
                            base.iter_mut().zip(&counts[tap * filters..]).for_each(|(base, count)| *base += 2 * count);
                        }
                    }
                    bases.extend(base);
                }
            }
        }
        Self { bases, rows, columns, column_classes: column_ranges.len(), classes, filters }
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

/// The set bits of every tap and padded filter: `[tap][padded filter]`.
///
/// As compiled for the instruction set: all weights of a model are counted before its first answer.
struct TapCounts<'a> {
    geometry: &'a Geometry,
    panels: &'a [u32],
}

impl Op for TapCounts<'_> {
    type Output = Vec<i32>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<i32> {
        let geometry = self.geometry;
        let (taps, filters) = (geometry.window.taps(), geometry.padded_filters());
        let mut counts = vec![0i32; taps * filters];
        for (i, rows) in self.panels.chunks_exact(geometry.group_words() * LANES).enumerate() {
            let (panel, tap) = (i / taps, i % taps);
            let mut sums = [0i32; LANES];
            for row in rows.as_chunks::<LANES>().0 {
                for lane in 0..LANES {
                    sums[lane] += row[lane].count_ones() as i32;
                }
            }
            counts[tap * filters + panel * LANES..][..LANES].copy_from_slice(&sums);
        }
        counts
    }
}
