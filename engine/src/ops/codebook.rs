//! f32 convolution and matrix product whose weights are indices into a codebook.

use super::epilogue::Steps;
use super::product::{Kernel, Site, Weights, packed};
use super::{Body, Context, Fields, Flat, Inputs, Sliding, Weighted};
use crate::Error;
use crate::error::GraphError;
use crate::limits::MAX_CODEBOOK_ENTRIES;
use crate::macs::Macs;
use crate::tensor::{Content, PlainValues, TensorSpec, View, code_bits};
use horq_kernels::{CodebookCall, CodebookConv, Geometry, Memory, Window};
use serde::Serialize;

/// f32 weights that are entries of a codebook.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Codebook<T = String> {
    /// Values of the codebook, 1 to 32.
    pub entries: usize,
    /// Code panels: which entry each weight is. Plain values are u8, `[filter][kernel row][kernel column][channel of the group]`
    /// or `[filter][feature]`.
    pub codes: T,
    /// The entries.
    pub codebook: T,
}

/// f32 convolution whose weights are entries of a codebook.
pub type CodebookConv2d<T = String> = Weighted<Sliding, Codebook<T>, T>;

/// f32 matrix product whose weights are entries of a codebook.
pub type CodebookDense<T = String> = Weighted<Flat, Codebook<T>, T>;

impl<'a> Codebook<PlainValues<'a>> {
    fn new(codes: impl Into<PlainValues<'a>>, codebook: impl Into<PlainValues<'a>>) -> Self {
        let (codes, codebook) = (codes.into(), codebook.into());
        Self { entries: codebook.len(), codes, codebook }
    }
}

impl<'a> CodebookConv2d<PlainValues<'a>> {
    /// A convolution without groups and bias.
    pub fn new(
        window: Window,
        filters: usize,
        codes: impl Into<PlainValues<'a>>,
        codebook: impl Into<PlainValues<'a>>,
    ) -> Self {
        Self::sliding(window, filters, Codebook::new(codes, codebook))
    }
}

impl<'a> CodebookDense<PlainValues<'a>> {
    /// A matrix product without bias.
    pub fn new(filters: usize, codes: impl Into<PlainValues<'a>>, codebook: impl Into<PlainValues<'a>>) -> Self {
        Self::flat(filters, Codebook::new(codes, codebook))
    }
}

impl<T> Body<T> for Codebook<T> {
    type With<U> = Codebook<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (codes, codebook) = (fields.tensor("codes")?, fields.tensor("codebook")?);
        Ok(Self { entries: fields.count("entries", fields.len_of(&codebook))?, codes, codebook })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Codebook<U> {
        Codebook { entries: self.entries, codes: f("codes", self.codes), codebook: f("codebook", self.codebook) }
    }
}

impl Weights for Codebook {
    fn check(&self, inputs: &Inputs<'_>, _: &Geometry) -> Result<(), Error> {
        let (entries, limit) = (self.entries, MAX_CODEBOOK_ENTRIES);
        if (1..=limit).contains(&entries) {
            return Ok(());
        }
        Err(GraphError::CodebookEntries { node: inputs.node.into(), entries, limit }.into())
    }

    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        let panels = TensorSpec::new(&self.codes, Content::CodePanels(geometry, self.entries));
        vec![panels, TensorSpec::vector(&self.codebook, self.entries)]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry, 0)
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { codebook: products, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error> {
        CodebookConv::memory(context.isa, site.geometry, code_bits(self.entries)).map_err(context.refusal())
    }

    fn kernel(&self, context: &Context<'_>, site: Site, _: &Steps) -> Result<Box<dyn Kernel>, Error> {
        let bits = code_bits(self.entries);
        let kernel = CodebookConv::new(context.isa, site.geometry, bits).map_err(context.refusal())?;
        let codes = View::new(context.tensors, |tensors| tensors.u32s(&self.codes));
        let mut book = context.tensors.f32s(&self.codebook)[..self.entries].to_vec();
        book.resize(1 << bits, 0.0); // a value for every code that the bits can hold
        packed(codes, book, move |codes, book, call, epilogue| {
            let (input, parallel, clock) = (call.operands.get(0), call.parallel, call.clock);
            let operands = CodebookCall { input, codes, book, epilogue, parallel, clock };
            kernel.run(operands, call.output, &mut call.floats[..kernel.scratch_len()]);
            Ok(())
        })
    }
}
