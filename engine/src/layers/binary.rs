//! Convolution and matrix product of residual-quantized activations with binary weights.

use super::epilogue::Steps;
use super::view::{PerFilter, View};
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::format::MAX_BASES;
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{BaseRef, BinaryCall, BinaryConv, BinaryScratch, BinarySpec, Epilogue, Padding, ScaleMode};

pub(super) struct Binary {
    kernel: BinaryConv,
    bases: Vec<Basis>,
    /// The constants of mode `fixed`.
    scales: Option<View<f32>>,
    steps: Steps,
    facts: Facts,
}

struct Basis {
    panels: View<u32>,
    alpha: PerFilter,
}

impl Binary {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (quantizer, bases, bias, padding) = match op {
            Op::BinaryConv2d { quantizer, bases, bias, pad_value, .. } => (quantizer, bases, bias, *pad_value),
            Op::BinaryDense { quantizer, bases, bias, .. } => (quantizer, bases, bias, Padding::ValidTaps),
            _ => unreachable!("{op:?} is no binary layer"),
        };
        let geometry = op.geometry(context.input()).expect("a layer with filters");
        let out = geometry.validate().map_err(context.refusal())?;
        let bases: Vec<Basis> = bases
            .iter()
            .map(|base| Basis {
                panels: View::new(context.model, |model| model.u32s(&base.weight)),
                alpha: PerFilter::new(context.model, &base.alpha, &geometry),
            })
            .collect();
        let panels: Vec<&[u32]> = bases.iter().map(|base| &*base.panels).collect();
        let spec = BinarySpec {
            geometry,
            padding,
            mode: quantizer.mode,
            max_order: quantizer.order,
            max_batch: context.batch,
        };
        let kernel = BinaryConv::new(context.isa, spec, &panels).map_err(context.refusal())?;
        let scales = quantizer.scales.as_deref().filter(|_| quantizer.mode == ScaleMode::Fixed);
        let steps = Steps::new(context, &geometry, bias.as_deref());
        let scratch = kernel.scratch_len();
        let facts = Facts {
            binary: Some((quantizer.order, quantizer.mode)),
            bit_macs: (out[0] * out[1] * geometry.filters) as u64 * (geometry.depth() * bases.len()) as u64,
            scratch_words: scratch.words,
            scratch_floats: scratch.scales,
            ..Facts::default()
        };
        let scales = scales.map(|name| View::new(context.model, |model| model.f32s(name)));
        Ok(Self { kernel, bases, scales, steps, facts })
    }
}

impl Compute for Binary {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let mut bases = [BaseRef { panels: &[], alpha: &[] }; MAX_BASES];
        for (to, base) in bases.iter_mut().zip(&self.bases) {
            *to = BaseRef { panels: &base.panels, alpha: &base.alpha };
        }
        let operands = BinaryCall {
            input: call.operands.get(0),
            order: call.order,
            scales: self.scales.as_deref().unwrap_or(&[]),
            bases: &bases[..self.bases.len()],
            epilogue: Epilogue { steps: &steps[..self.steps.len()] },
            parallel: call.parallel,
            clock: call.clock,
        };
        let scratch = BinaryScratch {
            words: &mut call.words[..self.facts.scratch_words],
            scales: &mut call.floats[..self.facts.scratch_floats],
        };
        self.kernel.run(operands, call.output, scratch)
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        for base in &self.bases {
            each(cast_slice(&base.panels));
            each(cast_slice(&base.alpha));
        }
        if let Some(scales) = &self.scales {
            each(cast_slice(scales));
        }
        self.steps.weights(each);
    }
}
