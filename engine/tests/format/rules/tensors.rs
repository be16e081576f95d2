//! What tensors must hold.

use horq::error::{FileError, GraphError, TensorError};
use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Quantizer};
use horq::{Builder, Error, Model, Order};
use serde_json::json;

use super::{assert_refused, refused, refused_full, refused_of};
use crate::forge::{Forge, Tensor};
use crate::zoo::{packed, small};

#[test]
fn tensors_must_fill_whole_lines() {
    for length in [4, 65] {
        let odd = Tensor { dtype: "U8".into(), shape: vec![length], bytes: vec![0; length] };
        let found = refused(|forge| forge.tensors.insert(0, ("odd".into(), odd)));
        assert_refused!(
            found,
            Error::Tensor(TensorError::TensorLength { .. }),
            "`odd`",
            &format!("{length} bytes"),
            "64"
        );
    }
}

#[test]
fn the_tensors_must_be_those_of_the_graph() {
    let missing = refused(|forge| forge.node("stem")["bias"] = json!("bias"));
    assert_refused!(missing, Error::Tensor(TensorError::TensorMissing { .. }), "`stem`", "`bias`");
    let unknown = refused(|forge| drop(forge.node("stem").as_object_mut().unwrap().remove("bias")));
    assert_refused!(unknown, Error::Tensor(TensorError::TensorUnknown { .. }), "`stem.bias`");
    let shared = refused(|forge| forge.node("binary")["bases"][0]["alpha"] = json!("stem.bias"));
    assert_refused!(shared, Error::Tensor(TensorError::TensorShared { .. }), "`stem`", "`binary`", "`stem.bias`");
}

#[test]
fn tensors_must_have_the_type_and_shape_that_the_graph_implies() {
    let floats = refused(|forge| forge.tensor("binary.weight.0").dtype = "F32".into());
    assert_refused!(floats, Error::Tensor(TensorError::TensorDtype { .. }), "`binary.weight.0`", "F32", "U32");
    let words = refused(|forge| forge.tensor("stem.bias").dtype = "I32".into());
    assert_refused!(words, Error::Tensor(TensorError::TensorDtype { .. }), "`stem`", "`stem.bias`", "I32", "F32");
    let flat = refused(|forge| forge.tensor("binary.weight.0").shape = vec![9 * 16]);
    assert_refused!(flat, Error::Tensor(TensorError::TensorShape { .. }), "`binary`", "[1, 9, 1, 16]", "[144]");
    let filters = refused(|forge| forge.node("stem")["filters"] = json!(33));
    assert_refused!(
        filters,
        Error::Tensor(TensorError::TensorShape { .. }),
        "`stem.weight`",
        "[3, 18, 16]",
        "[1, 18, 16]"
    );
    let order = refused_full(|forge| forge.node("two_bases")["order"] = json!(1));
    assert_refused!(order, Error::Tensor(TensorError::DirtyPadding { index: 1, .. }), "`two_bases.scales`");
    let dims = refused(|forge| forge.tensor("stem.bias").shape = [vec![16], vec![1; 1000]].concat());
    assert_refused!(dims, Error::Tensor(TensorError::TensorShape { .. }), "993 sizes more");
}

#[test]
fn floats_must_be_finite() {
    for (bits, text) in [(0x7fc0_0000, "NaN"), (0x7f80_0000, "inf"), (0xff80_0000, "-inf"), (0x7f80_0001, "NaN")] {
        for tensor in ["stem.weight", "stem.bias", "binary.alpha.0", "binary.scales", "logits.weight"] {
            let node = tensor.split('.').next().unwrap();
            let found = refused(|forge| forge.set(tensor, 1, bits));
            assert_refused!(
                found,
                Error::Tensor(TensorError::NotFinite { index: 1, .. }),
                &format!("`{tensor}`"),
                &format!("`{node}`"),
                text
            );
        }
    }
    let golden = refused_full(|forge| forge.set("golden.output", 19, 0x7f80_0000));
    assert_refused!(golden, Error::Tensor(TensorError::NotFinite { index: 19, .. }), "`golden.output`");
}

#[test]
fn fixed_scales_must_be_positive() {
    for value in [0.0_f32, -0.0, -1.0] {
        let refused = refused(|forge| forge.set("binary.scales", 1, value.to_bits()));
        assert_refused!(
            refused,
            Error::Tensor(TensorError::ScaleNotPositive { index: 1, .. }),
            "`binary.scales`",
            "positive"
        );
    }
}

/// The b of each order, which is halved up to seven times.
#[test]
fn halving_scales_must_be_large_enough_to_be_halved() {
    let of = |value: f32| {
        move |forge: &mut Forge| {
            forge.node("binary")["mode"] = json!("halving");
            forge.set("binary.scales", 1, value.to_bits());
        }
    };
    let least = 2.0_f32.powi(-110);
    for value in [0.0, -0.0, -1.0, f32::MIN_POSITIVE, least.next_down()] {
        let refused = refused(of(value));
        assert_refused!(
            refused,
            Error::Tensor(TensorError::ScaleTooSmall { index: 1, .. }),
            "`binary.scales`",
            "at least 2^-110"
        );
    }
    assert_refused!(refused(of(f32::NAN)), Error::Tensor(TensorError::NotFinite { index: 1, .. }), "`binary.scales`");
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    of(least)(&mut forge);
    Model::from_bytes(&forge.seal()).unwrap();
    let quantize = Quantizer::halving(Order::new(2).unwrap(), vec![1.0, least.next_down()]);
    let layer = BinaryDense::new(1, quantize, [Basis::new(&[1.0], &[1.0])]);
    let error = Builder::new("x", Shape::Flat(1)).add("y", &["x"], layer).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Tensor(TensorError::ScaleTooSmall { index: 1, .. })), "{error}");
}

#[test]
fn codes_must_name_entries_of_a_codebook() {
    let refused = |change: &dyn Fn(&mut Forge)| refused_of(packed().to_bytes("logits").unwrap(), change);
    for entries in [0, 33, usize::MAX] {
        let found = refused(&|forge| forge.node("nine")["entries"] = json!(entries));
        assert_refused!(
            found,
            Error::Graph(GraphError::CodebookEntries { limit: 32, .. }),
            "`nine`",
            &format!("{entries} entries")
        );
    }
    // Code 9 in the last place of a word of nine entries, then one entry less than there are.
    let beyond = refused(&|forge| forge.set("nine.codes", 3, 9 << 28));
    assert_refused!(
        beyond,
        Error::Tensor(TensorError::CodeBeyond { index: 3, code: 9, entries: 9, .. }),
        "`nine.codes`",
        "code 9",
        "9 entries"
    );
    let fewer = refused(&|forge| {
        forge.node("three")["entries"] = json!(2);
        forge.set("three.codebook", 2, 0);
    });
    assert_refused!(
        fewer,
        Error::Tensor(TensorError::CodeBeyond { code: 2, entries: 2, .. }),
        "`three.codes`",
        "2 entries"
    );
    let nan = refused(&|forge| forge.set("nine.codebook", 8, f32::NAN.to_bits()));
    assert_refused!(nan, Error::Tensor(TensorError::NotFinite { index: 8, .. }), "`nine.codebook`");
    let wide = refused(&|forge| forge.node("nine")["entries"] = json!(17));
    assert_refused!(wide, Error::Tensor(TensorError::TensorShape { .. }), "`nine.codes`", "[4, 14, 16]", "[4, 11, 16]");
    // A code past the depth of 81, a filter past the 17 of a group, the spare bits of 3-bit codes.
    for (tensor, element, bits) in
        [("nine.codes", 10 * 16, 1 << 4), ("nine.codes", 11 * 16 + 1, 1), ("three.codes", 2, 1 << 30)]
    {
        let found = refused(&|forge| forge.set(tensor, element, bits));
        assert_refused!(
            found,
            Error::Tensor(TensorError::DirtyPadding { .. }),
            &format!("`{tensor}`"),
            &format!("element {element} ")
        );
    }
    let signs = refused(&|forge| forge.set("signs.weight", 0, 1 << 6));
    assert_refused!(signs, Error::Tensor(TensorError::DirtyPadding { index: 0, .. }), "`signs.weight`");
    let floats = refused(&|forge| forge.tensor("three.codes").dtype = "F32".into());
    assert_refused!(floats, Error::Tensor(TensorError::TensorDtype { .. }), "`three.codes`", "F32", "U32");
}

#[test]
fn bytes_are_symmetric_and_their_scale_can_be_divided_by() {
    let refused = |change: &dyn Fn(&mut Forge)| refused_of(packed().to_bytes("logits").unwrap(), change);
    let extreme = refused(&|forge| forge.tensor("bytes.weight").bytes[9] = 0x80);
    assert_refused!(
        extreme,
        Error::Tensor(TensorError::Int8Range { index: 9, .. }),
        "`bytes.weight`",
        "element 9",
        "-127 to 127"
    );
    // A run of 111 products takes 28 rows, the last of three; the third panel has 5 filters; the dense layer 5 features and 6 filters.
    for (tensor, byte) in
        [("bytes.weight", 27 * 64 + 3), ("bytes.weight", 2 * 84 * 64 + 20), ("eight.weight", 65), ("eight.weight", 24)]
    {
        let found = refused(&|forge| forge.tensor(tensor).bytes[byte] = 1);
        assert_refused!(
            found,
            Error::Tensor(TensorError::DirtyPadding { .. }),
            &format!("`{tensor}`"),
            &format!("element {byte} ")
        );
    }
    for scale in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, 1e-39] {
        let found = refused(&|forge| forge.set("eight.input_scale", 0, scale.to_bits()));
        assert_refused!(found, Error::Tensor(TensorError::InputScale { .. }), "`eight.input_scale`", "2^-126");
    }
    let second = refused(&|forge| forge.set("eight.input_scale", 1, 1));
    assert_refused!(second, Error::Tensor(TensorError::DirtyPadding { index: 1, .. }), "`eight.input_scale`");
    let shape = refused(&|forge| forge.tensor("eight.weight").shape = vec![1, 2, 64]);
    assert_refused!(shape, Error::Tensor(TensorError::TensorShape { .. }), "`eight.weight`", "[1, 2, 16, 4]");
    let unsigned = refused(&|forge| forge.tensor("eight.weight").dtype = "U8".into());
    assert_refused!(unsigned, Error::Tensor(TensorError::TensorDtype { .. }), "`eight.weight`", "U8", "I8");
    for zero_point in [json!(256), json!(-1), json!(0.5), json!(null)] {
        let (_, text) = refused(&|forge| forge.node("eight")["zero_point"] = zero_point.clone());
        assert!(text.contains("graph"), "{zero_point}: {text}");
    }
}

#[test]
fn padding_must_be_zero() {
    // Bit panels: a channel past the last, a filter past the last; 10 filters and 9 channels a group.
    for (element, bit) in [(0, 9), (0, 31), (10, 0), (15, 31)] {
        let found = refused_full(|forge| forge.set("grouped.weight.0", element, 1 << bit));
        assert_refused!(
            found,
            Error::Tensor(TensorError::DirtyPadding { .. }),
            "`grouped`",
            "`grouped.weight.0`",
            &format!("element {element} ")
        );
    }
    // The second panel of a group of 18 filters, and float panels alike.
    let second = refused_full(|forge| forge.set("two_bases.weight.1", 9 * 16 + 2, 1));
    assert_refused!(second, Error::Tensor(TensorError::DirtyPadding { index: 146, bits: 1, .. }), "0x00000001");
    let floats = refused_full(|forge| forge.set("stem.weight", 45 * 16 + 44 * 16 + 2, 0x8000_0000));
    assert_refused!(
        floats,
        Error::Tensor(TensorError::DirtyPadding { index: 1426, .. }),
        "`stem.weight`",
        "0x80000000"
    );
    for (tensor, element) in
        [("stem.bias", 18), ("norm.scale", 31), ("act.slope", 18), ("two_bases.scales", 2), ("golden.input", 630)]
    {
        let found = refused_full(|forge| forge.set(tensor, element, 1_f32.to_bits()));
        assert_refused!(found, Error::Tensor(TensorError::DirtyPadding { .. }), &format!("`{tensor}`"), "padding");
    }
}

#[test]
fn golden_values_must_be_whole_samples() {
    let set = |samples: u64| {
        refused_full(move |forge| {
            let golden = json!({ "samples": samples, "input": "golden.input", "output": "golden.output" });
            forge.metadata.insert("golden".into(), golden.to_string());
        })
    };
    assert_refused!(set(0), Error::File(FileError::Malformed { key: "golden", .. }), "at least one sample");
    assert_refused!(
        set(u64::MAX),
        Error::File(FileError::Malformed { key: "golden", .. }),
        "more than the file can hold"
    );
    assert_refused!(set(3), Error::Tensor(TensorError::TensorShape { .. }), "`golden.input`", "[960]", "[640]");
    let unnamed = refused_full(|forge| drop(forge.metadata.remove("golden")));
    assert_refused!(unnamed, Error::Tensor(TensorError::TensorUnknown { .. }), "`golden.input`");
}
