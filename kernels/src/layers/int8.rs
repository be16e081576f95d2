//! Convolution and matrix product of activations and weights of 8 bits.

mod products;
mod quantize;

use self::products::Bytes;
use self::quantize::{Element, Lines};
use super::skeleton::{Image, Skeleton};
use crate::backends::{Backend, Isa, Op, dispatch};
use crate::clock::{Stage, StageClock, timed};
use crate::error::Error;
use crate::memory::{Memory, bytes, with_capacity};
use crate::parallel::{Disjoint, Grid, Parallel, Pieces, panels_of_task};
use crate::shape::{Cut, Geometry, MAX_ELEMENTS};
use crate::simd::LANES;
use crate::tiles::Epilogue;
use crate::weights::int8::{self, QUAD, Runs};
use pulp::bytemuck::cast_slice_mut;

/// Rows of a layer from which on widening pays: it costs about what it saves on six rows.
const WIDE_FROM: usize = 8;
/// Panel rows of four bytes that are widened at a time: they take 24 KiB of the L1 cache, and the rows of a tile, 1.5 KiB each,
/// pass by. With 8 KiB, taking up sums took 7 % of the time (Zen 3).
const WIDE_SPAN: usize = 192;
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
    skeleton: Skeleton,
    spec: Int8Spec,
    /// Where each four bytes of a window lie, counted from its first.
    offsets: Vec<u32>,
    /// Whether many rows are multiplied as pairs of 16 bits.
    widens: bool,
    /// Then where each pair of a window lies, in bytes from its first.
    pairs: Vec<u32>,
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

/// Asks a backend for [`Backend::signed_bytes`] and [`Backend::widens_bytes`].
struct Form(bool);

impl Op for Form {
    type Output = [bool; 2];

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> [bool; 2] {
        [simd.signed_bytes(self.0), simd.widens_bytes(self.0)]
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
        conv.skeleton.windows.list()?;
        conv.offsets = with_capacity(runs.rows())?;
        for run in std::mem::take(&mut conv.skeleton.windows.offsets).chunks_exact(runs.len) {
            conv.offsets.extend(run.iter().step_by(QUAD));
        }
        if conv.widens {
            conv.pairs = with_capacity(2 * runs.rows())?;
            conv.pairs.extend(conv.offsets.iter().flat_map(|&at| [2 * at, 2 * at + 4]));
        }
        conv.start = with_capacity(geometry.padded_filters())?;
        conv.start.extend(int8::weight_sums(geometry, panels, -conv.offset));
        Ok(conv)
    }

    /// What a layer takes; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, spec: Int8Spec) -> Result<Memory, Error> {
        let conv = Self::without_tables(isa, spec)?;
        let lists = if conv.widens { 3 } else { 1 };
        let kept =
            bytes::<u32>(&[lists, Runs::new(&spec.geometry).rows()]) + bytes::<i32>(&[spec.geometry.padded_filters()]);
        Ok(Memory { tables: kept + conv.skeleton.windows.list_bytes(), words: conv.scratch_len(), ..Memory::default() })
    }

    fn without_tables(isa: Isa, spec: Int8Spec) -> Result<Self, Error> {
        let geometry = spec.geometry;
        geometry.validate()?;
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
        let skeleton = Skeleton::new(isa, geometry)?;
        if spec.dot && !isa.has_dot() {
            return Err(Error::MissingIsa("a dot product of bytes", format!("{isa} without it")));
        }
        let [signed, widens] = dispatch(isa, Form(spec.dot));
        let offset = i32::from(spec.zero_point) + if signed { i32::from(i8::MIN) } else { 0 };
        let most = (BATCH_BYTES / skeleton.windows.len).max(BATCH_ROWS).min(spec.max_batch);
        let batch = if skeleton.is_whole() { most } else { 0 };
        let rows = skeleton.pixels * batch.max(1);
        // Places of pairs are counted in bytes, in 32 bits.
        let widens = widens && rows >= WIDE_FROM && skeleton.windows.len <= MAX_ELEMENTS / 2;
        Ok(Self { skeleton, spec, offsets: Vec::new(), widens, pairs: Vec::new(), start: Vec::new(), offset, batch })
    }

    /// Words of scratch that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        // The last four elements of a window may reach three past the image.
        let elements = self.skeleton.windows.len * self.batch.max(1) + QUAD - 1;
        (elements * if self.widens { size_of::<i16>() } else { 1 }).div_ceil(size_of::<u32>())
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
        let samples = self.skeleton.samples(call.input, output);
        let most = self.spec.max_batch;
        assert!(samples <= most, "{samples} samples are more than the {most} prepared for");
        assert_eq!(call.panels.len(), int8::panel_len(geometry), "panels of the wrong length");
        assert!(call.alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        assert!(scratch.len() >= self.scratch_len(), "scratch too small");
        call.epilogue.check(geometry.padded_filters(), output.len());
        let output = Disjoint::new(output);
        // A matrix product has a row a sample: some samples are the rows of one pass.
        let pass = self.batch.max(1);
        let of_pass = pass * geometry.input_len();
        for i in Pieces::single(call.parallel, call.input.len().div_ceil(of_pass)) {
            let images = &call.input[i * of_pass..call.input.len().min((i + 1) * of_pass)];
            let first_output = i * pass * self.skeleton.output_len();
            let rows = images.len() / geometry.input_len() * self.skeleton.pixels;
            if self.widens && rows >= WIDE_FROM {
                self.pass::<i16>(&call, images, output, first_output, cast_slice_mut(scratch))?;
            } else {
                self.pass::<u8>(&call, images, output, first_output, cast_slice_mut(scratch))?;
            }
        }
        Ok(())
    }

    /// One sample, or some of a matrix product.
    fn pass<E: Element>(
        &self,
        call: &Int8Call<'_>,
        images: &[f32],
        output: Disjoint<'_, f32>,
        first_output: usize,
        elements: &mut [E],
    ) -> Result<(), Error> {
        let geometry = &self.spec.geometry;
        let samples = images.len() / geometry.input_len();
        timed(call.clock, Stage::Quantize, || self.quantize(call, images, samples, elements))?;
        let image = Image {
            values: &*elements,
            rows: samples * self.skeleton.pixels,
            step: (self.batch > 0).then_some(self.skeleton.windows.len),
            first_output,
        };
        // Neighbouring windows share most of what they read.
        let read = self.skeleton.windows.len * self.batch.max(1) * size_of::<E>() / image.rows;
        let panels = panels_of_task(image.rows);
        let cut = Cut {
            parallel: call.parallel,
            panels,
            row_bytes: E::row_bytes(read, geometry.filters, panels),
            work: self.offsets.len(),
            together: 1,
        };
        timed(call.clock, Stage::Float, || E::multiply(&Bytes { conv: self, call }, &image, output, cut));
        Ok(())
    }

    /// Quantizes padded images: one, or the samples of a matrix product.
    fn quantize<E: Element>(
        &self,
        call: &Int8Call<'_>,
        images: &[f32],
        samples: usize,
        elements: &mut [E],
    ) -> Result<(), Error> {
        let Geometry { height, width, channels, window, .. } = self.spec.geometry;
        let lines = samples * (height + window.padding[0] + window.padding[2]);
        let elements = Disjoint::new(elements);
        Grid::lines(call.parallel, lines, self.skeleton.windows.row_len / LANES).check(|lines| {
            let lines = Lines {
                conv: self,
                images,
                row: width * channels,
                lines,
                // A matrix product has no padding.
                top: if self.batch > 0 { 0 } else { window.padding[0] },
                left: window.padding[1] * channels,
                elements,
            };
            dispatch(self.skeleton.isa, lines)
        })
    }
}
