//! Where windows lie in memory, and how the rows of a layer are cut into tasks.

use crate::error::Error;
use crate::memory::{bytes, room};
use crate::parallel::Parallel;
use crate::shape::Geometry;
use crate::tiles::bits::{Place, Walk};
use crate::weights::bits::LANES;

/// The most rows that a task multiplies at a time; with four panels their results take 8 KiB of the L1 cache.
pub(crate) const ROWS: usize = 32;
/// Panels that a task multiplies at a time: as many as the widest tile, so that they are read once a row tile.
pub(crate) const GROUP: usize = 4;
/// The same where a layer has one row: many panels side by side are many streams for the prefetchers.
pub(crate) const ROW_GROUP: usize = 8;

/// How the windows of a convolution lie in a padded image whose pixels hold `unit` elements a group.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// Where the elements of a window lie, counted from its first, once [`Self::list`] has found it out.
    pub offsets: Vec<u32>,
    /// The same beside their panel rows, for windows of bits that are not straight, once [`Self::place`] has.
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
        let mut offsets = room(self.elements())?;
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
    /// it, each in place of its triple's first word, as [`crate::tiles::count::parity::sweep`] makes them with [`Self::parity_step`].
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
        let mut places = room(self.elements())?;
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

    /// The first element of the first window of output pixel `row` (counted row by row) in a group.
    #[inline(always)]
    pub(crate) fn first(&self, row: usize, group: usize) -> usize {
        row / self.out_width * self.step[0] + row % self.out_width * self.step[1] + group * self.unit
    }

    /// Output columns.
    pub(crate) fn out_width(&self) -> usize {
        self.out_width
    }

    /// The first elements of the first windows from output pixel `row` on in a group, one after another without a division.
    #[inline(always)]
    pub(crate) fn starts(&self, row: usize, group: usize) -> Starts {
        Starts::new(group * self.unit, row, self.out_width, self.step)
    }

    /// Copies an image of `geometry` into zeros; one element a channel.
    pub(crate) fn pad(&self, geometry: &Geometry, parallel: &dyn Parallel, image: &[f32], padded: &mut [f32]) {
        let [top, left, ..] = geometry.window.padding;
        let (row, left) = (geometry.width * geometry.channels, left * geometry.channels);
        assert!(image.len() == geometry.height * row && padded.len() == self.len, "an image of another geometry");
        let padded = Shared::new(padded);
        let grid = Grid::lines(parallel, self.len / self.row_len, self.row_len.div_ceil(8));
        grid.run(parallel, &|task| {
            for y in grid.task(task).1 {
                // SAFETY: the rows of a task lie in the padded image and are no other task's.
                let padded =
                    unsafe { std::slice::from_raw_parts_mut(padded.get().add(y * self.row_len), self.row_len) };
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

/// How a layer's work is cut: chunks of rows times units (panels of a group).
///
/// Tasks run chunk by chunk, and within a chunk unit by unit: a unit's panels lie in the L1 cache while the chunk's rows
/// pass by from the L2, a few bytes a cycle. Chunks end where rows would leave the L2, or results more pages than the TLB
/// reaches: walking all rows of a 4032 x 4032 x 4032 product for each unit costs a TLB miss a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Tasks in all.
    pub tasks: usize,
    units: usize,
    chunks: usize,
    rows: usize,
    threaded: bool,
}

/// Bytes of rows that a chunk may take: a quarter of an L2 cache of 1 MiB. Smaller chunks would reload the panels too often:
/// with 24 KiB, panels from the L3 took a fifth of the time of 4032 x 4032 x 4032 counts, which bypass the caches.
const CHUNK_BYTES: usize = 256 << 10;
/// Work below which a hand-over to threads (a microsecond or less) does not pay, in vector operations. Less than the same
/// time's work: a thread alone has to fetch what the others wrote from their caches.
const MIN_WORK: usize = 2_500;

impl Grid {
    /// Cuts `rows` rows of `row_bytes` bytes times `units` units, each row of a unit costing about `work` vector operations.
    pub(crate) fn new(parallel: &dyn Parallel, rows: usize, row_bytes: usize, units: usize, work: usize) -> Self {
        let threads = parallel.threads();
        let threaded = threads > 1 && rows.saturating_mul(units).saturating_mul(work) >= MIN_WORK;
        let cached = rows.div_ceil((CHUNK_BYTES / row_bytes.max(1)).max(ROWS));
        // Some four tasks a thread even out unequal cores, and as many chunks for each: a thread works on its part of the
        // rows in layer after layer. Chunks below ROWS would leave tiles half empty.
        let shared = match (4 * threads).div_ceil(units) {
            _ if !threaded => 1,
            1 => 1,
            chunks => chunks.next_multiple_of(threads),
        };
        let most = rows.div_ceil(ROWS).max(1);
        let chunks = match cached.max(shared).min(most) {
            // Equal numbers of chunks for all threads: with 15 on two of them, one would wait for half a chunk.
            chunks if threaded && chunks > 1 && chunks.next_multiple_of(threads) <= most => {
                chunks.next_multiple_of(threads)
            }
            chunks if threaded && chunks > threads => chunks / threads * threads,
            chunks => chunks,
        };
        Self { tasks: units * chunks, units, chunks, rows, threaded }
    }

    /// Cuts lines that no tile takes together (rows of an image to quantize), each costing about `work` vector operations.
    pub(crate) fn lines(parallel: &dyn Parallel, lines: usize, work: usize) -> Self {
        let threads = parallel.threads();
        let threaded = threads > 1 && lines.saturating_mul(work) >= MIN_WORK;
        let chunks = if threaded { (4 * threads).min(lines) } else { 1 };
        Self { tasks: chunks, units: 1, chunks, rows: lines, threaded }
    }

    /// The same tasks in rows that `joined` of those it was cut by make.
    pub(crate) fn joining(self, joined: usize) -> Self {
        Self { rows: self.rows / joined, ..self }
    }

    /// The unit and the rows of a task.
    pub(crate) fn task(&self, task: usize) -> (usize, std::ops::Range<usize>) {
        let chunk = task / self.units;
        (task % self.units, self.rows * chunk / self.chunks..self.rows * (chunk + 1) / self.chunks)
    }

    /// Runs every task, on `parallel` where there is enough work.
    pub(crate) fn run(&self, parallel: &dyn Parallel, task: &(dyn Fn(usize) + Sync)) {
        if self.threaded && self.tasks > 1 {
            parallel.run(self.tasks, task);
        } else {
            (0..self.tasks).for_each(task);
        }
    }
}

/// A pointer that tasks share to write disjoint parts of one slice.
#[derive(Debug)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever uses the pointer vouches that tasks write disjoint elements (see each use).
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice that nobody else touches while tasks run.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The first element.
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}
