//! Convolution and matrix product of 8-bit weights and activations.

use super::epilogue::Steps;
use super::view::{PerFilter, View};
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{Epilogue, Geometry, Int8Call, Int8Conv, Int8Spec, Memory};

pub(super) struct Int8 {
    kernel: Int8Conv,
    panels: View<i8>,
    alpha: PerFilter,
    steps: Steps,
    facts: Facts,
}

/// What the layer takes.
pub(super) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    let (geometry, _) = context.geometry()?;
    let kernel = Int8Conv::memory(context.isa, spec(context, geometry)).map_err(context.refusal())?;
    Ok(context.with_vectors(kernel, &geometry, 1))
}

fn spec(context: &Context<'_>, geometry: Geometry) -> Int8Spec {
    let op = &context.node().op;
    let (Op::Int8Conv2d { zero_point, input_scale, .. } | Op::Int8Dense { zero_point, input_scale, .. }) = op else {
        unreachable!("{op:?} has no 8-bit weights")
    };
    Int8Spec {
        geometry,
        scale: context.model.f32s(input_scale)[0],
        zero_point: *zero_point,
        max_batch: context.batch,
        dot: context.isa.has_dot(),
    }
}

impl Int8 {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (Op::Int8Conv2d { weight, alpha, bias, .. } | Op::Int8Dense { weight, alpha, bias, .. }) = op else {
            unreachable!("{op:?} has no 8-bit weights")
        };
        let (geometry, macs) = context.geometry()?;
        let panels = View::new(context.model, |model| model.i8s(weight));
        let kernel = Int8Conv::new(context.isa, spec(context, geometry), &panels).map_err(context.refusal())?;
        let alpha = PerFilter::new(context.model, alpha, &geometry)?;
        let steps = Steps::new(context, &geometry, bias.as_deref())?;
        let facts = Facts { int8_macs: macs, ..Facts::default() };
        Ok(Self { kernel, panels, alpha, steps, facts })
    }
}

impl Compute for Int8 {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let operands = Int8Call {
            input: call.operands.get(0),
            panels: &self.panels,
            alpha: &self.alpha,
            epilogue: Epilogue { steps: &steps[..self.steps.len()] },
            parallel: call.parallel,
            clock: call.clock,
        };
        self.kernel.run(operands, call.output, &mut call.words[..self.kernel.scratch_len()])
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
