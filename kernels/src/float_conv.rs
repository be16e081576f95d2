//! f32 convolution and matrix product over float panels.

use crate::{Epilogue, Error, Geometry, Isa, Parallel, StageClock};

/// An f32 convolution prepared for one geometry and instruction set. A matrix product is [`Geometry::dense`].
#[derive(Debug)]
pub struct FloatConv {
    geometry: Geometry,
    isa: Isa,
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
        todo!("{isa:?} {geometry:?}")
    }

    /// Values of scratch that [`Self::run`] needs, whatever the number of samples.
    pub fn scratch_len(&self) -> usize {
        todo!()
    }

    /// Computes `output[sample][row][column][filter]`.
    ///
    /// # Panics
    /// If a length does not match the geometry.
    pub fn run(&self, call: FloatCall<'_>, output: &mut [f32], scratch: &mut [f32]) {
        let _ = (call.input, output, scratch, self.geometry, self.isa);
        todo!()
    }
}
