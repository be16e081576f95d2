//! Planes packed by the layer before: the same bits as through f32 values, for the reader and for the values themselves.

mod common;

use common::{Backwards, Fenced, Layer, backends, difference, random_geometry, rng, values, wanted_cases};
use horq_kernels::{BinaryInput, Error, Geometry, Inline, Isa, PackInto, Parallel, PlaneLayout, ScaleMode, Window};
use rand::Rng;
use rand::rngs::StdRng;

/// A layer whose output can be packed; half of them of a kind whose signs follow from their counts.
fn writer(rng: &mut StdRng) -> Layer {
    loop {
        let geometry = random_geometry(rng, 20_000);
        let mut layer = Layer::random(rng, geometry);
        if rng.random() {
            layer.spec.mode = common::CONSTANT[rng.random_range(0..3)];
            layer.order = 1;
            layer.bases.truncate(1);
        }
        if rng.random_ratio(1, 3) {
            layer = layer.pooled(rng);
        }
        let geometry = &layer.spec.geometry;
        if geometry.groups == 1 || (geometry.filters / geometry.groups).is_multiple_of(16) {
            return layer;
        }
    }
}

/// A layer that reads the output of `writer`, and the layout in which it does.
fn reader(rng: &mut StdRng, writer: &Layer, samples: usize, image: Vec<f32>) -> (Layer, PlaneLayout) {
    let [height, width] = writer.spec.output().expect("a geometry that fits");
    let channels = writer.spec.geometry.filters;
    loop {
        let (mut layer, flat);
        if rng.random_ratio(1, 3) {
            let features = height * width * channels;
            let filters = rng.random_range(1..=20);
            layer = Layer::random(rng, Geometry::dense(features, filters));
            flat = height * width > 1;
        } else {
            let window = Window {
                kernel: [rng.random_range(1..=3), rng.random_range(1..=3)],
                stride: [rng.random_range(1..=2), rng.random_range(1..=2)],
                dilation: [1, rng.random_range(1..=2)],
                padding: std::array::from_fn(|_| rng.random_range(0..=2)),
            };
            let groups = if channels.is_multiple_of(64) && rng.random() { 2 } else { 1 };
            let filters = groups * rng.random_range(1..=20);
            let geometry = Geometry { height, width, channels, filters, groups, window };
            if geometry.validate().is_err() {
                continue;
            }
            layer = Layer::random(rng, geometry);
            flat = false;
        }
        layer.spec.mode = common::CONSTANT[rng.random_range(0..3)];
        layer.spec.max_batch = writer.spec.max_batch;
        let [rows, columns] = layer.spec.geometry.validate().expect("a geometry that fits");
        let output_len = samples * rows * columns * layer.spec.geometry.filters;
        layer.steps = (0..rng.random_range(0..=2))
            .map(|_| common::OwnedStep::random(rng, &layer.spec.geometry, output_len))
            .collect();
        let layout = PlaneLayout::new(&layer.spec).expect("constant scales");
        let layout = if flat { layout.unflattened([height, width, channels]) } else { Some(layout) };
        if let Some(layout) = layout {
            layer.input = image;
            return (layer, layout);
        }
    }
}

/// Runs the writer into planes, and with `keep` into values too, and the reader on them; how often the reader's answer was compared, and the writer refused.
#[expect(clippy::too_many_arguments, reason = "two layers and what is between them")]
fn compare(
    isas: &[Isa],
    rng: &mut StdRng,
    name: &str,
    writer: &Layer,
    expected: Result<Vec<f32>, Error>,
    reader: &Layer,
    layout: PlaneLayout,
    keep: bool,
) -> [usize; 2] {
    let samples = writer.input.len() / writer.spec.geometry.input_len();
    let (mut compared, mut refused) = (0, 0);
    let answer = expected.clone().and_then(|_| reader.expected());
    let (of_writer, of_reader) = (writer.panels(), reader.panels());
    let order = rng.random_range(reader.order..=reader.spec.max_order);
    let scales: Vec<f32> = reader.scales.iter().copied().chain(values(rng, 8)).collect();
    let scales = Layer::constants(reader.spec.mode, &scales);
    let parallel: &dyn Parallel = if rng.random() { &Inline } else { &Backwards(3) };
    for &isa in isas {
        let mut planes = Fenced::new(layout.len(), 0xdead_beef);
        let into = PackInto::new(layout, &mut planes, order, scales.as_deref());
        let input = Fenced::of(&writer.input);
        let input = BinaryInput::Values(&input);
        let written = writer.run_through(isa, &of_writer, parallel, None, input, Some(&into), keep);
        let name = format!("{name}: {isa}\n{writer:?}\n{reader:?}");
        match (&written, &expected) {
            (Ok(values), Ok(expected)) if keep => assert_eq!(difference(values, expected), None, "{name}"),
            (Ok(_), Ok(_)) => {}
            (Err(_), _) => {
                // Values that overflow are refused by whoever packs them.
                let finite = expected.as_ref().is_ok_and(|values| values.iter().all(|x| x.is_finite()));
                assert!(!finite, "{name}");
                refused += 1;
                continue;
            }
            (Ok(_), Err(error)) => panic!("{error} went unnoticed: {name}"),
        }
        planes.check("planes");
        let input = BinaryInput::Planes { words: &planes, samples };
        let got = reader.run_through(isa, &of_reader, parallel, None, input, None, true).expect("finite planes");
        let answer = answer.as_ref().expect("finite values");
        assert_eq!(difference(&got, answer), None, "{name}");
        compared += 1;
    }
    [compared, refused]
}

/// Readers whose rows are long enough to be counted in triples, which they do from planes of their own.
#[test]
fn planes_of_many_words() {
    let isas = backends();
    for (seed, kernel) in [[3, 3], [1, 4], [3, 5], [1, 1], [2, 2]].into_iter().enumerate() {
        for flat in [false, true] {
            let mut rng = rng(seed as u64);
            let window = Window { padding: [1; 4], ..Window::square(3) };
            let geometry = Geometry { height: 4, width: 5, channels: 3, filters: 704, groups: 1, window };
            let mut writer = Layer::random(&mut rng, geometry);
            writer.steps.clear();
            writer.bases.truncate(1);
            writer.input = vec![0.25; writer.input.len()].iter().enumerate().map(|(i, x)| x - (i % 7) as f32).collect();
            let expected = writer.expected();
            let samples = writer.input.len() / geometry.input_len();
            let window = Window { kernel, dilation: [1, 1 + seed % 2], padding: [1, 3, 1, 3], ..Window::square(1) };
            let geometry = if flat {
                Geometry::dense(4 * 5 * 704, 150)
            } else {
                Geometry { channels: 704, filters: 40, window, ..geometry }
            };
            let [rows, columns] = geometry.validate().expect("a geometry that fits");
            let mut reader = Layer::random(&mut rng, geometry);
            reader.spec.mode = common::CONSTANT[seed % 3];
            reader.spec.max_batch = writer.spec.max_batch;
            let len = samples * rows * columns * geometry.filters;
            reader.steps = vec![common::OwnedStep::random(&mut rng, &geometry, len)];
            reader.input = expected.clone().expect("finite values");
            let layout = PlaneLayout::new(&reader.spec).expect("constant scales");
            let layout = if flat { layout.unflattened([4, 5, 704]).expect("whole words") } else { layout };
            let name = format!("kernel {kernel:?}, flat {flat}");
            let [compared, _] = compare(&isas, &mut rng, &name, &writer, expected, &reader, layout, seed % 2 == 0);
            assert_eq!(compared, isas.len(), "{name}");
        }
    }
}

#[test]
fn planes_from_the_layer_before_are_those_of_its_values() {
    let isas = backends();
    let (mut compared, mut refused) = (0, 0);
    for seed in 0..wanted_cases().min(60_000) / 10 {
        let mut rng = rng(seed);
        let writer = writer(&mut rng);
        let samples = writer.input.len() / writer.spec.geometry.input_len();
        let expected = writer.expected();
        let [rows, columns] = writer.spec.output().expect("a geometry that fits");
        let zeros = vec![0.0; samples * rows * columns * writer.spec.geometry.filters];
        let (reader, layout) = reader(&mut rng, &writer, samples, expected.clone().unwrap_or(zeros));
        let keep = rng.random();
        let [done, not] = compare(&isas, &mut rng, &format!("seed {seed}"), &writer, expected, &reader, layout, keep);
        compared += done;
        refused += not;
    }
    assert!(compared > 10 * refused && compared > 1000, "{compared} compared, {refused} refused");
}

/// Signs that thresholds decide behind a pool, in more panels than a task has: rising and falling filters, with an affine before
/// the pool and one after it, in an image and in a single pixel.
#[test]
fn signs_behind_a_pool() {
    let isas = backends();
    let mut compared = 0;
    for (seed, [height, width]) in [[2, 2], [3, 2], [3, 3], [10, 14], [7, 5]].repeat(4).into_iter().enumerate() {
        let mut rng = rng(seed as u64);
        let window = Window::square(3).with_padding(1);
        let geometry = Geometry { height, width, channels: 40, filters: 150, groups: 1, window };
        let mut writer = Layer::random(&mut rng, geometry);
        writer.spec.mode = common::CONSTANT[seed % 3];
        writer.spec.pool = Some(seed % 3);
        (writer.order, writer.scales) = (1, vec![0.3; writer.spec.max_order]);
        writer.bases.truncate(1);
        writer.bases[0].1 = (0..150).map(|_| rng.random_range(-0.1f32..0.1)).collect();
        writer.input = (0..writer.input.len()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        writer.steps = (0..2).map(|_| common::OwnedStep::affine(&mut rng, &geometry)).collect();
        let expected = writer.expected();
        let samples = writer.input.len() / geometry.input_len();
        let [rows, columns] = writer.spec.output().expect("a pool");
        let geometry = Geometry { height: rows, width: columns, channels: 150, filters: 20, ..geometry };
        let mut reader = Layer::random(&mut rng, geometry);
        (reader.spec.mode, reader.spec.max_order, reader.order) = (ScaleMode::None, 1, 1);
        reader.spec.max_batch = writer.spec.max_batch;
        reader.steps.clear();
        reader.input = expected.clone().expect("finite values");
        assert_eq!(reader.input.len(), samples * geometry.input_len());
        for &isa in &isas {
            assert!(writer.thresholds(isa).is_some(), "{isa}: the case is about thresholds: {writer:?}");
        }
        let layout = PlaneLayout::new(&reader.spec).expect("constant scales");
        let name = format!("{height} x {width}, seed {seed}");
        compared += compare(&isas, &mut rng, &name, &writer, expected, &reader, layout, false)[0];
    }
    assert_eq!(compared, 20 * isas.len());
}

#[test]
fn planes_need_constant_scales_and_whole_words() {
    let mut rng = rng(1);
    let geometry = Geometry { height: 2, width: 2, channels: 40, filters: 4, groups: 1, window: Window::square(1) };
    let mut spec = Layer::random(&mut rng, geometry).spec;
    for (mode, possible) in common::MODES.into_iter().zip([false, false, true, true, true]) {
        spec.mode = mode;
        assert_eq!(PlaneLayout::new(&spec).is_some(), possible);
    }
    spec.geometry.groups = 2;
    assert_eq!(PlaneLayout::new(&spec), None);
    spec.geometry = Geometry::dense(160, 3);
    let layout = PlaneLayout::new(&spec).expect("a matrix product");
    assert_eq!(layout.unflattened([2, 2, 40]), None);
    assert!(layout.unflattened([1, 5, 32]).is_some());
}
