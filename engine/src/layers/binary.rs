//! Convolution and matrix product of residual-quantized activations with binary weights.

use super::epilogue::Steps;
use super::view::{PerFilter, View};
use super::{Call, Compute, Context, Facts};
use crate::Error;
use crate::format::MAX_BASES;
use crate::graph::{Base, Op};
use crate::plan::{Handover, Room};
use bytemuck::{cast_slice, cast_slice_mut};
use horq_kernels::{
    BaseRef, BinaryCall, BinaryConv, BinaryInput, BinaryScratch, BinarySpec, Epilogue, Memory, PackInto, Packing,
    PlaneLayout, ScaleMode, ScratchLen, Thresholds,
};

pub(super) struct Binary {
    kernel: BinaryConv,
    bases: Vec<Basis>,
    /// The constants of mode `fixed`.
    scales: Option<View<f32>>,
    steps: Steps,
    /// The planes that it writes, if another binary layer reads them.
    pack: Option<Pack>,
    scratch: ScratchLen,
    facts: Facts,
}

struct Basis {
    panels: View<u32>,
    alpha: PerFilter,
}

struct Pack {
    layout: PlaneLayout,
    /// The constants of the reader, if it is of mode `fixed`.
    scales: Option<View<f32>>,
    /// What order-1 signs follow from the counts by.
    thresholds: Option<Thresholds>,
}

/// The constants of a binary layer of mode `fixed`.
fn scales(context: &Context<'_>, op: &Op) -> Option<View<f32>> {
    let (Op::BinaryConv2d { quantizer, .. } | Op::BinaryDense { quantizer, .. }) = op else { return None };
    let name = quantizer.scales.as_deref().filter(|_| quantizer.mode == ScaleMode::Fixed)?;
    Some(View::new(context.model, |model| model.f32s(name)))
}

/// What the layer is, and its weight bases.
fn parts<'a>(context: &'a Context<'_>) -> (BinarySpec, &'a [Base]) {
    let op = &context.node().op;
    let (Op::BinaryConv2d { bases, .. } | Op::BinaryDense { bases, .. }) = op else {
        unreachable!("{op:?} is no binary layer")
    };
    let spec = op.binary_spec(context.input(), context.batch).expect("a binary layer");
    (BinarySpec { pool: Steps::before_pool(context, op.bias().is_some()), ..spec }, bases)
}

fn reads_planes(context: &Context<'_>) -> bool {
    matches!(context.planned().inputs[0].room, Room::Planes { .. })
}

/// What the layer takes.
pub(super) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    let (spec, bases) = parts(context);
    let kernel = BinaryConv::memory(context.isa, spec, bases.len()).map_err(context.refusal())?;
    let mut memory = if reads_planes(context) { kernel.of_planes } else { kernel.of_values };
    if context.planned().handover.is_some() {
        memory.tables = memory.tables.saturating_add(kernel.thresholds);
    }
    Ok(context.with_vectors(memory, &spec.geometry, bases.len()))
}

impl Binary {
    pub(super) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let op = &context.node().op;
        let (spec, bases) = parts(context);
        let (geometry, _) = context.geometry()?;
        let basis = |base: &Base| {
            let panels = View::new(context.model, |model| model.u32s(&base.weight));
            Ok(Basis { panels, alpha: PerFilter::new(context.model, &base.alpha, &geometry)? })
        };
        let bases: Vec<Basis> = bases.iter().map(basis).collect::<Result<_, Error>>()?;
        let panels: Vec<&[u32]> = bases.iter().map(|base| &*base.panels).collect();
        let kernel = BinaryConv::new(context.isa, spec, &panels).map_err(context.refusal())?;
        let steps = Steps::new(context, &geometry, op.bias())?;
        let constants = scales(context, op);
        let pack = |handover: Handover| -> Result<Pack, Error> {
            let scale = constants.as_ref().map_or(1.0, |scales| scales[0]);
            let reader = &context.graph.nodes[handover.node].op;
            let thresholds = match steps.at_order_1_of(&[context.index, handover.reader]) {
                Some(steps) => kernel.thresholds(scale, &bases[0].alpha, &steps).map_err(context.refusal())?,
                None => None,
            };
            Ok(Pack { layout: handover.layout, scales: scales(context, reader), thresholds })
        };
        let pack = context.planned().handover.map(pack).transpose()?;
        let scratch = if reads_planes(context) { kernel.scratch_len_of_planes() } else { kernel.scratch_len() };
        let facts = Facts {
            binary: Some((spec.max_order, spec.mode)),
            bit_macs: (kernel.windows() * geometry.filters * geometry.depth() * bases.len()) as u64,
            ..Facts::default()
        };
        Ok(Self { kernel, bases, scales: constants, steps, pack, scratch, facts })
    }
}

impl Compute for Binary {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let steps = self.steps.resolve(&call.operands);
        let mut bases = [BaseRef { panels: &[], alpha: &[] }; MAX_BASES];
        for (to, base) in bases.iter_mut().zip(&self.bases) {
            *to = BaseRef { panels: &base.panels, alpha: &base.alpha };
        }
        let (into, output) = match &self.pack {
            Some(Pack { layout, scales, thresholds }) => {
                let into = PackInto::new(*layout, cast_slice_mut(call.output), call.reader_order, scales.as_deref());
                (Some((into, thresholds)), &mut [][..])
            }
            None => (None, call.output),
        };
        let operands = BinaryCall {
            input: match call.operands.planes(0) {
                Some(words) => BinaryInput::Planes { words, samples: call.operands.samples },
                None => BinaryInput::Values(call.operands.get(0)),
            },
            order: call.order,
            scales: self.scales.as_deref().unwrap_or(&[]),
            bases: &bases[..self.bases.len()],
            epilogue: Epilogue { steps: &steps[..self.steps.len()] },
            pack: into.as_ref().map(|(into, thresholds)| Packing { into, thresholds: thresholds.as_ref() }),
            parallel: call.parallel,
            clock: call.clock,
        };
        let scratch = BinaryScratch {
            words: &mut call.words[..self.scratch.words],
            scales: &mut call.floats[..self.scratch.scales],
        };
        self.kernel.run(operands, output, scratch)
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
