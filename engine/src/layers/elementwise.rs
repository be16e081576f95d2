//! Elementwise operations that no convolution took into its epilogue, and softmax.

use super::view::View;
use super::{Call, Compute, Context};
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{Isa, Stage, pool, timed};

pub(super) struct Elementwise {
    isa: Isa,
    channels: usize,
    kind: Kind,
}

enum Kind {
    Affine { scale: View<f32>, shift: View<f32> },
    Relu,
    Prelu(View<f32>),
    Add,
    Softmax,
}

impl Elementwise {
    pub(super) fn new(context: &Context<'_>) -> Self {
        let vector = |name: &str| View::new(context.model, |model| model.f32s(name));
        let kind = match &context.node().op {
            Op::Affine { scale, shift } => Kind::Affine { scale: vector(scale), shift: vector(shift) },
            Op::Relu => Kind::Relu,
            Op::Prelu { slope } => Kind::Prelu(vector(slope)),
            Op::Add => Kind::Add,
            Op::Softmax => Kind::Softmax,
            op => unreachable!("{op:?} is not elementwise"),
        };
        Self { isa: context.isa, channels: context.input().channels(), kind }
    }
}

impl Compute for Elementwise {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let (isa, channels, input, output) = (self.isa, self.channels, call.operands.get(0), call.output);
        timed(call.clock, Stage::Float, || match &self.kind {
            Kind::Affine { scale, shift } => pool::affine(isa, channels, input, scale, shift, output),
            Kind::Relu => pool::relu(isa, input, output),
            Kind::Prelu(slope) => pool::prelu(isa, channels, input, slope, output),
            Kind::Add => pool::add(isa, input, call.operands.get(1), output),
            Kind::Softmax => pool::softmax(isa, channels, input, output),
        });
        Ok(())
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        match &self.kind {
            Kind::Affine { scale, shift } => [scale, shift].into_iter().for_each(|vector| each(cast_slice(vector))),
            Kind::Prelu(slope) => each(cast_slice(slope)),
            Kind::Relu | Kind::Add | Kind::Softmax => {}
        }
    }
}
