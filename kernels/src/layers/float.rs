//! f32 convolution and matrix product over float panels.

use super::depthwise::Depthwise;
use super::skeleton::{Image, Product, Skeleton};
use crate::backends::{Backend, Isa, Op, dispatch};
use crate::clock::{Stage, StageClock, Timer, timed};
use crate::error::Error;
use crate::memory::Memory;
use crate::parallel::{Disjoint, Grid, Parallel, Pieces, panels_of_task};
use crate::shape::{Block, Cut, Geometry};
use crate::simd::LANES;
use crate::tiles::{Epilogue, FloatOperands, Job, Output};

/// Rows of a task at a time: a multiple of the tile heights (5 and 8, 4, 2).
const ROWS: usize = 40;
/// Rows of the highest tile.
const TILE: usize = 8;
/// An f32 convolution prepared for one geometry and instruction set. A matrix product is [`Geometry::dense`].
#[derive(Debug)]
pub struct FloatConv(Skeleton);

/// Asks a backend for [`Backend::FLOAT_SPAN`].
struct FloatSpan;

impl Op for FloatSpan {
    type Output = [usize; 2];

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> [usize; 2] {
        S::FLOAT_SPAN
    }
}

/// The operands of one call of [`FloatConv::run`].
#[derive(Clone, Copy)]
pub struct FloatCall<'a> {
    /// `[sample][row][column][channel]`; any whole number of samples.
    pub input: &'a [f32],
    /// Float panels, [`Geometry::float_panel_len`] values.
    pub weight: &'a [f32],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// Where the time goes, if anybody asks.
    pub clock: Option<&'a StageClock>,
}

impl FloatConv {
    /// Checks the geometry.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Geometry::validate`] says; [`Error::MissingIsa`] if this CPU lacks `isa`; [`Error::Memory`] if
    /// there is no memory for its tables.
    pub fn new(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        let mut skeleton = Skeleton::new(isa, geometry)?;
        if !geometry.is_depthwise() {
            skeleton.windows.list()?;
        }
        Ok(Self(skeleton))
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, geometry: Geometry) -> Result<Memory, Error> {
        let conv = Self(Skeleton::new(isa, geometry)?);
        let tables = if geometry.is_depthwise() { 0 } else { conv.0.windows.list_bytes() };
        Ok(Memory { tables, floats: conv.scratch_len(), ..Memory::default() })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        if self.0.geometry.is_depthwise() { 0 } else { self.0.padded_len() }
    }

    /// Computes `output[sample][row][column][filter]`: the products of each output summed by fused multiply-adds from 0,
    /// kernel row by kernel row, tap by tap, channel by channel; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry.
    pub fn run(&self, call: FloatCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.0.geometry;
        let samples = self.0.samples(call.input, output);
        assert_eq!(call.weight.len(), geometry.float_panel_len(), "weights of the wrong length");
        call.epilogue.check(geometry.float_layout().padded_filters(), output.len());
        let output = Disjoint::new(output);
        if geometry.is_depthwise() {
            for i in Pieces::single(call.parallel, samples) {
                let image = &call.input[i * geometry.input_len()..][..geometry.input_len()];
                self.depthwise(&call, image, output, i * self.0.output_len());
            }
            return;
        }
        let [span_panels, span] = dispatch(self.0.isa, FloatSpan);
        self.0.images(call.input, scratch, call.parallel, call.clock, |image| {
            // Neighbouring windows share most of what they read.
            let read = image.values.len() / image.rows;
            let panels = panels_of_task(image.rows);
            let row = if span_panels == 1 { read.min(span) + panels * LANES } else { read + geometry.filters };
            let row_bytes = row * size_of::<f32>();
            let cut = Cut { parallel: call.parallel, panels, row_bytes, work: geometry.depth(), together: 1 };
            self.0.multiply(&Floats { skeleton: &self.0, call: &call }, &image, output, cut);
        });
    }

    /// One sample of a layer whose channels stand each by itself.
    fn depthwise(&self, call: &FloatCall<'_>, image: &[f32], output: Disjoint<'_, f32>, first_output: usize) {
        let geometry = &self.0.geometry;
        let out_width = self.0.windows.out_width();
        let work = out_width * geometry.window.taps() * geometry.channels.div_ceil(LANES);
        let steps = call.epilogue.steps;
        Grid::lines(call.parallel, self.0.pixels / out_width, work).run(|_, rows| {
            for columns in Pieces::new(call.parallel, 0..out_width, work / out_width) {
                let (weight, rows) = (call.weight, rows.clone());
                let task = Depthwise { geometry, out_width, image, weight, steps, output, first_output, rows, columns };
                timed(call.clock, Stage::Float, || dispatch(self.0.isa, task));
            }
        });
    }
}

/// The products of one call.
struct Floats<'a> {
    skeleton: &'a Skeleton,
    call: &'a FloatCall<'a>,
}

impl Product for Floats<'_> {
    type Element = f32;

    #[inline(always)]
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, f32>, block: &Block, output: Disjoint<'_, f32>) {
        let _timer = Timer::new(self.call.clock, Stage::Float);
        let depth = self.skeleton.geometry.depth();
        let [panels, span] = S::FLOAT_SPAN;
        // Panels that are used for one tile only pass through the cache as they come. Whole panels of 14 x 14 x 256 came from
        // the L3 cache for every 28 rows.
        let spans = if block.rows.len() <= TILE { 1 } else { depth.div_ceil(span) };
        let span = depth.div_ceil(spans).next_multiple_of(4);
        let panels = if spans == 1 { block.panels } else { panels };
        for first in (0..depth).step_by(span) {
            for part in block.parts(panels) {
                self.span(simd, first..depth.min(first + span), image, &part, output);
            }
        }
    }
}

impl Floats<'_> {
    /// A span of the depth for all rows.
    #[inline(always)]
    fn span<S: Backend>(
        &self,
        simd: S,
        span: std::ops::Range<usize>,
        image: &Image<'_, f32>,
        block: &Block,
        output: Disjoint<'_, f32>,
    ) {
        let Self { skeleton, call } = self;
        let geometry = &skeleton.geometry;
        let depth = geometry.depth();
        let weight = &call.weight[block.panel(geometry) * depth * LANES..][..block.panels * depth * LANES];
        let steps = if span.end == depth { call.epilogue.steps } else { &[] };
        skeleton.rows::<_, ROWS>(
            image,
            block,
            #[inline(always)]
            |from, rows| {
                // SAFETY: the windows of a validated geometry end inside the padded image; `weight` was just sliced to the
                // panels' length; the output values of these rows and panels lie in the output and belong to this task
                // alone; and `Epilogue::check` made sure of the steps.
                let job = unsafe {
                    Job::new(FloatOperands {
                        rows,
                        offsets: &skeleton.windows.offsets[span.clone()],
                        panels: weight[span.start * LANES..].as_ptr(),
                        panel_len: depth * LANES,
                        output: Output::new(geometry, block, steps, Some(output), image.first_output, from),
                        resume: span.start > 0,
                    })
                };
                simd.floats(&job);
            },
        );
    }
}
