//! Convolution and matrix product of f32 activations with binary weights.

use super::skeleton::{Image, Product, Skeleton};
use crate::backends::{Backend, Isa, Op, dispatch};
use crate::clock::{Stage, StageClock, Timer, timed};
use crate::error::Error;
use crate::memory::{Memory, bytes, with_capacity};
use crate::parallel::{Disjoint, Grid, Parallel, Pieces};
use crate::shape::{Block, Cut, Geometry, MAX_ELEMENTS};
use crate::simd::{LANES, WORD_BITS};
use crate::tiles::binary_weight::Tables;
use crate::tiles::{BinaryWeightOperands, Epilogue, Job, Output};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a task at a time; a multiple of every backend's rows of tables ([`Backend::TABLE_BLOCK`]).
const ROWS: usize = 24;
/// The most rows of tables of a backend.
const TABLE_ROWS: usize = 8;
/// Panels of a task: sums of 8 rows take 8 KiB of the L1 cache.
const PANELS: usize = 16;
/// Bytes of tables that are built before they are used: half of an L2 cache of 1 MiB.
const STRIP_BYTES: usize = 512 << 10;
/// The most rows of a strip.
const STRIP_LINES: usize = 64;

/// A convolution of f32 activations with 1-bit weights (BWN, BWNH), prepared for one geometry and instruction set. A matrix
/// product is [`Geometry::dense`].
///
/// Weights are the bit panels of [`crate::BinaryConv`]; activations are not quantized, and the sums are those of f32
/// arithmetic in a fixed order, that of `docs/format.md`.
#[derive(Debug)]
pub struct BinaryWeightConv {
    skeleton: Skeleton,
    /// Rows and columns of the output.
    out: [usize; 2],
    /// f32 of a word's tables.
    tables: usize,
    /// Where the tables of each word of a window start.
    offsets: Vec<usize>,
    /// Output rows whose inputs have their tables at a time.
    strip: usize,
}

/// The operands of one call of [`BinaryWeightConv::run`].
#[derive(Clone, Copy)]
pub struct BinaryWeightCall<'a> {
    /// `[sample][row][column][channel]`; any whole number of samples.
    pub input: &'a [f32],
    /// Bit panels, [`Geometry::bit_panel_len`] words.
    pub panels: &'a [u32],
    /// alpha of each filter, laid out as [`Geometry::pad_filters`] says.
    pub alpha: &'a [f32],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// Where the time goes, if anybody asks.
    pub clock: Option<&'a StageClock>,
}

/// Asks a backend for the length of its tables.
struct TablesLen;

impl Op for TablesLen {
    type Output = usize;

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> usize {
        S::Tables::LEN
    }
}

impl BinaryWeightConv {
    /// Checks the geometry.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Geometry::validate`] says, or if the tables of one row of windows are too large;
    /// [`Error::MissingIsa`] if this CPU lacks `isa`; [`Error::Memory`] if there is no memory for its list of offsets.
    pub fn new(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        let mut conv = Self::without_tables(isa, geometry)?;
        let ([rows, columns], words) = (geometry.window.kernel, geometry.group_words());
        let mut offsets = with_capacity(geometry.window.taps() * words)?;
        for row in 0..rows {
            for column in 0..columns {
                let pixel = conv.skeleton.windows.tap(row, column);
                offsets.extend((0..words).map(|word| pixel + word * conv.tables));
            }
        }
        conv.offsets = offsets;
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, geometry: Geometry) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, geometry)?;
        let tables = bytes::<usize>(&[geometry.window.taps(), geometry.group_words()]);
        Ok(Memory { tables, floats: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        let out = geometry.validate()?;
        let isa = isa.check()?;
        let tables = dispatch(isa, TablesLen);
        let window = geometry.window;
        // Pixels a multiple of 4 KiB apart would share a few sets of the L1 cache.
        let unit = geometry.group_words() * tables;
        let unit = if (unit * size_of::<f32>()).is_multiple_of(4096) { unit + tables } else { unit };
        let span = (window.kernel[0] - 1) * window.dilation[0] + 1;
        let columns = geometry.width + window.padding[1] + window.padding[3];
        let line_len = [geometry.groups, columns, span].iter().try_fold(unit, |len, &n| len.checked_mul(n));
        if line_len.is_none_or(|len| len > MAX_ELEMENTS) {
            return Err(Error::Shape(format!(
                "the tables of {span} rows of {columns} pixels pass {} elements",
                MAX_ELEMENTS
            )));
        }
        let skeleton = Skeleton::with_unit(isa, geometry, unit)?;
        let input_lines = (STRIP_BYTES / size_of::<f32>() / skeleton.windows.row_len).max(span);
        let most = ((input_lines - span) / window.stride[0] + 1).min(STRIP_LINES);
        // Where taps lie so far apart that most lines of a strip would be read by none, it is one row: see `Strip::line`.
        let read = window.kernel[0] * most;
        let most = if window.dilation[0] > 1 && read < (most - 1) * window.stride[0] + span { 1 } else { most };
        // A matrix product's lines are its samples, however many there will be.
        let strip = if geometry.is_flat() { most } else { out[0].div_ceil(out[0].div_ceil(most)) };
        Ok(Self { skeleton, out, tables, offsets: Vec::new(), strip })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        self.input_lines(self.strip) * self.skeleton.windows.row_len
    }

    /// Computes `output[sample][row][column][filter]`: y = alpha * sum of the signed activations, added in the order that
    /// `docs/format.md` gives; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry.
    pub fn run(&self, call: BinaryWeightCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.skeleton.geometry;
        let samples = self.skeleton.samples(call.input, output);
        assert_eq!(call.panels.len(), geometry.bit_panel_len(), "panels of the wrong length");
        assert!(call.alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        assert!(scratch.len() >= self.scratch_len(), "scratch too small");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Disjoint::new(output);
        if geometry.is_flat() {
            // One row a sample: the samples become the lines of an image one pixel wide.
            let geometry = Geometry { height: samples, ..*geometry };
            let strip =
                Strip { conv: self, call: &call, geometry: &geometry, image: call.input, from: 0, lines: samples };
            return self.strips(strip, output, 0, scratch);
        }
        for sample in Pieces::single(call.parallel, samples) {
            let image = &call.input[sample * geometry.input_len()..][..geometry.input_len()];
            let strip = Strip { conv: self, call: &call, geometry, image, from: 0, lines: self.out[0] };
            self.strips(strip, output, sample * self.skeleton.output_len(), scratch);
        }
    }

    /// Padded input rows that so many output rows read.
    fn input_lines(&self, lines: usize) -> usize {
        let window = &self.skeleton.geometry.window;
        (lines - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
    }

    /// All rows of output of one image, a strip of them at a time: the tables of a strip's inputs, then its sums.
    fn strips(&self, all: Strip<'_>, output: Disjoint<'_, f32>, first_output: usize, scratch: &mut [f32]) {
        for from in (0..all.lines).step_by(self.strip) {
            let strip = Strip { from, lines: self.strip.min(all.lines - from), ..all };
            timed(all.call.clock, Stage::Float, || strip.build(scratch));
            let image = Image {
                values: &*scratch,
                rows: strip.lines * self.out[1],
                step: None,
                first_output: first_output + from * self.out[1] * all.geometry.filters,
            };
            let panels = PANELS.min(all.geometry.group_panels());
            let cut =
                Cut { parallel: all.call.parallel, panels, row_bytes: 0, work: self.offsets.len() * 12, together: 1 };
            self.skeleton.multiply(&strip, &image, output, cut);
        }
    }
}

/// Some rows of output of an image.
#[derive(Clone, Copy)]
struct Strip<'a> {
    conv: &'a BinaryWeightConv,
    call: &'a BinaryWeightCall<'a>,
    geometry: &'a Geometry,
    image: &'a [f32],
    /// The first row.
    from: usize,
    /// How many.
    lines: usize,
}

impl Strip<'_> {
    /// The tables of every padded pixel of the lines that the strip reads.
    fn build(&self, scratch: &mut [f32]) {
        let Self { conv, geometry, .. } = self;
        let columns = geometry.width + geometry.window.padding[1] + geometry.window.padding[3];
        let lines = if self.lines == 1 { geometry.window.kernel[0] } else { conv.input_lines(self.lines) };
        let pixels = lines * columns;
        let tables = Disjoint::new(scratch);
        let work = geometry.groups * geometry.group_words() * 40;
        Grid::new(self.call.parallel, pixels, 0, 1, work).run(|_, pixels| {
            dispatch(conv.skeleton.isa, Build { strip: self, columns, pixels, tables });
        });
    }

    /// Where line `n` of those that are read lies, counted from the strip's first: every line is read, but by a single row
    /// only those of its taps.
    #[inline(always)]
    fn line(&self, n: usize) -> usize {
        if self.lines == 1 { n * self.geometry.window.dilation[0] } else { n }
    }
}

/// The tables of some padded pixels.
struct Build<'a> {
    strip: &'a Strip<'a>,
    /// Padded columns.
    columns: usize,
    /// Of the lines that are read, counted from the strip's first.
    pixels: Range<usize>,
    tables: Disjoint<'a, f32>,
}

impl Op for Build<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let Self { strip, columns, .. } = self;
        let geometry = strip.geometry;
        let [top, left, ..] = geometry.window.padding;
        let (words, channels) = (geometry.group_words(), geometry.group_channels());
        let unit = strip.conv.skeleton.windows.row_len / (columns * geometry.groups);
        let first_line = strip.from * geometry.window.stride[0];
        for pixel in self.pixels {
            let (line, x) = (strip.line(pixel / columns), pixel % columns);
            let (y, pixel) = (first_line + line, line * columns + x);
            let inside = (top..top + geometry.height).contains(&y) && (left..left + geometry.width).contains(&x);
            for group in 0..geometry.groups {
                for word in 0..words {
                    let mut activations = [0.0; WORD_BITS];
                    if inside {
                        let first = ((y - top) * geometry.width + x - left) * geometry.channels
                            + group * channels
                            + word * WORD_BITS;
                        let n = WORD_BITS.min(channels - word * WORD_BITS);
                        activations[..n].copy_from_slice(&strip.image[first..first + n]);
                    }
                    // SAFETY: the scratch holds a unit for each group of each pixel of the strip, a unit the tables of its
                    // words, and these pixels belong to this task alone.
                    unsafe {
                        let first = (pixel * geometry.groups + group) * unit + word * S::Tables::LEN;
                        S::Tables::write(simd, &activations, self.tables.at(first, S::Tables::LEN));
                    }
                }
            }
        }
    }
}

impl Product for Strip<'_> {
    type Element = f32;

    #[inline(always)]
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, f32>, block: &Block, output: Disjoint<'_, f32>) {
        let Self { conv, call, geometry, .. } = self;
        debug_assert_eq!(conv.tables, S::Tables::LEN, "the layer was prepared for another backend");
        let panel_len = conv.offsets.len() * LANES;
        let weights = &call.panels[block.panel(geometry) * panel_len..][..block.panels * panel_len];
        // Uninitialised for the sake of small layers; the first words write every sum.
        let mut sums = [MaybeUninit::<f32>::uninit(); TABLE_ROWS * PANELS * LANES];
        let at_once = const {
            let [rows, _] = S::TABLE_BLOCK;
            assert!(rows <= TABLE_ROWS && ROWS.is_multiple_of(rows));
            rows
        };
        conv.skeleton.rows::<_, ROWS>(
            image,
            block,
            #[inline(always)]
            |from, rows| {
                for (i, rows) in rows.chunks(at_once).enumerate() {
                    let from = from + i * at_once;
                    self.products(simd, rows, weights, block.panels, sums.as_mut_ptr().cast());
                    let _timer = Timer::new(call.clock, Stage::Epilogue);
                    let output =
                        Output::new(geometry, block, call.epilogue.steps, Some(output), image.first_output, from);
                    // SAFETY: the tiles wrote these rows; `run` checked alpha and the epilogue; these pixels and panels belong
                    // to this task alone.
                    unsafe { output.rows(simd, Some(call.alpha), sums.as_ptr().cast(), rows.len()) };
                }
            },
        );
    }
}

impl Strip<'_> {
    /// Sums some rows times some panels into `sums`.
    #[inline(always)]
    fn products<S: Backend>(&self, simd: S, rows: &[*const f32], weights: &[u32], panels: usize, sums: *mut f32) {
        let _timer = Timer::new(self.call.clock, Stage::Float);
        let panel_len = self.conv.offsets.len() * LANES;
        let [_, words] = S::TABLE_BLOCK;
        for (i, offsets) in self.conv.offsets.chunks(words).enumerate() {
            // SAFETY: the windows of a strip end inside its tables, `weights` has the panels' length, and `sums` holds
            // TABLE_ROWS rows of up to PANELS panels.
            let job = unsafe {
                Job::new(BinaryWeightOperands {
                    rows,
                    offsets,
                    panels: weights[i * words * LANES..].as_ptr(),
                    panel_len,
                    panel_count: panels,
                    sums,
                    stride: panels * LANES,
                    first: i == 0,
                })
            };
            simd.binary_weight(&job);
        }
    }
}
