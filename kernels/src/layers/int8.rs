//! Convolution and matrix product of activations and weights of 8 bits.

use crate::backends::Isa;
use crate::clock::StageClock;
use crate::clock::{Stage, timed};
use crate::error::Error;
use crate::memory::Memory;
use crate::memory::{bytes, room};
use crate::parallel::Parallel;
use crate::shape::windows::{GROUP, Grid, ROW_GROUP, Shared, Starts, Windows};
use crate::shape::{Geometry, MAX_ELEMENTS};
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::epilogue::Epilogue;
use crate::tiles::int8::Int8Job;
use crate::weights::bits::LANES;
use crate::weights::int8::{self, QUAD, Runs};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Rows of a task at a time: a multiple of the tile heights of AVX-512 (5 and 8) and of 4 and 2.
const ROWS: usize = 40;
/// Bytes of a matrix product's rows that are quantized before they are multiplied: a quarter of an L2 cache of 1 MiB.
const BATCH_BYTES: usize = 256 << 10;
/// The fewest such rows, where there are as many.
const BATCH_ROWS: usize = 40;

/// What an 8-bit layer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8Spec {
    /// Shapes.
    pub geometry: Geometry,
    /// What a step of the quantized activations stands for; positive, and neither it nor its reciprocal infinite.
    pub scale: f32,
    /// The quantized activation that stands for 0.
    pub zero_point: u8,
    /// The most samples of one call.
    pub max_batch: usize,
    /// Whether to use the CPU's instruction for dot products of bytes ([`Isa::has_dot`]); the results are the same.
    pub dot: bool,
}

/// A convolution of 8-bit weights and activations, prepared for one geometry and instruction set. A matrix product is
/// [`Geometry::dense`].
///
/// Activations come as f32 and are quantized with a given scale and zero point; see [`int8`] for the arithmetic, which is
/// exact up to the sum of an output.
#[derive(Debug)]
pub struct Int8Conv {
    spec: Int8Spec,
    isa: Isa,
    windows: Windows,
    /// Where each four bytes of a window lie, counted from its first.
    offsets: Vec<u32>,
    pixels: usize,
    /// What the sum of each padded filter starts from.
    start: Vec<i32>,
    /// What is added to a rounded activation to make its byte.
    offset: i32,
    /// Samples of a matrix product that are quantized at a time; 0 for a convolution.
    batch: usize,
}

/// The operands of one call of [`Int8Conv::run`].
#[derive(Clone, Copy)]
pub struct Int8Call<'a> {
    /// `[sample][row][column][channel]`; up to `max_batch` samples.
    pub input: &'a [f32],
    /// The panels that [`Int8Conv::new`] saw.
    pub panels: &'a [i8],
    /// The factor of each filter's sum, laid out as [`Geometry::pad_filters`] says: the activations' scale times the
    /// weights'.
    pub alpha: &'a [f32],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// Where the time goes, if anybody asks.
    pub clock: Option<&'a StageClock>,
}

/// Asks a backend for [`Simd::has_dot`].
pub(crate) struct HasDot;

impl Op for HasDot {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        simd.has_dot()
    }
}

/// Asks a backend for [`Simd::signed_bytes`].
struct SignedBytes(bool);

impl Op for SignedBytes {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        simd.signed_bytes(self.0)
    }
}

impl Int8Conv {
    /// Checks the spec and sums the weights once.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size does not fit, if an output sums more than [`int8::MAX_DEPTH`] products, or if the scale is not
    /// positive and finite; [`Error::MissingIsa`] if this CPU lacks `isa`, or a dot product of bytes that the spec wants;
    /// [`Error::Memory`] if there is no memory for its tables.
    pub fn new(isa: Isa, spec: Int8Spec, panels: &[i8]) -> Result<Self, Error> {
        let mut conv = Self::without_tables(isa, spec)?;
        let geometry = &spec.geometry;
        let wanted = int8::panel_len(geometry);
        if panels.len() != wanted {
            let found = panels.len();
            return Err(Error::Shape(format!("{found} bytes of 8-bit panels were given, the layer needs {wanted}")));
        }
        let runs = Runs::new(geometry);
        conv.windows.list()?;
        conv.offsets = room(runs.rows())?;
        for run in std::mem::take(&mut conv.windows.offsets).chunks_exact(runs.len) {
            conv.offsets.extend(run.iter().step_by(QUAD));
        }
        conv.start = room(geometry.padded_filters())?;
        conv.start.extend(int8::weight_sums(geometry, panels, -conv.offset));
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, spec: Int8Spec) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, spec)?;
        let kept = bytes::<u32>(&[Runs::new(&spec.geometry).rows()]) + bytes::<i32>(&[spec.geometry.padded_filters()]);
        Ok(Memory { tables: kept + conv.windows.list_bytes(), words: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, spec: Int8Spec) -> Result<Self, Error> {
        let geometry = spec.geometry;
        let out = geometry.validate()?;
        int8::check_depth(&geometry)?;
        if !(1..=MAX_ELEMENTS).contains(&spec.max_batch) {
            let batch = spec.max_batch;
            return Err(Error::Shape(format!(
                "a batch of {batch} samples does not make a layer; it must be 1 to {MAX_ELEMENTS}"
            )));
        }
        if !(spec.scale > 0.0 && spec.scale.is_finite() && spec.scale.recip().is_finite()) {
            let scale = spec.scale;
            return Err(Error::Shape(format!("scale {scale:e} must be positive, and its reciprocal finite")));
        }
        let isa = isa.check()?;
        if spec.dot && !isa.has_dot() {
            return Err(Error::MissingIsa("a dot product of bytes", format!("{isa} without it")));
        }
        let windows = Windows::new(&geometry, geometry.group_channels(), out[1]);
        let bytes_from = if dispatch(isa, SignedBytes(spec.dot)) { i32::from(i8::MIN) } else { 0 };
        let offset = i32::from(spec.zero_point) + bytes_from;
        let pixels = out[0] * out[1];
        let is_dense = pixels == 1 && geometry.window.padding == [0; 4] && windows.is_straight();
        let batch = if is_dense { (BATCH_BYTES / windows.len).max(BATCH_ROWS).min(spec.max_batch) } else { 0 };
        Ok(Self { isa, spec, offsets: Vec::new(), pixels, start: Vec::new(), offset, batch, windows })
    }

    /// Words of scratch that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        // The last four bytes of a window may reach three past the image.
        (self.windows.len * self.batch.max(1) + QUAD - 1).div_ceil(size_of::<u32>())
    }

    /// Computes `output[sample][row][column][filter]`: y = alpha * f32(sum of (q - zero point) * w), then the epilogue.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the input holds NaN or infinity; the output is then unspecified.
    ///
    /// # Panics
    /// If a length does not match the spec.
    pub fn run(&self, call: Int8Call<'_>, output: &mut [f32], scratch: &mut [u32]) -> Result<(), Error> {
        let geometry = &self.spec.geometry;
        let (input_len, output_len) = (geometry.input_len(), self.pixels * geometry.filters);
        let samples = call.input.len() / input_len;
        assert_eq!(call.input.len(), samples * input_len, "the input must be whole samples");
        let most = self.spec.max_batch;
        assert!(samples <= most, "{samples} samples are more than the {most} prepared for");
        assert_eq!(output.len(), samples * output_len, "the output must match the input's samples");
        assert_eq!(call.panels.len(), int8::panel_len(geometry), "panels of the wrong length");
        assert!(call.alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        assert!(scratch.len() >= self.scratch_len(), "scratch too small");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Shared::new(output);
        // A matrix product has a row a sample: some samples are the rows of one pass.
        let pass = self.batch.max(1);
        for (i, images) in call.input.chunks(pass * input_len).enumerate() {
            let samples = images.len() / input_len;
            timed(call.clock, Stage::Quantize, || self.quantize(&call, images, samples, scratch))?;
            timed(call.clock, Stage::Float, || {
                self.multiply(&call, scratch, &output, i * pass * output_len, samples * self.pixels);
            });
        }
        Ok(())
    }

    /// Turns padded images into bytes: one, or the samples of a matrix product.
    fn quantize(&self, call: &Int8Call<'_>, images: &[f32], samples: usize, scratch: &mut [u32]) -> Result<(), Error> {
        let Geometry { height, width, channels, window, .. } = self.spec.geometry;
        let lines = samples * (height + window.padding[0] + window.padding[2]);
        let bytes = Shared::new(scratch);
        let broken = AtomicBool::new(false);
        let grid = Grid::lines(call.parallel, lines, self.windows.row_len / LANES);
        grid.run(call.parallel, &|task| {
            let lines = Lines {
                conv: self,
                images,
                row: width * channels,
                lines: grid.task(task).1,
                // A matrix product has no padding.
                top: if self.batch > 0 { 0 } else { window.padding[0] },
                left: window.padding[1] * channels,
                bytes: &bytes,
            };
            if !dispatch(self.isa, lines) {
                broken.store(true, Relaxed);
            }
        });
        if broken.into_inner() { Err(Error::NotFinite) } else { Ok(()) }
    }

    /// The products of `rows` windows of quantized images.
    fn multiply(&self, call: &Int8Call<'_>, image: &[u32], output: &Shared<f32>, first_output: usize, rows: usize) {
        let geometry = &self.spec.geometry;
        let group = if rows == 1 { ROW_GROUP } else { GROUP };
        let units_of_group = geometry.group_panels().div_ceil(group);
        // Neighbouring windows share most of what they read.
        let row_bytes = self.windows.len * self.batch.max(1) / rows + geometry.filters * size_of::<f32>();
        let work = self.offsets.len() * group;
        let grid = Grid::new(call.parallel, rows, row_bytes, units_of_group * geometry.groups, work);
        grid.run(call.parallel, &|task| {
            let (unit, range) = grid.task(task);
            let first_panel = unit % units_of_group * group;
            let task = Task {
                conv: self,
                call,
                image,
                output,
                first_output,
                group: unit / units_of_group,
                first_panel,
                panels: group.min(geometry.group_panels() - first_panel),
                range,
            };
            dispatch(self.isa, task);
        });
    }
}

/// Some lines of padded images, to be quantized; says whether all their values are finite.
struct Lines<'a> {
    conv: &'a Int8Conv,
    images: &'a [f32],
    /// Values of an image's row.
    row: usize,
    lines: Range<usize>,
    /// Lines above the first row.
    top: usize,
    /// Bytes before the first of a row.
    left: usize,
    bytes: &'a Shared<u32>,
}

impl Op for Lines<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Self { conv, images, row, left, .. } = self;
        let row_len = conv.windows.row_len;
        let zero = conv.offset as u8;
        let inverse = simd.splat_float(conv.spec.scale.recip());
        let low = -f32::from(conv.spec.zero_point);
        // 0 times a value is 0 unless it is not finite.
        let mut check = simd.splat_float(0.0);
        for line in self.lines {
            // SAFETY: the scratch holds every line of the padded images, and these belong to this task alone; whole rows lie
            // in the images, and what is stored past a row is stored from a buffer of sixteen bytes.
            unsafe {
                let to = self.bytes.get().cast::<u8>().add(line * row_len);
                let Some(image) = line.checked_sub(self.top).and_then(|y| images.get(y * row..(y + 1) * row)) else {
                    std::ptr::write_bytes(to, zero, row_len);
                    continue;
                };
                std::ptr::write_bytes(to, zero, left);
                std::ptr::write_bytes(to.add(left + row), zero, row_len - left - row);
                let to = to.add(left);
                let mut at = 0;
                while at < row {
                    let n = LANES.min(row - at);
                    let from = image.as_ptr().add(at);
                    let x = if n == LANES { simd.load_floats(from) } else { simd.load_first(from, n) };
                    check = simd.fma(x, simd.splat_float(0.0), check);
                    let steps = simd.mul(x, inverse);
                    if n == LANES {
                        simd.store_bytes(to.add(at), steps, [low, low + 255.0], conv.offset);
                    } else {
                        let mut last = [0u8; LANES];
                        simd.store_bytes(last.as_mut_ptr(), steps, [low, low + 255.0], conv.offset);
                        std::ptr::copy_nonoverlapping(last.as_ptr(), to.add(at), n);
                    }
                    at += n;
                }
            }
        }
        !simd.sum(check).is_nan()
    }
}

/// Some rows times some panels of a group.
struct Task<'a> {
    conv: &'a Int8Conv,
    call: &'a Int8Call<'a>,
    image: &'a [u32],
    output: &'a Shared<f32>,
    first_output: usize,
    group: usize,
    first_panel: usize,
    panels: usize,
    range: Range<usize>,
}

impl Op for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, call, .. } = &self;
        let geometry = &conv.spec.geometry;
        let panel_len = conv.offsets.len() * LANES * QUAD;
        let panel = self.group * geometry.group_panels() + self.first_panel;
        let panels = &call.panels[panel * panel_len..][..self.panels * panel_len];
        let within = self.first_panel * LANES;
        let mut starts = match conv.batch {
            0 => conv.windows.starts(self.range.start, self.group),
            _ => {
                let step = conv.windows.len;
                Starts::evenly(self.range.start * step + conv.windows.first(0, self.group), step)
            }
        };
        let image: *const u8 = self.image.as_ptr().cast();
        let mut from = self.range.start;
        while from < self.range.end {
            let n = ROWS.min(self.range.end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for row in &mut rows[..n] {
                // SAFETY: the windows of a validated geometry start inside the padded image, which the scratch holds.
                *row = unsafe { image.add(starts.advance()) };
            }
            let at = self.first_output + from * geometry.filters + self.group * geometry.group_filters() + within;
            // Windows end inside the padded image, their last four bytes inside the scratch; `panels` was just sliced to the
            // panels' length; `start` and, as `run` checked, alpha hold a value a padded filter; the output values of these
            // rows and panels lie in the output and belong to this task alone; and `Epilogue::check` made sure of the steps.
            let job = Int8Job {
                rows: &rows[..n],
                offsets: &conv.offsets,
                panels: panels.as_ptr().cast(),
                filters: (self.panels * LANES).min(geometry.group_filters() - within),
                start: conv.start[panel * LANES..].as_ptr(),
                alpha: call.alpha[panel * LANES..].as_ptr(),
                // SAFETY: as said, the place lies in the output.
                results: unsafe { self.output.get().add(at) },
                stride: geometry.filters,
                steps: call.epilogue.steps,
                filter: panel * LANES,
                at,
                dot: conv.spec.dot,
            };
            simd.int8(&job);
            from += n;
        }
    }
}
