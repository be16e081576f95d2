//! What the integration tests share: the backends, random layers with their data, and the comparison with the oracle.
#![allow(dead_code, unreachable_pub)] // every test binary compiles this module as its own and uses a part of it

mod fence;

pub use fence::Fenced;
use horq_kernels::{
    Basis, BinaryCall, BinaryConv, BinaryInput, BinaryKernel, BinaryScratch, BinarySpec, Epilogue, Error, Geometry,
    Inline, Isa, MAX_ORDER, MIN_HALVING_SCALE, PackInto, Packing, Padding, Parallel, ScaleMode, StageClock, Step,
    Thresholds, Window,
};
use horq_oracle::{self as oracle, BinaryLayer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt;

pub const MODES: [ScaleMode; 5] = ScaleMode::ALL;
/// The modes in which layers hand planes over.
pub const CONSTANT: [ScaleMode; 3] = [ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving];
pub const PADDINGS: [Padding; 2] = [Padding::ValidTaps, Padding::One];

/// Every backend of this CPU. Fails if one that HORQ_REQUIRE_ISA lists is missing.
pub fn backends() -> Vec<Isa> {
    let available: Vec<Isa> = Isa::available().collect();
    assert!(available.contains(&Isa::Portable), "the portable backend runs everywhere");
    let required = std::env::var("HORQ_REQUIRE_ISA").unwrap_or_default();
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let isa: Isa = name.parse().expect("HORQ_REQUIRE_ISA names a backend");
        assert!(available.contains(&isa), "HORQ_REQUIRE_ISA demands {isa}, but this CPU has only {available:?}");
    }
    available
}

/// The cases that the random tests shall reach: a million, unless HORQ_TEST_CASES says otherwise.
pub fn wanted_cases() -> u64 {
    std::env::var("HORQ_TEST_CASES").map_or(1_000_000, |n| n.parse().expect("HORQ_TEST_CASES is a number"))
}

/// The scale modes of random layers: all, unless HORQ_TEST_MODE names one.
fn wanted_modes() -> Vec<ScaleMode> {
    let wanted = std::env::var("HORQ_TEST_MODE").unwrap_or_default();
    let modes: Vec<ScaleMode> = MODES.into_iter().filter(|mode| wanted.is_empty() || mode.name() == wanted).collect();
    assert!(!modes.is_empty(), "HORQ_TEST_MODE names a scale mode, not {wanted}");
    modes
}

/// The seed that HORQ_TEST_SEED names: run that case alone.
pub fn only_seed() -> Option<u64> {
    std::env::var("HORQ_TEST_SEED").ok().map(|seed| seed.parse().expect("HORQ_TEST_SEED is a number"))
}

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Runs the tasks last to first on the caller's thread and claims to have several: order must not matter.
pub struct Backwards(pub usize);

// SAFETY: a loop over the numbers.
unsafe impl Parallel for Backwards {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

/// Remembers the largest number of tasks.
pub struct Counting<'a>(pub Backwards, pub &'a std::sync::atomic::AtomicUsize);

// SAFETY: as `Backwards`.
unsafe impl Parallel for Counting<'_> {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.1.fetch_max(tasks, std::sync::atomic::Ordering::Relaxed);
        self.0.run(tasks, task);
    }
}

/// Runs the tasks on that many threads of its own.
pub struct Threads(pub usize);

// SAFETY: the counter gives each number to one thread, and the scope waits for all.
unsafe impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if i >= tasks {
                            break;
                        }
                        task(i);
                    }
                });
            }
        });
    }
}

/// Values of a random kind: smooth, full of ties, of zeros of both signs, of one magnitude, of any exponent, subnormal.
pub fn values(rng: &mut StdRng, n: usize) -> Vec<f32> {
    let kind = rng.random_range(0..8);
    let magnitude = rng.random_range(0.01f32..10.0);
    let one = |rng: &mut StdRng| -> f32 {
        let sign = if rng.random() { -1.0 } else { 1.0 };
        match kind {
            0 => rng.random_range(-1.0f32..1.0),
            1 => (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum(),
            2 => rng.random_range(-3i32..=3) as f32,
            3 => sign * magnitude,
            4 => sign * 2.0f32.powi(rng.random_range(-20..20)) * rng.random_range(1.0f32..2.0),
            5 => sign * if rng.random_ratio(1, 3) { rng.random::<f32>() } else { 0.0 },
            6 => sign * f32::from_bits(rng.random_range(0..0x0100_0000)),
            _ => sign * rng.random_range(0..8) as f32 * 0.25,
        }
    };
    (0..n).map(|_| one(rng)).collect()
}

/// A random geometry whose sample costs at most `budget` products.
pub fn random_geometry(rng: &mut StdRng, budget: usize) -> Geometry {
    loop {
        let kind = rng.random_range(0..10);
        if kind == 0 {
            let geometry = Geometry::dense(rng.random_range(1..=600), rng.random_range(1..=60));
            if geometry.channels * geometry.filters <= budget {
                return geometry;
            }
            continue;
        }
        let kernel = || [1, 1, 1, 2, 2, 3, 3, 3, 4, 5];
        let pick = |rng: &mut StdRng, from: &[usize]| from[rng.random_range(0..from.len())];
        let window = Window {
            kernel: [pick(rng, &kernel()), pick(rng, &kernel())],
            stride: [pick(rng, &[1, 1, 1, 2, 3]), pick(rng, &[1, 1, 1, 2, 3])],
            dilation: [pick(rng, &[1, 1, 1, 2, 3]), pick(rng, &[1, 1, 1, 2, 3])],
            padding: std::array::from_fn(|_| pick(rng, &[0, 0, 1, 1, 2, 3])),
        };
        let (height, width) = match kind {
            1 => (rng.random_range(1..=2), rng.random_range(1..=40)),
            _ => (rng.random_range(1..=6), rng.random_range(1..=7)),
        };
        // Depthwise, grouped, plain; sizes around a panel and a word come up on purpose.
        let (groups, channels, filters) = match kind {
            2 => (rng.random_range(1..=40), 1, rng.random_range(1..=2)),
            3 | 4 => (rng.random_range(2..=4), rng.random_range(1..=36), rng.random_range(1..=20)),
            5 => (1, pick(rng, &[31, 32, 33, 63, 64, 65, 96, 128]), pick(rng, &[15, 16, 17, 31, 32, 33, 48, 64])),
            _ => (1, rng.random_range(1..=70), rng.random_range(1..=50)),
        };
        let geometry =
            Geometry { height, width, channels: channels * groups, filters: filters * groups, groups, window };
        if let Ok([rows, columns]) = geometry.validate()
            && rows * columns * geometry.filters * geometry.depth() <= budget
        {
            return geometry;
        }
    }
}

/// A step of an epilogue with its data, plain (one value a filter) and laid out for the kernels.
pub struct OwnedStep {
    /// Which of [`oracle::steps`].
    kind: usize,
    plain: [Vec<f32>; 2],
    padded: [Fenced<f32>; 2],
    /// Values of the output's shape.
    other: Fenced<f32>,
}

impl OwnedStep {
    pub fn random(rng: &mut StdRng, geometry: &Geometry, output_len: usize) -> Self {
        let kind = rng.random_range(0..oracle::steps(&[], &[], &[]).len());
        let plain = std::array::from_fn(|_| values(rng, geometry.filters));
        Self::new(kind, plain, &values(rng, output_len), geometry)
    }

    /// An affine with factors and summands between -1 and 1.
    pub fn affine(rng: &mut StdRng, geometry: &Geometry) -> Self {
        let mut vector = |_| (0..geometry.filters).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        Self::new(1, std::array::from_fn(&mut vector), &[], geometry)
    }

    fn new(kind: usize, plain: [Vec<f32>; 2], other: &[f32], geometry: &Geometry) -> Self {
        let padded = plain.each_ref().map(|v| Fenced::of(&geometry.pad_filters(v)));
        Self { kind, plain, padded, other: Fenced::of(other) }
    }

    /// As the oracle takes it.
    pub fn plain(&self) -> Step<'_> {
        oracle::steps(&self.plain[0], &self.plain[1], &self.other)[self.kind]
    }

    /// As the kernels take it.
    pub fn padded(&self) -> Step<'_> {
        oracle::steps(&self.padded[0], &self.padded[1], &self.other)[self.kind]
    }
}

impl fmt::Debug for OwnedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name of the variant without its vectors.
        f.write_str(
            format!("{:?}", oracle::steps(&[], &[], &[])[self.kind]).split(['(', ' ']).next().unwrap_or_default(),
        )
    }
}

/// A binary layer with its weights and the data of one call.
pub struct Layer {
    pub spec: BinarySpec,
    pub order: usize,
    pub scales: Vec<f32>,
    /// Weights and alpha of each basis, plain.
    pub bases: Vec<(Vec<f32>, Vec<f32>)>,
    pub steps: Vec<OwnedStep>,
    pub input: Vec<f32>,
    pub backwards: bool,
    /// How it multiplies; the rule's choice if none.
    pub kernel: Option<BinaryKernel>,
}

/// Every way of choosing a kernel.
pub const KERNELS: [Option<BinaryKernel>; 3] = [None, Some(BinaryKernel::Popcount), Some(BinaryKernel::Tables)];

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.input.len() / self.spec.geometry.input_len();
        let (bases, steps) = (self.bases.len(), &self.steps);
        write!(f, "{:?}, order {}, {samples} samples, {bases} bases, steps {steps:?}", self.spec, self.order)?;
        write!(f, ", scales {:?}, backwards {}, kernel {:?}", self.scales, self.backwards, self.kernel)
    }
}

impl Layer {
    /// A layer of order 1 with one basis, alpha 1 and no steps.
    pub fn plain(geometry: Geometry, mode: ScaleMode, weights: Vec<f32>, input: Vec<f32>) -> Self {
        let max_batch = input.len() / geometry.input_len();
        Self {
            spec: BinarySpec {
                geometry,
                padding: Padding::ValidTaps,
                mode,
                max_order: MAX_ORDER,
                max_batch,
                pool: None,
            },
            order: 1,
            scales: vec![0.9, 0.5, 0.25, 0.125, 0.06, 0.03, 0.015, 0.008],
            bases: vec![(weights, vec![1.0; geometry.filters])],
            steps: Vec::new(),
            input,
            backwards: false,
            kernel: None,
        }
    }

    /// A layer of that geometry with everything else random.
    pub fn random(rng: &mut StdRng, geometry: Geometry) -> Self {
        let max_order = rng.random_range(1..=MAX_ORDER);
        let order = rng.random_range(1..=max_order);
        let dense = geometry.height * geometry.width == 1;
        let modes = wanted_modes();
        let samples = if dense { rng.random_range(1..=20) } else { [1, 1, 1, 2, 3][rng.random_range(0..5)] };
        let spec = BinarySpec {
            geometry,
            padding: PADDINGS[rng.random_range(0..2)],
            mode: modes[rng.random_range(0..modes.len())],
            max_order,
            max_batch: samples + rng.random_range(0..=1),
            pool: None,
        };
        let [rows, columns] = geometry.validate().expect("a geometry that fits");
        let steps = if rng.random() { rng.random_range(1..=4) } else { 0 };
        let bases = [1, 1, 1, 2, 3][rng.random_range(0..5)];
        Self {
            spec,
            order,
            scales: values(rng, order),
            bases: (0..bases)
                .map(|_| (values(rng, geometry.filters * geometry.depth()), values(rng, geometry.filters)))
                .collect(),
            steps: (0..steps)
                .map(|_| OwnedStep::random(rng, &geometry, samples * rows * columns * geometry.filters))
                .collect(),
            input: values(rng, samples * geometry.input_len()),
            backwards: rng.random(),
            kernel: KERNELS[rng.random_range(0..KERNELS.len())],
        }
    }

    /// The same with a pool somewhere in an epilogue of its own, where the layer can have one; half of them at order 1.
    pub fn pooled(mut self, rng: &mut StdRng) -> Self {
        let spec = BinarySpec { pool: Some(0), ..self.spec };
        let Ok([rows, columns]) = spec.output() else { return self };
        self.spec = spec;
        let geometry = &self.spec.geometry;
        let len = self.input.len() / geometry.input_len() * rows * columns * geometry.filters;
        self.steps = (0..rng.random_range(0..=4)).map(|_| OwnedStep::random(rng, geometry, len)).collect();
        let most = self.steps.iter().position(|step| matches!(step.plain(), Step::Add(_))).unwrap_or(self.steps.len());
        self.spec.pool = Some(rng.random_range(0..=most));
        if rng.random() {
            // What thresholds decide where it is packed: one basis, and often factors of a usual size.
            self.order = 1;
            self.bases.truncate(1);
            let usual = |x: &mut f32| *x = x.abs().clamp(0.01, 10.0);
            self.bases[0].1.iter_mut().chain(&mut self.scales).for_each(usual);
        }
        self
    }

    /// The constants of a mode, of random values; none where there are none in the model.
    pub fn constants(mode: ScaleMode, values: &[f32]) -> Option<Vec<f32>> {
        let mut constants = values.to_vec();
        if mode == ScaleMode::Halving {
            // Ordinary ones beside the least and the greatest that there are.
            constants[0] = constants[0].abs().clamp(MIN_HALVING_SCALE, f32::MAX);
        }
        mode.has_constants().then_some(constants)
    }

    /// Its own.
    fn own_constants(&self) -> Vec<f32> {
        Self::constants(self.spec.mode, &self.scales).unwrap_or_else(|| self.scales.clone())
    }

    /// What the oracle says.
    pub fn expected(&self) -> Result<Vec<f32>, Error> {
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::plain).collect();
        let bases = self.bases.iter().map(|(weights, alpha)| oracle::Basis { weights, alpha }).collect::<Vec<_>>();
        let BinarySpec { geometry, padding, mode, pool, .. } = self.spec;
        let (order, scales) = (self.order, &self.own_constants()[..]);
        BinaryLayer { geometry, padding, mode, order, scales, bases: &bases, steps: &steps, pool }.run(&self.input)
    }

    /// The bit panels of every basis.
    pub fn panels(&self) -> Vec<Fenced<u32>> {
        let panels = self.bases.iter().map(|(weights, _)| oracle::bit_panels(&self.spec.geometry, weights));
        panels.map(|panels| Fenced::of(&panels)).collect()
    }

    /// What a backend says. All its memory is fenced; scratch and output hold rubbish before.
    pub fn run(&self, isa: Isa, panels: &[Fenced<u32>]) -> Result<Vec<f32>, Error> {
        if self.backwards { self.run_on(isa, panels, &Backwards(3)) } else { self.run_on(isa, panels, &Inline) }
    }

    /// The same with a choice of threads.
    pub fn run_on(&self, isa: Isa, panels: &[Fenced<u32>], parallel: &dyn Parallel) -> Result<Vec<f32>, Error> {
        self.run_with(isa, panels, parallel, None)
    }

    /// The same with a clock.
    pub fn run_timed(&self, isa: Isa, panels: &[Fenced<u32>], clock: &StageClock) -> Result<Vec<f32>, Error> {
        self.run_with(isa, panels, &Inline, Some(clock))
    }

    fn run_with(
        &self,
        isa: Isa,
        panels: &[Fenced<u32>],
        parallel: &dyn Parallel,
        clock: Option<&StageClock>,
    ) -> Result<Vec<f32>, Error> {
        let input = Fenced::of(&self.input);
        self.run_through(isa, panels, parallel, clock, BinaryInput::Values(&input), None, true)
    }

    /// The same with another input, with planes to pack the output into, and with or without f32 output.
    #[expect(clippy::too_many_arguments, reason = "what a call has")]
    pub fn run_through(
        &self,
        isa: Isa,
        panels: &[Fenced<u32>],
        parallel: &dyn Parallel,
        clock: Option<&StageClock>,
        input: BinaryInput<'_>,
        into: Option<&PackInto<'_>>,
        values: bool,
    ) -> Result<Vec<f32>, Error> {
        let geometry = &self.spec.geometry;
        let panel_refs: Vec<&[u32]> = panels.iter().map(|panels| &panels[..]).collect();
        let alphas: Vec<_> = self.bases.iter().map(|(_, alpha)| Fenced::of(&geometry.pad_filters(alpha))).collect();
        let constants = Fenced::of(&self.own_constants());
        let bases: Vec<Basis<'_>> =
            panel_refs.iter().zip(&alphas).map(|(panels, alpha)| Basis { panels, alpha }).collect();
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::padded).collect();
        let conv = BinaryConv::with_kernel(isa, self.spec, &panel_refs, self.kernel)?;
        let need = match input {
            BinaryInput::Values(_) => conv.scratch_len(),
            BinaryInput::Planes { .. } => conv.scratch_len_of_planes(),
        };
        let [rows, columns] = self.spec.output()?;
        let samples = self.input.len() / geometry.input_len();
        let mut words = Fenced::new(need.words, 0xdead_beef);
        let mut scales = Fenced::new(need.scales, f32::NAN);
        let mut output = Fenced::new(if values { samples * rows * columns * geometry.filters } else { 0 }, f32::NAN);
        let thresholds = into.and_then(|_| self.thresholds(isa));
        let call = BinaryCall {
            input,
            pack: into.map(|into| Packing { into, thresholds: thresholds.as_ref() }),
            order: self.order,
            scales: &constants,
            bases: &bases,
            epilogue: Epilogue { steps: &steps },
            parallel,
            clock,
        };
        let result = conv.run(call, &mut output, BinaryScratch { words: &mut words, scales: &mut scales });
        words.check("words");
        scales.check("scales");
        output.check("output");
        result.map(|()| output.to_vec())
    }

    /// The thresholds of its order-1 signs.
    pub fn thresholds(&self, isa: Isa) -> Option<Thresholds> {
        let geometry = &self.spec.geometry;
        let panels = self.panels();
        let panels: Vec<&[u32]> = panels.iter().map(|panels| &panels[..]).collect();
        let conv = BinaryConv::new(isa, self.spec, &panels).expect("a good layer");
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::padded).collect();
        let scale = Self::constants(self.spec.mode, &self.scales).map_or(1.0, |constants| constants[0]);
        conv.thresholds(scale, &Fenced::of(&geometry.pad_filters(&self.bases[0].1)), &steps).expect("memory")
    }

    /// Compares every backend with the oracle, bit for bit, and returns the number of cases; where there are several kernels, with
    /// each. `name` says how to find the case again.
    pub fn check(&mut self, isas: &[Isa], name: impl fmt::Display) -> u64 {
        let (expected, panels) = (self.expected(), self.panels());
        let kernels = if self.spec.mode == ScaleMode::Halving { &KERNELS[1..] } else { &KERNELS[..1] };
        let all = isas.iter().flat_map(|&isa| kernels.iter().map(move |&kernel| (isa, kernel)));
        for (isa, kernel) in all {
            self.kernel = kernel;
            let got = self.run(isa, &panels);
            match (&got, &expected) {
                (Ok(got), Ok(expected)) => {
                    if let Some(difference) = difference(got, expected) {
                        panic!("{name}: {isa}: {difference}\n{self:?}");
                    }
                }
                _ => assert!(got.is_err() && expected.is_err(), "{name}: {isa}: {got:?}, not {expected:?}\n{self:?}"),
            }
        }
        isas.len() as u64
    }
}

/// The first place where two outputs differ in a bit.
pub fn difference(got: &[f32], expected: &[f32]) -> Option<String> {
    if got.len() != expected.len() {
        return Some(format!("{} values, not {}", got.len(), expected.len()));
    }
    let at = got.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()))?;
    let wrong =
        got.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())).count();
    Some(format!("output {at} is {:?}, not {:?}; {wrong} of {} differ", got[at], expected[at], got.len()))
}
