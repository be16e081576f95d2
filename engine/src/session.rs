//! A session: a model made ready to run on this CPU, with all the memory it needs.

use crate::layers::{self, Call, Compute, Context, Operands};
use crate::plan::{Place, Plan, Room};
use crate::threads::Team;
use crate::{BinaryProfile, Error, LayerProfile, Model, Threads};
use horq_kernels::{Aligned, Isa, StageClock};
use std::time::Instant;

/// How a session is made; the default is one sample at a time on the caller's thread with the best kernels of this CPU.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The most samples of one run; 1 by default.
    pub batch: usize,
    /// The instruction set of all kernels; by default the one that `HORQ_ISA` names, else the best of this CPU.
    pub isa: Option<Isa>,
    /// Who runs the work; the caller's thread by default.
    pub threads: Threads,
    /// Whether to measure where the time goes; costs two readings of the clock a stage. Off by default.
    pub profile: bool,
    /// The order of all binary layers, as [`Session::set_order`]; by default each layer's highest.
    pub order: Option<usize>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { batch: 1, isa: None, threads: Threads::Inline, profile: false, order: None }
    }
}

impl SessionOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Self::batch`].
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Sets [`Self::isa`].
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// Sets [`Self::threads`].
    pub fn threads(self, threads: Threads) -> Self {
        Self { threads, ..self }
    }

    /// Sets [`Self::profile`].
    pub fn profile(self, profile: bool) -> Self {
        Self { profile, ..self }
    }

    /// Sets [`Self::order`].
    pub fn order(self, order: usize) -> Self {
        Self { order: Some(order), ..self }
    }
}

/// A model ready to run: kernels chosen, memory planned and allocated.
///
/// A session borrows the model's weights where they lie (a clone of the [`Model`] keeps them alive), so many sessions, one a
/// thread, share one model.
pub struct Session {
    layers: Vec<Prepared>,
    profiles: Vec<LayerProfile>,
    arena: Aligned<f32>,
    words: Aligned<u32>,
    floats: Aligned<f32>,
    team: Team,
    plan: Plan,
    model: Model,
    isa: Isa,
    batch: usize,
    input_len: usize,
    output_len: usize,
    profiling: bool,
}

/// A layer with the places of its operands.
struct Prepared {
    layer: Box<dyn Compute>,
    inputs: Vec<Place>,
    output: Place,
    /// The present order; 1 for a layer without one.
    order: usize,
    clock: StageClock,
}

impl Session {
    /// Prepares `model`: everything that a run needs is chosen, checked and allocated here.
    ///
    /// # Errors
    /// [`Error::Batch`] or [`Error::LayerOrder`] if an option is zero; [`Error::Memory`] if the batch needs more memory than
    /// there is; [`Error::NoThreads`] and [`Error::ThreadPool`] for threads that cannot be had; [`Error::Kernel`] if this CPU
    /// lacks the instruction set; [`Error::LayerKernel`] if no kernel runs a layer's shape.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        if options.batch == 0 {
            return Err(Error::Batch);
        }
        let isa = options.isa.map_or_else(Isa::from_env, Ok)?;
        let graph = model.graph();
        let plan = Plan::new(graph, model.shapes(), options.batch).ok_or(Error::Memory { bytes: usize::MAX })?;
        let mut layers = Vec::with_capacity(plan.layers.len());
        let mut profiles = Vec::with_capacity(plan.layers.len());
        let (mut words, mut floats) = (0, 0);
        for planned in &plan.layers {
            let layer = layers::prepare(&Context { model, graph, planned, isa, batch: options.batch })?;
            let facts = layer.facts();
            (words, floats) = (facts.scratch_words.max(words), facts.scratch_floats.max(floats));
            let (mut weight_bytes, mut copied_bytes) = (0, 0);
            let file = model.file().as_ptr_range();
            layer.weights(&mut |bytes| {
                weight_bytes += bytes.len();
                copied_bytes += if file.contains(&bytes.as_ptr()) { 0 } else { bytes.len() };
            });
            let values: usize = planned.inputs.iter().map(|place| place.shape.len()).sum();
            profiles.push(LayerProfile {
                name: graph.nodes[planned.node].name.clone(),
                op: graph.nodes[planned.node].op.kind(),
                fused: planned.fused.iter().map(|&node| graph.nodes[node].name.clone()).collect(),
                isa,
                binary: facts.binary.map(|(max_order, mode)| BinaryProfile { order: max_order, max_order, mode }),
                output: planned.output.shape,
                runs: 0,
                samples: 0,
                nanoseconds: [0; 4],
                wall_nanoseconds: 0,
                bit_macs: facts.bit_macs,
                float_macs: facts.float_macs,
                weight_bytes,
                copied_bytes,
                activation_bytes: (values + planned.output.shape.len()) * size_of::<f32>(),
            });
            let (inputs, output) = (planned.inputs.clone(), planned.output);
            layers.push(Prepared { layer, inputs, output, order: 1, clock: StageClock::default() });
        }
        let output = plan.layers.last().expect("a graph has at least one node").output.shape;
        let mut session = Self {
            layers,
            profiles,
            arena: zeros(plan.arena_len)?,
            words: zeros(words)?,
            floats: zeros(floats)?,
            team: Team::new(options.threads)?,
            plan,
            model: model.clone(),
            isa,
            batch: options.batch,
            input_len: graph.input.shape.len(),
            output_len: output.len(),
            profiling: options.profile,
        };
        session.set_order(options.order.unwrap_or(horq_kernels::MAX_ORDER))?;
        Ok(session)
    }

    /// Computes the answers of n samples, n = `input.len()` / [`Self::input_len`], at most the session's batch.
    ///
    /// `input` holds the samples one after another, NHWC, unpadded; `output` takes [`Self::output_len`] values a sample.
    /// On the caller's thread alone ([`Threads::Inline`]) a run that succeeds allocates nothing, takes no lock and makes no system
    /// call. The answer to a sample does not depend on the others of its batch, nor on threads or instruction sets.
    ///
    /// # Errors
    /// [`Error::InputLength`] and [`Error::OutputLength`] for lengths that do not fit; [`Error::InputNotFinite`] and
    /// [`Error::LayerNotFinite`] if a value is NaN or infinite or overflows on the way. After an error `output` is unspecified.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        let samples = self.samples(input, output)?;
        if let Some(index) = first_not_finite(input) {
            let input_name = self.model.graph().input.name.clone();
            return Err(Error::InputNotFinite { input: input_name, index, value: input[index] });
        }
        let cycles = |(prepared, profile): (&Prepared, &LayerProfile)| prepared.cycles(profile) * samples as u64;
        let layers = || self.layers.iter().zip(&self.profiles).map(cycles);
        let (total, longest) = (layers().sum(), layers().max().unwrap_or(0));
        let work = Work {
            input,
            output: &mut *output,
            arena: &mut self.arena,
            words: &mut self.words,
            floats: &mut self.floats,
            samples,
            cycles: total,
            team: &self.team,
            profiling: self.profiling,
        };
        let (prepared, profiles) = (&self.layers, &mut self.profiles);
        self.team.enter(total, longest, || work.run(prepared, profiles))?;
        match first_not_finite(output) {
            None => Ok(()),
            Some(_) => Err(Error::LayerNotFinite { layer: self.model.graph().output.clone() }),
        }
    }

    /// Runs every binary layer at `order`, or at the highest that the model holds for it where that is lower.
    ///
    /// The planes of a quantizer are greedy, so this is exactly what a model made for that order computes. Costs nothing.
    ///
    /// # Errors
    /// [`Error::LayerOrder`] if `order` is 0.
    pub fn set_order(&mut self, order: usize) -> Result<(), Error> {
        for i in 0..self.layers.len() {
            if let Some(binary) = self.profiles[i].binary {
                self.set_order_at(i, order.min(binary.max_order))?;
            }
        }
        Ok(())
    }

    /// Runs the binary layer named `layer` at `order`.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] if no binary layer has that name; [`Error::LayerOrder`] if `order` is not between 1 and the
    /// highest that the model holds for the layer.
    pub fn set_layer_order(&mut self, layer: &str, order: usize) -> Result<(), Error> {
        let found = self.profiles.iter().position(|profile| profile.name == layer && profile.binary.is_some());
        let Some(i) = found else {
            let binary = self.profiles.iter().filter(|profile| profile.binary.is_some());
            let names: Vec<&str> = binary.map(|profile| profile.name.as_str()).collect();
            return Err(Error::UnknownLayer { layer: layer.into(), known: names.join(", ") });
        };
        self.set_order_at(i, order)
    }

    fn set_order_at(&mut self, i: usize, order: usize) -> Result<(), Error> {
        let profile = &mut self.profiles[i];
        let binary = profile.binary.as_mut().expect("a binary layer");
        if !(1..=binary.max_order).contains(&order) {
            return Err(Error::LayerOrder { layer: profile.name.clone(), order, limit: binary.max_order });
        }
        binary.order = order;
        self.layers[i].order = order;
        profile.bit_macs = self.layers[i].layer.facts().bit_macs * order as u64;
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

    /// Bytes of the activations between layers, for a whole batch; layers whose values live at different times share them.
    pub fn arena_bytes(&self) -> usize {
        size_of_val(&self.arena[..])
    }

    /// Bytes of the working memory that the layers share: packed planes, scales, gathered windows.
    pub fn scratch_bytes(&self) -> usize {
        size_of_val(&self.words[..]) + size_of_val(&self.floats[..])
    }

    /// Bytes that the activations would take without sharing.
    pub fn unshared_bytes(&self) -> usize {
        self.plan.blocks.iter().map(|block| block.len * size_of::<f32>()).sum()
    }

    fn samples(&self, input: &[f32], output: &[f32]) -> Result<usize, Error> {
        let samples = input.len() / self.input_len;
        if !(1..=self.batch).contains(&samples) || !input.len().is_multiple_of(self.input_len) {
            return Err(Error::InputLength { found: input.len(), sample: self.input_len, batch: self.batch });
        }
        if output.len() != samples * self.output_len {
            let expected = samples * self.output_len;
            return Err(Error::OutputLength { found: output.len(), expected, samples, sample: self.output_len });
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
            .field("threads", &self.team)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// A rough estimate of one sample's cycles on a fast machine: some 500 binary and 16 float products a cycle.
    fn cycles(&self, profile: &LayerProfile) -> u64 {
        profile.bit_macs / 512 + profile.float_macs / 16
    }
}

/// One run.
struct Work<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
    arena: &'a mut [f32],
    words: &'a mut [u32],
    floats: &'a mut [f32],
    samples: usize,
    /// Estimated cycles of the run.
    cycles: u64,
    team: &'a Team,
    profiling: bool,
}

impl Work<'_> {
    fn run(self, layers: &[Prepared], profiles: &mut [LayerProfile]) -> Result<(), Error> {
        let samples = self.samples;
        for (prepared, profile) in layers.iter().zip(profiles) {
            let start = self.profiling.then(Instant::now);
            // The layer's output is cut out of the arena, which leaves what lies on both sides of it for reading.
            let (before, output, after, after_start) = match prepared.output.room {
                Room::Arena(start) => {
                    let (before, rest) = self.arena.split_at_mut(start);
                    let (output, after) = rest.split_at_mut(prepared.output.shape.len() * samples);
                    let after_start = start + output.len();
                    (&*before, output, &*after, after_start)
                }
                Room::Output => (&*self.arena, &mut *self.output, &[][..], 0),
                Room::Input => unreachable!("a layer that writes the input"),
            };
            let operands =
                Operands { places: &prepared.inputs, samples, input: self.input, before, after, after_start };
            let call = Call {
                operands,
                output,
                order: prepared.order,
                words: self.words,
                floats: self.floats,
                parallel: self.team.crew(self.cycles, prepared.cycles(profile) * samples as u64),
                clock: self.profiling.then_some(&prepared.clock),
            };
            prepared.layer.run(call).map_err(|error| match error {
                horq_kernels::Error::NotFinite => Error::LayerNotFinite { layer: profile.name.clone() },
                error => Error::LayerKernel { layer: profile.name.clone(), error },
            })?;
            if let Some(start) = start {
                profile.runs += 1;
                profile.samples += samples as u64;
                profile.nanoseconds = prepared.clock.nanoseconds();
                profile.wall_nanoseconds += start.elapsed().as_nanos() as u64;
            }
        }
        Ok(())
    }
}

/// Memory of a session's own.
fn zeros<T: bytemuck::Pod>(len: usize) -> Result<Aligned<T>, Error> {
    Aligned::new(len).map_err(|_| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })
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
