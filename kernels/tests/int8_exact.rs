//! 8-bit layers: every backend, with and without the CPU's dot product of bytes, against the oracle, bit for bit.

mod common;

use common::{Backwards, Fenced, OwnedStep, Threads, backends, difference, random_geometry, rng, values, wanted_cases};
use horq_kernels::weights::int8;
use horq_kernels::{
    Epilogue, Error, Geometry, Inline, Int8Call, Int8Conv, Int8Spec, Isa, Parallel, Stage, StageClock, Step, Window,
};
use horq_oracle as oracle;
use rand::Rng;
use rand::rngs::StdRng;

/// Every backend of this CPU, without and with its dot product of bytes.
fn ways() -> Vec<(Isa, bool)> {
    backends()
        .into_iter()
        .flat_map(|isa| [(isa, false), (isa, true)])
        .filter(|&(isa, dot)| !dot || isa.has_dot())
        .collect()
}

/// An 8-bit layer with the data of a call.
struct Layer {
    geometry: Geometry,
    scale: f32,
    zero_point: u8,
    weights: Vec<i8>,
    alpha: Vec<f32>,
    input: Vec<f32>,
    steps: Vec<OwnedStep>,
}

impl Layer {
    fn random(rng: &mut StdRng, geometry: Geometry) -> Self {
        let dense = geometry.height * geometry.width == 1;
        let samples = if dense { rng.random_range(1..=20) } else { rng.random_range(1..=2) };
        let [rows, columns] = geometry.validate().expect("a geometry that fits");
        let outputs = samples * rows * columns * geometry.filters;
        // Full range, extremes only, small.
        let most = [127, 127, 3][rng.random_range(0..3)];
        let extremes = rng.random_ratio(1, 4);
        let weight = |rng: &mut StdRng| {
            if extremes { [-127, 127][rng.random_range(0..2)] } else { rng.random_range(-most..=most) }
        };
        let input = values(rng, samples * geometry.input_len());
        // Some scales let nearly all values saturate, some round all to the zero point; powers of two make ties.
        let largest = input.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let scale = match rng.random_range(0..4) {
            0 => 0.5,
            1 => 1.0,
            _ => (largest * 10.0f32.powf(rng.random_range(-4.0..0.0))).max(1e-30),
        };
        Self {
            geometry,
            scale,
            zero_point: [0, 128, 255, rng.random()][rng.random_range(0..4)],
            weights: (0..geometry.filters * geometry.depth()).map(|_| weight(rng)).collect(),
            alpha: values(rng, geometry.filters),
            input,
            steps: (0..rng.random_range(0..=3)).map(|_| OwnedStep::random(rng, &geometry, outputs)).collect(),
        }
    }

    fn spec(&self, dot: bool) -> Int8Spec {
        let Self { geometry, scale, zero_point, .. } = *self;
        Int8Spec { geometry, scale, zero_point, max_batch: self.input.len() / geometry.input_len(), dot }
    }

    fn expected(&self) -> Vec<f32> {
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::plain).collect();
        let quantizer = (self.scale, self.zero_point);
        oracle::int8_conv(&self.geometry, &self.input, quantizer, &self.weights, &self.alpha, &steps)
    }

    /// What a backend says. All its memory is fenced; scratch and output hold rubbish before.
    fn run(
        &self,
        (isa, dot): (Isa, bool),
        parallel: &dyn Parallel,
        clock: Option<&StageClock>,
    ) -> Result<Vec<f32>, Error> {
        let geometry = &self.geometry;
        let (input, panels) = (Fenced::of(&self.input), Fenced::of(&panels(geometry, &self.weights)));
        let alpha = Fenced::of(&geometry.pad_filters(&self.alpha));
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::padded).collect();
        let conv = Int8Conv::new(isa, self.spec(dot), &panels)?;
        let [rows, columns] = geometry.validate()?;
        let samples = self.input.len() / geometry.input_len();
        let mut output = Fenced::new(samples * rows * columns * geometry.filters, f32::NAN);
        let mut scratch = Fenced::new(conv.scratch_len(), 0xdead_beef);
        let epilogue = Epilogue { steps: &steps };
        let call = Int8Call { input: &input, panels: &panels, alpha: &alpha, epilogue, parallel, clock };
        let result = conv.run(call, &mut output, &mut scratch);
        scratch.check("scratch");
        output.check("output");
        result.map(|()| output.to_vec())
    }

    fn check(&self, ways: &[(Isa, bool)], name: &str) {
        let expected = self.expected();
        for &way in ways {
            for parallel in [&Inline as &dyn Parallel, &Backwards(3)] {
                let got = self.run(way, parallel, None).expect("finite values");
                if let Some(difference) = difference(&got, &expected) {
                    let Self { geometry, scale, zero_point, steps, .. } = self;
                    panic!("{name}: {way:?}: {difference}\n{geometry:?}, {scale:e}, {zero_point}, {steps:?}");
                }
            }
        }
    }
}

/// Weights placed as the layout's definition says: byte by byte of a panel row, in the file's order.
fn panels(g: &Geometry, weights: &[i8]) -> Vec<i8> {
    let ([rows, columns], channels, filters) = (g.window.kernel, g.channels / g.groups, g.filters / g.groups);
    let by_row = g.groups == 1 && (g.window.dilation[1] == 1 || columns == 1);
    let (runs, run) = if by_row { (rows, columns * channels) } else { (rows * columns, channels) };
    let mut panels = Vec::new();
    for group in 0..g.groups {
        for first_filter in (0..filters).step_by(16) {
            for r in 0..runs {
                for first in (0..run).step_by(4) {
                    for filter in first_filter..first_filter + 16 {
                        for k in first..first + 4 {
                            let at = ((group * filters + filter) * runs + r) * run + k;
                            panels.push(if filter < filters && k < run { weights[at] } else { 0 });
                        }
                    }
                }
            }
        }
    }
    panels
}

#[test]
fn random_layers() {
    let ways = ways();
    for seed in 0..wanted_cases() / 100 {
        let mut rng = rng(seed);
        let budget = if seed % 100 == 0 { 300_000 } else { 4000 };
        let geometry = random_geometry(&mut rng, budget);
        Layer::random(&mut rng, geometry).check(&ways, &format!("seed {seed}"));
    }
}

/// Every number of rows, panels and channels about a tile and a quad.
#[test]
fn every_tail_of_a_matrix_product() {
    let ways = ways();
    for filters in 1..=100 {
        for batch in 1..=17 {
            let mut rng = rng(filters as u64 * 100 + batch as u64);
            let geometry = Geometry::dense(1 + (filters * 7 + batch * 3) % 70, filters);
            let mut layer = Layer::random(&mut rng, geometry);
            layer.steps.clear();
            layer.input = values(&mut rng, batch * geometry.channels);
            layer.check(&ways, &format!("{filters} filters, batch {batch}"));
        }
    }
}

/// Depths about the spans that are widened at a time, rows about those for which they are.
#[test]
fn every_end_of_a_span() {
    let ways = ways();
    for depth in [1, 3, 6, 259, 767, 768, 769, 772, 1535, 1540] {
        for batch in [1, 7, 8, 9, 13, 49, 55] {
            let mut rng = rng(depth as u64 * 100 + batch as u64);
            let mut layer = Layer::random(&mut rng, Geometry::dense(depth, 35));
            layer.steps.clear();
            layer.input = values(&mut rng, batch * depth);
            layer.check(&ways, &format!("depth {depth}, batch {batch}"));
        }
    }
}

/// More panels than a task, rows than a block, samples than are quantized at a time; threads.
#[test]
fn layers_of_real_size_on_threads() {
    let ways = ways();
    let three = Window::square(3).with_padding(1);
    for (size, channels, filters, groups, window) in [
        (14, 64, 80, 1, three),
        (13, 130, 40, 2, Window { dilation: [1, 2], ..three }),
        (61, 3, 64, 1, Window::square(7).with_padding(3).with_stride(2)),
        (40, 1, 6, 1, Window::square(5)),
        (33, 100, 24, 1, Window { dilation: [2, 3], ..three }.with_stride(2)),
        (9, 40, 40, 40, three),
        (7, 66, 70, 2, three),
        (1, 1100, 100, 1, Window::square(1)),
        (60, 70, 3, 1, Window::square(1)),
    ] {
        let geometry = Geometry { height: size, width: size, channels, filters, groups, window };
        let mut rng = rng(size as u64);
        let mut layer = Layer::random(&mut rng, geometry);
        if size == 1 {
            layer.steps.clear();
            layer.input = values(&mut rng, 150 * channels);
        }
        let expected = layer.expected();
        for &way in &ways {
            let got = layer.run(way, &Threads(3), None).expect("finite values");
            assert_eq!(difference(&got, &expected), None, "{way:?}, {geometry:?}");
        }
    }
}

/// The largest sums that there are: every byte at its extreme, as many products as are allowed.
#[test]
fn the_largest_sums_do_not_overflow() {
    let geometry = Geometry::dense(int8::MAX_DEPTH, 17);
    let extremes = [(0, 300.0, 127), (0, 300.0, -127), (255, -300.0, 127), (255, -300.0, -127)];
    for ((zero_point, x, weight), batch) in extremes.into_iter().flat_map(|extreme| [(extreme, 1), (extreme, 9)]) {
        let layer = Layer {
            geometry,
            scale: 1.0,
            zero_point,
            weights: vec![weight; 17 * geometry.channels],
            alpha: vec![1.0; 17],
            input: vec![x; batch * geometry.channels],
            steps: Vec::new(),
        };
        let wanted = x.signum() * f32::from(weight) * 255.0 * int8::MAX_DEPTH as f32;
        assert_eq!(layer.expected(), vec![wanted; batch * 17]);
        layer.check(&ways(), &format!("{zero_point}, {x}, {weight}"));
    }
}

/// Every byte times every weight, in each of the four places of a quad, with neighbours at their extremes.
#[test]
fn every_product() {
    let ways = ways();
    for place in 0..4 {
        for others in [(0.0, 0), (-128.0, -127), (-128.0, 127), (127.0, 127)] {
            let weights: Vec<i8> =
                (-127..=127).flat_map(|w| (0..4).map(move |k| if k == place { w } else { others.1 })).collect();
            let input = (-128i32..=127).flat_map(|x| (0..4).map(move |k| if k == place { x as f32 } else { others.0 }));
            let layer = Layer {
                geometry: Geometry::dense(4, 255),
                scale: 1.0,
                zero_point: 128,
                weights,
                alpha: vec![1.0; 255],
                input: input.collect(),
                steps: Vec::new(),
            };
            layer.check(&ways, &format!("place {place}, others {others:?}"));
        }
    }
}

/// Ties go to even and what is out of range saturates, for every zero point.
#[test]
fn activations_are_rounded_to_even_and_held() {
    let mut input: Vec<f32> = (-1100..=1100).map(|i| i as f32 * 0.25).collect();
    input.extend([f32::MAX, f32::MIN, 1e-45, -1e-45, -0.0, 0.499_999_97, -0.499_999_97, 1e10, -1e10]);
    for zero_point in 0..=255 {
        let layer = Layer {
            geometry: Geometry { height: 1, width: input.len(), ..Geometry::dense(1, 1) },
            scale: 1.0,
            zero_point,
            weights: vec![1],
            alpha: vec![1.0],
            input: input.clone(),
            steps: Vec::new(),
        };
        let low = -f64::from(zero_point);
        let wanted: Vec<f32> =
            input.iter().map(|&x| f64::from(x).round_ties_even().clamp(low, low + 255.0) as f32 + 0.0).collect();
        for way in ways() {
            let got = layer.run(way, &Inline, None).expect("finite values");
            assert_eq!(difference(&got, &wanted), None, "{way:?}, zero point {zero_point}");
        }
    }
}

/// A value that is not finite is refused wherever it stands.
#[test]
fn what_is_not_finite_is_refused() {
    for seed in 0..300 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 20_000);
        let mut layer = Layer::random(&mut rng, geometry);
        let at = rng.random_range(0..layer.input.len());
        layer.input[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.random_range(0..3)];
        for way in ways() {
            for parallel in [&Inline as &dyn Parallel, &Backwards(3)] {
                assert_eq!(layer.run(way, parallel, None), Err(Error::NotFinite), "{way:?}, seed {seed}, value {at}");
            }
        }
    }
}

/// The quantized layer is as near to the float one as its steps allow.
#[test]
fn the_results_are_near_the_formula() {
    for seed in 0..200 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 50_000);
        let input: Vec<f32> = (0..geometry.input_len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let weights: Vec<i8> = (0..geometry.filters * geometry.depth()).map(|_| rng.random_range(-127..=127)).collect();
        let floats: Vec<f32> = weights.iter().map(|&w| f32::from(w)).collect();
        let exact = oracle::float_conv_f64(&geometry, &input, &floats);
        let scale = 1.0 / 127.0;
        let alpha = vec![scale; geometry.filters];
        let layer = Layer { geometry, scale, zero_point: 128, weights, alpha, input, steps: Vec::new() };
        // Half a step an activation, and the last place of the sum.
        let bound = geometry.depth() as f64 * 127.0 * f64::from(scale) * 0.501;
        for way in ways() {
            for (a, b) in layer.run(way, &Inline, None).expect("finite values").iter().zip(&exact) {
                assert!((f64::from(*a) - b).abs() <= bound, "{way:?}: {a}, not {b}, seed {seed}");
            }
        }
    }
}

#[test]
fn weights_are_packed_as_the_layout_says() {
    for seed in 0..2000 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 50_000);
        let weights: Vec<i8> = (0..geometry.filters * geometry.depth()).map(|_| rng.random_range(-127..=127)).collect();
        let mut packed = int8::pack_int8(&geometry, &weights).expect("weights that fit");
        assert_eq!(packed, panels(&geometry, &weights), "seed {seed}");
        assert_eq!(int8::panel_len(&geometry), packed.len());
        assert_eq!(int8::unpack_int8(&geometry, &packed), Ok(weights.clone()));
        assert_eq!(int8::dirty_padding(&geometry, &packed), Ok(None));
        assert_eq!(int8::out_of_range(&packed), None);
        // Any byte is either a weight, or padding that is found.
        let at = rng.random_range(0..packed.len());
        packed[at] = if packed[at] == 7 { 8 } else { 7 };
        let changed = int8::unpack_int8(&geometry, &packed) != Ok(weights);
        assert_eq!(int8::dirty_padding(&geometry, &packed), Ok((!changed).then_some(at)), "seed {seed}, byte {at}");
        packed[at] = -128;
        assert_eq!(int8::out_of_range(&packed), Some(at));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let good = Geometry { height: 4, width: 4, channels: 4, filters: 4, groups: 1, window: Window::square(3) };
    let spec = Int8Spec { geometry: good, scale: 0.1, zero_point: 3, max_batch: 1, dot: false };
    let shape = |result: Result<(), Error>, part: &str| match result {
        Err(Error::Shape(text)) => assert!(text.contains(part), "`{text}` does not say `{part}`"),
        other => panic!("{other:?}, not a shape error about `{part}`"),
    };
    let panels = vec![0; int8::panel_len(&good)];
    for isa in backends() {
        let new = |spec| Int8Conv::new(isa, spec, &panels).map(drop);
        assert_eq!(new(spec), Ok(()));
        shape(new(Int8Spec { geometry: Geometry { groups: 3, ..good }, ..spec }), "3 groups");
        let deep = Geometry::dense(int8::MAX_DEPTH + 1, 1);
        shape(new(Int8Spec { geometry: deep, ..spec }), "65537 products passes the 65536");
        shape(new(Int8Spec { max_batch: 0, ..spec }), "batch of 0");
        for scale in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
            shape(new(Int8Spec { scale, ..spec }), "must be positive");
        }
        shape(Int8Conv::new(isa, spec, &panels[1..]).map(drop), "the layer needs 576");
        if !isa.has_dot() {
            assert!(matches!(new(Int8Spec { dot: true, ..spec }), Err(Error::MissingIsa(..))));
        }
    }
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert!(!isa.has_dot());
        assert!(matches!(Int8Conv::new(isa, spec, &panels), Err(Error::MissingIsa(name, _)) if name == isa.name()));
    }
    shape(int8::pack_int8(&good, &[0; 143]).map(drop), "143 8-bit weights were given, the layer needs 144");
    shape(int8::unpack_int8(&good, &[0; 575]).map(drop), "575 bytes");
    shape(int8::dirty_padding(&good, &[0; 575]).map(drop), "575 bytes");
    let mut weights = vec![-127; 144];
    weights[77] = -128;
    shape(int8::pack_int8(&good, &weights).map(drop), "weight 77 is -128");
}

/// A call whose lengths do not match panics before anything is read.
#[test]
fn wrong_lengths_panic() {
    let geometry = Geometry::dense(40, 20);
    for short in 0..6 {
        let len = |n: usize, which: usize| if short == which { n - 1 } else { n };
        let (input, alpha) = (vec![0.0; len(40, 0)], vec![0.0; len(32, 2)]);
        let panels = vec![0; int8::panel_len(&geometry)];
        let result = std::panic::catch_unwind(|| {
            let spec = Int8Spec { geometry, scale: 1.0, zero_point: 0, max_batch: 1, dot: false };
            let conv = Int8Conv::new(Isa::Portable, spec, &panels).expect("a geometry that fits");
            let mut scratch = vec![0; len(conv.scratch_len(), 3)];
            let (epilogue, parallel) = (Epilogue::default(), &Inline);
            let panels = &panels[..len(panels.len(), 1)];
            let call = Int8Call { input: &input, panels, alpha: &alpha, epilogue, parallel, clock: None };
            conv.run(call, &mut vec![0.0; len(20, 4)], &mut scratch)
        });
        assert_eq!(result.is_err(), short != 5, "operand {short} too short");
    }
}

#[test]
fn the_clock_sees_quantization_and_products() {
    let mut layer = Layer::random(&mut rng(1), Geometry::dense(2000, 300));
    layer.steps.clear();
    let clock = StageClock::default();
    layer.run(ways()[0], &Inline, Some(&clock)).expect("finite values");
    for (stage, nanoseconds) in Stage::ALL.into_iter().zip(clock.nanoseconds()) {
        assert_eq!(nanoseconds > 0, matches!(stage, Stage::Quantize | Stage::Float), "{}", stage.name());
    }
}
