//! A session: a model made ready to run on this CPU, with all the memory it needs.

mod arguments;
mod budget;
mod cancel;
mod cascade;
mod context;
mod options;
mod orders;
mod pace;
mod pass;
mod points;
mod pool;
mod within;

pub use cancel::{CancelToken, Poll, RunOptions};
pub use options::SessionOptions;
pub use pool::{PooledSession, SessionPool};
pub use within::Answer;

use crate::error::{InputError, ResourceError};
use crate::observe::{OfLayer, Open};
use crate::ops;
use crate::plan::Plan;
use crate::tensor::headroom;
use crate::threads::Executor;
use crate::{BinaryProfile, Error, LayerProfile, Model, Observer, Order, Span, Values};
use arguments::{check, check_finite};
use budget::{Budget, bytes_of_pages};
use cancel::Stop;
use context::context;
use horq_kernels::float_env::in_default;
use horq_kernels::{BinaryKernel, Interrupt, Isa, Parallel, StageClock};
use pace::Pace;
use pass::{Failure, Pass, PassMemory, Prepared, Run, lock};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// The operating point that the orders are of, and the orders of each point as [`points::orders`] says.
    point: Option<usize>,
    point_orders: Vec<Vec<usize>>,
    /// What runs within a deadline go by, once it was measured.
    pace: Option<Pace>,
    latency_target: Option<Duration>,
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
    /// Values of a sample of each input, and of each output.
    input_lens: Vec<usize>,
    output_lens: Vec<usize>,
    profiling: bool,
    observer: Option<Arc<dyn Observer>>,
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
    /// lacks the instruction set; [`CpuError::LayerKernel`](crate::error::CpuError::LayerKernel) if no kernel runs a layer's shape;
    /// [`Error::Tensor`] if the values of a mapped model, which the first session checks, break a rule; [`InputError::UnknownPoint`](crate::error::InputError::UnknownPoint)
    /// for a point that the model has not; [`InputError::NoPoints`](crate::error::InputError::NoPoints) and [`InputError::LatencyTarget`](crate::error::InputError::LatencyTarget) for a target without points, or
    /// one that the fastest of them does not reach.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        in_default(|| Self::prepare(model, options))
    }

    fn prepare(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        if options.batch == 0 {
            return Err(InputError::Batch.into());
        }
        // Before the environment is read, too, whose text takes memory.
        model.headroom()?;
        let isa = options.isa.map_or_else(Isa::from_env, Ok)?;
        model.check()?;
        model.headroom()?;
        let graph = model.graph();
        let executor = Executor::new(options.threads)?;
        let plan = |samples| {
            Plan::new(graph, model.shapes(), samples)
                .ok_or(Error::Resource(ResourceError::Memory { bytes: usize::MAX }))
        };
        let input_lens: Vec<usize> = model.inputs().map(|(_, shape)| shape.len()).collect();
        let output_lens: Vec<usize> = model.outputs().map(|(_, shape)| shape.len()).collect();
        let values = plan(1)?.arena_len + input_lens.iter().chain(&output_lens).sum::<usize>();
        let sample_bytes = values.saturating_mul(size_of::<f32>());
        let [slice, parallel] = passes(sample_bytes, options.batch, executor.threads());
        let plan = plan(slice)?;
        let layer_of = |node: &str| plan.layer_of(graph, node);
        let context = |index| context(model, &plan, index, &layer_of, isa, slice);
        let budget = Budget::new(&plan, context, parallel, model.session_bytes())?;
        let mut layers = Vec::with_capacity(plan.layers.len());
        let mut profiles = Vec::with_capacity(plan.layers.len());
        for (index, planned) in plan.layers.iter().enumerate() {
            headroom(0)?;
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
                binary: quantizer.map(|&ops::Quantizer { order, mode, .. }| {
                    let kernel = layer.binary_kernel(order).unwrap_or(BinaryKernel::Popcount);
                    BinaryProfile { order, max_order: order, mode, kernel }
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
                clock: options.observer.clone().map_or_else(StageClock::default, |observer| {
                    StageClock::observed(Arc::new(OfLayer { layer: index, observer }))
                }),
                wall_nanoseconds: AtomicU64::new(0),
            });
        }
        headroom(0)?;
        let mut session = Self {
            orders: vec![1; layers.len()],
            point: None,
            point_orders: points::orders(model, &profiles),
            pace: None,
            latency_target: None,
            layers,
            profiles,
            memories: (0..budget.parallel)
                .map(|_| PassMemory::new(budget.memory, input_lens.len()).map(Mutex::new))
                .collect::<Result<_, _>>()?,
            budget,
            executor,
            plan,
            model: model.clone(),
            isa,
            batch: options.batch,
            slice,
            input_lens,
            output_lens,
            profiling: options.profile || options.observer.is_some(),
            observer: options.observer,
        };
        session.set_order(options.order.unwrap_or(Order::MAX));
        if let Some(point) = &options.point {
            session.set_point(point)?;
        }
        options.latency_target.map_or(Ok(()), |target| session.aim(target))?;
        Ok(session)
    }

    /// Computes the answers of n samples, n = `input.len()` / [`Self::input_len`], at most the session's batch, for a model
    /// with one input and one output.
    ///
    /// `input` holds the samples one after another, NHWC, unpadded; `output` takes [`Self::output_len`] values a sample.
    /// On the caller's thread alone ([`Threads::Inline`](crate::Threads::Inline)) a run that succeeds allocates nothing, takes no lock and makes no system
    /// call. The answer to a sample does not depend on the others of its batch, nor on threads or instruction sets, nor on the
    /// rounding or the treatment of denormals that the calling thread is set to: a run computes in the default
    /// floating-point environment and leaves the caller's as it was.
    ///
    /// # Errors
    /// [`InputError::InputLength`](crate::error::InputError::InputLength) and [`InputError::OutputLength`](crate::error::InputError::OutputLength) for lengths that do not fit; [`InputError::InputNotFinite`](crate::error::InputError::InputNotFinite) and
    /// [`InputError::LayerNotFinite`](crate::error::InputError::LayerNotFinite) if a value is NaN or infinite or overflows on the way;
    /// [`InputError::ValueCount`](crate::error::InputError::ValueCount) if the model has several inputs or outputs. After an error `output` is unspecified.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        self.run_many(&[Values::F32(input)], &mut [output])
    }

    /// [`Self::run`] that can be called off: by a [`CancelToken`], by a deadline, or by a question that it asks.
    ///
    /// It then returns within a millisecond or so: it looks between layers and between pieces of a layer. What it does not cut
    /// is one row of a layer's output in sixteen channels, which takes longer where a product sums millions of values, and one
    /// line of those operations that read a value as a whole (means, softmax, rearranging), some nanoseconds a value.
    ///
    /// # Errors
    /// As [`Self::run`]; also [`Error::Interrupted`]. The session can run again at once.
    pub fn run_with(&mut self, input: &[f32], output: &mut [f32], options: &RunOptions<'_>) -> Result<(), Error> {
        self.run_many_with(&[Values::F32(input)], &mut [output], options)
    }

    /// [`Self::run`] for a model with any number of inputs and outputs: one slice for each, in the model's order
    /// ([`Model::inputs`], [`Model::outputs`]), all of the same number of samples.
    ///
    /// ```
    /// use horq::graph::Shape;
    /// use horq::ops::{Add, Relu};
    /// use horq::{Builder, Model, Session, SessionOptions, Values};
    ///
    /// let mut builder = Builder::new("a", Shape::Flat(2));
    /// builder.add_input("b", Shape::Flat(2))?;
    /// builder.add("sum", &["a", "b"], Add)?.add("positive", &["sum"], Relu)?;
    /// let model = Model::from_bytes(&builder.to_bytes_many(&["positive", "sum"])?)?;
    /// let mut session = Session::new(&model, SessionOptions::new())?;
    /// let (mut positive, mut sum) = ([0.0; 2], [0.0; 2]);
    /// session.run_many(&[Values::F32(&[-9.0, 1.0]), Values::U8(&[7, 255])], &mut [&mut positive, &mut sum])?;
    /// assert_eq!((positive, sum), ([0.0, 256.0], [-2.0, 256.0]));
    /// # Ok::<(), horq::Error>(())
    /// ```
    ///
    /// The first run that is given an input as [`Values::U8`] takes memory to make f32 of it; later ones allocate nothing.
    ///
    /// # Errors
    /// As [`Self::run`]; also [`InputError::ValueCount`](crate::error::InputError::ValueCount) for another number of slices than the model has inputs or outputs,
    /// [`InputError::SamplesDiffer`](crate::error::InputError::SamplesDiffer) if two inputs have different numbers of samples, and
    /// [`ResourceError::BytesMemory`](crate::error::ResourceError::BytesMemory) or [`ResourceError::Memory`](crate::error::ResourceError::Memory) if the memory for bytes is over the model's limit or cannot be had.
    pub fn run_many(&mut self, inputs: &[Values<'_>], outputs: &mut [&mut [f32]]) -> Result<(), Error> {
        self.run_many_with(inputs, outputs, &RunOptions::new())
    }

    /// [`Self::run_many`] that can be called off, as [`Self::run_with`] says.
    ///
    /// # Errors
    /// As [`Self::run_many`]; also [`Error::Interrupted`].
    pub fn run_many_with(
        &mut self,
        inputs: &[Values<'_>],
        outputs: &mut [&mut [f32]],
        options: &RunOptions<'_>,
    ) -> Result<(), Error> {
        if let Some(point) = options.point {
            self.set_point(point)?;
        }
        in_default(|| self.compute(inputs, outputs, options))
    }

    fn compute(
        &mut self,
        inputs: &[Values<'_>],
        outputs: &mut [&mut [f32]],
        options: &RunOptions<'_>,
    ) -> Result<(), Error> {
        self.executor.follow_fork()?;
        let lens = [&self.input_lens[..], &self.output_lens];
        let (graph, first_sample) = (self.model.graph(), options.first_sample);
        let samples = check(graph, lens, self.batch, inputs, outputs)?;
        let stop = Stop::new(*options);
        let interrupt = stop.as_ref().map(|stop| stop as &dyn Interrupt);
        check_finite(graph, &self.input_lens, inputs, first_sample, interrupt)?;
        if let Some(stop) = stop.as_ref().filter(|stop| stop.is_raised()) {
            return Err(stop.error(None, first_sample));
        }
        self.make_room(inputs)?;
        let graph = self.model.graph();
        let observer = self.observer.as_deref();
        let _span = observer.map(|observer| Open::new(Span::Run { samples }, Some(observer), |_| ()));
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
        let run = |stop| Run {
            layers: &self.layers,
            profiles: &self.profiles,
            orders: &self.orders,
            profiling: self.profiling,
            observer,
            inputs,
            input_lens: &self.input_lens,
            output_lens: &self.output_lens,
            cycles,
            stop,
            finished: AtomicUsize::new(0),
            first_sample,
        };
        let (executor, memories) = (&self.executor, &mut self.memories);
        executor.enter(cycles, part, || {
            let run = run(stop.map(|stop| stop.led_here(cycles)));
            let mut passes = || {
                run.side_by_side(outputs, in_parallel, chunk, executor, memories)?;
                let memory = memories[0].get_mut().unwrap_or_else(PoisonError::into_inner);
                (in_parallel..samples).step_by(chunk).try_for_each(|start| {
                    let samples = start..samples.min(start + chunk);
                    run.pass(Pass { samples, outputs: &mut *outputs, first: 0 }, memory, executor)
                })
            };
            let failure = passes().err();
            // The answers of all samples before the one at fault are there.
            let end = match failure {
                None => samples,
                Some(Failure::Sample { sample, .. }) => sample,
                Some(Failure::Interrupted { .. }) => 0,
            };
            run.check_outputs(&graph.outputs, outputs, end)?;
            match failure {
                Some(failure @ Failure::Interrupted { .. }) => Err(run.error(failure)),
                _ if run.has_stopped() => Err(run.error(Failure::Interrupted { layers: run.layers.len() })),
                failure => failure.map_or(Ok(()), |failure| Err(run.error(failure))),
            }
        })?;
        if self.profiling {
            for (prepared, profile) in self.layers.iter().zip(&mut self.profiles) {
                profile.runs += 1;
                profile.samples += samples as u64;
                profile.nanoseconds = prepared.clock.nanoseconds();
                profile.wall_nanoseconds = prepared.wall_nanoseconds.load(Relaxed);
            }
        }
        Ok(())
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

    /// Values of one sample's input, of the first one where there are several.
    pub fn input_len(&self) -> usize {
        self.input_lens[0]
    }

    /// Values of one sample's output, of the first one where there are several.
    pub fn output_len(&self) -> usize {
        self.output_lens[0]
    }

    /// Values of one sample of each input, in the model's order.
    pub fn input_lens(&self) -> &[usize] {
        &self.input_lens
    }

    /// Values of one sample of each output, in the model's order.
    pub fn output_lens(&self) -> &[usize] {
        &self.output_lens
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
    /// the tables of the layers took while they were made; and the f32 of inputs that came as [`Values::U8`].
    pub fn memory_bytes(&self) -> usize {
        let memory = lock(&self.memories[0]);
        let converted: usize = memory.converted.iter().flatten().map(|values| bytes_of_pages(values.len())).sum();
        self.budget.bytes().saturating_add(self.memories.len() * converted)
    }

    /// Bytes that the activations would take without sharing.
    pub fn unshared_bytes(&self) -> usize {
        self.memories.len() * self.plan.blocks.iter().map(|block| block.len * size_of::<f32>()).sum::<usize>()
    }

    /// Takes the memory that inputs of bytes need and have not yet.
    fn make_room(&mut self, inputs: &[Values<'_>]) -> Result<(), Error> {
        for (number, values) in inputs.iter().enumerate() {
            let Values::U8(_) = values else { continue };
            let memory = self.memories[0].get_mut().unwrap_or_else(PoisonError::into_inner);
            // The first memory gets its share last: where it has it, all have.
            if memory.converted[number].is_some() {
                continue;
            }
            let len = self.slice * self.input_lens[number];
            let taken = bytes_of_pages(len).saturating_mul(self.memories.len());
            let (bytes, limit) = (self.memory_bytes().saturating_add(taken), self.model.session_bytes());
            if bytes > limit {
                let input = self.model.graph().inputs[number].name.clone();
                return Err(ResourceError::BytesMemory { input, bytes, limit }.into());
            }
            for memory in self.memories.iter_mut().rev() {
                memory.get_mut().unwrap_or_else(PoisonError::into_inner).make_room(number, len)?;
            }
        }
        Ok(())
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

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Session>();
};
