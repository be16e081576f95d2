//! Elementwise operations that no convolution took into its epilogue, and softmax.

use super::view::View;
use super::{Call, Compute, Context};
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{Isa, Runner, Stage, elementwise, timed};

pub(super) struct Elementwise {
    isa: Isa,
    channels: usize,
    kind: Kind,
}

enum Kind {
    Affine {
        scale: View<f32>,
        shift: View<f32>,
    },
    /// Scale and shift for each order of the layer with that index.
    AffineByOrder {
        layer: usize,
        rows: Vec<[View<f32>; 2]>,
    },
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
            Op::AffineByOrder { order_of, rows } => Kind::AffineByOrder {
                layer: context.layer_of(order_of),
                rows: rows.iter().map(|row| [vector(&row.scale), vector(&row.shift)]).collect(),
            },
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
        let (channels, input, output) = (self.channels, call.operands.get(0), call.output);
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || match &self.kind {
            Kind::Affine { scale, shift } => elementwise::affine(runner, channels, input, scale, shift, output),
            Kind::AffineByOrder { layer, rows } => {
                let [scale, shift] = &rows[call.operands.orders[*layer] - 1];
                elementwise::affine(runner, channels, input, scale, shift, output)
            }
            Kind::Relu => elementwise::relu(runner, input, output),
            Kind::Prelu(slope) => elementwise::prelu(runner, channels, input, slope, output),
            Kind::Add => elementwise::add(runner, input, call.operands.get(1), output),
            Kind::Softmax => elementwise::softmax(runner, channels, input, output),
        });
        Ok(())
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        match &self.kind {
            Kind::Affine { scale, shift } => [scale, shift].into_iter().for_each(|vector| each(cast_slice(vector))),
            Kind::AffineByOrder { rows, .. } => rows.iter().flatten().for_each(|row| each(cast_slice(row))),
            Kind::Prelu(slope) => each(cast_slice(slope)),
            Kind::Relu | Kind::Add | Kind::Softmax => {}
        }
    }
}
