//! f32 convolution and matrix product whose weights are indices into a codebook.

use crate::backends::Isa;
use crate::clock::StageClock;
use crate::clock::{Stage, timed};
use crate::error::Error;
use crate::layers::output::Finish;
use crate::memory::Memory;
use crate::parallel::Parallel;
use crate::shape::Geometry;
use crate::shape::windows::{GROUP, Grid, ROW_GROUP, Shared, Windows};
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::codebook::{self, CodeJob};
use crate::tiles::epilogue::Epilogue;
use crate::weights::bits::LANES;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a task at a time: a multiple of every backend's tile height (12, 4 and 2).
const ROWS: usize = 36;

/// An f32 convolution with weights of 3 to 5 bits (DQC, INQ), prepared for one geometry and instruction set. A matrix
/// product is [`Geometry::dense`].
///
/// Its results are those of [`crate::layers::float::FloatConv`] with the weights that the codes stand for, bit for bit.
#[derive(Debug)]
pub struct CodebookConv {
    geometry: Geometry,
    isa: Isa,
    bits: u32,
    windows: Windows,
    pixels: usize,
}

/// The operands of one call of [`CodebookConv::run`].
#[derive(Clone, Copy)]
pub struct CodebookCall<'a> {
    /// `[sample][row][column][channel]`; any whole number of samples.
    pub input: &'a [f32],
    /// Code panels, [`codebook::panel_len`] words.
    pub codes: &'a [u32],
    /// What the codes stand for, 2^bits values; those that no code names may be anything.
    pub book: &'a [f32],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// Where the time goes, if anybody asks.
    pub clock: Option<&'a StageClock>,
}

impl CodebookConv {
    /// Checks the geometry; `bits` is the width of a code, 3 to 5.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Geometry::validate`] says or if `bits` is not in [`codebook::CODE_BITS`];
    /// [`Error::MissingIsa`] if this CPU lacks `isa`; [`Error::Memory`] if there is no memory for its tables.
    pub fn new(isa: Isa, geometry: Geometry, bits: u32) -> Result<Self, Error> {
        let mut conv = Self::without_tables(isa, geometry, bits)?;
        conv.windows.list()?;
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, geometry: Geometry, bits: u32) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, geometry, bits)?;
        Ok(Memory { tables: conv.windows.list_bytes(), floats: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, geometry: Geometry, bits: u32) -> Result<Self, Error> {
        let out = geometry.validate()?;
        codebook::panel_len(&geometry, bits)?;
        let windows = Windows::new(&geometry, geometry.group_channels(), out[1]);
        Ok(Self { isa: isa.check()?, geometry, bits, windows, pixels: out[0] * out[1] })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        if self.is_padded() { self.windows.len } else { 0 }
    }

    /// Computes `output[sample][row][column][filter]`: the products of each output summed by fused multiply-adds from 0,
    /// kernel row by kernel row, tap by tap, channel by channel; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry or the bits.
    pub fn run(&self, call: CodebookCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.geometry;
        let (input_len, output_len) = (geometry.input_len(), self.pixels * geometry.filters);
        let samples = call.input.len() / input_len;
        assert_eq!(call.input.len(), samples * input_len, "the input must be whole samples");
        assert_eq!(output.len(), samples * output_len, "the output must match the input's samples");
        assert_eq!(Ok(call.codes.len()), codebook::panel_len(geometry, self.bits), "codes of the wrong length");
        assert_eq!(call.book.len(), 1 << self.bits, "the codebook needs a value for every code");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Shared::new(output);
        if self.pixels == 1 && !self.is_padded() && self.windows.is_straight() {
            // One row a sample, contiguous: the batch is the rows.
            return self.sample(&call, call.input, &output, 0, samples, Some(input_len));
        }
        for sample in 0..samples {
            let image = &call.input[sample * input_len..][..input_len];
            let image = if self.is_padded() {
                let padded = &mut scratch[..self.windows.len];
                timed(call.clock, Stage::Float, || self.windows.pad(geometry, call.parallel, image, padded));
                &scratch[..self.windows.len]
            } else {
                image
            };
            self.sample(&call, image, &output, sample * output_len, self.pixels, None);
        }
    }

    fn is_padded(&self) -> bool {
        self.geometry.window.padding != [0; 4]
    }

    /// `rows` rows from `image`; `row_step` is set where rows simply follow each other.
    fn sample(
        &self,
        call: &CodebookCall<'_>,
        image: &[f32],
        output: &Shared<f32>,
        first_output: usize,
        rows: usize,
        row_step: Option<usize>,
    ) {
        let geometry = &self.geometry;
        let group = if rows == 1 { ROW_GROUP } else { GROUP };
        let units_of_group = geometry.group_panels().div_ceil(group);
        let work = geometry.depth() * group;
        let grid = Grid::new(call.parallel, rows, geometry.depth() * 4, units_of_group * geometry.groups, work);
        grid.run(call.parallel, &|task| {
            let (unit, rows) = grid.task(task);
            let first_panel = unit % units_of_group * group;
            let finish = Finish {
                geometry,
                alpha: None,
                steps: call.epilogue.steps,
                output,
                first_output,
                group: unit / units_of_group,
                first_panel,
                panels: group.min(geometry.group_panels() - first_panel),
            };
            dispatch(self.isa, Task { conv: self, call, image, row_step, finish, rows });
        });
    }
}

/// Some rows times some panels of a group.
struct Task<'a> {
    conv: &'a CodebookConv,
    call: &'a CodebookCall<'a>,
    image: &'a [f32],
    row_step: Option<usize>,
    finish: Finish<'a>,
    rows: Range<usize>,
}

impl Op for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, call, finish, .. } = &self;
        let panel_len = codebook::words(&conv.geometry, conv.bits) * LANES;
        let panel = finish.group * conv.geometry.group_panels() + finish.first_panel;
        let codes = &call.codes[panel * panel_len..][..finish.panels * panel_len];
        // Uninitialised for the sake of small layers; the tiles write every sum that is read.
        let mut sums = [MaybeUninit::<f32>::uninit(); ROWS * ROW_GROUP * LANES];
        let mut from = self.rows.start;
        while from < self.rows.end {
            let n = ROWS.min(self.rows.end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for (i, row) in rows[..n].iter_mut().enumerate() {
                let first = self.row_step.map_or_else(
                    #[inline(always)]
                    || conv.windows.first(from + i, finish.group),
                    #[inline(always)]
                    |step| (from + i) * step + conv.windows.first(0, finish.group),
                );
                *row = self.image[first..].as_ptr();
            }
            // The windows of a validated geometry end inside the padded image, `codes` was just sliced to the panels'
            // length, `run` checked the book, and `sums` holds ROWS rows of up to ROW_GROUP panels.
            let job = CodeJob {
                rows: &rows[..n],
                offsets: &conv.windows.offsets,
                panels: codes.as_ptr(),
                panel_count: finish.panels,
                book: call.book.as_ptr(),
                bits: conv.bits,
                sums: sums.as_mut_ptr().cast(),
                stride: finish.panels * LANES,
            };
            timed(
                call.clock,
                Stage::Float,
                #[inline(always)]
                || simd.codes(&job),
            );
            timed(
                call.clock,
                Stage::Epilogue,
                #[inline(always)]
                || {
                    // SAFETY: the tiles wrote n rows; `run` checked the epilogue; these pixels and panels belong to this
                    // task alone.
                    unsafe { finish.rows(simd, sums.as_ptr().cast(), from, n) };
                },
            );
            from += n;
        }
    }
}
