//! Convolution and matrix product of residual-quantized activations with binary weights.

use crate::{Epilogue, Error, Geometry, Isa, Padding, Parallel, ScaleMode, StageClock};

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
}

/// A binary layer prepared for one shape and instruction set. A matrix product is [`Geometry::dense`].
#[derive(Debug)]
pub struct BinaryConv {
    spec: BinarySpec,
    isa: Isa,
}

/// One weight basis: W ~ alpha B.
#[derive(Clone, Copy, Debug)]
pub struct BaseRef<'a> {
    /// Bit panels of B, [`Geometry::bit_panel_len`] words.
    pub panels: &'a [u32],
    /// alpha of each filter, laid out as [`Geometry::pad_filters`] says.
    pub alpha: &'a [f32],
}

/// The operands of one call of [`BinaryConv::run`].
#[derive(Clone, Copy)]
pub struct BinaryCall<'a> {
    /// `[sample][row][column][channel]`; up to `max_batch` samples.
    pub input: &'a [f32],
    /// The order of this call, 1 to `max_order`.
    pub order: usize,
    /// The constants b_1.. of [`ScaleMode::Fixed`], at least `order`; ignored in the other modes.
    pub scales: &'a [f32],
    /// The weight bases that [`BinaryConv::new`] saw.
    pub bases: &'a [BaseRef<'a>],
    /// What follows the sums.
    pub epilogue: Epilogue<'a>,
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

impl BinaryConv {
    /// Checks the shapes and prepares the tables of the padded borders, for which it reads `bases` once.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size does not fit; [`Error::MissingIsa`] if this CPU lacks `isa`.
    pub fn new(isa: Isa, spec: BinarySpec, bases: &[&[u32]]) -> Result<Self, Error> {
        todo!("{isa:?} {spec:?} {bases:?}")
    }

    /// The scratch that [`Self::run`] needs.
    pub fn scratch_len(&self) -> ScratchLen {
        todo!()
    }

    /// Computes `output[sample][row][column][filter]`:
    /// y = sum_l alpha_l (sum_k b_k (H_k . B_l)), then the epilogue; each product and sum rounded on its own, in that order.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the input holds NaN or infinity; the output is then unspecified.
    ///
    /// # Panics
    /// If a length does not match the spec.
    pub fn run(&self, call: BinaryCall<'_>, output: &mut [f32], scratch: BinaryScratch<'_>) -> Result<(), Error> {
        let _ = (call.input, output, scratch, self.spec, self.isa);
        todo!()
    }
}
