//! What a binary layer is, and what one call of it works on.

use crate::binary::handover::PackInto;
use crate::binary::scales::ScaleMode;
use crate::binary::thresholds::Thresholds;
#[cfg(doc)]
use crate::binary::{BinaryConv, PlaneLayout};
use crate::clock::StageClock;
use crate::error::Error;
use crate::memory::Memory;
use crate::parallel::Parallel;
use crate::shape::{Geometry, Padding};
use crate::tiles::Epilogue;

/// What a binary layer is, whatever the order it is run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinarySpec {
    /// Shapes.
    pub geometry: Geometry,
    /// What a padded tap stands for.
    pub padding: Padding,
    /// Over what a plane's scale is the mean.
    pub mode: ScaleMode,
    /// The highest order it will be run at, 1 to [`crate::MAX_ORDER`].
    pub max_order: usize,
    /// The most samples of one call.
    pub max_batch: usize,
    /// After how many steps of the epilogue the largest of 2 x 2 values goes on (stride 2; an odd row or column is left out);
    /// none if the layer does not pool. The steps before see the convolution's output and add none to it, those after see
    /// the pooled one.
    pub pool: Option<usize>,
}

/// One weight basis: W ~ alpha B.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Bit panels of B, [`Geometry::bit_panel_len`] words.
    pub panels: &'a [u32],
    /// alpha of each filter, laid out as [`Geometry::pad_filters`] says.
    pub alpha: &'a [f32],
}

/// What a binary layer reads.
#[derive(Clone, Copy, Debug)]
pub enum BinaryInput<'a> {
    /// `[sample][row][column][channel]`; up to `max_batch` samples, to be quantized.
    Values(&'a [f32]),
    /// Planes that the layer before packed, in the layout [`PlaneLayout::new`] of the layer, at the order of the call or a
    /// higher one.
    Planes {
        /// The words of all samples.
        words: &'a [u32],
        /// How many samples.
        samples: usize,
    },
}

/// Where a layer's output goes as packed planes, beside f32 values or instead of them.
#[derive(Clone, Copy, Debug)]
pub struct Packing<'a> {
    /// The planes of the layer that reads them.
    pub into: &'a PackInto<'a>,
    /// [`BinaryConv::thresholds`] of the layer that writes them, for the epilogue of the call: an order-1 output that is only
    /// packed at order 1 then comes from the counts without any f32 value.
    pub thresholds: Option<&'a Thresholds>,
}

/// The operands of one call of [`BinaryConv::run`].
#[derive(Clone, Copy)]
pub struct BinaryCall<'a> {
    /// What the layer reads.
    pub input: BinaryInput<'a>,
    /// The order of this call, 1 to `max_order`.
    pub order: usize,
    /// The constants b_1.. of [`ScaleMode::Fixed`], at least `order`; in mode [`ScaleMode::Halving`] b, whatever follows it;
    /// ignored in the other modes.
    pub scales: &'a [f32],
    /// The weight bases that [`BinaryConv::new`] saw.
    pub bases: &'a [Basis<'a>],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
    /// The planes that the output is packed into, if a layer reads such.
    pub pack: Option<Packing<'a>>,
    /// Who runs the tasks.
    pub parallel: &'a dyn Parallel,
    /// Where the time goes, if anybody asks.
    pub clock: Option<&'a StageClock>,
}

/// The scratch memory of [`BinaryConv::run`]; may be shared by layers that do not run at the same time.
#[derive(Debug, Default)]
pub struct BinaryScratch<'a> {
    /// Words of packed planes.
    pub words: &'a mut [u32],
    /// Scales, one a plane and row.
    pub scales: &'a mut [f32],
}

/// How much scratch a layer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchLen {
    /// Length of [`BinaryScratch::words`].
    pub words: usize,
    /// Length of [`BinaryScratch::scales`].
    pub scales: usize,
}

/// What a binary layer takes; [`BinaryConv::memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryMemory {
    /// Where calls give values.
    pub of_values: Memory,
    /// Where calls give planes.
    pub of_planes: Memory,
    /// Bytes of [`BinaryConv::thresholds`], if they are asked for.
    pub thresholds: usize,
}

/// What a sample is given as.
pub(crate) enum SampleInput<'a> {
    /// `[row][column][channel]`.
    Image(&'a [f32]),
    /// Packed planes.
    Planes(&'a [u32]),
}

/// One sample of a call; for a matrix product all samples, each a pixel of an image one pixel high.
pub(crate) struct Sample<'a> {
    /// The shape; its width is the number of samples for a matrix product.
    pub geometry: &'a Geometry,
    pub input: SampleInput<'a>,
    /// Output pixels, after a pool.
    pub rows: usize,
    /// Whether each window has scales and planes of its own.
    pub by_window: bool,
    /// Where the sample starts in the output.
    pub first_output: usize,
    /// Which sample of the call this is.
    pub number: usize,
}

impl BinarySpec {
    /// Rows and columns of the output, after a pool.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size does not fit, or a layer pools that cannot: its output needs two rows and columns, and its
    /// windows shared planes (no mode [`ScaleMode::Window`]).
    pub fn output(&self) -> Result<[usize; 2], Error> {
        let [rows, columns] = self.geometry.validate()?;
        if self.pool.is_none() {
            return Ok([rows, columns]);
        }
        if rows.min(columns) < 2 || self.mode.is_per_window() {
            let mode = self.mode;
            return Err(Error::Shape(format!("2 x 2 values of {rows} x {columns} in mode {mode:?} cannot be pooled")));
        }
        Ok([rows / 2, columns / 2])
    }

    /// Whether the layer is a matrix product, whose samples are the rows of one task.
    pub(crate) fn is_flat(&self) -> bool {
        // The scale of mode `image` runs over all groups, that of a window over its own.
        self.geometry.is_flat() && self.geometry.groups == 1
    }
}
