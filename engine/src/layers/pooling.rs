//! Pooling.

use super::{Call, Compute, Context};
use crate::graph::{Op, Shape};
use horq_kernels::pool::{self, PoolShape};
use horq_kernels::{Isa, Runner, Stage, timed};

pub(super) struct Pooling {
    isa: Isa,
    kind: Kind,
}

enum Kind {
    Max(PoolShape),
    Average(PoolShape),
    Global { pixels: usize, channels: usize },
}

impl Pooling {
    pub(super) fn new(context: &Context<'_>) -> Self {
        let Shape::Image { height, width, channels } = context.input() else { unreachable!("pooling reads images") };
        let shape = |window| PoolShape { height, width, channels, window };
        let kind = match context.node().op {
            Op::MaxPool { window } => Kind::Max(shape(window)),
            Op::AveragePool { window } => Kind::Average(shape(window)),
            Op::GlobalAveragePool => Kind::Global { pixels: height * width, channels },
            ref op => unreachable!("{op:?} does not pool"),
        };
        Self { isa: context.isa, kind }
    }
}

impl Compute for Pooling {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let (input, output) = (call.operands.get(0), call.output);
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || match &self.kind {
            Kind::Max(shape) => pool::max_pool(runner, shape, input, output),
            Kind::Average(shape) => pool::average_pool(runner, shape, input, output),
            Kind::Global { pixels, channels } => pool::global_average_pool(runner, *pixels, *channels, input, output),
        });
        Ok(())
    }
}
