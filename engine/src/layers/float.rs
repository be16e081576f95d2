//! f32 convolution and matrix product.

use super::epilogue::Steps;
use super::view::View;
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{Epilogue, FloatCall, FloatConv, Memory};

pub(super) struct Float {
    kernel: FloatConv,
    weight: View<f32>,
    steps: Steps,
    facts: Facts,
}

/// What the layer takes.
pub(super) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    let (geometry, _) = context.geometry()?;
    let kernel = FloatConv::memory(context.isa, geometry).map_err(context.refusal())?;
    Ok(context.with_vectors(kernel, &geometry.float_layout(), 0))
}

impl Float {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (Op::Conv2d { weight, bias, .. } | Op::Dense { weight, bias, .. }) = op else {
            unreachable!("{op:?} is no float layer")
        };
        let (geometry, macs) = context.geometry()?;
        let kernel = FloatConv::new(context.isa, geometry).map_err(context.refusal())?;
        let weight = View::new(context.model, |model| model.f32s(weight));
        let steps = Steps::new(context, &geometry.float_layout(), bias.as_deref())?;
        let facts = Facts { float_macs: macs, ..Facts::default() };
        Ok(Self { kernel, weight, steps, facts })
    }
}

impl Compute for Float {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let operands = FloatCall {
            input: call.operands.get(0),
            weight: &self.weight,
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
        each(cast_slice(&self.weight));
        self.steps.weights(each);
    }
}
