//! The ways in which published networks write signs, quantizers and binary weights, each recognised for what it computes.

#[allow(dead_code, reason = "each test file uses a part")]
mod common;

use common::{Draft, became, ints};
use horq::{Model, ScaleMode};
use horq_import::graph::{Attribute, ValueId};
use ndarray::{ArrayD, IxDyn};

/// A convolution with binary weights behind a quantizer that `quantize` writes; it must become one binary layer of that order. Gives
/// the operations of the engine.
fn binary_conv(order: usize, pads: &[i64], quantize: impl Fn(&mut Draft, ValueId) -> ValueId) -> Vec<String> {
    binary_layer(order, pads, quantize).0
}

/// The same, with the layer's scale mode.
fn binary_layer(
    order: usize,
    pads: &[i64],
    quantize: impl Fn(&mut Draft, ValueId) -> ValueId,
) -> (Vec<String>, ScaleMode) {
    let mut draft = Draft::new(7);
    let x = draft.input(&[1, 32, 6, 5]);
    let x = draft.node("Tanh", &[x], &[]); // so that it is no input, whose zeros would count
    let q = quantize(&mut draft, x);
    let w = draft.of(&[4, 32, 3, 3], &[0.25, -0.25]);
    let y = draft.node("Conv", &[q, w], &[("pads", ints(pads))]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-5);
    let row = imported.report.layers.iter().find(|row| row.became == "binary_conv2d");
    let row = row.unwrap_or_else(|| panic!("no binary layer:\n{}", imported.report));
    assert_eq!(row.kind, format!("binary order {order}, 1 base"), "{}", imported.report);
    let model = Model::from_bytes(&imported.file).expect("a valid file");
    let mode = model.graph().nodes.iter().find_map(|node| node.op.quantizer()).expect("a binary layer").mode;
    (became(&imported).into_iter().skip(1).map(String::from).collect(), mode)
}

const NONE: &[i64] = &[0, 0, 0, 0];
const ONE: &[i64] = &[1, 1, 1, 1];

#[test]
fn sign() {
    assert_eq!(binary_conv(1, ONE, |draft, x| draft.node("Sign", &[x], &[])), ["binary_conv2d"]);
}

#[test]
fn sign_of_scaled_and_shifted_values() {
    binary_conv(1, ONE, |draft, x| {
        let (two, shift) = (draft.number(2.0), draft.number(0.3));
        let scaled = draft.node("Mul", &[x, two], &[]);
        let shifted = draft.node("Sub", &[scaled, shift], &[]);
        draft.node("Sign", &[shifted], &[])
    });
}

#[test]
fn bipolar_quant() {
    let scaled = |draft: &mut Draft, x| {
        let scale = draft.number(0.7);
        draft.node("BipolarQuant", &[x, scale], &[])
    };
    assert_eq!(binary_conv(1, ONE, scaled), ["binary_conv2d"]);
}

#[test]
fn where_of_a_comparison() {
    let signs = |op: &'static str, yes: f32, no: f32| {
        move |draft: &mut Draft, x| {
            let (zero, yes, no) = (draft.number(0.0), draft.number(yes), draft.number(no));
            let condition = draft.node(op, &[x, zero], &[]);
            draft.node("Where", &[condition, yes, no], &[])
        }
    };
    assert_eq!(binary_conv(1, ONE, signs("GreaterOrEqual", 1.0, -1.0)), ["binary_conv2d"]);
    binary_conv(1, ONE, signs("Less", -1.0, 1.0));
    // Falling, and with an offset: 0 is no level, so what padded taps leave out is added place by place.
    binary_conv(1, ONE, signs("Greater", -0.5, 2.0));
    binary_conv(1, NONE, signs("LessOrEqual", 3.0, 1.0));
}

#[test]
fn cast_of_a_comparison() {
    let signs = |draft: &mut Draft, x| {
        let (zero, one, two) = (draft.number(0.0), draft.number(1.0), draft.number(2.0));
        let bit = draft.node("GreaterOrEqual", &[x, zero], &[]);
        let bit = draft.node("Cast", &[bit], &[("to", Attribute::Int(1))]);
        let doubled = draft.node("Mul", &[bit, two], &[]);
        draft.node("Sub", &[doubled, one], &[])
    };
    assert_eq!(binary_conv(1, ONE, signs), ["binary_conv2d"]);
}

#[test]
fn hard_sigmoid_round_and_stretch() {
    // BinaryNet: 2 round(clip((x + 1) / 2, 0, 1)) - 1.
    binary_conv(1, ONE, |draft, x| {
        let (zero, one, two) = (draft.number(0.0), draft.number(1.0), draft.number(2.0));
        let sum = draft.node("Add", &[x, one], &[]);
        let half = draft.node("Div", &[sum, two], &[]);
        let clip = draft.node("Clip", &[half, zero, one], &[]);
        let round = draft.node("Round", &[clip], &[]);
        let double = draft.node("Mul", &[round, two], &[]);
        draft.node("Sub", &[double, one], &[])
    });
}

#[test]
fn bi_real_masks() {
    let masked = |draft: &mut Draft, x: ValueId| {
        let (zero, one, two, minus) = (draft.number(0.0), draft.number(1.0), draft.number(2.0), draft.number(-1.0));
        let sign = draft.node("Sign", &[x], &[]);
        let mask = |draft: &mut Draft, than| {
            let bit = draft.node("Less", &[x, than], &[]);
            let bit = draft.node("Cast", &[bit], &[("to", Attribute::Int(1))]);
            let rest = draft.node("Sub", &[one, bit], &[]);
            [bit, rest]
        };
        let square = draft.node("Mul", &[x, x], &[]);
        let double = draft.node("Mul", &[x, two], &[]);
        let (rising, falling) = (draft.node("Add", &[square, double], &[]), draft.node("Sub", &[double, square], &[]));
        let mut smooth = minus;
        for (than, next) in [(minus, rising), (zero, falling), (one, one)] {
            let [bit, rest] = mask(draft, than);
            let (kept, new) = (draft.node("Mul", &[bit, smooth], &[]), draft.node("Mul", &[rest, next], &[]));
            smooth = draft.node("Add", &[kept, new], &[]);
        }
        let rest = draft.node("Sub", &[sign, smooth], &[]);
        draft.node("Add", &[rest, smooth], &[])
    };
    assert_eq!(binary_conv(1, ONE, masked), ["binary_conv2d"]);
}

#[test]
fn adabin_activations() {
    binary_conv(1, ONE, |draft, x| {
        let (a, b) = (draft.constant(&[1], &[0.8]), draft.constant(&[1], &[0.15]));
        let moved = draft.node("Sub", &[x, b], &[]);
        let moved = draft.node("Div", &[moved, a], &[]);
        let sign = draft.node("Sign", &[moved], &[]);
        let scaled = draft.node("Mul", &[sign, a], &[]);
        draft.node("Add", &[scaled, b], &[])
    });
}

#[test]
fn uniform_quantizers_are_planes() {
    // DoReFa: round(clip(x, 0, 1) k) / k.
    for (bits, k) in [(2, 3.0), (3, 7.0)] {
        let (_, mode) = binary_layer(bits, ONE, |draft, x| {
            let (zero, one, k) = (draft.number(0.0), draft.number(1.0), draft.number(k));
            let clip = draft.node("Clip", &[x, zero, one], &[]);
            let scaled = draft.node("Mul", &[clip, k], &[]);
            let round = draft.node("Round", &[scaled], &[]);
            draft.node("Div", &[round, k], &[])
        });
        assert_eq!(mode, ScaleMode::Halving);
    }
}

#[test]
fn roundings_of_wide_sums() {
    // The mean of 16 numbers of 8 bits, cut to 8 bits again: ties are as frequent as whole numbers, and both roundings count.
    let mut draft = Draft::new(19);
    let x = draft.input(&[1, 4, 12, 12]);
    let (wide, fine, coarse) = (draft.number(3000.0), draft.number(1.0), draft.number(16.0));
    let x = draft.node("Mul", &[x, wide], &[]);
    let x = draft.node("Div", &[x, fine], &[]);
    let whole = draft.node("Round", &[x], &[]);
    let cut = draft.node("Div", &[whole, coarse], &[]);
    let (low, high) = (draft.number(0.0), draft.number(127.0));
    let cut = draft.node("Clip", &[cut, low, high], &[]);
    let y = draft.node("Round", &[cut], &[]);
    draft.graph.outputs = vec![y];
    draft.check(0.0);
}

#[test]
fn biases_that_were_repeated_are_held_once() {
    let mut draft = Draft::new(23);
    let x = draft.input(&[1, 8, 20, 20]);
    let bias: Vec<f32> = (0..8 * 400).map(|i| (i / 400) as f32 * 0.125 - 0.5).collect();
    let bias = draft.constant(&[1, 8, 20, 20], &bias);
    let y = draft.node("Add", &[x, bias], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(0.0);
    assert_eq!(became(&imported), ["affine"]);
    assert!(imported.report.layers[0].bytes <= 128, "{}", imported.report);
}

#[test]
fn the_nearest_of_some_levels_by_their_distances() {
    // APoT: distances to all levels, the place of the least, the level there.
    let mut draft = Draft::new(29);
    let x = draft.input(&[1, 16, 16, 16]);
    let levels = [0.0, 0.125, 0.25, 0.625];
    let (column, level) = (draft.constant(&[4, 1], &levels), draft.constant(&[4], &levels));
    let (shape, back) = (draft.whole(&[1, -1]), draft.whole(&[1, 16, 16, 16]));
    let row = draft.node("Reshape", &[x, shape], &[]);
    let off = draft.node("Sub", &[row, column], &[]);
    let off = draft.node("Abs", &[off], &[]);
    let place = draft.node("ArgMin", &[off], &[("axis", Attribute::Int(0)), ("keepdims", Attribute::Int(0))]);
    let nearest = draft.node("Gather", &[level, place], &[]);
    let y = draft.node("Reshape", &[nearest, back], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(0.0);
    assert!(imported.report.layers.iter().all(|row| row.bytes <= 128), "{}", imported.report);
}

#[test]
fn quant_of_qonnx() {
    for (bits, signed, narrow) in [(2, 1, 1), (2, 1, 0), (2, 0, 0), (3, 1, 1), (3, 0, 0)] {
        for pads in [NONE, ONE] {
            let (_, mode) = binary_layer(bits, pads, |draft, x| {
                let inputs = [x, draft.number(0.3), draft.number(0.0), draft.number(bits as f32)];
                let mode = Attribute::Text("ROUND".into());
                let attributes =
                    [("signed", Attribute::Int(signed)), ("narrow", Attribute::Int(narrow)), ("rounding_mode", mode)];
                draft.node("Quant", &inputs, &attributes)
            });
            // Of 2^K levels each scale is half of the one before, of fewer not.
            assert_eq!(mode, if narrow == 0 { ScaleMode::Halving } else { ScaleMode::Fixed });
        }
    }
}

#[test]
fn multi_threshold_of_finn() {
    binary_conv(1, ONE, |draft, x| {
        let thresholds = draft.constant(&[1, 1], &[0.25]);
        let attributes = [("out_scale", Attribute::Float(2.0)), ("out_bias", Attribute::Float(-1.0))];
        draft.node("MultiThreshold", &[x, thresholds], &attributes)
    });
    // A row of its own for each channel, at unequal distances: made first, then its levels are planes.
    let made = binary_conv(2, ONE, |draft, x| {
        let rows: Vec<f32> = (0..32).flat_map(|c| [-0.8, 0.02 * c as f32, 0.7]).collect();
        let thresholds = draft.constant(&[32, 3], &rows);
        draft.node("MultiThreshold", &[x, thresholds], &[])
    });
    assert!(made.contains(&"multi_threshold".into()));
}

#[test]
fn residual_chain() {
    // HORQ with constants: two planes.
    let (_, mode) = binary_layer(2, ONE, |draft, x| {
        let (zero, one, minus) = (draft.number(0.0), draft.number(1.0), draft.number(-1.0));
        let sign = |draft: &mut Draft, x| {
            let bit = draft.node("GreaterOrEqual", &[x, zero], &[]);
            draft.node("Where", &[bit, one, minus], &[])
        };
        let (first, second) = (draft.number(0.5), draft.number(0.2));
        let plane = sign(draft, x);
        let plane = draft.node("Mul", &[plane, first], &[]);
        let rest = draft.node("Sub", &[x, plane], &[]);
        let next = sign(draft, rest);
        let next = draft.node("Mul", &[next, second], &[]);
        draft.node("Add", &[plane, next], &[])
    });
    assert_eq!(mode, ScaleMode::Fixed);
}

#[test]
fn sign_behind_a_relu_is_zero_or_one() {
    binary_conv(1, ONE, |draft, x| {
        let relu = draft.node("Relu", &[x], &[]);
        draft.node("Sign", &[relu], &[])
    });
}

#[test]
fn max_pool_and_movements_behind_a_sign_come_before_it() {
    let mut draft = Draft::new(3);
    let x = draft.input(&[1, 8, 6, 6]);
    let scale = draft.number(1.0);
    let sign = draft.node("BipolarQuant", &[x, scale], &[]);
    let attributes = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let pool = draft.node("MaxPool", &[sign], &attributes);
    let flat = draft.node("Flatten", &[pool], &[]);
    let w = draft.of(&[72, 5], &[1.0, -1.0]);
    let y = draft.node("MatMul", &[flat, w], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-6);
    assert_eq!(became(&imported)[0], "max_pool", "{}", imported.report);
    assert!(became(&imported).contains(&"binary_dense"));
    assert!(!became(&imported).contains(&"sign"));
}

#[test]
fn sums_that_cancel_keep_their_sign() {
    // A binary network without norms: sums of an even number of signs are 0 as often as not.
    let mut draft = Draft::new(31);
    let x = draft.input(&[1, 32, 8, 8]);
    let x = draft.node("Tanh", &[x], &[]);
    let (v, w) = (draft.of(&[64, 32, 3, 3], &[1.0, -1.0]), draft.of(&[8, 64, 3, 3], &[1.0, -1.0]));
    let signs = draft.node("Sign", &[x], &[]);
    let y = draft.node("Conv", &[signs, v], &[]);
    let signs = draft.node("Sign", &[y], &[]);
    let y = draft.node("Conv", &[signs, w], &[]);
    draft.graph.outputs = vec![y];
    draft.check(1e-6);

    // The sum of the signs of a value and of the value moved.
    let mut draft = Draft::new(37);
    let x = draft.input(&[1, 32, 8, 8]);
    let moved = draft.node("Transpose", &[x], &[("perm", ints(&[0, 1, 3, 2]))]);
    let (a, b) = (draft.node("Sign", &[x], &[]), draft.node("Sign", &[moved], &[]));
    let w = draft.of(&[4, 32, 3, 3], &[0.5, -0.5]);
    for op in ["Add", "Sub"] {
        let sum = draft.node(op, &[a, b], &[]);
        let signs = draft.node("Sign", &[sum], &[]);
        let y = draft.node("Conv", &[signs, w], &[]);
        draft.graph.outputs.push(y);
    }
    draft.check(1e-6);
}

#[test]
fn zeros_of_an_input_keep_their_sign() {
    // torch.sign(0) is 0, and pixels often are.
    let mut draft = Draft::new(3);
    let x = draft.input(&[1, 16]);
    let sign = draft.node("Sign", &[x], &[]);
    let w = draft.of(&[16, 5], &[1.0, -1.0]);
    let y = draft.node("MatMul", &[sign, w], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.import();
    let input = ArrayD::from_shape_fn(IxDyn(&[1, 16]), |i| if i[1] % 3 == 0 { 0.0 } else { i[1] as f32 - 8.0 });
    draft.compare(&imported, &[input], 0.0);
    assert!(became(&imported).contains(&"binary_dense"), "{}", imported.report);
}

#[test]
fn weights_of_every_kind() {
    // alpha B + beta; three values; four; sums: one base each, or more, and exact in each case.
    let cases: [(&[f32], &str); 4] = [
        (&[0.7, -0.3], "binary order 1, 2 bases"),
        (&[0.5, 0.0, -0.5], "binary order 1, 2 bases"),
        (&[1.5, 0.5, -0.5, -1.5], "binary order 1, 2 bases"),
        (&[1.4, 0.6, -0.6, -1.4], "binary order 1, 2 bases"),
    ];
    for (values, kind) in cases {
        let mut draft = Draft::new(11);
        let x = draft.input(&[1, 32]);
        let scale = draft.number(1.0);
        let sign = draft.node("BipolarQuant", &[x, scale], &[]);
        let w = draft.of(&[32, 6], values);
        let y = draft.node("MatMul", &[sign, w], &[]);
        draft.graph.outputs = vec![y];
        let imported = draft.check(1e-5);
        assert_eq!(imported.report.layers.last().unwrap().kind, kind, "{values:?}");
    }
}

#[test]
fn straight_through_weights() {
    // sign(w) mean|w|, written with its detour: exactly two values only if the detour goes.
    let mut draft = Draft::new(5);
    let x = draft.input(&[1, 8, 5, 5]);
    let w = draft.floats(&[4, 8, 3, 3]);
    let (low, high) = (draft.number(-1.0), draft.number(1.0));
    let sign = draft.node("Sign", &[w], &[]);
    let size = draft.node("Abs", &[w], &[]);
    let axes = draft.whole(&[1, 2, 3]);
    let alpha = draft.node("ReduceMean", &[size, axes], &[("keepdims", Attribute::Int(1))]);
    let binary = draft.node("Mul", &[sign, alpha], &[]);
    let clip = draft.node("Clip", &[w, low, high], &[]);
    let rest = draft.node("Sub", &[binary, clip], &[]);
    let through = draft.node("Add", &[rest, clip], &[]);
    let a = draft.node("Tanh", &[x], &[]);
    let a = draft.node("Sign", &[a], &[]);
    let y = draft.node("Conv", &[a, through], &[("pads", ints(ONE))]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-5);
    assert_eq!(imported.report.layers.last().unwrap().kind, "binary order 1, 1 base", "{}", imported.report);
}

#[test]
fn float_inputs_of_binary_weights() {
    let mut draft = Draft::new(5);
    let x = draft.input(&[1, 8, 5, 5]);
    let w = draft.of(&[4, 8, 3, 3], &[0.5, -0.5]);
    let y = draft.node("Conv", &[x, w], &[("pads", ints(ONE))]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-5);
    assert_eq!(became(&imported), ["binary_weight_conv2d"]);
    assert!(imported.report.layers[0].note.contains("the input stays float"), "{}", imported.report);
}

#[test]
fn bytes() {
    // ONNX's QDQ: bytes in and out of a convolution.
    let mut draft = Draft::new(5);
    let x = draft.input(&[1, 8, 5, 5]);
    let (scale, zero) = (draft.number(0.02), draft.graph.values.len());
    let byte = horq_import::graph::ElementType::UInt8;
    let mut tensor = horq_import::graph::Tensor::ints(ArrayD::from_elem(IxDyn(&[]), 100));
    tensor.element = byte;
    let zero = draft.graph.add_constant(format!("zero{zero}"), tensor);
    let q = draft.node("QuantizeLinear", &[x, scale, zero], &[]);
    let d = draft.node("DequantizeLinear", &[q, scale, zero], &[]);
    let levels: Vec<f32> = (-127..=127).map(|q| q as f32 * 0.01).collect();
    let w = draft.of(&[4, 8, 3, 3], &levels);
    let y = draft.node("Conv", &[d, w], &[("pads", ints(ONE))]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-5);
    assert_eq!(became(&imported), ["int8_conv2d"], "{}", imported.report);
}

#[test]
fn batch_norm_with_negative_gamma_and_a_pool_before_it() {
    let mut draft = Draft::new(9);
    let x = draft.input(&[1, 8, 6, 6]);
    let scale = draft.number(1.0);
    let sign = draft.node("BipolarQuant", &[x, scale], &[]);
    let w = draft.of(&[16, 8, 3, 3], &[1.0, -1.0]);
    let conv = draft.node("Conv", &[sign, w], &[("pads", ints(ONE))]);
    let attributes = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let pool = draft.node("MaxPool", &[conv], &attributes);
    let (gamma, beta, mean) = (draft.floats(&[16]), draft.floats(&[16]), draft.floats(&[16]));
    let variance = draft.of(&[16], &[0.5, 1.0, 2.0]);
    let norm = draft.node("BatchNormalization", &[pool, gamma, beta, mean, variance], &[]);
    let sign = draft.node("BipolarQuant", &[norm, scale], &[]);
    let flat = draft.node("Flatten", &[sign], &[]);
    let w = draft.of(&[144, 10], &[1.0, -1.0]);
    let y = draft.node("MatMul", &[flat, w], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-6);
    let binary = became(&imported).iter().filter(|op| op.starts_with("binary_")).count();
    assert_eq!(binary, 2, "{}", imported.report);
}

#[test]
fn products_with_weights_on_either_side() {
    for left in [false, true] {
        let mut draft = Draft::new(13);
        let x = draft.input(&[1, 12, 7]);
        let scale = draft.number(1.0);
        let sign = draft.node("BipolarQuant", &[x, scale], &[]);
        let w = draft.of(if left { &[5, 12] } else { &[7, 5] }, &[1.0, -1.0]);
        let inputs = if left { [w, sign] } else { [sign, w] };
        let y = draft.node("MatMul", &inputs, &[]);
        draft.graph.outputs = vec![y];
        let imported = draft.check(1e-6);
        assert!(became(&imported).contains(&"binary_conv2d"), "{}", imported.report);
    }
    for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut draft = Draft::new(14);
        let x = draft.input(&[1, 12]);
        // The batch comes first in every input, so it is turned here.
        let x = if a == 0 { x } else { draft.node("Transpose", &[x], &[("perm", ints(&[1, 0]))]) };
        let w = draft.floats(if b == 0 { &[12, 5] } else { &[5, 12] });
        let c = draft.floats(&[5]);
        let attributes = [
            ("transA", Attribute::Int(a)),
            ("transB", Attribute::Int(b)),
            ("alpha", Attribute::Float(0.5)),
            ("beta", Attribute::Float(2.0)),
        ];
        let y = draft.node("Gemm", &[x, w, c], &attributes);
        draft.graph.outputs = vec![y];
        assert_eq!(became(&draft.check(1e-5)), ["dense"]);
    }
}

#[test]
fn a_quantizer_that_others_read_is_made_as_well() {
    let mut draft = Draft::new(15);
    let x = draft.input(&[1, 8, 5, 5]);
    let scale = draft.number(0.5);
    let sign = draft.node("BipolarQuant", &[x, scale], &[]);
    let w = draft.of(&[8, 8, 3, 3], &[0.5, -0.5]);
    let conv = draft.node("Conv", &[sign, w], &[("pads", ints(ONE))]);
    let y = draft.node("Add", &[conv, sign], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-5);
    assert!(became(&imported).contains(&"sign") && became(&imported).contains(&"binary_conv2d"));
}

#[test]
fn xnor_popcount_of_finn() {
    let mut draft = Draft::new(15);
    let x = draft.input(&[1, 24]);
    let zero = draft.constant(&[1, 1], &[0.0]);
    let bits = draft.node("MultiThreshold", &[x, zero], &[]);
    let w = draft.of(&[24, 5], &[0.0, 1.0]);
    let y = draft.node("XnorPopcountMatMul", &[bits, w], &[]);
    draft.graph.outputs = vec![y];
    let imported = draft.check(1e-6);
    assert!(became(&imported).contains(&"binary_dense"), "{}", imported.report);
}

#[test]
fn all_refusals_come_at_once() {
    let mut draft = Draft::new(15);
    let x = draft.input(&[1, 4, 8, 8]);
    let a = draft.node("NoSuchThing", &[x], &[]);
    let w = draft.node("Relu", &[x], &[]);
    let b = draft.node("TopK", &[w], &[("axis", Attribute::Int(1))]);
    draft.graph.outputs = vec![a, b];
    for value in [a, b, w] {
        draft.graph.value_mut(value).shape = Some(vec![1, 4, 8, 8]);
        draft.graph.value_mut(value).element = Some(horq_import::graph::ElementType::Float32);
    }
    let text = horq_import::import(draft.graph.clone(), &horq_import::Options::default()).unwrap_err().to_string();
    assert!(text.contains("NoSuchThing"), "{text}");
}
