//! f32 convolution and matrix product whose weights are indices into a codebook.

use super::epilogue::Steps;
use super::view::View;
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::graph::{Op, code_bits};
use bytemuck::cast_slice;
use horq_kernels::{CodebookCall, CodebookConv, Epilogue, Memory};

pub(super) struct Codebook {
    kernel: CodebookConv,
    codes: View<u32>,
    /// A value for every code that the bits can hold; zero past the last entry.
    book: Vec<f32>,
    steps: Steps,
    facts: Facts,
}

/// What the layer takes.
pub(super) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    let op = &context.node().op;
    let (Op::CodebookConv2d { entries, .. } | Op::CodebookDense { entries, .. }) = op else {
        unreachable!("{op:?} has no codebook")
    };
    let (geometry, _) = context.geometry()?;
    let kernel = CodebookConv::memory(context.isa, geometry, code_bits(*entries)).map_err(context.refusal())?;
    Ok(context.with_vectors(kernel, &geometry, 0))
}

impl Codebook {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (Op::CodebookConv2d { entries, codes, codebook, bias, .. }
        | Op::CodebookDense { entries, codes, codebook, bias, .. }) = op
        else {
            unreachable!("{op:?} has no codebook")
        };
        let (geometry, macs) = context.geometry()?;
        let bits = code_bits(*entries);
        let kernel = CodebookConv::new(context.isa, geometry, bits).map_err(context.refusal())?;
        let codes = View::new(context.model, |model| model.u32s(codes));
        let mut book = context.model.f32s(codebook)[..*entries].to_vec();
        book.resize(1 << bits, 0.0);
        let steps = Steps::new(context, &geometry, bias.as_deref())?;
        let facts = Facts { code_macs: macs, ..Facts::default() };
        Ok(Self { kernel, codes, book, steps, facts })
    }
}

impl Compute for Codebook {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let operands = CodebookCall {
            input: call.operands.get(0),
            codes: &self.codes,
            book: &self.book,
            epilogue: Epilogue { steps: &steps[..self.steps.len()] },
            parallel: call.parallel,
            clock: call.clock,
        };
        self.kernel.run(operands, call.output, &mut call.floats[..self.kernel.scratch_len()]);
        Ok(())
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        each(cast_slice(&self.codes));
        each(cast_slice(&self.book));
        self.steps.weights(each);
    }
}
