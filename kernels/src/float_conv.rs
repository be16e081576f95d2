//! f32 convolution and matrix product over float panels.

use crate::clock::{Stage, timed};
use crate::epilogue::apply;
use crate::panel::LANES;
use crate::simd::{Op, Simd, dispatch};
use crate::tile::FloatJob;
use crate::windows::{GROUP, Grid, ROW_GROUP, Shared, Windows};
use crate::{Epilogue, Error, Geometry, Isa, Parallel, StageClock};
use std::mem::MaybeUninit;

/// Rows of a task at a time: a multiple of every backend's tile height (12, 6 and 2).
const ROWS: usize = 36;

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
    /// [`Error::Shape`] as [`Geometry::validate`] says; [`Error::MissingIsa`] if this CPU lacks `isa`.
    pub fn new(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        let out = geometry.validate()?;
        let windows = Windows::new(&geometry, geometry.group_channels(), out[1]);
        Ok(Self { isa: isa.check()?, geometry, windows, pixels: out[0] * out[1] })
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        if self.is_padded() { self.windows.len } else { 0 }
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
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Shared::new(output);
        if self.pixels == 1 && !self.is_padded() && self.windows.segments.len() == 1 {
            // One row a sample, contiguous: the batch is the rows.
            self.sample(&call, call.input, &output, 0, samples, Some(input_len));
            return;
        }
        for sample in 0..samples {
            let image = &call.input[sample * input_len..][..input_len];
            let image = if self.is_padded() {
                timed(call.clock, Stage::Float, || self.pad(image, &mut scratch[..self.windows.len]));
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

    /// Copies an image into zeros.
    fn pad(&self, image: &[f32], padded: &mut [f32]) {
        let [top, left, ..] = self.geometry.window.padding;
        let row = self.geometry.width * self.geometry.channels;
        padded.fill(0.0);
        for y in 0..self.geometry.height {
            let at = (top + y) * self.windows.row_len + left * self.geometry.channels;
            padded[at..at + row].copy_from_slice(&image[y * row..][..row]);
        }
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
        let group = if rows == 1 { ROW_GROUP } else { GROUP };
        let units_of_group = geometry.group_panels().div_ceil(group);
        let work = geometry.depth() * group;
        let grid = Grid::new(call.parallel, rows, geometry.depth() * 4, units_of_group * geometry.groups, work);
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
            dispatch(self.isa, task);
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
        let Self { conv, call, .. } = self;
        let geometry = &conv.geometry;
        let panel = self.group * geometry.group_panels() + self.first_panel;
        let weight = &call.weight[panel * geometry.depth() * LANES..][..self.panels * geometry.depth() * LANES];
        // Uninitialised for the sake of small layers; the tiles write every sum that is read.
        let mut sums = [MaybeUninit::<f32>::uninit(); ROWS * ROW_GROUP * LANES];
        let stride = self.panels * LANES;
        let mut from = self.range.start;
        while from < self.range.end {
            let n = ROWS.min(self.range.end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for (i, row) in rows[..n].iter_mut().enumerate() {
                let first = self.row_step.map_or_else(
                    #[inline(always)]
                    || conv.windows.first(from + i, self.group),
                    #[inline(always)]
                    |step| (from + i) * step + conv.windows.first(0, self.group),
                );
                *row = self.image[first..].as_ptr();
            }
            // The windows of a validated geometry end inside the padded image, `weight` was just sliced to the panels'
            // length, and `sums` holds ROWS rows of up to ROW_GROUP panels.
            let job = FloatJob {
                rows: &rows[..n],
                segments: &conv.windows.segments,
                segment_len: conv.windows.segment_len,
                panels: weight.as_ptr(),
                panel_count: self.panels,
                results: sums.as_mut_ptr().cast(),
                stride,
                stream: false,
            };
            timed(
                call.clock,
                Stage::Float,
                #[inline(always)]
                || simd.floats(&job),
            );
            timed(
                call.clock,
                Stage::Epilogue,
                #[inline(always)]
                || self.finish(simd, &sums, stride, from, n),
            );
            from += n;
        }
    }
}

impl FloatTask<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, sums: &[MaybeUninit<f32>], stride: usize, from: usize, n: usize) {
        let geometry = &self.conv.geometry;
        for p in 0..self.panels {
            let within = (self.first_panel + p) * LANES;
            let lanes = LANES.min(geometry.group_filters() - within);
            let filter = self.group * geometry.group_panels() * LANES + within;
            for i in 0..n {
                let at =
                    self.first_output + (from + i) * geometry.filters + self.group * geometry.group_filters() + within;
                // SAFETY: `sums` holds n rows of `stride` values; `Epilogue::check` made sure of the vectors; the output
                // values of this row and panel lie in the output and belong to this task alone.
                unsafe {
                    let y = simd.load_floats(sums.as_ptr().cast::<f32>().add(i * stride + p * LANES));
                    let y = apply(simd, self.call.epilogue.steps, y, filter, at, lanes);
                    let to = self.output.get().add(at);
                    if lanes == LANES { simd.store_floats(to, y) } else { simd.store_first(to, y, lanes) }
                }
            }
        }
    }
}
