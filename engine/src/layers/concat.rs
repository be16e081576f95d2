//! Channels side by side; with one input, a copy.

use super::{Call, Compute, Context};
use horq_kernels::{Isa, Runner, Stage, elementwise, timed};

pub(super) struct Concat {
    isa: Isa,
    /// Channels of each input.
    channels: Vec<usize>,
}

impl Concat {
    pub(super) fn new(context: &Context<'_>) -> Self {
        let channels = context.planned().inputs.iter().map(|place| place.shape.channels()).collect();
        Self { isa: context.isa, channels }
    }
}

impl Compute for Concat {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let total = self.channels.iter().sum();
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || {
            let mut first = 0;
            for (i, &channels) in self.channels.iter().enumerate() {
                elementwise::concat(runner, first..first + channels, call.operands.get(i), total, call.output);
                first += channels;
            }
        });
        Ok(())
    }
}
