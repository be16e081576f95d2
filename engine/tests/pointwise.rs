//! Clip, the functions, the functions of several values and the reductions: beside their formulas, and with the same bits on every
//! instruction set, with any threads and in any batch.

mod common;

use common::{Net, PlainOp, assert_same_bits, isas, options, random, run};
use horq::error::{GraphError, InputError};
use horq::graph::{Op, Shape};
use horq::ops::{
    Abs, BroadcastAdd, Ceil, Clip, Conv2d, Cos, Divide, Elu, Equal, Erf, Exp, Floor, Gelu, GeluTanh, Greater, Less,
    Log, Maximum, Minimum, Mish, Multiply, Power, Reciprocal, ReduceL2, ReduceMax, ReduceMean, ReduceMin,
    ReduceProduct, ReduceSum, Relu, Round, Sigmoid, Silu, Sin, Softplus, Sqrt, Subtract, Tanh, Where,
};
use horq::{Builder, Error, Model, Session, SessionOptions, Threads, Window};

const IMAGE: Shape = Shape::Image { height: 5, width: 6, channels: 35 };

/// Values of three samples, none of which is 0: it has no reciprocal.
fn values(seed: u64) -> Vec<f32> {
    let values = random::values(&mut random::rng(seed), 3 * IMAGE.len());
    values.into_iter().map(|x| if x == 0.0 { 0.25 } else { x }).collect()
}

/// The answer to `input`, which every instruction set and batches of other sizes must give with the same bits.
fn answer(net: &Net, input: &[f32]) -> Vec<f32> {
    let model = net.model();
    let samples = input.len() / net.input.len();
    let expected = run(&mut Session::new(&model, options(samples, isas()[0])).unwrap(), input);
    for isa in isas() {
        for batch in [1, samples] {
            let mut session = Session::new(&model, options(batch, isa)).unwrap();
            let step = batch * net.input.len();
            let found: Vec<f32> = input.chunks(step).flat_map(|input| run(&mut session, input)).collect();
            assert_same_bits(&found, &expected, &format!("{}, {isa}, batch {batch}", net.output()));
        }
    }
    expected
}

/// Fails unless each value is within a millionth of the formula.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&y, &expected)) in found.iter().zip(expected).enumerate() {
        let close = (f64::from(y) - expected).abs() <= 1e-6 * expected.abs() + 1e-37;
        assert!(close, "{what}: value {i} is {y}, not {expected}");
    }
}

#[test]
fn functions_of_one_value_are_their_formulas() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    /// Simpson's rule on e^(-s^2).
    fn erf(x: f64) -> f64 {
        let (steps, f) = (2_000, |s: f64| (-s * s).exp());
        let h = x / f64::from(steps);
        let inner: f64 = (1..steps).map(|i| f64::from(2 + i % 2 * 2) * f(f64::from(i) * h)).sum();
        std::f64::consts::FRAC_2_SQRT_PI * h / 3.0 * (f(0.0) + inner + f(x))
    }
    type Formula = Box<dyn Fn(f64) -> f64>;
    let signed: Vec<(PlainOp, Formula)> = vec![
        (Sigmoid.into(), Box::new(sigmoid)),
        (Tanh.into(), Box::new(f64::tanh)),
        (Silu.into(), Box::new(move |x| x * sigmoid(x))),
        (Gelu.into(), Box::new(|x| x * (1.0 + erf(x / 2.0f64.sqrt())) / 2.0)),
        (GeluTanh.into(), Box::new(move |x| x * sigmoid(1.595_769_121_605_731 * (x + 0.044715 * x.powi(3))))),
        (Erf.into(), Box::new(erf)),
        (Exp.into(), Box::new(f64::exp)),
        (Abs.into(), Box::new(f64::abs)),
        (Floor.into(), Box::new(f64::floor)),
        (Ceil.into(), Box::new(f64::ceil)),
        (Round.into(), Box::new(f64::round_ties_even)),
        (Softplus.into(), Box::new(softplus)),
        (Mish.into(), Box::new(move |x| x * softplus(x).tanh())),
        (Sin.into(), Box::new(f64::sin)),
        (Cos.into(), Box::new(f64::cos)),
        (Elu::new(0.7).into(), Box::new(|x| if x >= 0.0 { x } else { f64::from(0.7f32) * x.exp_m1() })),
        (Power::new(3.0).into(), Box::new(|x| x.powi(3))),
        (Clip::new(-0.5, 0.75).into(), Box::new(|x| x.clamp(-0.5, 0.75))),
        (Clip::new(2.0, 1.0).into(), Box::new(|_| 1.0)),
        (Reciprocal.into(), Box::new(|x| 1.0 / x)),
    ];
    let positive: Vec<(PlainOp, Formula)> = vec![
        (Log.into(), Box::new(f64::ln)),
        (Sqrt.into(), Box::new(f64::sqrt)),
        (Power::new(-1.5).into(), Box::new(|x| x.powf(-1.5))),
    ];
    let input = values(1);
    let sizes: Vec<f32> = input.iter().map(|x| x.abs() + 0.01).collect();
    for (ops, input) in [(signed, &input), (positive, &sizes)] {
        for (op, formula) in ops {
            let expected: Vec<f64> = input.iter().map(|&x| formula(f64::from(x))).collect();
            let what = format!("{op:?}");
            assert_close(&answer(&Net::new(IMAGE).then("y", op), input), &expected, &what);
        }
    }
}

/// Each in the shapes of squeeze-and-excite (a factor a channel), of a mask (a factor a pixel) and of equal values.
#[test]
fn functions_of_two_and_three_values_broadcast() {
    type Formula = fn(f32, f32) -> f32;
    let ops: [(PlainOp, Formula); 9] = [
        (BroadcastAdd.into(), |a, b| a + b),
        (Subtract.into(), |a, b| a - b),
        (Multiply.into(), |a, b| a * b),
        (Divide.into(), |a, b| a / b),
        (Minimum.into(), f32::min),
        (Maximum.into(), f32::max),
        (Greater.into(), |a, b| f32::from(u8::from(a > b))),
        (Less.into(), |a, b| f32::from(u8::from(a < b))),
        (Equal.into(), |a, b| f32::from(u8::from(a == b))),
    ];
    let (samples, len) = (3, IMAGE.len());
    let input = values(2);
    let largest = |axes| Net::new(IMAGE).then("largest", ReduceMax::new(axes));
    for axes in [[true, true, false], [false, false, true], [true, true, true], [false, true, false]] {
        let reduced = answer(&largest(axes), &input);
        let of_sample = reduced.len() / samples;
        // The place that a value's has among the reduced ones.
        let place = |i: usize| {
            let [h, w, c] = [i % len / (6 * 35), i / 35 % 6, i % 35];
            let [h, w, c] = [if axes[0] { 0 } else { h }, if axes[1] { 0 } else { w }, if axes[2] { 0 } else { c }];
            let (columns, channels) = (if axes[1] { 1 } else { 6 }, if axes[2] { 1 } else { 35 });
            i / len * of_sample + (h * columns + w) * channels + c
        };
        for (op, formula) in &ops {
            for (inputs, swapped) in [(["x", "largest"], false), (["largest", "x"], true)] {
                let net = largest(axes).node("y", &inputs, op.clone());
                let pair = |(i, &x): (usize, &f32)| {
                    let other = reduced[place(i)];
                    if swapped { formula(other, x) } else { formula(x, other) }
                };
                let expected: Vec<f32> = input.iter().enumerate().map(pair).collect();
                assert_same_bits(&answer(&net, &input), &expected, &format!("{op:?} of {inputs:?}, {axes:?}"));
            }
        }
        let net = largest(axes).node("is", &["x", "largest"], Equal).node("y", &["is", "largest", "x"], Where);
        assert_same_bits(&answer(&net, &input), &input, "the largest where it is the largest");
    }
    for (op, formula) in &ops {
        let net = Net::new(IMAGE).then("relu", Relu).node("y", &["x", "relu"], op.clone());
        // A divisor of 0 is the next test's.
        if op.kind() != "divide" {
            let expected: Vec<f32> = input.iter().map(|&x| formula(x, x.max(0.0))).collect();
            assert_same_bits(&answer(&net, &input), &expected, &format!("{op:?} of equal shapes"));
        }
    }
}

#[test]
fn reductions_are_their_formulas() {
    type Formula = fn(&[f64]) -> f64;
    let ops = |axes: [bool; 3]| -> [(PlainOp, Formula); 6] {
        [
            (ReduceMean::new(axes).into(), |x| x.iter().sum::<f64>() / x.len() as f64),
            (ReduceSum::new(axes).into(), |x| x.iter().sum()),
            (ReduceMax::new(axes).into(), |x| x.iter().copied().fold(f64::MIN, f64::max)),
            (ReduceMin::new(axes).into(), |x| x.iter().copied().fold(f64::MAX, f64::min)),
            (ReduceL2::new(axes).into(), |x| x.iter().map(|x| x * x).sum::<f64>().sqrt()),
            (ReduceProduct::new(axes).into(), |x| x.iter().product()),
        ]
    };
    let input = random::values(&mut random::rng(3), 2 * IMAGE.len());
    for set in 1..8 {
        let axes = [0, 1, 2].map(|axis| set >> axis & 1 == 1);
        let kept = |sizes: [usize; 3]| [0, 1, 2].map(|axis| if axes[axis] { 1 } else { sizes[axis] });
        let [rows, columns, channels] = kept(IMAGE.sizes());
        let mut along = vec![Vec::new(); 2 * rows * columns * channels];
        for (i, &x) in input.iter().enumerate() {
            let place = [i % IMAGE.len() / (6 * 35), i / 35 % 6, i % 35];
            let [h, w, c] = [0, 1, 2].map(|axis| if axes[axis] { 0 } else { place[axis] });
            along[((i / IMAGE.len() * rows + h) * columns + w) * channels + c].push(f64::from(x));
        }
        for (op, formula) in ops(axes) {
            let net = Net::new(IMAGE).then("y", op.clone());
            assert_eq!(Vec::from(net.model().output_shape()), [rows, columns, channels], "{op:?}");
            let expected: Vec<f64> = along.iter().map(|x| formula(x)).collect();
            assert_close(&answer(&net, &input), &expected, &format!("{op:?}"));
        }
    }
}

#[test]
fn a_vector_counts_as_an_image_of_one_pixel() {
    let vector = Net::new(Shape::Flat(9)).then("mean", ReduceMean::new([true, false, true]));
    assert_eq!(vector.model().output_shape(), Shape::Flat(1));
    let centred = vector.node("y", &["x", "mean"], Subtract);
    assert_eq!(centred.model().output_shape(), Shape::Flat(9));
    let gate = Net::new(IMAGE).then("gate", horq::ops::GlobalAveragePool).node("y", &["gate", "x"], Multiply);
    assert_eq!(gate.model().output_shape(), IMAGE);
}

/// Large enough that all threads get a part of each layer.
#[test]
fn threads_change_no_bit() {
    let net = Net::new(Shape::Image { height: 100, width: 90, channels: 48 })
        .then("silu", Silu)
        .node("mean", &["silu"], ReduceMean::new([true, true, false]))
        .node("channel", &["silu"], ReduceMax::new([false, false, true]))
        .node("times", &["silu", "mean"], Multiply)
        .node("y", &["times", "channel"], Subtract);
    let model = net.model();
    let input = random::values(&mut random::rng(5), net.input.len());
    let expected = run(&mut Session::new(&model, SessionOptions::new()).unwrap(), &input);
    for threads in [2, 3, 7] {
        let mut session = Session::new(&model, SessionOptions::new().threads(Threads::Own(threads))).unwrap();
        assert_same_bits(&run(&mut session, &input), &expected, &format!("{threads} threads"));
    }
}

/// Clip is a step of the epilogue before it, and has the same bits there as alone.
#[test]
fn a_clip_becomes_a_part_of_the_layer_before_it() {
    let rng = &mut random::rng(4);
    let (window, weight) = (Window::square(3).with_padding(1), random::values(rng, 20 * 9 * 35));
    let conv = || Conv2d::new(window, 20, common::keep(weight.clone()));
    let fused = Net::new(IMAGE).then("conv", conv()).then("y", Clip::new(-0.5, 0.75));
    // Two readers keep the convolution's value, so the clip stands alone.
    let alone = fused.clone().node("back", &["y", "conv"], BroadcastAdd).node("z", &["back", "conv"], Subtract);
    let layers = |net: &Net| Session::new(&net.model(), SessionOptions::new()).unwrap().profile().len();
    assert_eq!((layers(&fused), layers(&alone)), (1, 4));
    let input = random::values(rng, 2 * IMAGE.len());
    let conv = answer(&Net::new(IMAGE).then("conv", conv()), &input);
    let expected: Vec<f32> = conv.iter().map(|x| x.clamp(-0.5, 0.75)).collect();
    assert_same_bits(&answer(&fused, &input), &expected, "fused");
    let sums: Vec<f32> = conv.iter().zip(&expected).map(|(x, y)| (y + x) - x).collect();
    assert_same_bits(&answer(&alone, &input), &sums, "alone");
}

fn refusal(build: impl FnOnce(&mut Builder) -> Result<&mut Builder, Error>) -> GraphError {
    let mut builder = Builder::new("x", IMAGE);
    builder.add("flat", &["x"], horq::ops::Flatten).unwrap();
    match build(&mut builder).unwrap_err() {
        Error::Graph(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_the_node() {
    let shapes = refusal(|builder| builder.add("y", &["x", "flat"], Multiply));
    assert!(
        matches!(shapes, GraphError::ShapesDiffer { .. }) && shapes.to_string().contains("`y` (multiply)"),
        "{shapes}"
    );
    let third = refusal(|builder| builder.add("y", &["x", "x", "flat"], Where));
    assert!(third.to_string().contains("5x6x35 and 1050"), "{third}");
    let count = refusal(|builder| builder.add("y", &["x"], Where));
    assert!(count.to_string().contains("must read 3"), "{count}");
    let count = refusal(|builder| builder.add("y", &["x", "x"], Tanh));
    assert!(count.to_string().contains("must read 1"), "{count}");
    let axes = refusal(|builder| builder.add("y", &["x"], ReduceMean::new([false; 3])));
    assert!(axes.to_string().contains("[0, 0, 0]"), "{axes}");
    let mut axes = ReduceMean::new([true; 3]);
    axes.axes[1] = 2;
    let axes = refusal(|builder| builder.add("y", &["x"], axes));
    assert!(axes.to_string().contains("[1, 2, 1]"), "{axes}");
}

#[test]
fn a_value_that_is_not_finite_is_an_error_of_the_run() {
    let not_finite = |op: PlainOp, x: f32| {
        let inputs: &[&str] = if matches!(op, Op::Divide(_)) { &["x", "x"] } else { &["x"] };
        // What the limits of these functions would hide.
        let net = Net::new(Shape::Flat(2)).node("a", inputs, op).then("y", Tanh);
        let mut session = Session::new(&net.model(), SessionOptions::new()).unwrap();
        let error = session.run(&[1.0, x], &mut [0.0; 2]).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::LayerNotFinite { .. })), "{error}");
    };
    not_finite(Divide.into(), 0.0);
    not_finite(Reciprocal.into(), 0.0);
    not_finite(Log.into(), 0.0);
    not_finite(Log.into(), -1.0);
    not_finite(Sqrt.into(), -1.0);
    not_finite(Exp.into(), 100.0);
    not_finite(Power::new(0.5).into(), -1.0);
}

/// Readers of version 1.0 refuse operations by name, and read all else: so what they know says 1.0.
#[test]
fn a_file_states_the_lowest_version_that_has_its_operations() {
    let version = |op: PlainOp| {
        let bytes = Net::new(IMAGE).then("y", op).bytes();
        Model::from_bytes(&bytes).unwrap();
        let header = String::from_utf8_lossy(&bytes[8..]).into_owned();
        let key = "\"format_version\":\"";
        header[header.find(key).unwrap() + key.len()..][..3].to_owned()
    };
    assert_eq!(version(Relu.into()), "1.0");
    assert_eq!(version(Clip::new(0.0, 6.0).into()), "1.1");
    assert_eq!(version(Sigmoid.into()), "1.1");
    assert_eq!(horq::VERSION, (1, 1));
}
