//! f32 activations on binary weights and on codebooks: every backend against the oracle, bit for bit.

mod common;

use common::{Backwards, Fenced, OwnedStep, Threads, backends, difference, random_geometry, rng, values, wanted_cases};
use horq_kernels::weights::{codes, floats};
use horq_kernels::{
    BinaryWeightCall, BinaryWeightConv, CodebookCall, CodebookConv, Epilogue, Error, FloatCall, FloatConv, Geometry,
    Inline, Isa, Parallel, Stage, StageClock, Step, Window,
};
use horq_oracle as oracle;
use rand::Rng;
use rand::rngs::StdRng;

/// A layer of f32 activations on packed weights, with the data of a call.
struct Layer {
    geometry: Geometry,
    weights: Weights,
    input: Vec<f32>,
    steps: Vec<OwnedStep>,
}

enum Weights {
    Binary { weights: Vec<f32>, alpha: Vec<f32> },
    Codes { bits: u32, codes: Vec<u8>, book: Vec<f32> },
}

impl Layer {
    fn random(rng: &mut StdRng, geometry: Geometry, binary: bool) -> Self {
        let dense = geometry.height * geometry.width == 1;
        let samples = if dense { rng.random_range(1..=20) } else { rng.random_range(1..=2) };
        let [rows, columns] = geometry.validate().expect("a geometry that fits");
        let outputs = samples * rows * columns * geometry.filters;
        let n = geometry.filters * geometry.depth();
        let weights = if binary {
            Weights::Binary { weights: values(rng, n), alpha: values(rng, geometry.filters) }
        } else {
            let bits = rng.random_range(3..=5);
            let codes = (0..n).map(|_| rng.random_range(0..1u8 << bits)).collect();
            Weights::Codes { bits, codes, book: values(rng, 1 << bits) }
        };
        Self {
            geometry,
            weights,
            input: values(rng, samples * geometry.input_len()),
            steps: (0..rng.random_range(0..=3)).map(|_| OwnedStep::random(rng, &geometry, outputs)).collect(),
        }
    }

    fn expected(&self) -> Vec<f32> {
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::plain).collect();
        match &self.weights {
            Weights::Binary { weights, alpha } => {
                oracle::binary_weight_conv(&self.geometry, &self.input, weights, alpha, &steps)
            }
            Weights::Codes { codes, book, .. } => {
                let weights: Vec<f32> = codes.iter().map(|&code| book[usize::from(code)]).collect();
                oracle::float_conv(&self.geometry, &self.input, &weights, &steps)
            }
        }
    }

    /// What a backend says. All its memory is fenced; scratch and output hold rubbish before.
    fn run(&self, isa: Isa, parallel: &dyn Parallel, clock: Option<&StageClock>) -> Vec<f32> {
        let input = Fenced::of(&self.input);
        let steps: Vec<Step<'_>> = self.steps.iter().map(OwnedStep::padded).collect();
        let epilogue = Epilogue { steps: &steps };
        let [rows, columns] = self.geometry.validate().expect("a geometry that fits");
        let samples = self.input.len() / self.geometry.input_len();
        let mut output = Fenced::new(samples * rows * columns * self.geometry.filters, f32::NAN);
        let scratch = match &self.weights {
            Weights::Binary { weights, alpha } => {
                let conv = BinaryWeightConv::new(isa, self.geometry).expect("a geometry that fits");
                let panels = Fenced::of(&oracle::bit_panels(&self.geometry, weights));
                let alpha = Fenced::of(&self.geometry.pad_filters(alpha));
                let mut scratch = Fenced::new(conv.scratch_len(), f32::NAN);
                let call =
                    BinaryWeightCall { input: &input, panels: &panels, alpha: &alpha, epilogue, parallel, clock };
                conv.run(call, &mut output, &mut scratch);
                scratch
            }
            Weights::Codes { bits, codes, book } => {
                let conv = CodebookConv::new(isa, self.geometry, *bits).expect("a geometry that fits");
                let codes = Fenced::of(&code_panels(&self.geometry, *bits, codes));
                let book = Fenced::of(book);
                let mut scratch = Fenced::new(conv.scratch_len(), f32::NAN);
                let call = CodebookCall { input: &input, codes: &codes, book: &book, epilogue, parallel, clock };
                conv.run(call, &mut output, &mut scratch);
                scratch
            }
        };
        scratch.check("scratch");
        output.check("output");
        output.to_vec()
    }

    fn check(&self, isas: &[Isa], name: &str) {
        let expected = self.expected();
        for &isa in isas {
            for parallel in [&Inline as &dyn Parallel, &Backwards(3)] {
                if let Some(difference) = difference(&self.run(isa, parallel, None), &expected) {
                    panic!("{name}: {isa}: {difference}\n{:?}, {:?}", self.geometry, self.steps);
                }
            }
        }
    }
}

/// Codes placed by arithmetic on the layout's definition: word by word, each filled from its highest code down.
fn code_panels(g: &Geometry, bits: u32, codes: &[u8]) -> Vec<u32> {
    let (depth, filters, per_word) = (g.depth(), g.filters / g.groups, 32 / bits as usize);
    let mut panels = Vec::new();
    for group in 0..g.groups {
        for first_filter in (0..filters).step_by(16) {
            for first in (0..depth).step_by(per_word) {
                for filter in first_filter..first_filter + 16 {
                    let here = first..(first + per_word).min(depth);
                    let code = |k| if filter < filters { codes[(group * filters + filter) * depth + k] } else { 0 };
                    panels.push(here.rev().fold(0, |word, k| word * (1 << bits) + u32::from(code(k))));
                }
            }
        }
    }
    panels
}

#[test]
fn random_layers() {
    let isas = backends();
    for seed in 0..wanted_cases() / 100 {
        let mut rng = rng(seed);
        let budget = if seed % 100 == 0 { 300_000 } else { 4000 };
        let geometry = random_geometry(&mut rng, budget);
        Layer::random(&mut rng, geometry, seed % 2 == 0).check(&isas, &format!("seed {seed}"));
    }
}

/// Every number of rows, panels and channels about a tile, a word, a word of codes.
#[test]
fn every_tail_of_a_matrix_product() {
    let isas = backends();
    for filters in 1..=70 {
        for batch in 1..=17 {
            let mut rng = rng(filters as u64 * 100 + batch as u64);
            let geometry = Geometry::dense(1 + (filters * 7 + batch * 3) % 70, filters);
            for binary in [true, false] {
                let mut layer = Layer::random(&mut rng, geometry, binary);
                layer.steps.clear();
                layer.input = values(&mut rng, batch * geometry.channels);
                layer.check(&isas, &format!("{filters} filters, batch {batch}"));
            }
        }
    }
}

/// Depths about the spans that are decoded at a time, rows about those for which they are.
#[test]
fn every_end_of_a_span_of_codes() {
    let isas = backends();
    for depth in [119, 239, 240, 241, 245, 251, 479, 480, 481, 725] {
        for batch in [1, 4, 5, 6, 13, 37] {
            let mut rng = rng(depth as u64 * 100 + batch as u64);
            let mut layer = Layer::random(&mut rng, Geometry::dense(depth, 33), false);
            layer.steps.clear();
            layer.input = values(&mut rng, batch * depth);
            layer.check(&isas, &format!("depth {depth}, batch {batch}"));
        }
    }
}

/// More panels than a task, more words than a block, more rows than a strip, pixels a multiple of 4 KiB apart, threads.
#[test]
fn layers_of_real_size_on_threads() {
    let isas = backends();
    let three = Window::square(3).with_padding(1);
    for (size, channels, filters, groups, window) in [
        (14, 256, 300, 1, three),
        (28, 40, 32, 1, Window::square(5).with_padding(2)),
        (33, 100, 24, 1, Window { dilation: [2, 3], ..three }.with_stride(2)),
        (9, 40, 40, 40, three),
        (7, 66, 70, 2, three),
        (1, 1000, 500, 1, Window::square(1)),
        (60, 70, 3, 1, Window::square(1)),
    ] {
        let geometry = Geometry { height: size, width: size, channels, filters, groups, window };
        for binary in [true, false] {
            let mut layer = Layer::random(&mut rng(size as u64), geometry, binary);
            if size == 1 {
                layer.steps.clear();
                layer.input = values(&mut rng(7), 150 * channels);
            }
            let expected = layer.expected();
            for &isa in &isas {
                let got = layer.run(isa, &Threads(3), None);
                assert_eq!(difference(&got, &expected), None, "{isa}, {geometry:?}");
            }
        }
    }
}

/// The specified order gives what the formula does, and codes what their weights do in a float layer.
#[test]
fn the_results_are_near_the_formula() {
    for seed in 0..200 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 50_000);
        let input: Vec<f32> = (0..geometry.input_len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let n = geometry.filters * geometry.depth();
        let signs: Vec<f32> = (0..n).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect();
        let alpha = vec![1.0; geometry.filters];
        let exact = oracle::binary_weight_conv(&geometry, &input, &signs, &alpha, &[]);
        for (a, b) in exact.iter().zip(oracle::float_conv_f64(&geometry, &input, &signs)) {
            assert!((f64::from(*a) - b).abs() < 1e-6 * geometry.depth() as f64, "{a}, not {b}, seed {seed}");
        }
        let mut layer = Layer::random(&mut rng, geometry, false);
        layer.steps.clear();
        let Weights::Codes { codes, book, .. } = &layer.weights else { unreachable!("a layer of codes") };
        let weights: Vec<f32> = codes.iter().map(|&code| book[usize::from(code)]).collect();
        for isa in backends() {
            let conv = FloatConv::new(isa, geometry).expect("a geometry that fits");
            let weight = floats::pack_floats(&geometry, &weights);
            let (mut output, mut scratch) = (layer.run(isa, &Inline, None), vec![0.0; conv.scratch_len()]);
            let decoded = output.clone();
            let (epilogue, parallel) = (Epilogue::default(), &Inline);
            let call = FloatCall { input: &layer.input, weight: &weight, epilogue, parallel, clock: None };
            conv.run(call, &mut output, &mut scratch);
            assert_eq!(difference(&decoded, &output), None, "{isa}, seed {seed}");
        }
    }
}

/// Infinities and NaN are passed on as float arithmetic does, and a padded tap or channel adds nothing.
#[test]
fn what_is_not_finite_is_passed_on() {
    for seed in 0..300 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 20_000);
        let mut layer = Layer::random(&mut rng, geometry, seed % 2 == 0);
        for _ in 0..rng.random_range(1..=3) {
            let at = rng.random_range(0..layer.input.len());
            layer.input[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0][rng.random_range(0..5)];
        }
        layer.check(&backends(), &format!("seed {seed}"));
    }
}

/// Whether none of these words holds a code of that size.
fn beyond_is_first(words: &[u32], bits: u32, entries: usize) -> bool {
    let codes = |word: u32| (0..32 / bits).map(move |i| word >> (bits * i) & ((1 << bits) - 1));
    words.iter().all(|&word| codes(word).all(|code| (code as usize) < entries))
}

#[test]
fn codes_are_packed_as_the_layout_says() {
    for seed in 0..2000 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 50_000);
        for bits in codes::CODE_BITS {
            let n = geometry.filters * geometry.depth();
            let codes: Vec<u8> = (0..n).map(|_| rng.random_range(0..1u8 << bits)).collect();
            let mut panels = codes::pack_codes(&geometry, bits, &codes).expect("codes that fit");
            assert_eq!(panels, code_panels(&geometry, bits, &codes), "seed {seed}, {bits} bits");
            assert_eq!(codes::panel_len(&geometry, bits), Ok(panels.len()));
            assert_eq!(codes::unpack_codes(&geometry, bits, &panels), Ok(codes.clone()));
            assert_eq!(codes::dirty_padding(&geometry, bits, &panels), Ok(None));
            let largest = codes.iter().copied().max().map(usize::from).expect("a layer has weights");
            assert_eq!(codes::code_beyond(&geometry, bits, &panels, largest + 1), Ok(None));
            if largest > 0 {
                let beyond = codes::code_beyond(&geometry, bits, &panels, largest).expect("panels of that length");
                let (word, code) = beyond.expect("the largest code is beyond its own number of entries");
                assert_eq!(usize::from(code), largest);
                assert!(beyond_is_first(&panels[..word], bits, largest), "seed {seed}, {bits} bits");
            }
            // Any bit is either a code's, or padding that is found.
            let (word, bit) = (rng.random_range(0..panels.len()), rng.random_range(0..32));
            panels[word] ^= 1 << bit;
            let dirty = codes::dirty_padding(&geometry, bits, &panels).expect("panels of the right length");
            let changed = codes::unpack_codes(&geometry, bits, &panels).expect("panels of the right length") != codes;
            assert_eq!(dirty, (!changed).then_some(word), "seed {seed}, bit {bit} of word {word}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let good = Geometry { height: 4, width: 4, channels: 4, filters: 4, groups: 1, window: Window::square(3) };
    let shape = |result: Result<(), Error>, part: &str| match result {
        Err(Error::Shape(text)) => assert!(text.contains(part), "`{text}` does not say `{part}`"),
        other => panic!("{other:?}, not a shape error about `{part}`"),
    };
    for isa in backends() {
        let large = Geometry { channels: 1 << 20, width: 1 << 10, height: 1, window: Window::square(1), ..good };
        shape(BinaryWeightConv::new(isa, large).map(drop), "tables of 1 rows of 1024 pixels");
        shape(BinaryWeightConv::new(isa, Geometry { groups: 3, ..good }).map(drop), "3 groups");
        shape(CodebookConv::new(isa, Geometry { groups: 3, ..good }, 4).map(drop), "3 groups");
        for bits in [0, 1, 2, 6, 8, 32, 33] {
            shape(CodebookConv::new(isa, good, bits).map(drop), &format!("codes of {bits} bits"));
        }
    }
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert!(matches!(BinaryWeightConv::new(isa, good), Err(Error::MissingIsa(name, _)) if name == isa.name()));
        assert!(matches!(CodebookConv::new(isa, good, 4), Err(Error::MissingIsa(name, _)) if name == isa.name()));
    }
    for bits in [0, 2, 6, 32] {
        shape(codes::pack_codes(&good, bits, &[0; 144]).map(drop), "use 3, 4 or 5");
        shape(codes::unpack_codes(&good, bits, &[]).map(drop), "use 3, 4 or 5");
        shape(codes::dirty_padding(&good, bits, &[]).map(drop), "use 3, 4 or 5");
        shape(codes::code_beyond(&good, bits, &[], 3).map(drop), "use 3, 4 or 5");
    }
    shape(codes::pack_codes(&good, 4, &[0; 143]).map(drop), "143 codes were given, the layer needs 144");
    shape(codes::unpack_codes(&good, 4, &[0; 79]).map(drop), "79 words");
    let mut codes = vec![15; 144];
    codes[77] = 16;
    shape(codes::pack_codes(&good, 4, &codes).map(drop), "code 16 at 77");
}

/// A call whose lengths do not match panics before anything is read.
#[test]
fn wrong_lengths_panic() {
    let geometry = Geometry::dense(40, 20);
    for short in 0..6 {
        let len = |n: usize, which: usize| if short == which { n - 1 } else { n };
        let (input, alpha) = (vec![0.0; len(40, 0)], vec![0.0; len(32, 2)]);
        let binary = std::panic::catch_unwind(|| {
            let conv = BinaryWeightConv::new(Isa::Portable, geometry).expect("a geometry that fits");
            let mut scratch = vec![0.0; len(conv.scratch_len(), 3)];
            let panels = vec![0; len(geometry.bit_panel_len(), 1)];
            let (epilogue, parallel) = (Epilogue::default(), &Inline);
            let call =
                BinaryWeightCall { input: &input, panels: &panels, alpha: &alpha, epilogue, parallel, clock: None };
            conv.run(call, &mut vec![0.0; len(20, 4)], &mut scratch);
        });
        assert_eq!(binary.is_err(), short != 5, "operand {short} too short");
        let codes = std::panic::catch_unwind(|| {
            let conv = CodebookConv::new(Isa::Portable, geometry, 4).expect("a geometry that fits");
            let codes = vec![0; len(160, 1)];
            let book = vec![0.0; len(16, 2)];
            let (epilogue, parallel) = (Epilogue::default(), &Inline);
            let call = CodebookCall { input: &input, codes: &codes, book: &book, epilogue, parallel, clock: None };
            conv.run(call, &mut vec![0.0; len(20, 4)], &mut []);
        });
        assert_eq!(codes.is_err(), !matches!(short, 3 | 5), "operand {short} too short");
    }
}

#[test]
fn the_clock_sees_products_and_epilogue() {
    let geometry = Geometry::dense(2000, 300);
    for binary in [true, false] {
        let layer = Layer::random(&mut rng(1), geometry, binary);
        let clock = StageClock::default();
        layer.run(backends()[0], &Inline, Some(&clock));
        for (stage, nanoseconds) in Stage::ALL.into_iter().zip(clock.nanoseconds()) {
            // Weights that are decoded once have their epilogue in the tile.
            let wanted = matches!(stage, Stage::Float | Stage::Epilogue);
            let free = !binary && stage == Stage::Epilogue;
            assert!(free || (nanoseconds > 0) == wanted, "{}", stage.name());
        }
    }
}
