//! Tuning a small model, from data to points in a file.

use std::time::Duration;

use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Dense, Quantizer};
use horq::{Builder, Model, Order, ScaleMode, Session, SessionOptions};
use horq_tune::{Data, Options, TuneError, tune};

/// Numbers from -1 to 1 that look random.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn model(order: usize) -> Model {
    let mut builder = Builder::new("x", Shape::Flat(64));
    let quantizer = || Quantizer::new(Order::new(order).unwrap(), ScaleMode::Image);
    let (alpha, last) = (vec![0.1; 96], noise(3, 960));
    let (first, second) = (noise(1, 96 * 64), noise(2, 96 * 96));
    builder.add("a", &["x"], BinaryDense::new(96, quantizer(), [Basis::new(&first, &alpha)])).unwrap();
    builder.add("b", &["a"], BinaryDense::new(96, quantizer(), [Basis::new(&second, &alpha)])).unwrap();
    builder.add("y", &["b"], Dense::new(10, &last)).unwrap();
    Model::from_bytes(&builder.to_bytes("y").unwrap()).unwrap()
}

fn quick() -> Options {
    let mut options = Options::default();
    (options.time, options.candidates) = (Duration::from_millis(5), 6);
    options
}

fn data(inputs: &[f32], labels: Option<&'static [u8]>) -> Data<'static> {
    Data { inputs: inputs.to_vec().leak(), labels, name: "noise" }
}

#[test]
fn points_come_of_data_with_labels_and_without() {
    let model = model(3);
    let inputs = noise(7, 40 * 64);
    let labels: &'static [u8] = (0..40).map(|i| i % 10).collect::<Vec<u8>>().leak();
    for labels in [None, Some(labels)] {
        let mut steps = 0;
        let report = tune(&model, data(&inputs, labels), &quick(), &mut |_| steps += 1).unwrap();
        assert!(steps > 5 && report.samples == 40 && report.has_labels == labels.is_some());
        assert_eq!(report.layers, [("a".into(), 3), ("b".into(), 3)]);
        for order in 1..=3 {
            let found = report.candidates.iter().find(|one| one.orders == [order, order]);
            assert!(found.is_some_and(|one| one.is_uniform && one.microseconds > 0.0), "order {order}");
        }
        assert!(report.candidates.is_sorted_by(|a, b| a.microseconds <= b.microseconds));
        assert!(report.candidates.iter().any(|one| one.is_on_front) && report.additive_error()[1].is_finite());
        // The highest orders agree with themselves.
        let exact = report.candidates.iter().find(|one| one.orders == [3, 3]).unwrap();
        if labels.is_none() {
            assert_eq!((exact.accuracy, exact.loss), (1.0, 0.0));
        }
        // The points are those of a file that opens and runs, and each states what was measured.
        let tuned = Model::from_bytes(&model.to_bytes_with_points(&report.points).unwrap()).unwrap();
        assert!(tuned.points().get("exact").is_some() && tuned.points().get("default").is_some());
        for point in &tuned.points().all {
            assert!(point.loss.is_some() && point.latency.is_some());
            Session::new(&tuned, SessionOptions::new().point(&point.name)).unwrap();
        }
    }
}

#[test]
fn budgets_become_points_or_errors_that_say_what_can_be_had() {
    let model = model(3);
    let inputs = noise(7, 20 * 64);
    let run = |options: &Options| tune(&model, data(&inputs, None), options, &mut |_| ());
    let mut options = quick();
    (options.latency, options.loss) = (Some(Duration::from_secs(1)), Some(1e9));
    let points = run(&options).unwrap().points;
    assert_eq!(points.default.as_deref(), Some("in-time"));
    assert!(points.get("in-time").is_some() && points.get("good-enough").is_some());
    options.latency = Some(Duration::from_nanos(1));
    let error = run(&options).unwrap_err();
    assert!(matches!(error, TuneError::Latency { fastest, .. } if fastest > 0.001), "{error}");
    (options.latency, options.loss) = (None, Some(-1.0));
    let error = run(&options).unwrap_err();
    assert!(matches!(error, TuneError::Loss { least, .. } if least <= 0.0), "{error}");
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let inputs = noise(7, 4 * 64);
    let refused =
        |model: &Model, data: Data<'_>, options: &Options| tune(model, data, options, &mut |_| ()).unwrap_err();
    assert!(matches!(refused(&model(1), data(&inputs, None), &quick()), TuneError::NoDial));
    let dial = model(2);
    for wrong in [&inputs[..0], &inputs[..65]] {
        assert!(matches!(refused(&dial, data(wrong, None), &quick()), TuneError::Data { sample: 64, .. }));
    }
    for labels in [&[0, 1, 2][..], &[0, 1, 2, 10]] {
        assert!(matches!(refused(&dial, data(&inputs, Some(labels)), &quick()), TuneError::Labels { .. }));
    }
    let mut options = quick();
    options.points = 1;
    assert!(matches!(refused(&dial, data(&inputs, None), &options), TuneError::Option { .. }));
    options = quick();
    options.loss = Some(f64::NAN);
    assert!(matches!(refused(&dial, data(&inputs, None), &options), TuneError::Option { .. }));
}
