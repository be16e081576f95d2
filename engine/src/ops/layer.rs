//! Layers: kernels prepared for one shape and instruction set, with their weights borrowed from the model.

use super::Context;
use crate::Error;
use crate::macs::Macs;
use crate::slot::{Slot, Value};
use crate::tensor::View;
use crate::values::Values;
use bytemuck::cast_slice;
use horq_kernels::{Aligned, BinaryKernel, Isa, Memory, Parallel, Runner, Stage, StageClock, timed};

/// An operation that becomes a layer of its own.
pub(crate) trait Layer {
    /// Prepares the layer that `context` describes.
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error>;
    /// What the layer takes beside its values; allocates nothing of it.
    fn memory(&self, _: &Context<'_>) -> Result<Memory, Error> {
        Ok(Memory::default())
    }
}

/// Why a layer has no output.
#[derive(Debug)]
pub(crate) enum LayerError {
    /// The kernel refuses.
    Kernel(horq_kernels::Error),
    /// A value is not the number of a row of a table.
    Row {
        /// The value's place in the first input of its sample.
        index: usize,
        value: f32,
        /// Rows of the table.
        rows: usize,
    },
}

impl From<horq_kernels::Error> for LayerError {
    fn from(error: horq_kernels::Error) -> Self {
        Self::Kernel(error)
    }
}

/// A layer ready to run.
pub(crate) trait Compute: Send + Sync {
    /// Computes the output of `call.operands.samples` samples.
    fn run(&self, call: Call<'_>) -> Result<(), LayerError>;
    /// The multiply-accumulates of one sample, a binary layer at order 1; padded taps counted.
    fn macs(&self) -> Macs;
    /// How a binary layer multiplies at an order.
    fn binary_kernel(&self, _: usize) -> Option<BinaryKernel> {
        None
    }
    /// Calls `each` with every weight and per-filter vector that a run reads.
    fn weights(&self, each: &mut dyn FnMut(&[u8]));
}

/// A layer without weights: a function of its operands.
struct Unweighted<F> {
    isa: Isa,
    compute: F,
}

/// The layer that computes its output by `compute`.
pub(super) fn unweighted(
    isa: Isa,
    compute: impl Fn(Runner<'_>, Operands<'_>, &mut [f32]) + Send + Sync + 'static,
) -> Result<Box<dyn Compute>, Error> {
    Ok(Box::new(Unweighted { isa, compute }))
}

impl<F: Fn(Runner<'_>, Operands<'_>, &mut [f32]) + Send + Sync> Compute for Unweighted<F> {
    fn run(&self, call: Call<'_>) -> Result<(), LayerError> {
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || (self.compute)(runner, call.operands, call.output));
        Ok(())
    }

    fn macs(&self) -> Macs {
        Macs::default()
    }

    fn weights(&self, _: &mut dyn FnMut(&[u8])) {}
}

/// A layer that goes by vectors of the model: a function of a call.
struct ByVectors<F> {
    isa: Isa,
    vectors: Vec<View<f32>>,
    compute: F,
}

/// The layer that computes its output by `compute`, which gets the vectors of these names, zeros behind them up to the next
/// multiple of 16 values.
pub(super) fn by_vectors<'n>(
    context: &Context<'_>,
    names: impl IntoIterator<Item = &'n String>,
    compute: impl Fn(Runner<'_>, &[View<f32>], Call<'_>) -> Result<(), LayerError> + Send + Sync + 'static,
) -> Result<Box<dyn Compute>, Error> {
    let view = |name: &String| View::new(context.tensors, |tensors| tensors.f32s(name));
    Ok(Box::new(ByVectors { isa: context.isa, vectors: names.into_iter().map(view).collect(), compute }))
}

impl<F: Fn(Runner<'_>, &[View<f32>], Call<'_>) -> Result<(), LayerError> + Send + Sync> Compute for ByVectors<F> {
    fn run(&self, call: Call<'_>) -> Result<(), LayerError> {
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || (self.compute)(runner, &self.vectors, call))
    }

    fn macs(&self) -> Macs {
        Macs::default()
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        self.vectors.iter().for_each(|vector| each(cast_slice(vector)));
    }
}

/// What one call of a layer works on.
pub(crate) struct Call<'a> {
    pub(crate) operands: Operands<'a>,
    /// The values of all samples, or the words of their planes.
    pub(crate) output: &'a mut [f32],
    /// The order of a binary layer.
    pub(crate) order: usize,
    /// The order of the layer that reads the output as planes.
    pub(crate) reader_order: usize,
    pub(crate) words: &'a mut [u32],
    pub(crate) floats: &'a mut [f32],
    pub(crate) parallel: &'a dyn Parallel,
    pub(crate) clock: Option<&'a StageClock>,
}

/// The values that a layer reads: slices of the caller's buffers and of the arena before and after the layer's output.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) values: &'a [Value],
    pub(crate) samples: usize,
    pub(crate) callers: Callers<'a>,
    /// The arena before the layer's output.
    pub(crate) before: &'a [f32],
    /// The arena after the layer's output.
    pub(crate) after: &'a [f32],
    /// Where `after` starts in the arena.
    pub(crate) after_start: usize,
    /// The present order of every layer; 1 for those without one.
    pub(crate) orders: &'a [usize],
}

impl<'a> Operands<'a> {
    /// The value of input `i`, all samples of the call.
    pub(crate) fn get(&self, i: usize) -> &'a [f32] {
        let Value { slot, shape } = self.values[i];
        let len = shape.len() * self.samples;
        match slot {
            Slot::Input(number) => self.callers.input(number, shape.len(), len),
            Slot::Output(number) => self.callers.output(number, shape.len(), len),
            Slot::Arena(start) => self.arena(start, len),
            Slot::Planes { .. } => panic!("the plan gives this layer planes to read"),
        }
    }

    /// The planes as which input `i` comes, if it does.
    pub(crate) fn planes(&self, i: usize) -> Option<&'a [u32]> {
        match self.values[i].slot {
            Slot::Planes { start, words } => Some(cast_slice(self.arena(start, words))),
            Slot::Input(_) | Slot::Output(_) | Slot::Arena(_) => None,
        }
    }

    fn arena(&self, start: usize, len: usize) -> &'a [f32] {
        if start < self.before.len() {
            &self.before[start..start + len]
        } else {
            &self.after[start - self.after_start..][..len]
        }
    }
}

/// The buffers of a run's caller, as far as a layer reads them.
#[derive(Clone, Copy)]
pub(crate) struct Callers<'a> {
    /// The inputs, all samples of the run.
    pub(crate) inputs: &'a [Values<'a>],
    /// The call's samples of those inputs that are bytes, as f32.
    pub(crate) converted: &'a [Option<Aligned<f32>>],
    /// The first sample of the call in the inputs.
    pub(crate) first_input: usize,
    /// The outputs before the one that the layer writes, all of them if it writes none.
    pub(crate) before: &'a [&'a mut [f32]],
    /// The outputs after it.
    pub(crate) after: &'a [&'a mut [f32]],
    /// The first sample of the call in the outputs.
    pub(crate) first_output: usize,
}

impl<'a> Callers<'a> {
    /// `len` values of that input, of which a sample has `sample_len`.
    fn input(&self, number: usize, sample_len: usize, len: usize) -> &'a [f32] {
        match self.inputs[number] {
            Values::F32(values) => &values[self.first_input * sample_len..][..len],
            Values::U8(_) => {
                &self.converted[number].as_deref().expect("a run makes room for bytes before its passes")[..len]
            }
        }
    }

    /// `len` values of that output, which another layer has written.
    fn output(&self, number: usize, sample_len: usize, len: usize) -> &'a [f32] {
        let output = match self.before.get(number) {
            Some(output) => output,
            None => &self.after[number - self.before.len() - 1],
        };
        &output[self.first_output * sample_len..][..len]
    }
}
