//! Constants are computed as ONNX and QONNX say.

use crate::net::{Net, float, floats, int, ints, shaped_ints, small, tensor, text};
use horq_import::graph::ElementType;
use horq_import::onnx::schema::{Attribute, Tensor};

/// The result of an operation on constants.
fn of(op: &str, inputs: &[Tensor], attributes: &[Attribute]) -> horq_import::graph::Tensor {
    of_version(21, op, inputs, attributes)
}

fn of_version(version: i64, op: &str, inputs: &[Tensor], attributes: &[Attribute]) -> horq_import::graph::Tensor {
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("c{i}")).collect();
    let places: Vec<&str> = names.iter().map(String::as_str).collect();
    let net = Net::new(version).node(op, &places, &["y"], attributes).output("y");
    names.iter().zip(inputs).fold(net, |net, (name, input)| net.constant(name, input.clone())).value()
}

fn check(op: &str, inputs: &[Tensor], attributes: &[Attribute], expected: &[f64]) {
    let result = of(op, inputs, attributes);
    let found: Vec<f64> = result.doubles().into_iter().collect();
    let near = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-6 * b.abs().max(1e-3);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{op}: {found:?}, not {expected:?}");
}

fn row(values: &[f32]) -> Tensor {
    floats(&[values.len() as i64], values)
}

#[test]
fn whole_numbers_of_4_bits_keep_the_lowest() {
    let x = row(&[-9.5, -8.0, 7.9, 8.0, 20.0]);
    check("Cast", std::slice::from_ref(&x), &[int("to", 22)], &[7.0, -8.0, 7.0, -8.0, 4.0]);
    check("Cast", &[x], &[int("to", 21)], &[7.0, 8.0, 7.0, 8.0, 4.0]);
}

#[test]
fn functions_of_floats() {
    let x = [-2.0, -0.5, 0.0, 0.5, 2.5];
    let apply = |op: &str, attributes: &[Attribute], f: &dyn Fn(f64) -> f64| {
        check(op, &[row(&x)], attributes, &x.map(|x| f(f64::from(x))));
    };
    apply("Abs", &[], &f64::abs);
    apply("Neg", &[], &|x| -x);
    apply("Sign", &[], &|x| if x == 0.0 { 0.0 } else { x.signum() });
    apply("Floor", &[], &f64::floor);
    apply("Ceil", &[], &f64::ceil);
    apply("Round", &[], &|x| {
        [-2.0, 0.0, 0.0, 0.0, 2.0][[-2.0, -0.5, 0.0, 0.5, 2.5].iter().position(|&y| y == x).unwrap()]
    });
    apply("Exp", &[], &f64::exp);
    apply("Tanh", &[], &f64::tanh);
    apply("Sigmoid", &[], &|x| 1.0 / (1.0 + (-x).exp()));
    apply("Relu", &[], &|x| x.max(0.0));
    apply("LeakyRelu", &[float("alpha", 0.25)], &|x| if x < 0.0 { 0.25 * x } else { x });
    apply("Elu", &[float("alpha", 2.0)], &|x| if x < 0.0 { 2.0 * x.exp_m1() } else { x });
    apply("HardSigmoid", &[float("alpha", 0.5), float("beta", 0.25)], &|x| (0.5 * x + 0.25).clamp(0.0, 1.0));
    apply("HardSwish", &[], &|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0);
    apply("Softplus", &[], &|x| x.exp().ln_1p());
    apply("Mish", &[], &|x| x * x.exp().ln_1p().tanh());
    let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    apply("Gelu", &[text("approximate", "tanh")], &|x| 0.5 * x * (1.0 + inner(x).tanh()));
    check("Erf", &[row(&[0.0, 1.0])], &[], &[0.0, 0.842_700_792_949_714_9]);
    check("Sqrt", &[row(&[4.0, -1.0])], &[], &[2.0, f64::NAN]);
    check("Reciprocal", &[row(&[4.0])], &[], &[0.25]);
}

#[test]
fn single_operations_have_the_bits_of_f32() {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits((state >> 9) | 0x3f00_0000) * if state & 1 == 0 { 3.7 } else { -1.9e-3 }
    };
    let (a, b): (Vec<f32>, Vec<f32>) = (0..2000).map(|_| (next(), next())).unzip();
    let same = |op: &str, f: fn(f32, f32) -> f32| {
        let found = of(op, &[row(&a), row(&b)], &[]).singles();
        assert!(found.iter().zip(a.iter().zip(&b)).all(|(y, (&a, &b))| y.to_bits() == f(a, b).to_bits()), "{op}");
    };
    same("Add", |a, b| a + b);
    same("Sub", |a, b| a - b);
    same("Mul", |a, b| a * b);
    same("Div", |a, b| a / b);
    let roots = of("Sqrt", &[row(&a.iter().map(|a| a.abs()).collect::<Vec<_>>())], &[]).singles();
    assert!(roots.iter().zip(&a).all(|(y, a)| y.to_bits() == a.abs().sqrt().to_bits()));
}

#[test]
fn operations_broadcast() {
    let column = floats(&[2, 1], &[10., 20.]);
    check("Add", &[column.clone(), row(&[1., 2.])], &[], &[11., 12., 21., 22.]);
    check("Pow", &[row(&[2., 3.]), ints(&[2])], &[], &[4., 9.]);
    check("Max", &[column, row(&[15.]), row(&[1., 30.])], &[], &[15., 30., 20., 30.]);
    check("Mean", &[row(&[1., 2.]), row(&[3., 6.])], &[], &[2., 4.]);
    check("Less", &[row(&[1., 2.]), row(&[2.])], &[], &[1., 0.]);
    check("Where", &[small(9, &[2], &[1, 0]), row(&[1., 2.]), row(&[8.])], &[], &[1., 8.]);
    check("And", &[small(9, &[2], &[1, 0]), small(9, &[1], &[1])], &[], &[1., 0.]);
    check("Clip", &[row(&[-1., 2., 9.]), floats(&[], &[0.]), floats(&[], &[6.])], &[], &[0., 2., 6.]);
    check("PRelu", &[row(&[-2., 2.]), row(&[0.5])], &[], &[-1., 2.]);
}

#[test]
fn whole_numbers_wrap_and_saturate() {
    let bytes = |values: &[i32]| small(3, &[values.len() as i64], values);
    check("Add", &[bytes(&[127, -128]), bytes(&[1, -1])], &[], &[-128., 127.]);
    check("Div", &[ints(&[7, -7]), ints(&[2, 2])], &[], &[3., -3.]);
    check("Mod", &[ints(&[7, -7]), ints(&[3, 3])], &[], &[1., 2.]);
    check("Mod", &[ints(&[7, -7]), ints(&[3, 3])], &[int("fmod", 1)], &[1., -1.]);
    check("Cast", &[row(&[300.7, -1.5, f32::NAN])], &[int("to", 6)], &[300., -1., 0.]);
    check("Cast", &[ints(&[300, -1])], &[int("to", 2)], &[44., 255.]);
    check("Cast", &[row(&[1.000_1])], &[int("to", 10)], &[1.0]);
    assert_eq!(of("Cast", &[row(&[1.0])], &[int("to", 10)]).element, ElementType::Float16);
    let zero = Net::new(13)
        .constant("a", ints(&[1]))
        .constant("b", ints(&[0]))
        .node("Div", &["a", "b"], &["y"], &[])
        .output("y");
    assert!(zero.refusals()[0].reason.contains("divides by zero"));
}

#[test]
fn elements_move() {
    let x = shaped_ints(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    check("Transpose", std::slice::from_ref(&x), &[], &[1., 4., 2., 5., 3., 6.]);
    check("Gather", &[x.clone(), ints(&[-1, 0])], &[int("axis", 1)], &[3., 1., 6., 4.]);
    check("Slice", &[x.clone(), ints(&[-1]), ints(&[-9]), ints(&[1]), ints(&[-2])], &[], &[3., 1., 6., 4.]);
    check("Concat", &[x.clone(), x.clone()], &[int("axis", 1)], &[1., 2., 3., 1., 2., 3., 4., 5., 6., 4., 5., 6.]);
    check("Tile", &[ints(&[1, 2]), ints(&[2])], &[], &[1., 2., 1., 2.]);
    check("Expand", &[shaped_ints(&[2, 1], &[1, 2]), ints(&[2, 2])], &[], &[1., 1., 2., 2.]);
    let pad = |mode: &str, expected: &[f64]| {
        check("Pad", &[ints(&[1, 2, 3]), ints(&[2, 2])], &[text("mode", mode)], expected)
    };
    pad("constant", &[0., 0., 1., 2., 3., 0., 0.]);
    pad("edge", &[1., 1., 1., 2., 3., 3., 3.]);
    pad("reflect", &[3., 2., 1., 2., 3., 2., 1.]);
    pad("wrap", &[2., 3., 1., 2., 3., 1., 2.]);
    check("Pad", &[ints(&[1, 2, 3]), ints(&[-1, 1]), ints(&[9])], &[], &[2., 3., 9.]);
    check("GatherElements", &[x.clone(), shaped_ints(&[1, 3], &[1, 0, 1])], &[], &[4., 2., 6.]);
    check("ScatterND", &[ints(&[1, 2, 3, 4]), shaped_ints(&[2, 1], &[3, 0]), ints(&[7, 8])], &[], &[8., 2., 3., 7.]);
    let depth = shaped_ints(&[1, 4, 1, 1], &[1, 2, 3, 4]);
    check("DepthToSpace", &[depth], &[int("blocksize", 2)], &[1., 2., 3., 4.]);
}

#[test]
fn reductions() {
    let x = floats(&[2, 3], &[1., 2., 3., 4., 5., 9.]);
    check("ReduceSum", &[x.clone(), ints(&[1])], &[], &[6., 18.]);
    check("ReduceMean", &[x.clone(), ints(&[0])], &[int("keepdims", 0)], &[2.5, 3.5, 6.]);
    check("ReduceL2", &[row(&[3., 4.])], &[], &[5.]);
    check("ReduceL1", &[row(&[3., -4.])], &[], &[7.]);
    check("ReduceSumSquare", &[row(&[3., -4.])], &[], &[25.]);
    check("ReduceLogSumExp", &[row(&[0., 0.])], &[], &[2f64.ln()]);
    check("ReduceMax", &[ints(&[3, 9, 4])], &[], &[9.]);
    check("ArgMax", std::slice::from_ref(&x), &[int("axis", 1), int("keepdims", 0)], &[2., 2.]);
    check("CumSum", &[row(&[1., 2., 3.]), ints(&[0])], &[int("exclusive", 1)], &[0., 1., 3.]);
    check("MatMul", &[x.clone(), floats(&[3], &[1., 0., 2.])], &[], &[7., 22.]);
    let gemm = [int("transB", 1), float("alpha", 2.0), float("beta", 3.0)];
    check(
        "Gemm",
        &[row(&[1., 2.]).with_dims(&[1, 2]), floats(&[2, 2], &[1., 0., 0., 1.]), row(&[1., 1.])],
        &gemm,
        &[5., 7.],
    );
    check("Softmax", &[row(&[0., 0.])], &[], &[0.5, 0.5]);
    let one = row(&[1.0]);
    let x = floats(&[1, 1, 2], &[3., 5.]);
    check(
        "BatchNormalization",
        &[x, row(&[2.]), one.clone(), one.clone(), row(&[4.])],
        &[float("epsilon", 0.0)],
        &[3., 5.],
    );
}

#[test]
fn made_from_sizes() {
    check("Range", &[shaped_ints(&[], &[2]), shaped_ints(&[], &[9]), shaped_ints(&[], &[3])], &[], &[2., 5., 8.]);
    check("ConstantOfShape", &[ints(&[2])], &[tensor("value", row(&[7.]))], &[7., 7.]);
    check("Shape", &[floats(&[2, 3], &[0.; 6])], &[int("start", -1)], &[3.]);
    check("Size", &[floats(&[2, 3], &[0.; 6])], &[], &[6.]);
    check("EyeLike", &[floats(&[2, 2], &[0.; 4])], &[int("k", 1)], &[0., 1., 0., 0.]);
    check("NonZero", &[row(&[0., 3., 0., 4.])], &[], &[1., 3.]);
    check("OneHot", &[ints(&[1, -1]), ints(&[3]), row(&[0., 5.])], &[], &[0., 5., 0., 0., 0., 5.]);
    check("Trilu", &[floats(&[2, 2], &[1., 2., 3., 4.])], &[int("upper", 0)], &[1., 0., 3., 4.]);
}

#[test]
fn quantizers() {
    let scalar = |value: f32| floats(&[], &[value]);
    let x = || row(&[-3.0, -0.25, 0.25, 0.75, 9.0]);
    let quant = |bits: f32, signed: i64, narrow: i64, expected: &[f64]| {
        let inputs = [x(), scalar(0.5), scalar(0.0), scalar(bits)];
        check("qonnx.custom_op.general::Quant", &inputs, &[int("signed", signed), int("narrow", narrow)], expected);
    };
    quant(3.0, 1, 0, &[-2.0, 0.0, 0.0, 1.0, 1.5]);
    quant(3.0, 1, 1, &[-1.5, 0.0, 0.0, 1.0, 1.5]);
    quant(2.0, 0, 0, &[0.0, 0.0, 0.0, 1.0, 1.5]);
    // One signed bit is a sign.
    quant(1.0, 1, 0, &[-0.5, -0.5, 0.5, 0.5, 0.5]);
    check("qonnx.custom_op.general::BipolarQuant", &[row(&[-1., 0., 2.]), scalar(0.5)], &[], &[-0.5, 0.5, 0.5]);
    let inputs = [row(&[5.0, -5.0]), scalar(1.0), scalar(0.0), scalar(8.0), scalar(7.0)];
    check("qonnx.custom_op.general::Trunc", &inputs, &[], &[2.0, -3.0]);
    let inputs = [floats(&[1, 2], &[0.5, -3.0]), floats(&[2, 2], &[0.0, 0.5, -4.0, -2.0])];
    let scales = [float("out_scale", 2.0), float("out_bias", -1.0)];
    check("finn.custom_op.general::MultiThreshold", &inputs, &scales, &[3.0, 1.0]);
    check("QuantizeLinear", &[row(&[1.0, -9.0, 0.75]), scalar(0.5), small(2, &[], &[3])], &[], &[5., 0., 5.]);
    let columns = small(3, &[1, 2], &[4, 4]);
    check("DequantizeLinear", &[columns, row(&[0.5, 2.0]), small(3, &[2], &[0, 1])], &[int("axis", 1)], &[2., 6.]);
}

#[test]
fn what_takes_too_much_is_refused() {
    let refused = |net: Net, word: &str| {
        let refusals = net.output("y").refusals();
        assert!(refusals.iter().any(|refusal| refusal.reason.contains(word)), "{refusals:?}");
    };
    let big = || Net::new(13).constant("s", ints(&[1 << 20, 1 << 20]));
    refused(big().node("ConstantOfShape", &["s"], &["y"], &[]), "[1048576, 1048576]");
    refused(
        Net::new(13).constant("s", ints(&[1 << 14, 1 << 14])).node("ConstantOfShape", &["s"], &["y"], &[]),
        "takes too much",
    );
    let range = Net::new(13).constant("a", ints(&[0]).with_dims(&[])).constant("b", ints(&[i64::MAX]).with_dims(&[]));
    refused(range.constant("c", ints(&[1]).with_dims(&[])).node("Range", &["a", "b", "c"], &["y"], &[]), "shape");
    // Each of 64 nodes doubles: none is large for long.
    let net = (0..64).fold(Net::new(13).constant("v0", ints(&[1])), |net, i| {
        net.node("Concat", &[&format!("v{i}"), &format!("v{i}")], &[&format!("v{}", i + 1)], &[int("axis", 0)])
    });
    refused(net.node("Identity", &["v64"], &["y"], &[]), "takes too much");
}

trait WithDims {
    fn with_dims(self, dims: &[i64]) -> Self;
}

impl WithDims for Tensor {
    fn with_dims(self, dims: &[i64]) -> Self {
        Self { dims: dims.to_vec(), ..self }
    }
}
