//! f32 convolution and matrix product whose weights are indices into a codebook.

use super::skeleton::{Image, Product, Skeleton};
use crate::backends::{Backend, Isa};
use crate::clock::{Stage, StageClock, Timer};
use crate::error::Error;
use crate::memory::Memory;
use crate::parallel::{Disjoint, Parallel, ROW_GROUP, panels_of_task};
use crate::shape::{Block, Cut, Geometry};
use crate::simd::LANES;
use crate::tiles::codebook::decode;
use crate::tiles::{CodebookOperands, Epilogue, FloatOperands, Job, Output};
use crate::weights::codes;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a task at a time: a multiple of every backend's tile height (12, 6, 4 and 2).
const ROWS: usize = 36;
/// Rows up to which weights are decoded in the tile whatever the backend: one tile reads them.
const TILE: usize = 4;
/// Elements of the depth that are decoded at a time: whole words of 10, 8 and 6 codes. Those of a panel take 15 KiB of the L1
/// cache, beside a few rows.
const SPAN: usize = 240;

/// Decoded weights of a panel.
#[repr(align(64))]
struct Decoded([MaybeUninit<f32>; SPAN * LANES]);

/// An f32 convolution with weights of 3 to 5 bits (DQC, INQ), prepared for one geometry and instruction set. A matrix
/// product is [`Geometry::dense`].
///
/// Its results are those of [`crate::FloatConv`] with the weights that the codes stand for, bit for bit.
#[derive(Debug)]
pub struct CodebookConv {
    skeleton: Skeleton,
    bits: u32,
}

/// The operands of one call of [`CodebookConv::run`].
#[derive(Clone, Copy)]
pub struct CodebookCall<'a> {
    /// `[sample][row][column][channel]`; any whole number of samples.
    pub input: &'a [f32],
    /// Code panels, [`codes::panel_len`] words.
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
    /// [`Error::Shape`] as [`Geometry::validate`] says or if `bits` is not in [`codes::CODE_BITS`]; [`Error::MissingIsa`] if
    /// this CPU lacks `isa`; [`Error::Memory`] if there is no memory for its tables.
    pub fn new(isa: Isa, geometry: Geometry, bits: u32) -> Result<Self, Error> {
        let mut conv = Self::without_tables(isa, geometry, bits)?;
        conv.skeleton.windows.list()?;
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, geometry: Geometry, bits: u32) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, geometry, bits)?;
        Ok(Memory { tables: conv.skeleton.windows.list_bytes(), floats: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, geometry: Geometry, bits: u32) -> Result<Self, Error> {
        geometry.validate()?;
        codes::panel_len(&geometry, bits)?;
        Ok(Self { skeleton: Skeleton::new(isa, geometry)?, bits })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        self.skeleton.padded_len()
    }

    /// Computes `output[sample][row][column][filter]`: the products of each output summed by fused multiply-adds from 0,
    /// kernel row by kernel row, tap by tap, channel by channel; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry or the bits.
    pub fn run(&self, call: CodebookCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.skeleton.geometry;
        self.skeleton.samples(call.input, output);
        assert_eq!(Ok(call.codes.len()), codes::panel_len(geometry, self.bits), "codes of the wrong length");
        assert_eq!(call.book.len(), 1 << self.bits, "the codebook needs a value for every code");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Disjoint::new(output);
        self.skeleton.images(call.input, scratch, call.parallel, call.clock, |image| {
            let cut = Cut {
                parallel: call.parallel,
                panels: panels_of_task(image.rows),
                // Neighbouring windows share most of what they read, and only a span of it is read at a time.
                row_bytes: (image.values.len() / image.rows).min(SPAN) * size_of::<f32>(),
                work: geometry.depth(),
                together: 1,
            };
            self.skeleton.multiply(&Codes { conv: self, call: &call }, &image, output, cut);
        });
    }
}

/// The products of one call.
struct Codes<'a> {
    conv: &'a CodebookConv,
    call: &'a CodebookCall<'a>,
}

impl Product for Codes<'_> {
    type Element = f32;

    #[inline(always)]
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, f32>, block: &Block, output: Disjoint<'_, f32>) {
        if !S::DECODE_ONCE || block.rows.len() <= TILE {
            return self.in_tiles(simd, image, block, output);
        }
        let depth = self.conv.skeleton.geometry.depth();
        // Uninitialised for the sake of small layers; what is read was decoded before.
        let mut decoded = Decoded([MaybeUninit::uninit(); SPAN * LANES]);
        for panel in block.parts(1) {
            for first in (0..depth).step_by(SPAN) {
                self.span(simd, first..depth.min(first + SPAN), image, &panel, output, &mut decoded);
            }
        }
    }
}

impl Codes<'_> {
    /// The code panels of a block.
    #[inline(always)]
    fn codes(&self, block: &Block) -> &[u32] {
        let CodebookConv { skeleton: Skeleton { geometry, .. }, bits } = self.conv;
        let panel_len = codes::words(geometry, *bits) * LANES;
        &self.call.codes[block.panel(geometry) * panel_len..][..block.panels * panel_len]
    }

    /// A span of the depth of one panel for all rows, decoded once and multiplied as f32 weights are.
    #[inline(always)]
    fn span<S: Backend>(
        &self,
        simd: S,
        span: Range<usize>,
        image: &Image<'_, f32>,
        panel: &Block,
        output: Disjoint<'_, f32>,
        decoded: &mut Decoded,
    ) {
        let Self { conv: CodebookConv { skeleton, bits }, call } = self;
        let geometry = &skeleton.geometry;
        let words = &self.codes(panel)[span.start / codes::codes_of_word(*bits) * LANES..];
        let steps = if span.end == geometry.depth() { call.epilogue.steps } else { &[] };
        {
            let _timer = Timer::new(call.clock, Stage::Float);
            // SAFETY: the panel has a word for all codes of the span, `run` checked the book, and the span is at most SPAN.
            unsafe { decode(simd, *bits, words, call.book, span.len(), decoded.0.as_mut_ptr().cast()) };
        }
        skeleton.rows::<_, ROWS>(
            image,
            panel,
            #[inline(always)]
            |from, rows| {
                let _timer = Timer::new(call.clock, Stage::Float);
                // SAFETY: the windows of a validated geometry end inside the padded image; the span was just decoded; the
                // output values of these rows and this panel lie in the output and belong to this task alone; and `run`
                // checked the epilogue.
                let job = unsafe {
                    Job::new(FloatOperands {
                        rows,
                        offsets: &skeleton.windows.offsets[span.clone()],
                        panels: decoded.0.as_ptr().cast(),
                        panel_len: SPAN * LANES,
                        output: Output::new(geometry, panel, steps, Some(output), image.first_output, from),
                        resume: span.start > 0,
                    })
                };
                simd.floats(&job);
            },
        );
    }

    /// A block whose weights are decoded in each tile.
    #[inline(always)]
    fn in_tiles<S: Backend>(&self, simd: S, image: &Image<'_, f32>, block: &Block, output: Disjoint<'_, f32>) {
        let Self { conv: CodebookConv { skeleton, bits }, call } = self;
        let geometry = &skeleton.geometry;
        let codes = self.codes(block);
        // Uninitialised for the sake of small layers; the tiles write every sum that is read.
        let mut sums = [MaybeUninit::<f32>::uninit(); ROWS * ROW_GROUP * LANES];
        skeleton.rows::<_, ROWS>(
            image,
            block,
            #[inline(always)]
            |from, rows| {
                // SAFETY: the windows of a validated geometry end inside the padded image, `codes` was just sliced to the
                // panels' length, `run` checked the book, and `sums` holds ROWS rows of up to ROW_GROUP panels.
                let job = unsafe {
                    Job::new(CodebookOperands {
                        rows,
                        offsets: &skeleton.windows.offsets,
                        panels: codes.as_ptr(),
                        panel_count: block.panels,
                        book: call.book.as_ptr(),
                        bits: *bits,
                        sums: sums.as_mut_ptr().cast(),
                        stride: block.panels * LANES,
                    })
                };
                {
                    let _timer = Timer::new(call.clock, Stage::Float);
                    simd.codebook(&job);
                }
                let _timer = Timer::new(call.clock, Stage::Epilogue);
                let output = Output::new(geometry, block, call.epilogue.steps, Some(output), image.first_output, from);
                // SAFETY: the tiles wrote these rows; `run` checked the epilogue; these pixels and panels belong to this task
                // alone.
                unsafe { output.rows(simd, None, sums.as_ptr().cast(), rows.len()) };
            },
        );
    }
}
