//! The passes of a run: some samples through all layers, in memory of their own.

use crate::error::{CpuError, InputError, ResourceError};
use crate::ops::{Call, Compute, LayerError, Operands};
use crate::slot::{Slot, Value};
use crate::threads::Executor;
use crate::{Error, LayerProfile, Macs};
use horq_kernels::{Aligned, Parallel, StageClock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
}

impl PassMemory {
    pub(super) fn new([arena, words, floats]: [usize; 3]) -> Result<Self, Error> {
        Ok(Self { arena: zeros(arena)?, words: zeros(words)?, floats: zeros(floats)? })
    }
}

/// What the passes of a run share.
pub(super) struct Run<'a> {
    pub(super) layers: &'a [Prepared],
    pub(super) profiles: &'a [LayerProfile],
    /// The present order of each layer; 1 for those without one.
    pub(super) orders: &'a [usize],
    pub(super) profiling: bool,
    /// Values of a sample.
    pub(super) input_len: usize,
    /// Estimated cycles of the whole run.
    pub(super) cycles: u64,
}

impl Run<'_> {
    /// Runs passes of `in_parallel` samples in all side by side, each thread in memory of its own. Of several errors that of
    /// the first pass counts.
    pub(super) fn side_by_side<'a>(
        &self,
        passes: impl Iterator<Item = (&'a [f32], &'a mut [f32])> + Send,
        in_parallel: usize,
        executor: &Executor,
        memories: &[Mutex<PassMemory>],
    ) -> Result<(), Error> {
        if in_parallel == 0 {
            return Ok(());
        }
        let passes = Mutex::new(passes.enumerate());
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        executor.run(memories.len(), &|pass| {
            let mut memory = lock(&memories[pass]);
            loop {
                let Some((number, (input, output))) = lock(&passes).next() else { return };
                let Err(error) = self.pass(input, output, &mut memory, &Executor::Inline) else { continue };
                let mut failed = lock(&failed);
                if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                    *failed = Some((number, error));
                }
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Takes some samples through all layers.
    pub(super) fn pass(
        &self,
        input: &[f32],
        output: &mut [f32],
        memory: &mut PassMemory,
        executor: &Executor,
    ) -> Result<(), Error> {
        let samples = input.len() / self.input_len;
        for ((prepared, profile), &order) in self.layers.iter().zip(self.profiles).zip(self.orders) {
            let start = self.profiling.then(Instant::now);
            // The layer's output is cut out of the arena, which leaves what lies on both sides of it for reading.
            let (before, output, after, after_start) = match prepared.output.slot {
                slot @ (Slot::Arena(start) | Slot::Planes { start, .. }) => {
                    let len = match slot {
                        Slot::Planes { words, .. } => words,
                        _ => prepared.output.shape.len() * samples,
                    };
                    let (before, rest) = memory.arena.split_at_mut(start);
                    let (output, after) = rest.split_at_mut(len);
                    let after_start = start + output.len();
                    (&*before, output, &*after, after_start)
                }
                Slot::Output => (&*memory.arena, &mut *output, &[][..], 0),
                Slot::Input => panic!("no plan writes the caller's input"),
            };
            let (values, orders) = (&prepared.inputs, self.orders);
            let operands = Operands { values, samples, input, before, after, after_start, orders };
            let call = Call {
                operands,
                output,
                order,
                reader_order: prepared.reader.map_or(1, |reader| orders[reader]),
                words: &mut memory.words,
                floats: &mut memory.floats,
                parallel: executor.of_layer(self.cycles, prepared.cycles(profile).saturating_mul(samples as u64)),
                clock: self.profiling.then_some(&prepared.clock),
            };
            prepared.layer.run(call).map_err(|error| {
                let layer = profile.name.clone();
                match error {
                    LayerError::Kernel(horq_kernels::Error::NotFinite) => InputError::LayerNotFinite { layer }.into(),
                    LayerError::Kernel(error) => Error::Cpu(CpuError::LayerKernel { layer, error }),
                    LayerError::Row { index, value, rows } => {
                        InputError::EmbeddingRow { layer, index, value, rows }.into()
                    }
                }
            })?;
            if let Some(start) = start {
                prepared.wall_nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
            }
        }
        Ok(())
    }
}

/// Locks what a task that panicked leaves as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory of a session's own.
fn zeros<T: bytemuck::Pod>(len: usize) -> Result<Aligned<T>, Error> {
    Aligned::new(len).map_err(|_| Error::Resource(ResourceError::Memory { bytes: len.saturating_mul(size_of::<T>()) }))
}
