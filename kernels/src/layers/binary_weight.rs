//! Convolution and matrix product of f32 activations with binary weights.

use crate::backends::Isa;
use crate::clock::StageClock;
use crate::clock::{Stage, timed};
use crate::error::Error;
use crate::layers::output::Finish;
use crate::memory::Memory;
use crate::memory::{bytes, room};
use crate::parallel::Parallel;
use crate::shape::Geometry;
use crate::shape::windows::{Grid, Shared, Windows};
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::binary_weight::SignedJob;
use crate::tiles::epilogue::Epilogue;
use crate::weights::bits::{LANES, WORD_BITS};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a task at a time; a multiple of every backend's tile height (8, 4 and 2).
const ROWS: usize = 8;
/// Panels of a task: sums of 8 rows take 8 KiB of the L1 cache.
const PANELS: usize = 16;
/// Words of a window at a time: the tables of 8 rows take 16 KiB, and all panels read them before the next come.
const WORDS: usize = 4;
/// Bytes of tables that are built before they are used: half of an L2 cache of 1 MiB.
const STRIP_BYTES: usize = 512 << 10;
/// The most rows of a strip.
const STRIP_LINES: usize = 64;

/// A convolution of f32 activations with 1-bit weights (BWN, BWNH), prepared for one geometry and instruction set. A matrix
/// product is [`Geometry::dense`].
///
/// Weights are the bit panels of [`crate::BinaryConv`]; activations are not quantized, and the sums are those of f32
/// arithmetic in a fixed order (see the kernels' `table` module).
#[derive(Debug)]
pub struct BinaryWeightConv {
    geometry: Geometry,
    isa: Isa,
    windows: Windows,
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

/// Asks a backend for [`Simd::TABLES`].
struct TablesLen;

impl Op for TablesLen {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TABLES
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
        let mut offsets = room(geometry.window.taps() * words)?;
        for row in 0..rows {
            for column in 0..columns {
                let pixel = conv.windows.tap(row, column);
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
        if line_len.is_none_or(|len| len > crate::shape::MAX_ELEMENTS) {
            return Err(Error::Shape(format!(
                "the tables of {span} rows of {columns} pixels pass {} elements",
                crate::shape::MAX_ELEMENTS
            )));
        }
        let windows = Windows::new(&geometry, unit, out[1]);
        let input_lines = (STRIP_BYTES / size_of::<f32>() / windows.row_len).max(span);
        let most = ((input_lines - span) / window.stride[0] + 1).min(STRIP_LINES);
        // Where taps lie so far apart that most lines of a strip would be read by none, it is one row: see `Strip::line`.
        let read = window.kernel[0] * most;
        let most = if window.dilation[0] > 1 && read < (most - 1) * window.stride[0] + span { 1 } else { most };
        // A matrix product's lines are its samples, however many there will be.
        let strip = if is_dense(&geometry) { most } else { out[0].div_ceil(out[0].div_ceil(most)) };
        Ok(Self { geometry, isa, windows, out, tables, offsets: Vec::new(), strip })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        self.input_lines(self.strip) * self.windows.row_len
    }

    /// Computes `output[sample][row][column][filter]`: y = alpha * sum of the signed activations, added in the order that
    /// [`crate::oracle`] gives; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry.
    pub fn run(&self, call: BinaryWeightCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.geometry;
        let (input_len, output_len) = (geometry.input_len(), self.out[0] * self.out[1] * geometry.filters);
        let samples = call.input.len() / input_len;
        assert_eq!(call.input.len(), samples * input_len, "the input must be whole samples");
        assert_eq!(output.len(), samples * output_len, "the output must match the input's samples");
        assert_eq!(call.panels.len(), geometry.bit_panel_len(), "panels of the wrong length");
        assert!(call.alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        assert!(scratch.len() >= self.scratch_len(), "scratch too small");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Shared::new(output);
        if is_dense(geometry) {
            // One row a sample: the samples become the lines of an image one pixel wide.
            let geometry = Geometry { height: samples, ..*geometry };
            return self.image(&call, &geometry, call.input, &output, 0, samples, scratch);
        }
        for sample in 0..samples {
            let image = &call.input[sample * input_len..][..input_len];
            self.image(&call, geometry, image, &output, sample * output_len, self.out[0], scratch);
        }
    }

    /// Padded input rows that so many output rows read.
    fn input_lines(&self, lines: usize) -> usize {
        let window = &self.geometry.window;
        (lines - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
    }

    /// `lines` rows of output of one image, a strip of them at a time: the tables of a strip's inputs, then its sums.
    #[allow(clippy::too_many_arguments)] // one call site each, with names that say what they are
    fn image(
        &self,
        call: &BinaryWeightCall<'_>,
        geometry: &Geometry,
        image: &[f32],
        output: &Shared<f32>,
        first_output: usize,
        lines: usize,
        scratch: &mut [f32],
    ) {
        let mut from = 0;
        while from < lines {
            let strip = Strip { conv: self, call, geometry, image, from, lines: self.strip.min(lines - from) };
            timed(call.clock, Stage::Float, || strip.build(scratch));
            strip.multiply(scratch, output, first_output);
            from += strip.lines;
        }
    }
}

/// Whether a layer is a matrix product, whose samples can be the rows of one image.
fn is_dense(geometry: &Geometry) -> bool {
    let one_pixel = (geometry.height, geometry.width) == (1, 1) && geometry.window.taps() == 1;
    one_pixel && geometry.window.padding == [0; 4]
}

/// Some rows of output of an image.
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
        let tables = Shared::new(scratch);
        let work = geometry.groups * geometry.group_words() * 40;
        let grid = Grid::new(self.call.parallel, pixels, 0, 1, work);
        grid.run(self.call.parallel, &|task| {
            dispatch(conv.isa, Build { strip: self, columns, pixels: grid.task(task).1, tables: &tables });
        });
    }

    /// Where line `n` of those that are read lies, counted from the strip's first: every line is read, but by a single row
    /// only those of its taps.
    #[inline(always)]
    fn line(&self, n: usize) -> usize {
        if self.lines == 1 { n * self.geometry.window.dilation[0] } else { n }
    }

    fn multiply(&self, tables: &[f32], output: &Shared<f32>, first_output: usize) {
        let Self { conv, call, geometry, .. } = self;
        let units_of_group = geometry.group_panels().div_ceil(PANELS);
        let rows = self.lines * conv.out[1];
        let work = conv.offsets.len() * 12 * PANELS.min(geometry.group_panels());
        let grid = Grid::new(call.parallel, rows, 0, units_of_group * geometry.groups, work);
        grid.run(call.parallel, &|task| {
            let (unit, rows) = grid.task(task);
            let (group, first_panel) = (unit / units_of_group, unit % units_of_group * PANELS);
            let panels = PANELS.min(geometry.group_panels() - first_panel);
            let finish = Finish {
                geometry,
                alpha: Some(call.alpha),
                steps: call.epilogue.steps,
                output,
                first_output,
                group,
                first_panel,
                panels,
            };
            dispatch(conv.isa, Multiply { strip: self, tables, finish, rows });
        });
    }
}

/// The tables of some padded pixels.
struct Build<'a> {
    strip: &'a Strip<'a>,
    /// Padded columns.
    columns: usize,
    /// Of the lines that are read, counted from the strip's first.
    pixels: Range<usize>,
    tables: &'a Shared<f32>,
}

impl Op for Build<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { strip, columns, .. } = self;
        let geometry = strip.geometry;
        let [top, left, ..] = geometry.window.padding;
        let (words, channels) = (geometry.group_words(), geometry.group_channels());
        let unit = strip.conv.windows.row_len / (columns * geometry.groups);
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
                        let to = self.tables.get().add((pixel * geometry.groups + group) * unit + word * S::TABLES);
                        simd.tables(&activations, to);
                    }
                }
            }
        }
    }
}

/// Some rows times some panels of a group.
struct Multiply<'a> {
    strip: &'a Strip<'a>,
    tables: &'a [f32],
    finish: Finish<'a>,
    /// Output pixels, counted from the strip's first.
    rows: Range<usize>,
}

impl Op for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { strip, finish, .. } = &self;
        let (conv, call, geometry) = (strip.conv, strip.call, strip.geometry);
        debug_assert_eq!(conv.tables, S::TABLES, "the layer was prepared for another backend");
        let panel_len = conv.offsets.len() * LANES;
        let panel = finish.group * geometry.group_panels() + finish.first_panel;
        let weights = &call.panels[panel * panel_len..][..finish.panels * panel_len];
        // Uninitialised for the sake of small layers; the first words write every sum.
        let mut sums = [MaybeUninit::<f32>::uninit(); ROWS * PANELS * LANES];
        let mut from = self.rows.start;
        while from < self.rows.end {
            let n = ROWS.min(self.rows.end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for (i, row) in rows[..n].iter_mut().enumerate() {
                *row = self.tables[conv.windows.first(from + i, finish.group)..].as_ptr();
            }
            timed(
                call.clock,
                Stage::Float,
                #[inline(always)]
                || {
                    for (block, offsets) in conv.offsets.chunks(WORDS).enumerate() {
                        // The windows of a strip end inside its tables, `weights` was just sliced to the panels' length,
                        // and `sums` holds ROWS rows of up to PANELS panels.
                        simd.signed(&SignedJob {
                            rows: &rows[..n],
                            offsets,
                            panels: weights[block * WORDS * LANES..].as_ptr(),
                            panel_len,
                            panel_count: finish.panels,
                            sums: sums.as_mut_ptr().cast(),
                            stride: finish.panels * LANES,
                            first: block == 0,
                        });
                    }
                },
            );
            timed(
                call.clock,
                Stage::Epilogue,
                #[inline(always)]
                || {
                    // SAFETY: the tiles wrote n rows; `run` checked alpha and the epilogue; these pixels and panels belong
                    // to this task alone.
                    unsafe { finish.rows(simd, sums.as_ptr().cast(), strip.from * conv.out[1] + from, n) };
                },
            );
            from += n;
        }
    }
}
