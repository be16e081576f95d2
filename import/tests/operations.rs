//! Float operations in layouts that networks have them in, beside the evaluator of constants.

#[allow(dead_code, reason = "each test file uses a part")]
mod common;

use common::{Draft, became, ints};
use horq_import::graph::{Attribute, ValueId};

/// A network of one input that `make` writes; all answers must agree.
fn check(shape: &[usize], make: impl Fn(&mut Draft, ValueId) -> ValueId) -> Vec<String> {
    let mut draft = Draft::new(21);
    let x = draft.input(shape);
    let y = make(&mut draft, x);
    draft.graph.outputs = vec![y];
    let imported = draft.check(2e-5);
    became(&imported).into_iter().map(String::from).collect()
}

fn int(value: i64) -> Attribute {
    Attribute::Int(value)
}

#[test]
fn convolutions() {
    let conv = |attributes: &'static [(&'static str, &'static [i64])], weights: &'static [usize], groups| {
        move |draft: &mut Draft, x| {
            let (w, b) = (draft.floats(weights), draft.floats(&weights[..1]));
            let mut all: Vec<(&str, Attribute)> =
                attributes.iter().map(|(name, values)| (*name, ints(values))).collect();
            all.push(("group", int(groups)));
            draft.node("Conv", &[x, w, b], &all)
        }
    };
    assert_eq!(
        check(&[1, 3, 9, 8], conv(&[("pads", &[1, 0, 2, 1]), ("strides", &[2, 1])], &[5, 3, 3, 3], 1)),
        ["conv2d"]
    );
    check(&[1, 4, 9, 8], conv(&[("dilations", &[2, 2])], &[6, 2, 3, 2], 2));
    check(&[1, 4, 9, 8], conv(&[], &[4, 1, 3, 3], 4));
    check(&[1, 4, 12], conv(&[("pads", &[2, 0])], &[6, 4, 3], 1));
}

#[test]
fn transposed_convolutions() {
    for (stride, pads, more) in [(2, 0, 0), (2, 1, 1), (1, 1, 0), (3, 2, 1)] {
        let made = check(&[1, 4, 5, 4], |draft, x| {
            let w = draft.floats(&[4, 3, 3, 3]);
            let attributes =
                [("strides", ints(&[stride; 2])), ("pads", ints(&[pads; 4])), ("output_padding", ints(&[more; 2]))];
            draft.node("ConvTranspose", &[x, w], &attributes)
        });
        assert_eq!(made.last().unwrap(), "conv2d");
    }
}

#[test]
fn flattening_before_a_product_moves_no_value() {
    let made = check(&[1, 3, 4, 5], |draft, x| {
        let flat = draft.node("Flatten", &[x], &[]);
        let w = draft.floats(&[7, 60]);
        draft.node("Gemm", &[flat, w], &[("transB", int(1))])
    });
    assert_eq!(made, ["rearrange", "dense"]);
}

#[test]
fn channel_shuffle_is_one_copy() {
    let made = check(&[1, 6, 4, 5], |draft, x| {
        let (cut, back) = (draft.whole(&[1, 2, 3, 4, 5]), draft.whole(&[1, 6, 4, 5]));
        let cut = draft.node("Reshape", &[x, cut], &[]);
        let turned = draft.node("Transpose", &[cut], &[("perm", ints(&[0, 2, 1, 3, 4]))]);
        let shuffled = draft.node("Reshape", &[turned, back], &[]);
        let attributes = [("kernel_shape", ints(&[2, 2]))];
        draft.node("MaxPool", &[shuffled], &attributes)
    });
    assert_eq!(made, ["rearrange", "max_pool"]);
}

#[test]
fn squeeze_and_excite() {
    check(&[1, 8, 4, 5], |draft, x| {
        let pool = draft.node("GlobalAveragePool", &[x], &[]);
        let w = draft.floats(&[8, 8, 1, 1]);
        let gate = draft.node("Conv", &[pool, w], &[]);
        let gate = draft.node("HardSigmoid", &[gate], &[]);
        draft.node("Mul", &[x, gate], &[])
    });
}

#[test]
fn pools_of_every_kind() {
    for op in ["MaxPool", "AveragePool"] {
        for (ceil, pads, include) in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1), (1, 1, 1)] {
            check(&[1, 4, 7, 6], |draft, x| {
                let mut attributes = vec![
                    ("kernel_shape", ints(&[3, 3])),
                    ("strides", ints(&[2, 2])),
                    ("pads", ints(&[pads; 4])),
                    ("ceil_mode", int(ceil)),
                ];
                if op == "AveragePool" {
                    attributes.push(("count_include_pad", int(include)));
                }
                draft.node(op, &[x], &attributes)
            });
        }
    }
    check(&[1, 4, 9], |draft, x| draft.node("MaxPool", &[x], &[("kernel_shape", ints(&[3]))]));
    check(&[1, 4, 3, 3], |draft, x| draft.node("GlobalMaxPool", &[x], &[]));
}

#[test]
fn functions_of_one_value() {
    let names = [
        "Abs",
        "Ceil",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "Neg",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Tanh",
        "ThresholdedRelu",
        "Celu",
        "Gelu",
    ];
    for op in names {
        check(&[1, 3, 4, 5], |draft, x| draft.node(op, &[x], &[]));
    }
    for op in ["Log", "Sqrt", "Reciprocal"] {
        check(&[1, 3, 4, 5], |draft, x| {
            let (size, one) = (draft.node("Abs", &[x], &[]), draft.number(1.0));
            let positive = draft.node("Add", &[size, one], &[]);
            draft.node(op, &[positive], &[])
        });
    }
}

#[test]
fn arithmetic_with_constants_in_every_shape() {
    for shape in [&[][..], &[1, 3, 1, 1], &[5], &[4, 1], &[1, 1, 4, 5], &[3, 4, 5], &[1, 3, 1, 5]] {
        for (op, turned) in [
            ("Add", false),
            ("Sub", false),
            ("Sub", true),
            ("Mul", true),
            ("Div", false),
            ("Max", true),
            ("PRelu", false),
        ] {
            check(&[1, 3, 4, 5], |draft, x| {
                let c = draft.of(shape, &[0.5, 1.25, -0.75, 2.0]);
                draft.node(op, &if turned { [c, x] } else { [x, c] }, &[])
            });
        }
    }
    // A constant that is larger than the value.
    check(&[1, 1, 4, 5], |draft, x| {
        let c = draft.floats(&[1, 3, 1, 1]);
        draft.node("Mul", &[x, c], &[])
    });
}

#[test]
fn two_values_in_every_pattern() {
    for (a, b) in
        [(&[1, 3, 4, 5][..], &[1, 3, 1, 1][..]), (&[1, 3, 1, 5], &[1, 1, 4, 1]), (&[1, 3, 4, 5], &[1, 1, 4, 1])]
    {
        for op in ["Add", "Sub", "Mul", "Min", "Max", "Greater", "LessOrEqual"] {
            let mut draft = Draft::new(5);
            let (x, y) = (draft.input(a), draft.input(b));
            let mut z = draft.node(op, &[x, y], &[]);
            if ["Greater", "LessOrEqual"].contains(&op) {
                z = draft.node("Cast", &[z], &[("to", int(1))]);
            }
            draft.graph.outputs = vec![z];
            draft.check(1e-6);
        }
    }
}

#[test]
fn a_small_transformer_block() {
    // Heads of 4 features over 6 positions of 8.
    check(&[1, 6, 8], |draft, x| {
        let (gamma, beta) = (draft.floats(&[8]), draft.floats(&[8]));
        let norm = draft.node("LayerNormalization", &[x, gamma, beta], &[("axis", int(-1))]);
        let heads = |draft: &mut Draft, perm: &[i64]| {
            let (w, b, shape) = (draft.floats(&[8, 8]), draft.floats(&[8]), draft.whole(&[1, 6, 2, 4]));
            let y = draft.node("MatMul", &[norm, w], &[]);
            let y = draft.node("Add", &[y, b], &[]);
            let y = draft.node("Reshape", &[y, shape], &[]);
            draft.node("Transpose", &[y], &[("perm", ints(perm))])
        };
        let (q, k, v) = (heads(draft, &[0, 2, 1, 3]), heads(draft, &[0, 2, 3, 1]), heads(draft, &[0, 2, 1, 3]));
        let scores = draft.node("MatMul", &[q, k], &[]);
        let half = draft.number(0.5);
        let scores = draft.node("Mul", &[scores, half], &[]);
        let weights = draft.node("Softmax", &[scores], &[("axis", int(-1))]);
        let mixed = draft.node("MatMul", &[weights, v], &[]);
        let mixed = draft.node("Transpose", &[mixed], &[("perm", ints(&[0, 2, 1, 3]))]);
        let shape = draft.whole(&[1, 6, 8]);
        let mixed = draft.node("Reshape", &[mixed, shape], &[]);
        draft.node("Add", &[x, mixed], &[])
    });
}

#[test]
fn parts_and_wholes() {
    check(&[1, 6, 4, 5], |draft, x| {
        let parts = draft.whole(&[2, 4]);
        let parts = draft.nodes("Split", &[x, parts], &[("axis", int(1))], 2);
        draft.node("Concat", &[parts[1], parts[0]], &[("axis", int(1))])
    });
    check(&[1, 6, 4, 5], |draft, x| draft.node("Concat", &[x, x], &[("axis", int(2))]));
    check(&[1, 6, 8], |draft, x| {
        let token = draft.floats(&[1, 1, 8]);
        let all = draft.node("Concat", &[token, x], &[("axis", int(1))]);
        let place = draft.whole(&[0]);
        draft.node("Gather", &[all, place], &[("axis", int(1))])
    });
    for (starts, ends, axes, steps) in [([1, 0], [3, 5], [2, 3], [1, 2]), ([-1, 5], [-100, 0], [2, 3], [-1, -2])] {
        check(&[1, 3, 4, 5], |draft, x| {
            let inputs = [x, draft.whole(&starts), draft.whole(&ends), draft.whole(&axes), draft.whole(&steps)];
            draft.node("Slice", &inputs, &[])
        });
    }
    for mode in ["constant", "reflect", "edge"] {
        for pads in [[0, 0, 1, 2, 0, 0, 2, 1], [0, 1, 0, 0, 0, 1, 0, 0]] {
            check(&[1, 3, 4, 5], |draft, x| {
                let pads = draft.whole(&pads);
                draft.node("Pad", &[x, pads], &[("mode", Attribute::Text(mode.into()))])
            });
        }
    }
}

#[test]
fn reductions_along_any_axes() {
    for op in
        ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd", "ReduceL1", "ReduceLogSumExp"]
    {
        for axes in [&[1][..], &[2], &[2, 3], &[1, 3], &[1, 2, 3], &[3]] {
            for keep in [0, 1] {
                check(&[1, 3, 4, 5], |draft, x| {
                    let axes = draft.whole(axes);
                    draft.node(op, &[x, axes], &[("keepdims", int(keep))])
                });
            }
        }
    }
}

#[test]
fn normalizations() {
    check(&[1, 6, 4, 5], |draft, x| {
        let (scale, shift) = (draft.floats(&[6]), draft.floats(&[6]));
        draft.node("InstanceNormalization", &[x, scale, shift], &[])
    });
    check(&[1, 6, 4, 5], |draft, x| {
        let (scale, shift) = (draft.floats(&[6]), draft.floats(&[6]));
        draft.node("GroupNormalization", &[x, scale, shift], &[("num_groups", int(2))])
    });
    check(&[1, 6, 4, 5], |draft, x| draft.node("LRN", &[x], &[("size", int(3))]));
    for op in ["Softmax", "LogSoftmax"] {
        for axis in [1, 2, 3] {
            check(&[1, 6, 4, 5], |draft, x| draft.node(op, &[x], &[("axis", int(axis))]));
        }
    }
    check(&[1, 6, 4, 5], |draft, x| draft.node("LpNormalization", &[x], &[("axis", int(1))]));
}

#[test]
fn places_of_the_largest() {
    for (axis, keep) in [(1, 1), (3, 0)] {
        check(&[1, 6, 4, 5], |draft, x| {
            let place = draft.node("ArgMax", &[x], &[("axis", int(axis)), ("keepdims", int(keep))]);
            draft.node("Cast", &[place], &[("to", int(1))])
        });
    }
}

#[test]
fn images_of_other_sizes() {
    for mode in ["nearest", "linear"] {
        check(&[1, 3, 4, 5], |draft, x| {
            let scales = draft.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
            let none = draft.constant(&[0], &[]);
            draft.node("Resize", &[x, none, scales], &[("mode", Attribute::Text(mode.into()))])
        });
    }
    for mode in ["DCR", "CRD"] {
        check(&[1, 8, 3, 2], |draft, x| {
            draft.node("DepthToSpace", &[x], &[("blocksize", int(2)), ("mode", Attribute::Text(mode.into()))])
        });
    }
    check(&[1, 2, 4, 6], |draft, x| draft.node("SpaceToDepth", &[x], &[("blocksize", int(2))]));
}

#[test]
fn the_list_of_operations_is_long() {
    let names = horq_import::operations();
    assert!(names.len() >= 100, "{}", names.len());
    assert!(names.is_sorted());
}
