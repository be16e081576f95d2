//! Binary layers on every backend against the oracle, bit for bit.
//!
//! A case is one random configuration (shape, order, mode, padding, bases, epilogue) with random data of its own, compared
//! in full on one backend.

mod common;

use common::{
    Backwards, Counting, Fenced, Layer, MODES, PADDINGS, Threads, backends, only_seed, random_geometry, rng, values,
    wanted_cases,
};
use horq_kernels::weights::{bits, floats};
use horq_kernels::{BinaryKernel, Geometry, Isa, MAX_DEPTH, MAX_ORDER, ScaleMode, StageClock, Window, gemm};
use horq_oracle as oracle;
use rand::Rng;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Most layers cost a few thousand products, one in two hundred up to a million.
fn random_layer(seed: u64) -> Layer {
    let mut rng = rng(seed);
    let budget = match rng.random_range(0..200) {
        0 => 1_000_000,
        1..20 => 60_000,
        _ => 6_000,
    };
    let geometry = random_geometry(&mut rng, budget);
    let layer = Layer::random(&mut rng, geometry);
    if rng.random_ratio(1, 3) { layer.pooled(&mut rng) } else { layer }
}

fn check_seed(isas: &[Isa], seed: u64) -> u64 {
    random_layer(seed).check(
        isas,
        format_args!(
            "HORQ_TEST_SEED={seed} cargo test -p horq-kernels --test binary_exact random_layers -- --nocapture"
        ),
    )
}

#[test]
fn random_layers() {
    let isas = backends();
    if let Some(seed) = only_seed() {
        println!("{:?}", random_layer(seed));
        check_seed(&isas, seed);
        return;
    }
    let wanted = wanted_cases();
    let configurations = wanted.div_ceil(isas.len() as u64);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= configurations {
                        break;
                    }
                    done.fetch_add(check_seed(&isas, seed), Relaxed);
                }
            });
        }
    });
    let done = done.into_inner();
    for isa in &isas {
        println!("{isa}: {} random layers equal to the oracle", done / isas.len() as u64);
    }
    println!("{done} cases in all");
    assert!(done >= wanted, "{done} cases, fewer than the {wanted} wanted");
}

/// Every number of channels around words and of filters around panels, tails of all lengths by construction.
#[test]
fn every_tail_of_channels_and_filters() {
    let isas = backends();
    let mut done = 0;
    for channels in 1..=70 {
        for filters in 1..=50 {
            let mut rng = rng(channels as u64 * 1000 + filters as u64);
            let window = Window { kernel: [1 + filters % 2, 1 + channels % 2], ..Window::square(1).with_padding(1) };
            let geometry = Geometry { height: 2, width: 2, channels, filters, groups: 1, window };
            let mut layer = Layer::random(&mut rng, geometry);
            layer.spec.mode = MODES[(channels + filters) % MODES.len()];
            layer.spec.padding = PADDINGS[channels / 4 % 2];
            done += layer.check(&isas, format_args!("{channels} channels, {filters} filters"));
        }
    }
    println!("{done} cases");
}

/// Rows of every length up to two of the longest tiles, where the number of pixels is the tail.
#[test]
fn every_number_of_pixels() {
    let isas = backends();
    for width in 1..=40 {
        for mode in MODES {
            for kernel in [1, 3] {
                let mut rng = rng(width as u64);
                let window = Window::square(kernel).with_padding(kernel / 2);
                let geometry = Geometry { height: 1, width, channels: 33, filters: 20, groups: 1, window };
                let mut layer = Layer::random(&mut rng, geometry);
                layer.spec.mode = mode;
                layer.check(&isas, format_args!("width {width}, kernel {kernel}, {mode:?}"));
            }
        }
    }
}

/// Pools of every size around blocks of rows, at every order, with odd rows and columns that no pool reads.
#[test]
fn every_size_of_a_pool() {
    let isas = backends();
    let mut done = 0;
    for [height, width] in (2..=5).flat_map(|height| (3..=40).map(move |width| [height, width])) {
        let mut rng = rng((height * 100 + width) as u64);
        let window = Window { padding: [1, width % 2, 1, 1], ..Window::square(3) };
        let geometry = Geometry { height, width, channels: 34, filters: 37, groups: 1, window };
        let mut layer = Layer::random(&mut rng, geometry);
        layer.spec.mode = [ScaleMode::Image, ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving][width % 4];
        layer.spec.max_order = MAX_ORDER;
        layer.order = 1 + (height + width) % MAX_ORDER;
        layer.scales = values(&mut rng, MAX_ORDER);
        let mut layer = layer.pooled(&mut rng);
        assert!(layer.spec.pool.is_some());
        done += layer.check(&isas, format_args!("{height} x {width}"));
    }
    println!("{done} cases");
}

/// Every order in every mode and padding, every batch of a matrix product.
#[test]
fn every_order_mode_and_batch() {
    let isas = backends();
    for order in 1..=MAX_ORDER {
        for mode in MODES {
            for padding in PADDINGS {
                let mut rng = rng(order as u64);
                let window = Window { padding: [1, 0, 2, 1], ..Window::square(3) };
                let geometry = Geometry { height: 5, width: 4, channels: 40, filters: 18, groups: 2, window };
                let mut layer = Layer::random(&mut rng, geometry);
                layer.spec = horq_kernels::BinarySpec { padding, mode, max_order: MAX_ORDER, ..layer.spec };
                layer.order = order;
                layer.scales = values(&mut rng, order);
                layer.check(&isas, format_args!("order {order}, {mode:?}, {padding:?}"));
            }
            for batch in 1..=20 {
                let mut rng = rng(order as u64 * 100 + batch as u64);
                let geometry = Geometry::dense(rng.random_range(1..300), rng.random_range(1..70));
                let mut layer = Layer::random(&mut rng, geometry);
                layer.spec = horq_kernels::BinarySpec { mode, max_order: MAX_ORDER, max_batch: batch, ..layer.spec };
                layer.steps.clear();
                layer.order = order;
                layer.scales = values(&mut rng, order);
                layer.input = values(&mut rng, batch * geometry.input_len());
                layer.check(&isas, format_args!("dense, order {order}, {mode:?}, batch {batch}"));
            }
        }
    }
}

/// Counters of few bits overflow where sums are long and every product has one sign.
#[test]
fn long_sums() {
    let isas = backends();
    let mut rng = rng(1);
    for features in [992, 993, 1024, 4000, 7936, 7937, 8160, 8192, 20_000, 65_537, 70_000] {
        for sign in [1.0, -1.0] {
            let mut weights = vec![sign; features * 17];
            weights[features..2 * features].copy_from_slice(&values(&mut rng, features));
            let geometry = Geometry::dense(features, 17);
            let mut layer = Layer::plain(geometry, ScaleMode::None, weights, vec![1.0; 3 * features]);
            layer.check(&isas, format_args!("{features} features, weights {sign}"));
            // Bytes hold the sums of fewer and fewer tables.
            layer.spec.mode = ScaleMode::Halving;
            for order in 1..=6 {
                layer.order = order;
                layer.check(&isas, format_args!("{features} features, weights {sign}, order {order}"));
            }
        }
    }
    for channels in [256, 300] {
        let geometry = Geometry {
            height: 8,
            width: 8,
            channels,
            filters: 33,
            groups: 1,
            window: Window::square(7).with_padding(3),
        };
        let weights = vec![-1.0; geometry.filters * geometry.depth()];
        for mode in MODES {
            let input = vec![1.0; geometry.input_len()];
            Layer::plain(geometry, mode, weights.clone(), input).check(&isas, format_args!("{channels} channels"));
        }
    }
}

/// The longest sum that a layer may have is still exact in f32.
#[test]
fn the_longest_sum() {
    let geometry = Geometry::dense(MAX_DEPTH, 1);
    let mut input = vec![1.0; MAX_DEPTH];
    input[12345] = -1.0;
    let mut layer = Layer::plain(geometry, ScaleMode::None, vec![1.0; MAX_DEPTH], input);
    let panels = layer.panels();
    for isa in backends() {
        assert_eq!(layer.run(isa, &panels), Ok(vec![MAX_DEPTH as f32 - 2.0]), "{isa}");
    }
    // All that scales which halve need of an i32.
    layer.spec.mode = ScaleMode::Halving;
    layer.scales[0] = 0.25;
    layer.order = MAX_ORDER;
    let expected = (MAX_DEPTH as f64 - 2.0) * 255.0;
    for isa in backends() {
        assert_eq!(layer.run(isa, &panels), Ok(vec![0.25 / 128.0 * expected as f32]), "{isa}");
    }
}

/// Layers of the sizes that networks have, on real threads.
#[test]
fn layers_of_real_size_on_threads() {
    let isas = backends();
    let shapes = [
        (14, 64, 64, 1, Window::square(3).with_padding(1)),
        (14, 64, 128, 1, Window::square(3).with_padding(1).with_stride(2)),
        (7, 128, 96, 1, Window::square(1)),
        (12, 20, 50, 1, Window::square(5)),
        (8, 96, 96, 96, Window::square(3).with_padding(1)),
        (9, 64, 64, 4, Window { dilation: [2, 2], ..Window::square(3).with_padding(2) }),
    ];
    for (size, channels, filters, groups, window) in shapes {
        for mode in MODES {
            let mut rng = rng(size as u64);
            let geometry = Geometry { height: size, width: size, channels, filters, groups, window };
            let mut layer = Layer::random(&mut rng, geometry);
            layer.spec.mode = mode;
            let check = |layer: &Layer| {
                let (expected, panels) = (layer.expected().expect("finite"), layer.panels());
                for &isa in &isas {
                    for threads in [2, 5] {
                        let got = layer.run_on(isa, &panels, &Threads(threads)).expect("finite");
                        assert_eq!(common::difference(&got, &expected), None, "{isa}, {threads} threads, {layer:?}");
                    }
                }
            };
            check(&layer);
            check(&layer.pooled(&mut rng));
        }
    }
}

/// Layers that are long enough to be cut into many tasks, run in an order that nobody would choose.
#[test]
fn large_layers_cut_into_tasks() {
    let isas = backends();
    let most = AtomicUsize::new(0);
    for seed in 0..wanted_cases().min(24) {
        let mut rng = rng(seed);
        let (channels, filters) = (rng.random_range(30..150), rng.random_range(30..150));
        let (kernel, stride) = (rng.random_range(1..=3), rng.random_range(1..=2));
        let window = Window { padding: [1, 0, 1, 2], ..Window::square(kernel).with_stride(stride) };
        let (height, width) = (rng.random_range(8..20), rng.random_range(8..20));
        let geometry = Geometry { height, width, channels, filters, groups: 1, window };
        let layer = Layer::random(&mut rng, geometry);
        let layer = if seed % 2 == 0 { layer } else { layer.pooled(&mut rng) };
        let (expected, panels) = (layer.expected().expect("finite"), layer.panels());
        for &isa in &isas {
            let got = layer.run_on(isa, &panels, &Counting(Backwards(7), &most)).expect("finite");
            assert_eq!(common::difference(&got, &expected), None, "{isa}, seed {seed}, {layer:?}");
        }
    }
    assert!(most.into_inner() >= 14, "no layer was cut into twice as many tasks as there are threads");
}

/// Images whose byte tables are made strip by strip, with strides, dilations and pools between the rows that strips share.
#[test]
fn images_of_many_strips() {
    let isas = backends();
    let shapes = [
        ([37, 9, 800, 5], 1, Window::square(3).with_padding(1)),
        ([40, 11, 700, 20], 1, Window { padding: [1, 0, 2, 1], ..Window::square(3).with_stride(2) }),
        ([31, 7, 1024, 6], 2, Window { dilation: [2, 1], ..Window::square(3).with_padding(2) }),
        ([33, 12, 640, 4], 1, Window::square(1)),
        ([29, 5, 1500, 9], 1, Window::square(1).with_stride(3)),
    ];
    for (seed, ([height, width, channels, filters], groups, window)) in shapes.into_iter().enumerate() {
        for pools in [false, true] {
            let mut rng = rng(seed as u64);
            let geometry = Geometry { height, width, channels, filters, groups, window };
            let mut layer = Layer::random(&mut rng, geometry);
            layer.spec.mode = ScaleMode::Halving;
            let mut layer = if pools { layer.pooled(&mut rng) } else { layer };
            (layer.spec.max_order, layer.order) = (5, 1 + (seed + usize::from(pools)) % 5);
            layer.scales = values(&mut rng, 5);
            layer.kernel = Some(BinaryKernel::Tables);
            let (expected, panels) = (layer.expected(), layer.panels());
            for &isa in &isas {
                for threads in [1, 3] {
                    let got = layer.run_on(isa, &panels, &Threads(threads));
                    assert_eq!(got, expected, "{isa}, {threads} threads, {layer:?}");
                }
            }
        }
    }
}

/// Matrix products of so many rows that tables are made strip by strip, with batches that end anywhere in a strip.
#[test]
fn products_of_many_strips() {
    let isas = backends();
    for (seed, (features, batch)) in
        [(500, 130), (500, 133), (3000, 70), (9000, 65), (33, 2100)].into_iter().enumerate()
    {
        let mut rng = rng(seed as u64);
        let mut layer = Layer::random(&mut rng, Geometry::dense(features, 21));
        let spec =
            horq_kernels::BinarySpec { mode: ScaleMode::Halving, max_order: 6, max_batch: batch + 3, ..layer.spec };
        layer.spec = spec;
        layer.steps.clear();
        layer.order = 1 + seed % 6;
        layer.scales = values(&mut rng, 6);
        layer.kernel = Some(BinaryKernel::Tables);
        layer.input = values(&mut rng, batch * features);
        let (expected, panels) = (layer.expected(), layer.panels());
        for &isa in &isas {
            for threads in [1, 3] {
                let got = layer.run_on(isa, &panels, &Threads(threads));
                assert_eq!(got, expected, "{isa}, {threads} threads, {layer:?}");
            }
        }
    }
}

/// The plain bit product, for shapes around its tiles.
#[test]
fn counts_of_differing_bits() {
    let isas = backends();
    for seed in 0..wanted_cases().min(4000) {
        let mut rng = rng(seed);
        let long = seed % 50 == 0;
        let words = rng.random_range(1..=if long { 300 } else { 40 });
        let (rows, panels) = (rng.random_range(1..=if long { 80 } else { 9 }), rng.random_range(1..=10));
        let a = Fenced::of(&(0..rows * words).map(|_| rng.random::<u32>()).collect::<Vec<_>>());
        let b = Fenced::of(&(0..panels * words * 16).map(|_| rng.random::<u32>()).collect::<Vec<_>>());
        let mut expected = Vec::new();
        for row in 0..rows {
            for filter in 0..panels * 16 {
                let (panel, lane) = (filter / 16, filter % 16);
                let word = |k: usize| a[row * words + k] ^ b[(panel * words + k) * 16 + lane];
                expected.push((0..words).map(|k| (0..32).map(|i| (word(k) >> i & 1) as i32).sum::<i32>()).sum::<i32>());
            }
        }
        for &isa in &isas {
            let mut counts = Fenced::new(expected.len(), -1);
            gemm::counts(isa, &a, words, &b, &mut counts, &Backwards(1 + seed as usize % 3));
            counts.check("counts");
            assert_eq!(counts[..], expected, "{isa}, seed {seed}: {rows} rows, {words} words, {panels} panels");
        }
    }
}

/// Windows of so many words that they are counted in groups: taps that make triples and taps that are left over, in every
/// mode, with all that may lie between neighbouring taps.
#[test]
fn windows_of_many_words() {
    let isas = backends();
    let shapes = [
        (256, 40, 1, Window::square(3).with_padding(1)),
        (200, 150, 1, Window::square(3).with_padding(1).with_stride(2)),
        (420, 70, 2, Window { dilation: [2, 2], ..Window::square(3).with_padding(2) }),
        (300, 20, 1, Window { kernel: [2, 4], padding: [0, 1, 1, 2], ..Window::square(1) }),
        (96, 130, 1, Window { kernel: [4, 5], padding: [2, 2, 1, 2], dilation: [1, 2], ..Window::square(1) }),
        (600, 33, 1, Window { kernel: [1, 3], ..Window::square(1) }),
        (1000, 36, 1, Window { kernel: [3, 2], padding: [1, 0, 0, 1], ..Window::square(1) }),
        (1700, 140, 1, Window::square(1)),
        (3400, 32, 2, Window::square(1).with_stride(2)),
    ];
    for (seed, (channels, filters, groups, window)) in shapes.into_iter().enumerate() {
        for mode in MODES {
            for (height, width) in [(5, 6), (4, 9)] {
                let mut rng = rng(seed as u64 * 10 + width as u64);
                let geometry = Geometry { height, width, channels, filters, groups, window };
                let mut layer = Layer::random(&mut rng, geometry);
                layer.spec.mode = mode;
                layer.check(&isas, format_args!("{geometry:?}, {mode:?}"));
            }
        }
    }
    for (features, batch) in (1530..1730).step_by(13).zip([1, 2, 3, 4, 5, 20].into_iter().cycle()) {
        for mode in MODES {
            let mut rng = rng(features as u64);
            let mut layer = Layer::random(&mut rng, Geometry::dense(features, 150));
            layer.spec = horq_kernels::BinarySpec { mode, max_batch: batch, ..layer.spec };
            layer.steps.clear();
            layer.input = values(&mut rng, batch * features);
            layer.check(&isas, format_args!("{features} features, {mode:?}, batch {batch}"));
        }
    }
}

/// Rows of every length around the groups of words that a backend counts together (three, eight) and around what its byte
/// counters hold (31 words or groups), with numbers of rows on both sides of the tiles; and with every bit differing.
#[test]
fn counts_of_every_depth() {
    let isas = backends();
    let mut rng = rng(7);
    for words in (1..=100).chain(240..=260).chain([496, 503, 504, 505, 1000, 3000]) {
        for rows in [1, 4, 7] {
            let panels = 3;
            let a = Fenced::of(&(0..rows * words).map(|_| rng.random::<u32>()).collect::<Vec<_>>());
            // Lane 0 of each panel is row 0 turned around.
            let word = |panel: usize, k: usize, lane: usize| {
                let random = (panel as u32 + 1).wrapping_mul(0x9e37_79b9).wrapping_mul((k * 16 + lane) as u32 | 1);
                if lane == 0 { !a[k] } else { random }
            };
            let b: Vec<u32> = (0..panels * words * 16).map(|i| word(i / 16 / words, i / 16 % words, i % 16)).collect();
            let b = Fenced::of(&b);
            for &isa in &isas {
                let mut counts = Fenced::new(rows * panels * 16, -1);
                gemm::counts(isa, &a, words, &b, &mut counts, &Backwards(1));
                counts.check("counts");
                for (i, &count) in counts.iter().enumerate() {
                    let (row, panel, lane) = (i / (panels * 16), i / 16 % panels, i % 16);
                    let differing = |k: usize| (a[row * words + k] ^ word(panel, k, lane)).count_ones() as i32;
                    let expected: i32 = (0..words).map(differing).sum();
                    assert_eq!(count, expected, "{isa}, {rows} rows of {words} words: row {row}, filter {}", i % 48);
                }
                assert_eq!(counts[0], 32 * words as i32, "{isa}: every bit of row 0 differs from filter 0");
            }
        }
    }
}

/// A product whose results pass the caches by, on an address that allows it and on one that does not.
#[test]
fn counts_of_a_large_product() {
    let (rows, panels) = (513, 129);
    let mut rng = rng(6);
    let (a, b): (Vec<u32>, Vec<u32>) =
        ((0..rows).map(|_| rng.random()).collect(), (0..panels * 16).map(|_| rng.random()).collect());
    let len = rows * panels * 16;
    for isa in backends() {
        for shift in 0..2 {
            let mut memory = vec![-1; len + 18];
            let start = memory.as_ptr().align_offset(64) + shift;
            gemm::counts(isa, &a, 1, &b, &mut memory[start..start + len], &Backwards(3));
            for row in 0..rows {
                for filter in 0..panels * 16 {
                    let expected = (0..32).map(|i| ((a[row] ^ b[filter]) >> i & 1) as i32).sum::<i32>();
                    assert_eq!(memory[start + row * panels * 16 + filter], expected, "{isa}, {row}, {filter}");
                }
            }
            assert!(memory[..start].iter().chain(&memory[start + len..]).all(|&count| count == -1), "{isa}");
        }
    }
}

/// A clock sees the stages of a layer and changes nothing.
#[test]
fn a_clock_sees_every_stage() {
    let geometry = Geometry { height: 9, width: 9, channels: 64, filters: 64, groups: 1, window: Window::square(3) };
    let layer = Layer::random(&mut rng(5), geometry);
    let panels = layer.panels();
    for isa in backends() {
        let clock = StageClock::default();
        let got = layer.run_timed(isa, &panels, &clock).expect("finite");
        assert_eq!(common::difference(&got, &layer.run(isa, &panels).expect("finite")), None, "{isa}");
        let [quantize, bits, epilogue, float] = clock.nanoseconds();
        assert!(quantize > 0 && bits > 0 && epilogue > 0, "{isa}: {:?}", clock.nanoseconds());
        assert_eq!(float, 0, "{isa}");
        clock.reset();
        assert_eq!(clock.nanoseconds(), [0; 4]);
    }
}

/// The crate's own packing agrees with the oracle's, and unpacking and padding checks agree with packing.
#[test]
fn panels_are_laid_out_as_defined() {
    for seed in 0..2000 {
        let mut rng = rng(seed);
        let geometry = random_geometry(&mut rng, 60_000);
        let weights = values(&mut rng, geometry.filters * geometry.depth());
        let panels = bits::pack_bits(&geometry, &weights);
        assert_eq!(panels, oracle::bit_panels(&geometry, &weights), "{geometry:?}");
        assert_eq!(panels.len(), geometry.bit_panel_len());
        assert_eq!(bits::dirty_padding(&geometry, &panels), None, "{geometry:?}");
        let signs: Vec<f32> = weights.iter().map(|&w| if w < 0.0 { -1.0 } else { 1.0 }).collect();
        assert_eq!(bits::unpack_bits(&geometry, &panels), signs, "{geometry:?}");
        let floats = floats::pack_floats(&geometry, &weights);
        assert_eq!(floats::unpack_floats(&geometry, &floats), weights, "{geometry:?}");
        // Exactly the bits that no weight uses are padding.
        let all = bits::pack_bits(&geometry, &vec![-1.0; weights.len()]);
        let at = rng.random_range(0..panels.len());
        let bit = rng.random_range(0..32);
        let mut flipped = panels.clone();
        flipped[at] ^= 1 << bit;
        let used = all[at] >> bit & 1 == 1;
        assert_eq!(bits::dirty_padding(&geometry, &flipped), (!used).then_some(at), "{geometry:?} {at} {bit}");
    }
}
