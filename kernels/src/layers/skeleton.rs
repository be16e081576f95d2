//! What the convolutions that are not binary share: checks, where windows lie, padded images, and the cut into tasks.

use crate::backends::{Backend, Isa, Op, dispatch};
use crate::clock::{Stage, StageClock, timed};
use crate::error::Error;
use crate::parallel::{Disjoint, Parallel, Pieces};
use crate::shape::{Block, Blocks, Cut, Geometry, Starts, Windows};
use std::ops::Range;

/// A convolution, whatever its weights are.
#[derive(Debug)]
pub(super) struct Skeleton {
    pub geometry: Geometry,
    pub isa: Isa,
    pub windows: Windows,
    /// Output pixels of a sample.
    pub pixels: usize,
}

/// What windows are read from.
pub(super) struct Image<'a, T> {
    pub values: &'a [T],
    /// Windows.
    pub rows: usize,
    /// Values from a window to the next, where they simply follow each other.
    pub step: Option<usize>,
    /// Where the first window's results start in the output.
    pub first_output: usize,
}

/// Windows times weights.
pub(super) trait Product: Sync {
    /// What an image consists of.
    type Element: Sync;
    /// Multiplies some windows by some panels and writes the results; must be `#[inline(always)]`.
    fn block<S: Backend>(&self, simd: S, image: &Image<'_, Self::Element>, block: &Block, output: Disjoint<'_, f32>);
}

struct Task<'a, P: Product> {
    product: &'a P,
    image: &'a Image<'a, P::Element>,
    block: Block,
    output: Disjoint<'a, f32>,
}

impl<P: Product> Op for Task<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        self.product.block(simd, self.image, &self.block, self.output);
    }
}

impl Skeleton {
    /// A convolution whose windows are read from images of one element a channel.
    ///
    /// # Errors
    /// As [`Self::with_unit`].
    pub(super) fn new(isa: Isa, geometry: Geometry) -> Result<Self, Error> {
        geometry.validate()?;
        Self::with_unit(isa, geometry, geometry.group_channels())
    }

    /// A convolution whose windows are read from images of `unit` elements a pixel and group.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Geometry::validate`] says; [`Error::MissingIsa`] if this CPU lacks `isa`.
    pub(super) fn with_unit(isa: Isa, geometry: Geometry, unit: usize) -> Result<Self, Error> {
        let out = geometry.validate()?;
        Ok(Self {
            isa: isa.check()?,
            geometry,
            windows: Windows::new(&geometry, unit, out[1]),
            pixels: out[0] * out[1],
        })
    }

    /// Whether the one window of a sample is its whole image in order, so that samples are rows that follow each other.
    pub(super) fn is_whole(&self) -> bool {
        self.pixels == 1 && !self.geometry.is_padded() && self.windows.is_straight()
    }

    /// Values of one sample's output.
    pub(super) fn output_len(&self) -> usize {
        self.pixels * self.geometry.filters
    }

    /// The samples of a call.
    ///
    /// # Panics
    /// If the input or the output is no whole number of them.
    pub(super) fn samples(&self, input: &[f32], output: &[f32]) -> usize {
        let samples = input.len() / self.geometry.input_len();
        assert_eq!(input.len(), samples * self.geometry.input_len(), "the input must be whole samples");
        assert_eq!(output.len(), samples * self.output_len(), "the output must match the input's samples");
        samples
    }

    /// Values of scratch that [`Self::images`] needs.
    pub(super) fn padded_len(&self) -> usize {
        if self.geometry.is_padded() { self.windows.len } else { 0 }
    }

    /// Calls `each` with the images of all samples, padded where windows reach over the border.
    pub(super) fn images(
        &self,
        input: &[f32],
        scratch: &mut [f32],
        parallel: &dyn Parallel,
        clock: Option<&StageClock>,
        each: impl Fn(Image<'_, f32>),
    ) {
        let len = self.geometry.input_len();
        if self.is_whole() {
            return each(Image { values: input, rows: input.len() / len, step: Some(len), first_output: 0 });
        }
        for sample in Pieces::single(parallel, input.len() / len) {
            let mut values = &input[sample * len..][..len];
            if self.geometry.is_padded() {
                let padded = &mut scratch[..self.windows.len];
                timed(clock, Stage::Float, || self.windows.pad(&self.geometry, parallel, values, padded));
                values = &scratch[..self.windows.len];
            }
            each(Image { values, rows: self.pixels, step: None, first_output: sample * self.output_len() });
        }
    }

    /// Multiplies all windows of an image.
    pub(super) fn multiply<P: Product>(
        &self,
        product: &P,
        image: &Image<'_, P::Element>,
        output: Disjoint<'_, f32>,
        cut: Cut<'_>,
    ) {
        Blocks::new(&self.geometry, image.rows, cut).run(|block| {
            dispatch(self.isa, Task { product, image, block, output });
        });
    }

    /// Calls `each` with the first elements of up to `ROWS` windows of a block at a time, and the number of the first.
    #[inline(always)]
    pub(super) fn rows<T, const ROWS: usize>(
        &self,
        image: &Image<'_, T>,
        block: &Block,
        mut each: impl FnMut(usize, &[*const T]),
    ) {
        let Range { start: mut from, end } = block.rows;
        let mut starts = match image.step {
            Some(step) => Starts::evenly(from * step + self.windows.group(block.group), step),
            None => self.windows.starts(from, block.group),
        };
        while from < end {
            let n = ROWS.min(end - from);
            let mut rows = [std::ptr::null(); ROWS];
            for row in &mut rows[..n] {
                *row = image.values[starts.advance()..].as_ptr();
            }
            each(from, &rows[..n]);
            from += n;
        }
    }
}
