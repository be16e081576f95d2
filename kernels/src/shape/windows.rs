//! Where windows lie in memory.

use crate::error::Error;
use crate::memory::{bytes, with_capacity};
use crate::parallel::{Disjoint, Grid, Parallel};
use crate::shape::Geometry;
use crate::shape::walk::{Place, Walk};
use crate::simd::LANES;

/// How the windows of a convolution lie in a padded image whose pixels hold `unit` elements a group.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// Where the elements of a window lie, counted from its first, once [`Self::list`] has found it out.
    pub offsets: Vec<u32>,
    /// Where they lie beside their panel rows, for windows of bits that are not straight, once [`Self::place`] has.
    places: Vec<Place>,
    /// Triples of a window of bits, words from a word to the parity of its triple, and words between those of a triple.
    triples: usize,
    parity: usize,
    parity_step: usize,
    /// Elements of a padded image row.
    pub row_len: usize,
    /// Elements of a padded image.
    pub len: usize,
    unit: usize,
    kernel: [usize; 2],
    /// Elements from a tap to the one below and to the one beside it.
    tap_step: [usize; 2],
    step: [usize; 2],
    out_width: usize,
    /// From the first of the windows that make an output pixel to each of them; one, or four where they are pooled.
    joined: Vec<usize>,
}

impl Windows {
    /// Windows of a valid geometry with `out_width` output columns, whose elements nobody has listed.
    pub(crate) fn new(geometry: &Geometry, unit: usize, out_width: usize) -> Self {
        let window = geometry.window;
        let [top, left, bottom, right] = window.padding;
        let pixel = unit * geometry.groups;
        // Validated: a padded image has at most `MAX_ELEMENTS` elements, and so have its strides and dilations.
        let row_len = (geometry.width + left + right) * pixel;
        Self {
            offsets: Vec::new(),
            places: Vec::new(),
            triples: 0,
            parity: 0,
            parity_step: 0,
            row_len,
            len: (geometry.height + top + bottom) * row_len,
            unit,
            kernel: window.kernel,
            tap_step: [window.dilation[0] * row_len, window.dilation[1] * pixel],
            step: [window.stride[0] * row_len, window.stride[1] * pixel],
            out_width,
            joined: vec![0],
        }
    }

    /// Elements of a window.
    pub(crate) fn elements(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.unit
    }

    /// Where a tap lies, counted from a window's first element.
    pub(crate) fn tap(&self, row: usize, column: usize) -> usize {
        row * self.tap_step[0] + column * self.tap_step[1]
    }

    /// Where element `k` of a window lies, counted from its first.
    fn offset(&self, k: usize) -> usize {
        let (tap, columns) = (k / self.unit, self.kernel[1]);
        self.tap(tap / columns, tap % columns) + k % self.unit
    }

    /// Bytes that [`Self::list`] takes.
    pub(crate) fn list_bytes(&self) -> usize {
        bytes::<u32>(&[self.elements()])
    }

    /// Lists where the elements of a window lie.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for the list.
    pub(crate) fn list(&mut self) -> Result<(), Error> {
        let mut offsets = with_capacity(self.elements())?;
        for row in 0..self.kernel[0] {
            for column in 0..self.kernel[1] {
                let tap = self.tap(row, column);
                offsets.extend((tap..tap + self.unit).map(|at| at as u32));
            }
        }
        self.offsets = offsets;
        Ok(())
    }

    /// Joins 2 x 2 windows into an output pixel; an odd row or column is left out.
    pub(crate) fn pool(&mut self) {
        let [down, right] = self.step;
        self.joined = vec![0, right, down, down + right];
        self.step = [2 * down, 2 * right];
        self.out_width /= 2;
    }

    /// From the first of the windows that make an output pixel to each of them.
    #[inline(always)]
    pub(crate) fn joined(&self) -> &[usize] {
        &self.joined
    }

    /// Windows of packed planes, whose elements are words; with triples if the parities of a plane lie `parity` words behind
    /// it, each in place of its triple's first word, as `parities` of the tiles makes them with [`Self::parity_step`].
    pub(crate) fn of_bits(geometry: &Geometry, out_width: usize, parity: Option<usize>) -> Self {
        let mut windows = Self::new(geometry, geometry.group_words(), out_width);
        windows.parity = parity.unwrap_or(0);
        if windows.is_straight() {
            windows.parity_step = windows.elements() / 3;
            windows.triples = parity.map_or(0, |_| windows.parity_step);
        } else {
            // Three taps side by side are a triple, word by word.
            windows.parity_step = geometry.window.dilation[1] * windows.unit * geometry.groups;
            windows.triples = parity.map_or(0, |_| windows.kernel[0] * (windows.kernel[1] / 3) * windows.unit);
        }
        windows
    }

    /// Bytes that [`Self::place`] takes.
    pub(crate) fn places_bytes(&self) -> usize {
        if self.is_straight() { 0 } else { bytes::<Place>(&[self.elements()]) }
    }

    /// Lists the words of windows that are not straight beside their panel rows: triples, then the rest.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for the list.
    pub(crate) fn place(&mut self) -> Result<(), Error> {
        if self.is_straight() {
            return Ok(());
        }
        let ([height, width], unit) = (self.kernel, self.unit);
        let mut places = with_capacity(self.elements())?;
        let place =
            |k: usize, behind: usize| Place { at: (self.offset(k) + behind) as u32, weights: (k * LANES) as u32 };
        let whole = if self.triples > 0 { width / 3 } else { 0 };
        for row in 0..height {
            for tap in (0..whole).map(|i| row * width + 3 * i) {
                for k in tap * unit..(tap + 1) * unit {
                    let first = place(k, self.parity);
                    places.extend([place(k, 0), place(k + unit, 0), Place { at: first.at, ..place(k + 2 * unit, 0) }]);
                }
            }
        }
        for row in 0..height {
            places.extend(((row * width + 3 * whole) * unit..(row + 1) * width * unit).map(|k| place(k, 0)));
        }
        self.places = places;
        Ok(())
    }

    /// Triples of a window.
    pub(crate) fn triples(&self) -> usize {
        self.triples
    }

    /// Words between the words of a triple.
    pub(crate) fn parity_step(&self) -> usize {
        self.parity_step
    }

    /// Whether the elements of a window follow each other.
    pub(crate) fn is_straight(&self) -> bool {
        self.offset(self.elements() - 1) + 1 == self.elements()
    }

    /// How a window of bits lies.
    pub(crate) fn walk(&self) -> Walk<'_> {
        if self.places.is_empty() {
            Walk::Straight { len: self.elements(), triples: self.triples, parity: self.parity }
        } else {
            Walk::Places { places: &self.places, triples: self.triples }
        }
    }

    /// Where a group starts in a pixel.
    #[inline(always)]
    pub(crate) fn group(&self, group: usize) -> usize {
        group * self.unit
    }

    /// Output columns.
    pub(crate) fn out_width(&self) -> usize {
        self.out_width
    }

    /// The first elements of the first windows from output pixel `row` on in a group, one after another without a division.
    #[inline(always)]
    pub(crate) fn starts(&self, row: usize, group: usize) -> Starts {
        Starts::new(self.group(group), row, self.out_width, self.step)
    }

    /// Copies an image of `geometry` into zeros; one element a channel.
    pub(crate) fn pad(&self, geometry: &Geometry, parallel: &dyn Parallel, image: &[f32], padded: &mut [f32]) {
        let [top, left, ..] = geometry.window.padding;
        let (row, left) = (geometry.width * geometry.channels, left * geometry.channels);
        assert!(image.len() == geometry.height * row && padded.len() == self.len, "an image of another geometry");
        let padded = Disjoint::new(padded);
        let grid = Grid::lines(parallel, self.len / self.row_len, self.row_len.div_ceil(8));
        grid.run(|_, lines| {
            for y in lines {
                // SAFETY: the rows of a task lie in the padded image and are no other task's.
                let padded = unsafe { padded.slice(y * self.row_len, self.row_len) };
                if (top..top + geometry.height).contains(&y) {
                    padded[..left].fill(0.0);
                    padded[left..left + row].copy_from_slice(&image[(y - top) * row..][..row]);
                    padded[left + row..].fill(0.0);
                } else {
                    padded.fill(0.0);
                }
            }
        });
    }
}

/// Where consecutive windows (or pixels) start, endlessly.
#[derive(Clone, Debug)]
pub(crate) struct Starts {
    next: usize,
    /// Windows left in this output row.
    left: usize,
    width: usize,
    step: usize,
    /// What leads from one past the last window of a row to the first of the next; negative where rows overlap.
    wrap: usize,
}

impl Starts {
    /// From place `at` of a grid on, counted row by row; rows hold `width` places, `steps` lie between neighbouring rows and
    /// places.
    #[inline(always)]
    pub(crate) fn new(first: usize, at: usize, width: usize, steps: [usize; 2]) -> Self {
        let column = at % width;
        Self {
            next: first + at / width * steps[0] + column * steps[1],
            left: width - column,
            width,
            step: steps[1],
            wrap: steps[0].wrapping_sub(width.wrapping_mul(steps[1])),
        }
    }

    /// Windows that lie `step` elements apart, the first at `first`.
    pub(crate) fn evenly(first: usize, step: usize) -> Self {
        Self { next: first, left: usize::MAX, width: usize::MAX, step, wrap: 0 }
    }

    /// The next window's first element.
    #[inline(always)]
    pub(crate) fn advance(&mut self) -> usize {
        let at = self.next;
        self.next = at.wrapping_add(self.step);
        self.left -= 1;
        if self.left == 0 {
            self.left = self.width;
            self.next = self.next.wrapping_add(self.wrap);
        }
        at
    }
}
