//! Normalizations beside their formulas in f64.

mod common;

use common::everywhere::{everywhere, everywhere_on};
use common::random::{rng, values};
use common::{Net, PlainOp, options, run};
use horq::error::InputError;
use horq::graph::Shape;
use horq::ops::{Affine, GroupNorm, LayerNorm, LogSoftmax, Lrn, RmsNorm};
use horq::{Builder, Error, Isa, Session};

const SHAPES: [[usize; 3]; 8] =
    [[1, 1, 1], [1, 1, 7], [2, 3, 16], [1, 9, 32], [3, 5, 48], [4, 4, 40], [2, 2, 200], [13, 11, 6]];

fn image([height, width, channels]: [usize; 3]) -> Shape {
    Shape::Image { height, width, channels }
}

fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Mean and the square root of variance and epsilon.
fn moments(x: &[f64], epsilon: f64) -> [f64; 2] {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    [mean, (variance + epsilon).sqrt()]
}

/// Asserts that a normalization is within the rounding of a difference, a quotient, a product and a sum in f32 of its value
/// in f64: `size` is the largest magnitude on the way.
#[track_caller]
fn assert_near(y: f32, exact: f64, size: f64, what: &str) {
    let bound = 3.0 * f64::from(f32::EPSILON) * (size + exact.abs());
    assert!((f64::from(y) - exact).abs() <= bound, "{what}: {y}, but {exact}, bound {bound}");
}

#[test]
fn layer_norms() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let n = shape[2];
        let rng = &mut rng(i as u64);
        let (scale, shift) = (values(rng, n), values(rng, n));
        let epsilon = [1e-5, 0.1][i % 2];
        let plain = LayerNorm::new(epsilon);
        let cases: [(PlainOp, bool, bool); 4] = [
            (plain.clone().into(), false, false),
            (plain.clone().scale(scale.clone()).into(), true, false),
            (plain.clone().shift(shift.clone()).into(), false, true),
            (plain.scale(scale.clone()).shift(shift.clone()).into(), true, true),
        ];
        for (op, has_scale, has_shift) in cases {
            let answers = everywhere(&Net::new(image(shape)).then("y", op), i as u64);
            for (x, y) in answers.input.chunks(n).zip(answers.output.chunks(n)) {
                let x = doubles(x);
                let [mean, deviation] = moments(&x, f64::from(epsilon));
                for c in 0..n {
                    let factor = if has_scale { f64::from(scale[c]) } else { 1.0 };
                    let summand = if has_shift { f64::from(shift[c]) } else { 0.0 };
                    let exact = (x[c] - mean) / deviation * factor + summand;
                    let size = (x[c].abs() + mean.abs()) / deviation * factor.abs() + summand.abs();
                    assert_near(y[c], exact, size, &format!("{shape:?}, channel {c}"));
                }
            }
        }
    }
}

#[test]
fn rms_norms() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let n = shape[2];
        let scale = values(&mut rng(i as u64), n);
        for scaled in [false, true] {
            let op = RmsNorm::new(1e-6);
            let op = if scaled { op.scale(scale.clone()) } else { op };
            let answers = everywhere(&Net::new(image(shape)).then("y", op), i as u64);
            for (x, y) in answers.input.chunks(n).zip(answers.output.chunks(n)) {
                let x = doubles(x);
                let root = (x.iter().map(|x| x * x).sum::<f64>() / n as f64 + 1e-6).sqrt();
                for c in 0..n {
                    let exact = x[c] / root * if scaled { f64::from(scale[c]) } else { 1.0 };
                    assert_near(y[c], exact, 0.0, &format!("{shape:?}, channel {c}"));
                }
            }
        }
    }
}

#[test]
fn group_and_instance_norms() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let [height, width, n] = shape;
        let rng = &mut rng(i as u64);
        let (scale, shift) = (values(rng, n), values(rng, n));
        for groups in (1..=n).filter(|groups| n % groups == 0) {
            let op = GroupNorm::new(groups, 1e-3).scale(scale.clone()).shift(shift.clone());
            let answers = everywhere(&Net::new(image(shape)).then("y", op), i as u64);
            let len = height * width * n;
            for (x, y) in answers.input.chunks(len).zip(answers.output.chunks(len)) {
                let x = doubles(x);
                for c in 0..n {
                    let group = c / (n / groups);
                    let of_group = |i: &usize| i % n / (n / groups) == group;
                    let of_group: Vec<f64> = (0..len).filter(of_group).map(|i| x[i]).collect();
                    let [mean, deviation] = moments(&of_group, f64::from(1e-3f32));
                    for pixel in 0..height * width {
                        let x = x[pixel * n + c];
                        let exact = (x - mean) / deviation * f64::from(scale[c]) + f64::from(shift[c]);
                        let size = (x.abs() + mean.abs()) / deviation * f64::from(scale[c].abs());
                        let size = size + f64::from(shift[c].abs());
                        assert_near(y[pixel * n + c], exact, size, &format!("{shape:?}, {groups} groups, {c}"));
                    }
                }
            }
        }
    }
}

#[test]
fn a_group_norm_takes_vectors_and_neither_scale_nor_shift() {
    let answers = everywhere(&Net::new(Shape::Flat(12)).then("y", GroupNorm::new(3, 1e-5)), 5);
    for (x, y) in answers.input.chunks(4).zip(answers.output.chunks(4)) {
        let x = doubles(x);
        let [mean, deviation] = moments(&x, f64::from(1e-5f32));
        for c in 0..4 {
            assert_near(y[c], (x[c] - mean) / deviation, (x[c].abs() + mean.abs()) / deviation, "vector");
        }
    }
}

#[test]
fn local_response_norms() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let n = shape[2];
        for (size, alpha, beta, bias) in
            [(5, 1e-4, 0.75, 1.0), (1, 0.5, 0.5, 2.0), (4, 2.0, 1.0, 0.5), (999, 1.0, 2.0, 1.0)]
        {
            let answers = everywhere(&Net::new(image(shape)).then("y", Lrn::new(size, alpha, beta, bias)), i as u64);
            for (x, y) in answers.input.chunks(n).zip(answers.output.chunks(n)) {
                let x = doubles(x);
                for c in 0..n {
                    // ONNX: from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2), within the channels.
                    let [from, to] = [c as i64 - (size as i64 - 1) / 2, c as i64 + size as i64 / 2];
                    let squares: f64 =
                        (0..n as i64).filter(|j| (from..=to).contains(j)).map(|j| x[j as usize].powi(2)).sum();
                    let [alpha, beta, bias] = [alpha, beta, bias].map(f64::from);
                    let exact = x[c] / (bias + alpha / size as f64 * squares).powf(beta);
                    assert_near(y[c], exact, exact.abs(), &format!("{shape:?}, size {size}, channel {c}"));
                }
            }
        }
    }
}

#[test]
fn log_softmaxes() {
    for channels in [1, 2, 10, 16, 33, 1000] {
        let input: Vec<f32> = values(&mut rng(3), channels * 3).iter().map(|x| x * 20.0).collect();
        let answers = everywhere_on(&Net::new(Shape::Flat(channels)).then("y", LogSoftmax), input);
        for (x, y) in answers.input.chunks(channels).zip(answers.output.chunks(channels)) {
            let x = doubles(x);
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log = x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            for c in 0..channels {
                // The sum of so many exponentials is off by half an ulp a channel, relatively, which its log is absolutely.
                let size = largest.abs() + x[c].abs() + log + channels as f64;
                assert_near(y[c], x[c] - largest - log, size, &format!("{channels} channels"));
            }
        }
    }
}

/// A value that overflows before the normalization is no finite number behind it, and nor is a square that does.
#[test]
fn no_infinity_is_lost_and_no_square_overflows() {
    let shape = Shape::Flat(4);
    let ops: [PlainOp; 5] = [
        LayerNorm::new(1e-5).into(),
        RmsNorm::new(1e-5).into(),
        GroupNorm::new(1, 1e-5).into(),
        Lrn::new(3, 1.0, 0.75, 1.0).into(),
        LogSoftmax.into(),
    ];
    for op in ops {
        let kind = op.kind();
        let large = Affine::new(vec![1e30; 4], vec![0.0; 4]);
        let net = Net::new(shape).then("large", large.clone()).then("larger", large).then("y", op.clone());
        let mut session = Session::new(&net.model(), options(1, Isa::Portable)).unwrap();
        let error = session.run(&[1.0, 2.0, -1.0, 0.5], &mut [0.0; 4]).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::LayerNotFinite { .. })), "{kind}: {error}");
        if kind != "lrn" {
            let mut session = Session::new(&Net::new(shape).then("y", op).model(), options(1, Isa::Portable)).unwrap();
            let y = run(&mut session, &[1e30, 2e30, -1e30, 5e29]);
            assert!(y.iter().any(|&y| y != 0.0), "{kind}: {y:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |op: PlainOp| Builder::new("x", image([2, 2, 6])).add("y", &["x"], op).unwrap_err().to_string();
    assert!(refused(GroupNorm::new(4, 1e-5).into()).contains("4 groups do not divide 6 channels"));
    assert!(refused(GroupNorm::new(0, 1e-5).into()).contains("0 groups do not divide 6 channels"));
    assert!(refused(Lrn::new(0, 1.0, 1.0, 1.0).into()).contains("the size is 0; it must be at least 1"));
    let text = refused(LayerNorm::new(0.0).into());
    assert!(text.contains("value 0 of tensor `y.epsilon` of node `y` is 0; it must be greater than 0"), "{text}");
    let text = refused(LayerNorm::new(1e-5).scale(vec![1.0; 5]).into());
    assert!(text.contains("takes 6 values of `scale`, but 5 were given"), "{text}");
}
