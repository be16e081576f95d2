//! Float layers, pools and elementwise operations on every backend against the oracle, bit for bit.

mod common;

use common::{
    Backwards, Counting, Fenced, OwnedStep, Threads, backends, difference, random_geometry, rng, values, wanted_cases,
};
use horq_kernels::elementwise;
use horq_kernels::pool::{self, PoolShape};
use horq_kernels::weights::floats;
use horq_kernels::{Epilogue, FloatCall, FloatConv, Geometry, Inline, Isa, Parallel, Runner, Step, Window};
use horq_oracle as oracle;
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::atomic::AtomicUsize;

/// One float layer with the data of a call.
struct Layer {
    geometry: Geometry,
    weights: Vec<f32>,
    input: Vec<f32>,
    steps: Vec<OwnedStep>,
}

impl Layer {
    fn random(rng: &mut StdRng, geometry: Geometry) -> Self {
        let dense = geometry.height * geometry.width == 1;
        let samples = if dense { rng.random_range(1..=20) } else { rng.random_range(1..=2) };
        let [rows, columns] = geometry.validate().expect("a geometry that fits");
        let outputs = samples * rows * columns * geometry.filters;
        Self {
            geometry,
            weights: values(rng, geometry.filters * geometry.depth()),
            input: values(rng, samples * geometry.input_len()),
            steps: (0..rng.random_range(0..=3))
                .map(|_| OwnedStep::random(rng, &geometry.float_layout(), outputs))
                .collect(),
        }
    }

    fn expected(&self) -> Vec<f32> {
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::plain).collect();
        oracle::float_conv(&self.geometry, &self.input, &self.weights, &steps)
    }

    fn run(&self, isa: Isa, parallel: &dyn Parallel) -> Vec<f32> {
        let conv = FloatConv::new(isa, self.geometry).expect("a geometry that fits");
        let weight = Fenced::of(&floats::pack_floats(&self.geometry, &self.weights));
        let input = Fenced::of(&self.input);
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::padded).collect();
        let [rows, columns] = self.geometry.validate().expect("a geometry that fits");
        let samples = self.input.len() / self.geometry.input_len();
        let mut output = Fenced::new(samples * rows * columns * self.geometry.filters, f32::NAN);
        let mut scratch = Fenced::new(conv.scratch_len(), f32::NAN);
        let epilogue = Epilogue { steps: &steps };
        let call = FloatCall { input: &input, weight: &weight, epilogue, parallel, clock: None };
        conv.run(call, &mut output, &mut scratch);
        scratch.check("scratch");
        output.check("output");
        output.to_vec()
    }

    fn check(&self, isas: &[Isa], name: &str) {
        let expected = self.expected();
        for &isa in isas {
            for parallel in [&Inline as &dyn Parallel, &Backwards(3)] {
                if let Some(difference) = difference(&self.run(isa, parallel), &expected) {
                    panic!("{name}: {isa}: {difference}\n{:?}, {:?}", self.geometry, self.steps);
                }
            }
        }
    }
}

#[test]
fn random_float_layers() {
    let isas = backends();
    for seed in 0..wanted_cases() / 100 {
        let mut rng = rng(seed);
        let budget = if seed % 100 == 0 { 300_000 } else { 4000 };
        let geometry = random_geometry(&mut rng, budget);
        Layer::random(&mut rng, geometry).check(&isas, &format!("seed {seed}"));
    }
}

#[test]
fn every_tail_of_a_matrix_product() {
    let isas = backends();
    for filters in 1..=70 {
        for batch in 1..=17 {
            let mut rng = rng(filters as u64 * 100 + batch as u64);
            let geometry = Geometry::dense(1 + (filters * 7 + batch * 3) % 40, filters);
            let mut layer = Layer::random(&mut rng, geometry);
            layer.steps.clear();
            layer.input = values(&mut rng, batch * geometry.channels);
            layer.check(&isas, &format!("{filters} filters, batch {batch}"));
        }
    }
}

/// Depths about the spans that rows pass at a time, and rows about those of a tile and of a task.
#[test]
fn every_end_of_a_span() {
    let isas = backends();
    for depth in [143, 144, 145, 239, 240, 241, 289, 481, 725] {
        for batch in [1, 5, 8, 9, 13, 41] {
            let mut rng = rng(depth as u64 * 100 + batch as u64);
            let mut layer = Layer::random(&mut rng, Geometry::dense(depth, 33));
            layer.steps.clear();
            layer.input = values(&mut rng, batch * depth);
            layer.check(&isas, &format!("depth {depth}, batch {batch}"));
        }
    }
}

#[test]
fn float_layers_of_real_size_on_threads() {
    let isas = backends();
    for (size, channels, filters, groups, window) in [
        (28, 1, 32, 1, Window::square(5).with_padding(2)),
        (32, 3, 64, 1, Window::square(3).with_padding(1).with_stride(2)),
        (9, 40, 40, 40, Window::square(3).with_padding(1)),
        (13, 36, 70, 1, Window { dilation: [2, 1], ..Window::square(3).with_padding(1) }),
        (14, 66, 90, 2, Window::square(3).with_padding(1).with_stride(2)),
        (1, 800, 500, 1, Window::square(1)),
    ] {
        let geometry = Geometry { height: size, width: size, channels, filters, groups, window };
        let layer = Layer::random(&mut rng(size as u64), geometry);
        let expected = layer.expected();
        for &isa in &isas {
            assert_eq!(difference(&layer.run(isa, &Threads(3)), &expected), None, "{isa}, {geometry:?}");
        }
    }
}

#[test]
fn depthwise_layers() {
    let isas = backends();
    for seed in 0..1000.min(wanted_cases() / 20) {
        let mut rng = rng(seed);
        let mut geometry = random_geometry(&mut rng, 4000);
        let channels = rng.random_range(2..=70);
        (geometry.channels, geometry.filters, geometry.groups) = (channels, channels, channels);
        if geometry.validate().is_ok() {
            Layer::random(&mut rng, geometry).check(&isas, &format!("seed {seed}"));
        }
    }
    for (size, channels, stride) in [(15, 48, 1), (16, 20, 2), (23, 64, 2)] {
        let window = Window::square(3).with_padding(1).with_stride(stride);
        let geometry = Geometry { height: size, width: size, channels, filters: channels, groups: channels, window };
        Layer::random(&mut rng(size as u64), geometry).check(&isas, "3 x 3");
    }
}

/// Sums a hair beside the middle between two f32, nearer to it than f64 can tell: rounded to f64 first, they would round
/// to the wrong side. Random values never come there.
#[test]
fn fused_products_are_rounded_once() {
    let isas = backends();
    let hairs =
        [(1.0 + 2f32.powi(-23), 1.0 - 2f32.powi(-23)), (1.0 + 2f32.powi(-12), 1.0 - 2f32.powi(-12) + 2f32.powi(-24))];
    let mut wrong_if_twice = 0;
    for seed in 0..2000 {
        let mut rng = rng(seed);
        // A value and half of what its last place is worth, down to subnormals.
        let bits = rng.random_range(0x0000_0001..0x7000_0000u32);
        let c = f32::from_bits(bits) * if rng.random() { 1.0 } else { -1.0 };
        let half = (bits >> 23).max(1) as i32 - 127 - 24;
        let (a, b) = hairs[seed as usize % 2];
        let (a, b) = (a * 2f32.powi(half / 2), b * 2f32.powi(half - half / 2) * if rng.random() { 1.0 } else { -1.0 });
        let twice = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        wrong_if_twice += usize::from(twice != a.mul_add(b, c));
        let layer =
            Layer { geometry: Geometry::dense(2, 1), weights: vec![1.0, b], input: vec![c, a], steps: Vec::new() };
        layer.check(&isas, &format!("{a:e} * {b:e} + {c:e}"));
    }
    assert!(wrong_if_twice > 400, "only {wrong_if_twice} of 2000 sums would show a second rounding");
}

/// The exact order of operations is also a good approximation of the formula.
#[test]
fn the_oracle_itself_is_near_the_formula() {
    for seed in 0..200 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 50_000);
        let input: Vec<f32> = (0..geometry.input_len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let n = geometry.filters * geometry.depth();
        let weights: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let exact = oracle::float_conv(&geometry, &input, &weights, &[]);
        for (a, b) in exact.iter().zip(oracle::float_conv_f64(&geometry, &input, &weights)) {
            assert!((f64::from(*a) - b).abs() < 1e-6 * geometry.depth() as f64, "{a}, not {b}, seed {seed}");
        }
    }
}

fn random_pool(rng: &mut StdRng) -> PoolShape {
    let geometry = random_geometry(rng, 20_000);
    PoolShape { height: geometry.height, width: geometry.width, channels: geometry.channels, window: geometry.window }
}

/// Random values, now and then with NaN, infinities and zeros of both signs among them.
fn wild(rng: &mut StdRng, n: usize) -> Vec<f32> {
    let mut values = values(rng, n);
    if rng.random_ratio(1, 4) {
        for _ in 0..1 + n / 8 {
            let at = rng.random_range(0..n);
            values[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0][rng.random_range(0..5)];
        }
    }
    values
}

#[test]
fn pools() {
    let isas = backends();
    for seed in 0..20_000.min(wanted_cases() / 10) {
        let mut rng = rng(seed);
        let shape = random_pool(&mut rng);
        let sizes = [shape.height, shape.width, shape.channels];
        let samples = rng.random_range(1..=3);
        let input = Fenced::of(&wild(&mut rng, samples * shape.input_len()));
        let expected = [
            oracle::max_pool(&shape.window, sizes, &input),
            oracle::average_pool(&shape.window, sizes, &input),
            // One window over the whole image.
            oracle::average_pool(&Window { kernel: [shape.height, shape.width], ..Window::square(1) }, sizes, &input),
        ];
        let [rows, columns] = shape.output().expect("a shape that fits");
        assert_eq!(expected[0].len(), samples * rows * columns * shape.channels);
        for &isa in &isas {
            for (which, expected) in expected.iter().enumerate() {
                let mut output = Fenced::new(expected.len(), f32::NAN);
                match which {
                    0 => pool::max_pool(isa, &shape, &input, &mut output),
                    1 => pool::average_pool(isa, &shape, &input, &mut output),
                    _ => {
                        let pixels = shape.height * shape.width;
                        pool::global_average_pool(isa, pixels, shape.channels, &input, &mut output);
                    }
                }
                output.check("output");
                let difference = difference(&output, expected);
                assert_eq!(difference, None, "seed {seed}, {isa}, pool {which}, {shape:?}");
            }
        }
    }
}

#[test]
fn elementwise_operations() {
    let isas = backends();
    for seed in 0..20_000.min(wanted_cases() / 10) {
        let mut rng = rng(seed);
        let (channels, pixels) = (rng.random_range(1..=70), rng.random_range(1..=6));
        let n = channels * pixels;
        let [a, b] = [0, 1].map(|_| Fenced::of(&wild(&mut rng, n)));
        // Vectors may be longer than there are channels, as those of model files are.
        let [scale, shift] = [0, 1].map(|_| Fenced::of(&values(&mut rng, channels + seed as usize % 2 * 15)));
        let steps = oracle::steps(&scale, &shift, &b);
        for &isa in &isas {
            for step in &steps {
                let expected: Vec<f32> =
                    (0..n).map(|i| oracle::step_through(&[*step], a[i], i % channels, i)).collect();
                let mut output = Fenced::new(n, f32::NAN);
                elementwise::step(isa, channels, &a, step, &mut output);
                output.check("output");
                let difference = difference(&output, &expected);
                assert_eq!(difference, None, "seed {seed}, {isa}, {step:?}, {channels} channels");
            }
        }
    }
}

/// Pools and elementwise operations that are large enough for several threads, which must not change a bit.
#[test]
fn tasks_do_not_change_a_bit() {
    type Operation<'a> = Box<dyn Fn(Runner<'_>, &mut [f32]) + 'a>;
    let mut rng = rng(9);
    let (pixels, channels) = (2 * 37 * 41, 70);
    let [a, b] = [0, 1].map(|_| wild(&mut rng, pixels * channels));
    let [scale, shift] = [0, 1].map(|_| values(&mut rng, channels));
    let shape = |window| PoolShape { height: 37, width: 41, channels, window };
    let pools = [
        shape(Window::square(2).with_stride(2)),
        shape(Window::square(3).with_stride(2).with_padding(1)),
        shape(Window { kernel: [2, 3], stride: [1, 3], dilation: [3, 2], padding: [0, 4, 2, 1] }),
    ];
    let n = a.len();
    let mut operations: Vec<(&str, usize, Operation<'_>)> = vec![
        ("softmax", n, Box::new(|on, y| elementwise::softmax(on, channels, &a, y))),
        ("copy", n, Box::new(|on, y| elementwise::concat(on, 0..channels, &a, channels, y))),
    ];
    for step in oracle::steps(&scale, &shift, &b) {
        let a = &a;
        operations.push(("step", n, Box::new(move |on, y| elementwise::step(on, channels, a, &step, y))));
    }
    for shape in &pools {
        let [rows, columns] = shape.output().unwrap();
        let len = 2 * rows * columns * channels;
        operations.push(("max", len, Box::new(|on, y| pool::max_pool(on, shape, &a, y))));
        operations.push(("average", len, Box::new(|on, y| pool::average_pool(on, shape, &a, y))));
    }
    for isa in backends() {
        for (name, len, operation) in &operations {
            let mut alone = Fenced::new(*len, f32::NAN);
            operation(isa.into(), &mut alone);
            let most = AtomicUsize::new(0);
            for parallel in [&Counting(Backwards(2), &most) as &dyn Parallel, &Backwards(3), &Threads(3)] {
                let mut output = Fenced::new(*len, f32::NAN);
                operation(Runner { isa, parallel }, &mut output);
                output.check("output");
                assert_eq!(difference(&output, &alone), None, "{isa}, {name}");
            }
            assert_eq!(most.into_inner(), 8, "{isa}, {name}: tasks of two threads");
        }
    }
}

#[test]
fn concatenation_writes_its_channels_and_no_others() {
    for isa in backends() {
        for (left, right) in [(1, 1), (3, 5), (16, 17), (70, 2)] {
            let mut rng = rng(left as u64);
            let (a, b) = (values(&mut rng, left * 4), values(&mut rng, right * 4));
            let mut output = vec![7.25; (left + right) * 4];
            elementwise::concat(isa, 0..left, &a, left + right, &mut output);
            for pixel in 0..4 {
                let row = &output[pixel * (left + right)..][..left + right];
                assert_eq!(row[..left], a[pixel * left..][..left]);
                assert!(row[left..].iter().all(|&x| x == 7.25));
            }
            elementwise::concat(isa, left..left + right, &b, left + right, &mut output);
            for pixel in 0..4 {
                let row = &output[pixel * (left + right)..][..left + right];
                assert_eq!(row[..left], a[pixel * left..][..left]);
                assert_eq!(row[left..], b[pixel * right..][..right]);
            }
        }
    }
}

#[test]
fn softmax_is_near_the_formula_and_the_same_everywhere() {
    let isas = backends();
    for seed in 0..5000.min(wanted_cases() / 10) {
        let mut rng = rng(seed);
        let (channels, pixels) = (rng.random_range(1..=70), rng.random_range(1..=4));
        let spread = 10.0f32.powi(rng.random_range(-3..=3));
        let input: Vec<f32> = (0..channels * pixels).map(|_| rng.random_range(-spread..spread)).collect();
        let exact = oracle::softmax(channels, &input);
        let mut first = None;
        for &isa in &isas {
            let mut output = vec![f32::NAN; input.len()];
            elementwise::softmax(isa, channels, &input, &mut output);
            for (y, exact) in output.iter().zip(&exact) {
                // Half a unit from exp, n / 2 from the sum of n terms, half from the division, and what x - max loses.
                let lost = f64::from(spread) + 1.0 + channels as f64 / 2.0;
                let tolerance = exact * f64::from(f32::EPSILON) * lost + 1e-44;
                assert!((f64::from(*y) - exact).abs() <= tolerance, "{isa}, seed {seed}: {y}, not {exact}");
            }
            let first = first.get_or_insert_with(|| output.clone());
            assert_eq!(difference(&output, first), None, "{isa}, seed {seed}");
        }
    }
}

#[test]
fn softmax_passes_on_what_is_not_a_number() {
    for isa in backends() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut output = [0.0; 8];
            elementwise::softmax(isa, 4, &[1.0, bad, 2.0, -1.0, 1.0, -200.0, 1.0, 1.0], &mut output);
            assert!(output[..4].iter().all(|y| y.is_nan()), "{isa}: {output:?}");
            assert_eq!(output[5], 0.0, "{isa}");
            assert_eq!(output[4].to_bits(), (1.0f32 / 3.0).to_bits(), "{isa}");
        }
    }
}

/// Reference values by the definition, so that the oracle's pools are held against something too.
#[test]
fn small_pools_by_hand() {
    let shape = PoolShape { height: 2, width: 3, channels: 1, window: Window::square(2).with_padding(1) };
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, -6.0];
    for isa in backends() {
        let mut output = [f32::NAN; 12];
        pool::max_pool(isa, &shape, &input, &mut output);
        assert_eq!(output, [1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0, 3.0, 4.0, 5.0, 5.0, -6.0]);
        pool::average_pool(isa, &shape, &input, &mut output);
        assert_eq!(output, [1.0, 1.5, 2.5, 3.0, 2.5, 3.0, 1.0, -1.5, 4.0, 4.5, -0.5, -6.0]);
        let far = PoolShape { window: Window::square(1).with_padding(1).with_stride(3), ..shape };
        let mut corners = [f32::NAN; 4];
        pool::max_pool(isa, &far, &input, &mut corners);
        assert_eq!(corners, [0.0; 4], "{isa}: a window of nothing but padding gives 0");
    }
}
