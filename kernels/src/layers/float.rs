//! f32 convolution and matrix product over float panels.

use crate::backends::Isa;
use crate::clock::StageClock;
use crate::clock::{Stage, timed};
use crate::error::Error;
use crate::layers::depthwise::Depthwise;
use crate::memory::Memory;
use crate::parallel::Parallel;
use crate::shape::Geometry;
use crate::shape::windows::{GROUP, Grid, ROW_GROUP, Shared, Starts, Windows};
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::epilogue::Epilogue;
use crate::tiles::floats::FloatJob;
use crate::weights::bits::LANES;

/// Rows of a task at a time: a multiple of the tile heights (5 and 8, 4, 2).
const ROWS: usize = 40;
/// The highest tile.
const TILE: usize = 8;
/// Elements of the depth that a task multiplies at a time where panels are read for more than one tile: those of four
/// panels take 36 KiB of the L1 cache and leave the rest to the rows. Whole panels of 14 x 14 x 256 came from the L3 cache
/// for every 28 rows.
const BLOCK: usize = 144;

/// An f32 convolution prepared for one geometry and instruction set. A matrix product is [`Geometry::dense`].
#[derive(Debug)]
pub struct FloatConv {
    geometry: Geometry,
    isa: Isa,
    windows: Windows,
    pixels: usize,
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
        let mut conv = Self::without_tables(isa, geometry)?;
        if !geometry.is_depthwise() {
            conv.windows.list()?;
        }
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, geometry: Geometry) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, geometry)?;
        let tables = if geometry.is_depthwise() { 0 } else { conv.windows.list_bytes() };
        Ok(Memory { tables, floats: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        let out = geometry.validate()?;
        let windows = Windows::new(&geometry, geometry.group_channels(), out[1]);
        Ok(Self { isa: isa.check()?, geometry, windows, pixels: out[0] * out[1] })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        if self.is_padded() && !self.geometry.is_depthwise() { self.windows.len } else { 0 }
    }

    /// Computes `output[sample][row][column][filter]`: the products of each output summed by fused multiply-adds from 0,
    /// kernel row by kernel row, tap by tap, channel by channel; then the epilogue.
    ///
    /// # Panics
    /// If a length does not match the geometry.
    pub fn run(&self, call: FloatCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.geometry;
        let (input_len, output_len) = (geometry.input_len(), self.pixels * geometry.filters);
        let samples = call.input.len() / input_len;
        assert_eq!(call.input.len(), samples * input_len, "the input must be whole samples");
        assert_eq!(output.len(), samples * output_len, "the output must match the input's samples");
        assert_eq!(call.weight.len(), geometry.float_panel_len(), "weights of the wrong length");
        call.epilogue.check(geometry.float_layout().padded_filters(), output.len());
        let output = Shared::new(output);
        if geometry.is_depthwise() {
            for (i, image) in call.input.chunks_exact(input_len).enumerate() {
                self.depthwise(&call, image, &output, i * output_len);
            }
            return;
        }
        if self.pixels == 1 && !self.is_padded() && self.windows.is_straight() {
            // One row a sample, contiguous: the batch is the rows.
            self.sample(&call, call.input, &output, 0, samples, Some(input_len));
            return;
        }
        for sample in 0..samples {
            let image = &call.input[sample * input_len..][..input_len];
            let image = if self.is_padded() {
                let padded = &mut scratch[..self.windows.len];
                timed(call.clock, Stage::Float, || self.windows.pad(geometry, call.parallel, image, padded));
                &*padded
            } else {
                image
            };
            self.sample(&call, image, &output, sample * output_len, self.pixels, None);
        }
    }

    /// One sample of a layer whose channels stand each by itself.
    fn depthwise(&self, call: &FloatCall<'_>, image: &[f32], output: &Shared<f32>, first_output: usize) {
        let geometry = &self.geometry;
        let out_width = self.windows.out_width();
        let work = out_width * geometry.window.taps() * geometry.channels.div_ceil(LANES);
        let grid = Grid::lines(call.parallel, self.pixels / out_width, work);
        grid.run(call.parallel, &|task| {
            let (steps, rows) = (call.epilogue.steps, grid.task(task).1);
            let task = Depthwise { geometry, out_width, image, weight: call.weight, steps, output, first_output, rows };
            timed(call.clock, Stage::Float, || dispatch(self.isa, task));
        });
    }

    fn is_padded(&self) -> bool {
        self.geometry.window.padding != [0; 4]
    }

    /// `rows` rows from `image`; `row_step` is set where rows simply follow each other.
    fn sample(
        &self,
        call: &FloatCall<'_>,
        image: &[f32],
        output: &Shared<f32>,
        first_output: usize,
        rows: usize,
        row_step: Option<usize>,
    ) {
        let geometry = &self.geometry;
        let depth = geometry.depth();
        let group = if rows == 1 { ROW_GROUP } else { GROUP };
        let units_of_group = geometry.group_panels().div_ceil(group);
        // Neighbouring windows share most of what they read.
        let row_bytes = (image.len() / rows + geometry.filters) * size_of::<f32>();
        let grid = Grid::new(call.parallel, rows, row_bytes, units_of_group * geometry.groups, depth * group);
        grid.run(call.parallel, &|task| {
            let (unit, range) = grid.task(task);
            let first_panel = unit % units_of_group * group;
            let task = FloatTask {
                conv: self,
                call,
                image,
                output,
                first_output,
                row_step,
                group: unit / units_of_group,
                first_panel,
                panels: group.min(geometry.group_panels() - first_panel),
                range,
            };
            timed(call.clock, Stage::Float, || dispatch(self.isa, task));
        });
    }
}

/// Some rows times some panels of a group.
struct FloatTask<'a> {
    conv: &'a FloatConv,
    call: &'a FloatCall<'a>,
    image: &'a [f32],
    output: &'a Shared<f32>,
    first_output: usize,
    row_step: Option<usize>,
    group: usize,
    first_panel: usize,
    panels: usize,
    range: std::ops::Range<usize>,
}

impl Op for FloatTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let geometry = &self.conv.geometry;
        let depth = geometry.depth();
        // Panels that are used for one tile only pass through the cache as they come.
        let blocks = if self.range.len() <= TILE { 1 } else { depth.div_ceil(BLOCK) };
        let block = depth.div_ceil(blocks).next_multiple_of(4);
        for first in (0..depth).step_by(block) {
            self.stretch(simd, first..depth.min(first + block));
        }
    }
}

impl FloatTask<'_> {
    /// A stretch of the depth for all rows.
    #[inline(always)]
    fn stretch<S: Simd>(&self, simd: S, stretch: std::ops::Range<usize>) {
        let Self { conv, call, .. } = self;
        let geometry = &conv.geometry;
        let depth = geometry.depth();
        let panel = self.group * geometry.group_panels() + self.first_panel;
        let weight = &call.weight[panel * depth * LANES..][..self.panels * depth * LANES];
        let within = self.first_panel * LANES;
        let mut starts = match self.row_step {
            Some(step) => Starts::evenly(self.range.start * step + conv.windows.first(0, self.group), step),
            None => conv.windows.starts(self.range.start, self.group),
        };
        let mut from = self.range.start;
        while from < self.range.end {
            let n = ROWS.min(self.range.end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for row in &mut rows[..n] {
                *row = self.image[starts.advance()..].as_ptr();
            }
            let at = self.first_output + from * geometry.filters + self.group * geometry.group_filters() + within;
            // The windows of a validated geometry end inside the padded image; `weight` was just sliced to the panels'
            // length; the output values of these rows and panels lie in the output and belong to this task alone; and
            // `Epilogue::check` made sure of the steps.
            let job = FloatJob {
                rows: &rows[..n],
                offsets: &conv.windows.offsets[stretch.clone()],
                panels: weight[stretch.start * LANES..].as_ptr(),
                panel_len: depth * LANES,
                filters: (self.panels * LANES).min(geometry.group_filters() - within),
                // SAFETY: as said, the place lies in the output.
                results: unsafe { self.output.get().add(at) },
                stride: geometry.filters,
                resume: stretch.start > 0,
                steps: if stretch.end == depth { call.epilogue.steps } else { &[] },
                filter: panel * LANES,
                at,
            };
            simd.floats(&job);
            from += n;
        }
    }
}
