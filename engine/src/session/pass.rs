//! The passes of a run: some samples through all layers, in memory of their own.

use super::arguments::{SPAN, first_not_finite};
use super::cancel::Stop;
use crate::error::{CpuError, InputError, ResourceError};
use crate::observe::Open;
use crate::ops::{Call, Callers, Compute, LayerError, Operands};
use crate::slot::{Slot, Value};
use crate::tensor::headroom;
use crate::threads::{Executor, Watched};
use crate::{Error, LayerProfile, Macs, Observer, Span, Values};
use horq_kernels::{Aligned, Interrupt, Parallel, StageClock};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A layer with the slots of its operands.
pub(super) struct Prepared {
    pub(super) layer: Box<dyn Compute>,
    pub(super) inputs: Vec<Value>,
    pub(super) output: Value,
    /// The layer that reads the output as planes.
    pub(super) reader: Option<usize>,
    pub(super) clock: StageClock,
    pub(super) wall_nanoseconds: AtomicU64,
}

impl Prepared {
    /// A rough estimate of one sample's cycles on a fast machine: some 500 binary products a cycle, 64 of 8 bits, 32 with
    /// binary weights, 16 of floats, and 16 bytes of activations.
    pub(super) fn cycles(&self, profile: &LayerProfile) -> u64 {
        let Macs { bit, binary_weight, codebook, float, int8 } = profile.macs;
        let floats = binary_weight / 32 + (codebook + float) / 16;
        bit / 512 + int8 / 64 + floats + profile.activation_bytes as u64 / 16
    }
}

/// The memory of one pass through the layers.
pub(super) struct PassMemory {
    pub(super) arena: Aligned<f32>,
    pub(super) words: Aligned<u32>,
    pub(super) floats: Aligned<f32>,
    /// Each input as f32 where it comes as bytes; none until it does.
    pub(super) converted: Vec<Option<Aligned<f32>>>,
}

impl PassMemory {
    pub(super) fn new([arena, words, floats]: [usize; 3], inputs: usize) -> Result<Self, Error> {
        let converted = (0..inputs).map(|_| None).collect();
        Ok(Self { arena: zeros(arena)?, words: zeros(words)?, floats: zeros(floats)?, converted })
    }

    /// Takes the memory for `len` values of that input, unless it is there.
    pub(super) fn make_room(&mut self, input: usize, len: usize) -> Result<(), Error> {
        if self.converted[input].is_none() {
            self.converted[input] = Some(zeros(len)?);
        }
        Ok(())
    }
}

/// What the passes of a run share.
pub(super) struct Run<'a> {
    pub(super) layers: &'a [Prepared],
    pub(super) profiles: &'a [LayerProfile],
    /// The present order of each layer; 1 for those without one.
    pub(super) orders: &'a [usize],
    pub(super) profiling: bool,
    pub(super) observer: Option<&'a dyn Observer>,
    /// The values of every sample, input by input.
    pub(super) inputs: &'a [Values<'a>],
    /// Values of a sample of each input.
    pub(super) input_lens: &'a [usize],
    /// Values of a sample of each output.
    pub(super) output_lens: &'a [usize],
    /// Estimated cycles of the whole run.
    pub(super) cycles: u64,
    /// What may end the run before its time.
    pub(super) stop: Option<Stop<'a>>,
    /// Samples that came through all layers of a run that may end before its time.
    pub(super) finished: AtomicUsize,
    /// The number of the first sample in errors.
    pub(super) first_sample: usize,
}

/// Why a pass has no answers.
pub(super) enum Failure {
    /// The run ended when the pass had come through so many layers.
    Interrupted { layers: usize },
    /// A layer refused the values of a sample, which is the first such of the run as far as passes were begun in order.
    Sample { sample: usize, error: Box<Error> },
}

/// Why some samples did not come through a layer.
enum Fault {
    Interrupted {
        layers: usize,
    },
    Layer {
        layer: usize,
        error: LayerError,
        /// The value of the layer's first input that is not finite, counted over the pass.
        index: Option<usize>,
    },
}

/// Samples that go through the layers together, and where their answers go.
pub(super) struct Pass<'a, 'o> {
    /// Their numbers in the run.
    pub(super) samples: Range<usize>,
    /// A buffer for each output.
    pub(super) outputs: &'a mut [&'o mut [f32]],
    /// The number of the sample whose answers the buffers begin with.
    pub(super) first: usize,
}

impl Run<'_> {
    /// Whether the run is to end.
    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(Interrupt::is_raised)
    }

    /// Whether somebody has found that the run is to end, so that layers leave work undone.
    pub(super) fn has_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.interruption().is_some())
    }

    pub(super) fn interrupt(&self) -> Option<&dyn Interrupt> {
        self.stop.as_ref().map(|stop| stop as &dyn Interrupt)
    }

    /// The error of a failure.
    pub(super) fn error(&self, failure: Failure) -> Error {
        let layers = match failure {
            Failure::Sample { error, .. } => return *error,
            Failure::Interrupted { layers } => layers,
        };
        let layer = layers.checked_sub(1).map(|layer| self.profiles[layer].name.clone());
        let samples = self.first_sample.saturating_add(self.finished.load(Relaxed));
        self.stop.as_ref().expect("only a stop interrupts a run").error(layer, samples)
    }

    /// Runs passes of `chunk` samples, `in_parallel` in all, side by side, each thread in memory of its own. Of several failures
    /// that of the first pass counts.
    pub(super) fn side_by_side(
        &self,
        outputs: &mut [&mut [f32]],
        in_parallel: usize,
        chunk: usize,
        executor: &Executor,
        memories: &[Mutex<PassMemory>],
    ) -> Result<(), Failure> {
        if in_parallel == 0 {
            return Ok(());
        }
        let mut rests: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut **output).collect();
        let starts = (0..in_parallel).step_by(chunk);
        let passes = Mutex::new(starts.map(|start| {
            let samples = start..in_parallel.min(start + chunk);
            let cut = rests.iter_mut().zip(self.output_lens).map(|(rest, len)| cut(rest, samples.len() * len));
            let outputs: Vec<&mut [f32]> = cut.collect();
            (samples, outputs)
        }));
        let failed: Mutex<Option<(usize, Failure)>> = Mutex::new(None);
        let task = |pass: usize| {
            let mut memory = lock(&memories[pass]);
            loop {
                // Passes come in order, so whatever comes after one that failed would count for less.
                if lock(&failed).is_some() {
                    return;
                }
                let Some((samples, mut outputs)) = lock(&passes).next() else { return };
                let first = samples.start;
                let pass = Pass { samples, outputs: &mut outputs, first };
                let Err(failure) = self.pass(pass, &mut memory, &Executor::Inline) else { continue };
                let mut failed = lock(&failed);
                if failed.as_ref().is_none_or(|(earlier, _)| first < *earlier) {
                    *failed = Some((first, failure));
                }
            }
        };
        executor.run_watched(memories.len(), &task, self.interrupt());
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, failure)| Err(failure))
    }

    /// Takes some samples through all layers. Where a layer refuses them, they go through once more one by one: what a sample
    /// comes to does not depend on the others, so this finds the first at fault, whatever the samples of a pass are.
    pub(super) fn pass(&self, pass: Pass<'_, '_>, memory: &mut PassMemory, executor: &Executor) -> Result<(), Failure> {
        let Pass { samples, outputs, first } = pass;
        let mut fault =
            match self.layers(Pass { samples: samples.clone(), outputs: &mut *outputs, first }, memory, executor) {
                Ok(()) => {
                    if self.stop.is_some() {
                        self.finished.fetch_add(samples.len(), Relaxed);
                    }
                    return Ok(());
                }
                Err(fault) => fault,
            };
        if let (2.., Fault::Layer { index, .. }) = (samples.len(), &mut fault) {
            *index = None; // it would be one of several samples
            for sample in samples.clone() {
                let alone = Pass { samples: sample..sample + 1, outputs: &mut *outputs, first };
                self.layers(alone, memory, executor).map_err(|fault| self.failure(fault, sample))?;
            }
        }
        Err(self.failure(fault, samples.start))
    }

    /// What a fault of that sample, or of some from it on, comes to.
    fn failure(&self, fault: Fault, sample: usize) -> Failure {
        let (layer, error, index) = match fault {
            Fault::Interrupted { layers } => return Failure::Interrupted { layers },
            Fault::Layer { layer, error, index } => (self.profiles[layer].name.clone(), error, index),
        };
        let number = self.first_sample.saturating_add(sample);
        let error = match error {
            LayerError::Kernel(horq_kernels::Error::NotFinite) => {
                InputError::LayerNotFinite { layer, sample: number, index }.into()
            }
            LayerError::Kernel(error) => Error::Cpu(CpuError::LayerKernel { layer, error }),
            LayerError::Row { index, value, rows } => {
                InputError::EmbeddingRow { layer, sample: number, index, value, rows }.into()
            }
        };
        Failure::Sample { sample, error: Box::new(error) }
    }

    /// Checks the answers of the samples before `end`.
    ///
    /// # Errors
    /// [`InputError::LayerNotFinite`] with the first value of the first sample that has one that is not finite.
    pub(super) fn check_outputs(&self, names: &[String], outputs: &[&mut [f32]], end: usize) -> Result<(), Error> {
        let found = outputs.iter().zip(self.output_lens).enumerate().filter_map(|(number, (output, &len))| {
            let index = first_not_finite(&output[..end * len], self.interrupt())?;
            Some((index / len, number, index % len))
        });
        let Some((sample, number, index)) = found.min() else { return Ok(()) };
        let (layer, sample) = (names[number].clone(), self.first_sample.saturating_add(sample));
        Err(InputError::LayerNotFinite { layer, sample, index: Some(index) }.into())
    }

    /// Takes some samples through all layers.
    fn layers(&self, pass: Pass<'_, '_>, memory: &mut PassMemory, executor: &Executor) -> Result<(), Fault> {
        let Pass { samples, outputs, first } = pass;
        let (first_input, first_output, samples) = (samples.start, samples.start - first, samples.len());
        let converted = memory.converted.iter_mut().zip(self.inputs).zip(self.input_lens);
        for ((converted, input), len) in converted {
            if let (Values::U8(bytes), Some(converted)) = (input, converted) {
                let bytes = &bytes[first_input * len..][..samples * len];
                for (values, bytes) in converted.chunks_mut(SPAN).zip(bytes.chunks(SPAN)) {
                    if self.is_stopped() {
                        break;
                    }
                    values.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = f32::from(byte));
                }
            }
        }
        let layers = self.layers.iter().zip(self.profiles).zip(self.orders).enumerate();
        for (number, ((prepared, profile), &order)) in layers {
            if self.is_stopped() {
                return Err(Fault::Interrupted { layers: number });
            }
            let _span = self.profiling.then(|| {
                let LayerProfile { name, op, .. } = profile;
                let span = Span::Layer { index: number, name, op, order: profile.order(), samples };
                Open::new(span, self.observer, |nanoseconds| {
                    prepared.wall_nanoseconds.fetch_add(nanoseconds, Relaxed);
                })
            });
            // The layer's output is cut out of the arena, or out of the caller's outputs, which leaves what lies on both sides
            // of it for reading.
            let (written, place) = match prepared.output.slot {
                Slot::Output(number) => (number, None),
                Slot::Arena(start) => (outputs.len(), Some((start, prepared.output.shape.len() * samples))),
                Slot::Planes { start, words } => (outputs.len(), Some((start, words))),
                Slot::Input(_) => panic!("no plan writes the caller's input"),
            };
            let (outputs_before, rest) = outputs.split_at_mut(written);
            let (own, outputs_after) = match rest.split_first_mut() {
                Some((own, after)) => (Some(own), after),
                None => (None, &mut [][..]),
            };
            let (before, output, after, after_start) = match (place, own) {
                (None, Some(own)) => {
                    let len = prepared.output.shape.len();
                    (&*memory.arena, &mut own[first_output * len..][..samples * len], &[][..], 0)
                }
                (Some((start, len)), _) => {
                    let (before, rest) = memory.arena.split_at_mut(start);
                    let (output, after) = rest.split_at_mut(len);
                    (&*before, output, &*after, start + len)
                }
                (None, None) => panic!("the plan names an output that the graph has not"),
            };
            let callers = Callers {
                inputs: self.inputs,
                converted: &memory.converted,
                first_input,
                before: outputs_before,
                after: outputs_after,
                first_output,
            };
            let (values, orders) = (&prepared.inputs, self.orders);
            let operands = Operands { values, samples, callers, before, after, after_start, orders };
            let executor = executor.of_layer(self.cycles, prepared.cycles(profile).saturating_mul(samples as u64));
            let watched = self.interrupt().map(|interrupt| Watched { executor, interrupt });
            let parallel: &dyn Parallel = watched.as_ref().map_or(executor, |watched| watched);
            let call = Call {
                operands,
                output,
                order,
                reader_order: prepared.reader.map_or(1, |reader| orders[reader]),
                words: &mut memory.words,
                floats: &mut memory.floats,
                parallel,
                clock: self.profiling.then_some(&prepared.clock),
            };
            let outcome = prepared.layer.run(call);
            if self.has_stopped() {
                return Err(Fault::Interrupted { layers: number });
            }
            if let Err(error) = outcome {
                let read = operands.planes(0).is_none().then(|| operands.get(0));
                let index = read.and_then(|values| first_not_finite(values, self.interrupt()));
                return Err(Fault::Layer { layer: number, error, index });
            }
        }
        Ok(())
    }
}

/// Cuts the first `len` values off.
fn cut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}

/// Locks what a task that panicked leaves as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory of a session's own.
fn zeros<T: bytemuck::Pod>(len: usize) -> Result<Aligned<T>, Error> {
    headroom(0)?;
    Aligned::new(len).map_err(|_| Error::Resource(ResourceError::Memory { bytes: len.saturating_mul(size_of::<T>()) }))
}
