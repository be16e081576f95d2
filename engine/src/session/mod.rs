//! A session: a model made ready to run on this CPU, with all the memory it needs.

mod budget;
mod context;
mod options;
mod pass;

pub use options::SessionOptions;

use crate::error::{InputError, ResourceError};
use crate::ops;
use crate::plan::Plan;
use crate::threads::Executor;
use crate::{BinaryProfile, Error, LayerProfile, Model, Order};
use budget::Budget;
use context::context;
use horq_kernels::float_env::in_default;
use horq_kernels::{Isa, Parallel, StageClock};
use pass::{PassMemory, Prepared, Run, lock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// A model ready to run: kernels chosen, memory planned and allocated.
///
/// ```
/// use horq::graph::Shape;
/// use horq::ops::Relu;
/// use horq::{Builder, Model, Session, SessionOptions};
///
/// let file = Builder::new("x", Shape::Flat(2)).add("y", &["x"], Relu)?.to_bytes("y")?;
/// let model = Model::from_bytes(&file)?;
/// let mut session = Session::new(&model, SessionOptions::new().batch(2))?;
/// let mut answers = [0.0; 4];
/// session.run(&[1.0, -2.0, -3.0, 4.0], &mut answers)?; // two samples of two values
/// assert_eq!(answers, [1.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), horq::Error>(())
/// ```
///
/// A session borrows the model's weights where they lie (a clone of the [`Model`] keeps them alive), so many sessions, one a
/// thread, share one model.
pub struct Session {
    layers: Vec<Prepared>,
    profiles: Vec<LayerProfile>,
    /// The present order of each layer; 1 for those without one.
    orders: Vec<usize>,
    /// Memory for as many passes as run side by side, at least one.
    memories: Vec<Mutex<PassMemory>>,
    budget: Budget,
    executor: Executor,
    plan: Plan,
    model: Model,
    isa: Isa,
    batch: usize,
    /// The most samples that go through the layers together.
    slice: usize,
    input_len: usize,
    output_len: usize,
    profiling: bool,
}

/// Bytes of values that samples may take together: half of an L2 cache of 1 MiB. More samples at a time reuse the weights
/// of a matrix product; with more bytes each layer finds its input in the L3 cache (VGG-small, 1 MiB a sample: eight
/// samples together took 1.2 times as long as one after another).
const SLICE_BYTES: usize = 512 << 10;

/// How many samples of a batch go through the layers together, and how many such passes side by side.
fn passes(sample_bytes: usize, batch: usize, threads: usize) -> [usize; 2] {
    let parallel = if batch >= threads { threads } else { 1 };
    [(SLICE_BYTES / sample_bytes).clamp(1, batch.div_ceil(parallel)), parallel]
}

impl Session {
    /// Prepares `model`: everything that a run needs is chosen, checked and allocated here.
    ///
    /// # Errors
    /// [`InputError::Batch`](crate::error::InputError::Batch) if the batch is zero; [`ResourceError::SessionMemory`](crate::error::ResourceError::SessionMemory) if it would take more than
    /// the [`crate::Limits::session_bytes`] with which the model was opened, and [`ResourceError::Memory`](crate::error::ResourceError::Memory) if there is not as much;
    /// [`InputError::NoThreads`](crate::error::InputError::NoThreads) and [`ResourceError::ThreadPool`](crate::error::ResourceError::ThreadPool) for threads that cannot be had; [`CpuError::Kernel`](crate::error::CpuError::Kernel) if this CPU
    /// lacks the instruction set; [`CpuError::LayerKernel`](crate::error::CpuError::LayerKernel) if no kernel runs a layer's shape.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        in_default(|| Self::prepare(model, options))
    }

    fn prepare(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        if options.batch == 0 {
            return Err(InputError::Batch.into());
        }
        let isa = options.isa.map_or_else(Isa::from_env, Ok)?;
        let graph = model.graph();
        let executor = Executor::new(options.threads)?;
        let plan = |samples| {
            Plan::new(graph, model.shapes(), samples)
                .ok_or(Error::Resource(ResourceError::Memory { bytes: usize::MAX }))
        };
        let values = plan(1)?.arena_len + graph.input.shape.len() + model.output_shape().len();
        let sample_bytes = values.saturating_mul(size_of::<f32>());
        let [slice, parallel] = passes(sample_bytes, options.batch, executor.threads());
        let plan = plan(slice)?;
        let layer_of = |node: &str| plan.layer_of(graph, node);
        let context = |index| context(model, &plan, index, &layer_of, isa, slice);
        let budget = Budget::new(&plan, context, parallel, model.session_bytes())?;
        let mut layers = Vec::with_capacity(plan.layers.len());
        let mut profiles = Vec::with_capacity(plan.layers.len());
        for (index, planned) in plan.layers.iter().enumerate() {
            let (layer, node) = (ops::prepare(&context(index))?, &graph.nodes[planned.node]);
            let quantizer = node.op.quantizer();
            let (mut weight_bytes, mut copied_bytes) = (0, 0);
            let file = model.file().as_ptr_range();
            layer.weights(&mut |bytes| {
                weight_bytes += bytes.len();
                copied_bytes += if file.contains(&bytes.as_ptr()) { 0 } else { bytes.len() };
            });
            profiles.push(LayerProfile {
                name: node.name.clone(),
                op: node.op.kind(),
                fused: planned.fused.iter().map(|&node| graph.nodes[node].name.clone()).collect(),
                isa,
                binary: quantizer.map(|quantizer| BinaryProfile {
                    order: quantizer.order,
                    max_order: quantizer.order,
                    mode: quantizer.mode,
                }),
                output: planned.output.shape,
                packed: planned.handover.is_some(),
                runs: 0,
                samples: 0,
                nanoseconds: [0; 4],
                wall_nanoseconds: 0,
                macs: layer.macs(),
                weight_bytes,
                copied_bytes,
                activation_bytes: planned.activation_bytes(slice),
            });
            let (inputs, output) = (planned.inputs.clone(), planned.output);
            let reader = planned.handover.map(|handover| handover.reader);
            layers.push(Prepared {
                layer,
                inputs,
                output,
                reader,
                clock: StageClock::default(),
                wall_nanoseconds: AtomicU64::new(0),
            });
        }
        let output = plan.layers.last().expect("a graph has at least one node").output.shape;
        let mut session = Self {
            orders: vec![1; layers.len()],
            layers,
            profiles,
            memories: (0..budget.parallel)
                .map(|_| PassMemory::new(budget.memory).map(Mutex::new))
                .collect::<Result<_, _>>()?,
            budget,
            executor,
            plan,
            model: model.clone(),
            isa,
            batch: options.batch,
            slice,
            input_len: graph.input.shape.len(),
            output_len: output.len(),
            profiling: options.profile,
        };
        session.set_order(options.order.unwrap_or(Order::MAX));
        Ok(session)
    }

    /// Computes the answers of n samples, n = `input.len()` / [`Self::input_len`], at most the session's batch.
    ///
    /// `input` holds the samples one after another, NHWC, unpadded; `output` takes [`Self::output_len`] values a sample.
    /// On the caller's thread alone ([`Threads::Inline`](crate::Threads::Inline)) a run that succeeds allocates nothing, takes no lock and makes no system
    /// call. The answer to a sample does not depend on the others of its batch, nor on threads or instruction sets, nor on the
    /// rounding or the treatment of denormals that the calling thread is set to: a run computes in the default
    /// floating-point environment and leaves the caller's as it was.
    ///
    /// # Errors
    /// [`InputError::InputLength`](crate::error::InputError::InputLength) and [`InputError::OutputLength`](crate::error::InputError::OutputLength) for lengths that do not fit; [`InputError::InputNotFinite`](crate::error::InputError::InputNotFinite) and
    /// [`InputError::LayerNotFinite`](crate::error::InputError::LayerNotFinite) if a value is NaN or infinite or overflows on the way. After an error `output` is unspecified.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        in_default(|| self.compute(input, output))
    }

    fn compute(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        self.executor.follow_fork()?;
        let samples = self.samples(input, output)?;
        if let Some(index) = first_not_finite(input) {
            let input_name = self.model.graph().input.name.clone();
            return Err(InputError::InputNotFinite { input: input_name, index, value: input[index] }.into());
        }
        let cycles = |(prepared, profile): (&Prepared, &LayerProfile)| prepared.cycles(profile);
        let layers = || self.layers.iter().zip(&self.profiles).map(cycles);
        let (sample_cycles, longest) = (layers().fold(0, u64::saturating_add), layers().max().unwrap_or(0));
        // As many passes as every thread can have one of run side by side, each on one thread; the rest in turn, each on all.
        let (cycles, parallel) = (sample_cycles.saturating_mul(samples as u64), self.memories.len());
        let chunk = self.slice.min(samples.div_ceil(parallel));
        let in_parallel = match samples.div_ceil(chunk) / parallel * parallel * chunk {
            in_parallel if parallel > 1 && self.executor.pays(cycles, cycles / parallel as u64) => {
                in_parallel.min(samples)
            }
            _ => 0,
        };
        let part =
            if in_parallel > 0 { cycles / parallel as u64 } else { longest.saturating_mul(chunk.min(samples) as u64) };
        let run = Run {
            layers: &self.layers,
            profiles: &self.profiles,
            orders: &self.orders,
            profiling: self.profiling,
            input_len: self.input_len,
            cycles,
        };
        let (executor, memories, lens) =
            (&self.executor, &mut self.memories, [self.input_len * chunk, self.output_len * chunk]);
        executor.enter(cycles, part, || {
            let (inputs, outputs) =
                (input.split_at(in_parallel * self.input_len), output.split_at_mut(in_parallel * self.output_len));
            let chunks = |input, output| <[f32]>::chunks(input, lens[0]).zip(<[f32]>::chunks_mut(output, lens[1]));
            run.side_by_side(chunks(inputs.0, outputs.0), in_parallel, executor, memories)?;
            let memory = memories[0].get_mut().unwrap_or_else(PoisonError::into_inner);
            chunks(inputs.1, outputs.1).try_for_each(|(input, output)| run.pass(input, output, memory, executor))
        })?;
        if self.profiling {
            for (prepared, profile) in self.layers.iter().zip(&mut self.profiles) {
                profile.runs += 1;
                profile.samples += samples as u64;
                profile.nanoseconds = prepared.clock.nanoseconds();
                profile.wall_nanoseconds = prepared.wall_nanoseconds.load(Relaxed);
            }
        }
        match first_not_finite(output) {
            None => Ok(()),
            Some(_) => Err(InputError::LayerNotFinite { layer: self.model.graph().output.clone() }.into()),
        }
    }

    /// Runs every binary layer at `order`, or at the highest that the model holds for it where that is lower.
    ///
    /// The planes of a quantizer are greedy, so this is exactly what a model made for that order computes. Costs nothing.
    pub fn set_order(&mut self, order: Order) {
        for i in 0..self.layers.len() {
            if let Some(binary) = self.profiles[i].binary {
                self.set_order_at(i, order.get().min(binary.max_order));
            }
        }
    }

    /// Runs the binary layer named `layer` at `order`.
    ///
    /// # Errors
    /// [`InputError::UnknownLayer`](crate::error::InputError::UnknownLayer) if no binary layer has that name; [`InputError::LayerOrder`](crate::error::InputError::LayerOrder) if `order` is above the highest that
    /// the model holds for the layer.
    pub fn set_layer_order(&mut self, layer: &str, order: Order) -> Result<(), Error> {
        let limit =
            |profile: &LayerProfile| profile.binary.filter(|_| profile.name == layer).map(|binary| binary.max_order);
        let Some((i, limit)) = self.profiles.iter().map(limit).enumerate().find_map(|(i, limit)| Some((i, limit?)))
        else {
            let binary = self.profiles.iter().filter(|profile| profile.binary.is_some());
            let names: Vec<&str> = binary.map(|profile| profile.name.as_str()).collect();
            return Err(InputError::UnknownLayer { layer: layer.into(), known: names.join(", ") }.into());
        };
        if order.get() > limit {
            return Err(InputError::LayerOrder { layer: layer.into(), order: order.get(), limit }.into());
        }
        self.set_order_at(i, order.get());
        Ok(())
    }

    fn set_order_at(&mut self, i: usize, order: usize) {
        let profile = &mut self.profiles[i];
        if let Some(binary) = &mut profile.binary {
            binary.order = order;
        }
        self.orders[i] = order;
        profile.macs = self.layers[i].layer.macs().at_order(order);
    }

    /// What each layer is and, in a profiling session, what it has cost since the last reset; in the order of execution.
    pub fn profile(&self) -> &[LayerProfile] {
        &self.profiles
    }

    /// Forgets the times measured so far.
    pub fn reset_profile(&mut self) {
        for (prepared, profile) in self.layers.iter().zip(&mut self.profiles) {
            prepared.clock.reset();
            prepared.wall_nanoseconds.store(0, Relaxed);
            profile.reset();
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The most samples of one run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Values of one sample's input.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// Values of one sample's output.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// Bytes of the activations between layers, for all samples that are worked on at a time; layers whose values live at
    /// different times share them.
    pub fn arena_bytes(&self) -> usize {
        self.memories.len() * size_of_val(&lock(&self.memories[0]).arena[..])
    }

    /// Bytes of the working memory that the layers share: packed planes, scales, gathered windows.
    pub fn scratch_bytes(&self) -> usize {
        let memory = lock(&self.memories[0]);
        self.memories.len() * (size_of_val(&memory.words[..]) + size_of_val(&memory.floats[..]))
    }

    /// Bytes that count against [`crate::Limits::session_bytes`]: the arena and the scratch in whole pages, and the most that
    /// the tables of the layers took while they were made.
    pub fn memory_bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// Bytes that the activations would take without sharing.
    pub fn unshared_bytes(&self) -> usize {
        self.memories.len() * self.plan.blocks.iter().map(|block| block.len * size_of::<f32>()).sum::<usize>()
    }

    fn samples(&self, input: &[f32], output: &[f32]) -> Result<usize, Error> {
        let samples = input.len() / self.input_len;
        if !(1..=self.batch).contains(&samples) || !input.len().is_multiple_of(self.input_len) {
            return Err(
                InputError::InputLength { found: input.len(), sample: self.input_len, batch: self.batch }.into()
            );
        }
        if output.len() != samples * self.output_len {
            let expected = samples * self.output_len;
            return Err(
                InputError::OutputLength { found: output.len(), expected, samples, sample: self.output_len }.into()
            );
        }
        Ok(samples)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("isa", &self.isa)
            .field("batch", &self.batch)
            .field("layers", &self.layers.len())
            .field("arena_bytes", &self.arena_bytes())
            .field("threads", &self.executor)
            .finish_non_exhaustive()
    }
}

/// The first value that is NaN or infinite.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    /// The bits of infinity; what is not finite has at least these, the sign left out.
    const INFINITY: i32 = 0x7f80_0000;
    // Blocks without an early exit, which the compiler turns into vector code.
    let dirty = |block: &[f32]| block.iter().fold(false, |any, x| any | ((x.to_bits() as i32 & i32::MAX) >= INFINITY));
    let block = values.chunks(1024).position(dirty)?;
    values[block * 1024..].iter().position(|x| !x.is_finite()).map(|i| block * 1024 + i)
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Session>();
};
