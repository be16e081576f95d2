//! Convolution and matrix product of f32 activations with binary weights.

use super::epilogue::Steps;
use super::view::{PerFilter, View};
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{BinaryWeightCall, BinaryWeightConv, Epilogue, Memory};

pub(super) struct BinaryWeight {
    kernel: BinaryWeightConv,
    panels: View<u32>,
    alpha: PerFilter,
    steps: Steps,
    facts: Facts,
}

/// What the layer takes.
pub(super) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    let (geometry, _) = context.geometry()?;
    let kernel = BinaryWeightConv::memory(context.isa, geometry).map_err(context.refusal())?;
    Ok(context.with_vectors(kernel, &geometry, 1))
}

impl BinaryWeight {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (Op::BinaryWeightConv2d { weight, alpha, bias, .. } | Op::BinaryWeightDense { weight, alpha, bias, .. }) =
            op
        else {
            unreachable!("{op:?} has no binary weights")
        };
        let (geometry, macs) = context.geometry()?;
        let kernel = BinaryWeightConv::new(context.isa, geometry).map_err(context.refusal())?;
        let panels = View::new(context.model, |model| model.u32s(weight));
        let alpha = PerFilter::new(context.model, alpha, &geometry)?;
        let steps = Steps::new(context, &geometry, bias.as_deref())?;
        let facts = Facts { sign_macs: macs, ..Facts::default() };
        Ok(Self { kernel, panels, alpha, steps, facts })
    }
}

impl Compute for BinaryWeight {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let operands = BinaryWeightCall {
            input: call.operands.get(0),
            panels: &self.panels,
            alpha: &self.alpha,
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
        each(cast_slice(&self.panels));
        each(cast_slice(&self.alpha));
        self.steps.weights(each);
    }
}
