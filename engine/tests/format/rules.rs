//! One test a rule: a file that breaks it, and the error that says so.

use horq::{Error, Model};
use serde_json::{Value, json};

use crate::forge::{Forge, Tensor, assemble, reseal};
use crate::zoo::{every_op, every_op_input, noise, packed, small};

/// The error about a small model that was changed and sealed again, and its text.
fn refused(change: impl FnOnce(&mut Forge)) -> (Error, String) {
    refused_of(small().to_bytes("logits").unwrap(), change)
}

/// The same for the model with every operation and golden values.
fn refused_full(change: impl FnOnce(&mut Forge)) -> (Error, String) {
    let mut builder = every_op();
    builder.golden(&every_op_input(), &noise(19, 20));
    refused_of(builder.to_bytes("probabilities").unwrap(), change)
}

fn refused_of(file: Vec<u8>, change: impl FnOnce(&mut Forge)) -> (Error, String) {
    let mut forge = Forge::open(&file);
    Model::from_bytes(&forge.seal()).expect("the unchanged model is right");
    change(&mut forge);
    error_of(&forge.seal())
}

fn error_of(file: &[u8]) -> (Error, String) {
    let error = Model::from_bytes(file).expect_err("the file breaks a rule");
    let text = error.to_string();
    assert!(!text.starts_with(char::is_uppercase) && text.len() < 600, "{text}");
    (error, text)
}

/// Asserts that an error is of that variant and that its text names all of these.
macro_rules! assert_refused {
    ($refused:expr, $pattern:pat, $($part:expr),*) => {{
        let (error, text) = $refused;
        assert!(matches!(error, $pattern), "{error:?}");
        $(assert!(text.contains($part), "`{text}` does not name `{}`", $part);)*
    }};
}

#[test]
fn the_header_must_be_whole() {
    assert_refused!(error_of(b"horq"), Error::Truncated { length: 4, needed: 8 }, "4 bytes");
    assert_refused!(error_of(&[255; 100]), Error::Truncated { length: 100, .. }, "cut off");
    let file = small().to_bytes("logits").unwrap();
    assert_refused!(error_of(&file[..200]), Error::Truncated { length: 200, .. }, "200");
}

#[test]
fn the_header_must_be_bounded() {
    let file = assemble(&" ".repeat(horq::MAX_HEADER_BYTES + 1), 64, &[]);
    assert_refused!(error_of(&file), Error::HeaderTooLong { .. }, "1048576");
}

#[test]
fn the_header_must_be_that_of_safetensors() {
    for header in ["", "{", "[]", "nonsense", "{\"a\":1}", "{\"__metadata__\":{\"format\":1}}", "\u{fffd}"] {
        assert_refused!(error_of(&assemble(header, 64, &[])), Error::NotSafetensors { .. }, "not a safetensors file");
    }
    let overlapping = r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"b":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;
    assert_refused!(error_of(&assemble(overlapping, 64, &[0; 64])), Error::NotSafetensors { .. }, "offset");
    let wrong_size = r#"{"a":{"dtype":"F32","shape":[17],"data_offsets":[0,64]}}"#;
    assert_refused!(error_of(&assemble(wrong_size, 64, &[0; 64])), Error::NotSafetensors { .. }, "shape");
    let overflowing = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert_refused!(error_of(&assemble(overflowing, 64, &[])), Error::NotSafetensors { .. }, "overflow");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_refused!(error_of(&assemble(&deep, 64, &[])), Error::NotSafetensors { .. }, "recursion");
}

/// Tensors whose end lies just below the end of the address space: lengths must not wrap around.
#[test]
fn the_tensors_must_fill_the_data() {
    let file = small().to_bytes("logits").unwrap();
    let data = file.len() - crate::forge::data_start(&file);
    let found = (data - 64).to_string();
    assert_refused!(error_of(&file[..file.len() - 64]), Error::DataLength { .. }, &data.to_string(), &found);
    let longer = [&file[..], &[0; 64]].concat();
    assert_refused!(error_of(&longer), Error::DataLength { .. }, "bytes of data");
    let step = (1usize << 61) - 64;
    let entry = |i: usize| {
        format!(r#""{i}":{{"dtype":"U8","shape":[{step}],"data_offsets":[{},{}]}}"#, i * step, (i + 1) * step)
    };
    let mut entries: Vec<String> = (0..8).map(entry).collect();
    let end = 8 * step;
    entries.push(format!(r#""8":{{"dtype":"U8","shape":[511],"data_offsets":[{end},{}]}}"#, end + 511));
    assert_refused!(
        error_of(&assemble(&format!("{{{}}}", entries.join(",")), 64, &[])),
        Error::DataLength { .. },
        "18446744073709551615"
    );
}

#[test]
fn the_data_must_start_on_a_boundary() {
    assert_refused!(
        refused(|forge| {
            forge.alignment = 8;
            while (8 + forge.seal().len()).is_multiple_of(64)
                || crate::forge::data_start(&forge.seal()).is_multiple_of(64)
            {
                forge.metadata.entry("note.pad".into()).or_default().push_str("12345678");
            }
        }),
        Error::DataUnaligned { .. },
        "multiple of 64"
    );
}

#[test]
fn the_metadata_must_be_of_this_format() {
    assert_refused!(error_of(&assemble("{}", 64, &[])), Error::NotHorq { .. }, "nothing");
    let set = |value: &'static str| refused(move |forge| drop(forge.metadata.insert("format".into(), value.into())));
    assert_refused!(set("pt"), Error::NotHorq { .. }, "\"pt\"", "horq");
}

#[test]
fn the_version_must_be_known() {
    for version in ["2.0", "0.9", "1", "", "1.", "x.y", "1.0.0", "-1.0", "+1.0", "99999999999.0"] {
        let refused = refused(|forge| drop(forge.metadata.insert("format_version".into(), version.into())));
        assert_refused!(refused, Error::Version { .. }, &format!("\"{version}\""), "1.x");
    }
}

#[test]
fn every_key_must_be_there() {
    for key in ["format_version", "producer"] {
        assert_refused!(refused(|forge| drop(forge.metadata.remove(key))), Error::MissingKey { .. }, key);
    }
    for key in ["graph", "header_sha256", "data_sha256"] {
        let mut file = rename_key(small().to_bytes("logits").unwrap(), key);
        reseal(&mut file);
        assert_refused!(error_of(&file), Error::MissingKey { .. }, key);
    }
}

/// Changes the first letter of a key of the metadata.
fn rename_key(mut file: Vec<u8>, key: &str) -> Vec<u8> {
    let quoted = format!("\"{key}\":");
    let place = file.windows(quoted.len()).position(|window| window == quoted.as_bytes()).unwrap();
    file[place + 1] = b'X';
    file
}

#[test]
fn values_of_keys_must_parse() {
    let set = |key: &'static str, value: &str| {
        let value = value.to_owned();
        refused(move |forge| drop(forge.metadata.insert(key.into(), value)))
    };
    for graph in ["", "{}", "[]", "{\"input\":{\"name\":\"x\",\"shape\":[1,2]},\"output\":\"y\",\"nodes\":[]}"] {
        assert_refused!(set("graph", graph), Error::Malformed { key: "graph", .. }, "docs/format.md");
    }
    for golden in ["", "{}", "{\"samples\":-1,\"input\":\"a\",\"output\":\"b\"}"] {
        assert_refused!(set("golden", golden), Error::Malformed { key: "golden", .. }, "golden");
    }
    for digest in ["", "0", &"G".repeat(64), &"A".repeat(64)] {
        assert_refused!(set("header_sha256", digest), Error::Malformed { key: "header_sha256", .. }, "64");
        assert_refused!(set("data_sha256", digest), Error::Malformed { key: "data_sha256", .. }, "64");
    }
}

#[test]
fn nodes_must_parse() {
    let unknown = refused(|forge| forge.node("flat")["op"] = json!("flat_earth"));
    assert_refused!(unknown, Error::NodeMalformed { index: 2, .. }, "flat_earth", "node 2", "`flat`");
    for field in ["kernel", "stride", "dilation", "padding", "filters", "groups", "pad_value", "order", "mode", "bases"]
    {
        let refused = refused(|forge| drop(forge.node("binary").as_object_mut().unwrap().remove(field)));
        assert_refused!(refused, Error::NodeMalformed { index: 1, .. }, field);
    }
    for (field, value) in
        [("kernel", json!([3])), ("filters", json!(-4)), ("filters", json!(4.5)), ("mode", json!("all"))]
    {
        let refused = refused(|forge| forge.node("binary")[field] = value);
        assert_refused!(refused, Error::NodeMalformed { index: 1, .. }, "node 1");
    }
}

#[test]
fn digests_must_be_those_of_the_bytes() {
    let mut file = small().to_bytes("logits").unwrap();
    let place = file.windows(4).position(|window| window == b"none").unwrap();
    file[place] = b'N';
    assert_refused!(error_of(&file), Error::Digest { part: "header", .. }, "header was changed");
    let mut file = small().to_bytes("logits").unwrap();
    // The sign of a weight in the stem: still a right file, but not the one that was written.
    let data = crate::forge::data_start(&file);
    file[data + 3] ^= 0x80;
    let error = Model::from_bytes(&file).unwrap().verify_digest().unwrap_err();
    assert!(matches!(error, Error::Digest { part: "data", .. }), "{error}");
}

#[test]
fn a_graph_has_nodes() {
    assert_refused!(refused(|forge| forge.graph["nodes"] = json!([])), Error::NodeCount { count: 0, .. }, "4096");
    let many = refused(|forge| {
        let node = forge.node("flat").clone();
        forge.graph["nodes"] = Value::Array(vec![node; horq::MAX_NODES + 1]);
    });
    assert_refused!(many, Error::NodeCount { count: 4097, .. }, "4097");
}

#[test]
fn names_must_be_printable() {
    let long = "n".repeat(257);
    for (name, reason) in [("", "empty"), (&long[..], "256"), ("a\nb", "control")] {
        assert_refused!(refused(|forge| forge.node("flat")["name"] = json!(name)), Error::Name { .. }, reason);
        assert_refused!(refused(|forge| forge.graph["input"]["name"] = json!(name)), Error::Name { .. }, reason);
    }
}

#[test]
fn names_must_differ() {
    assert_refused!(refused(|forge| forge.node("flat")["name"] = json!("stem")), Error::DuplicateName { .. }, "`stem`");
    assert_refused!(refused(|forge| forge.node("flat")["name"] = json!("x")), Error::DuplicateName { .. }, "`x`");
}

#[test]
fn nodes_must_follow_what_they_read() {
    let nobody = refused(|forge| forge.node("flat")["inputs"] = json!(["nobody"]));
    assert_refused!(nobody, Error::UnknownInput { .. }, "`flat`", "`nobody`");
    let cycle = refused(|forge| forge.node("stem")["inputs"] = json!(["binary"]));
    assert_refused!(cycle, Error::UnknownInput { .. }, "`stem`", "`binary`");
    let itself = refused(|forge| forge.node("stem")["inputs"] = json!(["stem"]));
    assert_refused!(itself, Error::UnknownInput { .. }, "`stem`");
}

#[test]
fn nodes_must_read_as_many_values_as_they_take() {
    for (node, inputs, expected) in [
        ("stem", json!([]), "must read 1"),
        ("stem", json!(["image", "image"]), "must read 1"),
        ("sum", json!(["act"]), "must read 2"),
        ("sum", json!(["act", "act", "act"]), "must read 2"),
        ("both", json!(["max"]), "2 or more"),
    ] {
        let refused = refused_full(|forge| forge.node(node)["inputs"] = inputs);
        assert_refused!(refused, Error::InputCount { .. }, node, expected);
    }
}

#[test]
fn values_must_have_the_rank_that_nodes_read() {
    for (node, input) in [("stem", "vector"), ("two_bases", "vector"), ("max", "vector"), ("pixels", "vector")] {
        let refused = refused_full(|forge| {
            let nodes = forge.graph["nodes"].as_array_mut().unwrap();
            nodes.insert(0, json!({ "name": "vector", "op": "flatten", "inputs": ["image"] }));
            forge.node(node)["inputs"] = json!([input]);
        });
        assert_refused!(refused, Error::Rank { .. }, &format!("`{node}`"), "`vector`", "315", "image");
    }
    for node in ["hidden", "logits"] {
        let refused = refused_full(|forge| forge.node(node)["inputs"] = json!(["sum"]));
        assert_refused!(refused, Error::Rank { .. }, &format!("`{node}`"), "9x7x18", "flatten");
    }
}

#[test]
fn values_that_are_combined_must_go_together() {
    let sum = refused_full(|forge| forge.node("sum")["inputs"] = json!(["two_bases", "grouped"]));
    assert_refused!(sum, Error::ShapesDiffer { .. }, "`sum`", "9x7x18", "9x7x20", "equal");
    let both = refused_full(|forge| forge.node("both")["inputs"] = json!(["mean", "sum"]));
    assert_refused!(both, Error::ShapesDiffer { .. }, "`both`", "4x3x18", "9x7x18");
    let ranks = refused_full(|forge| forge.node("features")["inputs"] = json!(["channels", "relu"]));
    assert_refused!(ranks, Error::ShapesDiffer { .. }, "`features`", "36", "4x3x36");
}

#[test]
fn windows_must_fit_their_input() {
    for (field, value, reason) in [
        ("kernel", json!([0, 3]), "at least 1"),
        ("stride", json!([1, 0]), "at least 1"),
        ("dilation", json!([0, 1]), "at least 1"),
        ("filters", json!(0), "at least 1"),
        ("groups", json!(0), "at least 1"),
        ("groups", json!(3), "3 groups do not divide"),
        ("kernel", json!([12, 3]), "12 pixels"),
        ("kernel", json!([usize::MAX, usize::MAX]), "does not fit"),
        ("dilation", json!([usize::MAX, 1]), "overflows"),
        ("padding", json!([0, usize::MAX, 0, usize::MAX]), "overflows"),
        ("padding", json!([0, 1_u64 << 40, 0, 0]), "does not fit"),
        ("filters", json!(usize::MAX), "overflow"),
        ("filters", json!(1_u64 << 40), "elements"),
    ] {
        let found = refused_full(|forge| forge.node("stem")[field] = value);
        assert_refused!(found, Error::Geometry { .. }, "`stem`", reason, "9x7");
    }
    let deep = refused_full(|forge| {
        forge.graph["input"]["shape"] = json!([1, 1, 1 << 24]);
        forge.node("stem")["kernel"] = json!([1, 1]);
        forge.node("stem")["padding"] = json!([0, 0, 0, 0]);
    });
    assert_refused!(deep, Error::Geometry { .. }, "`stem`", "more than 8388608 products");
}

#[test]
fn windows_of_pools_must_hold_a_pixel() {
    for node in ["max", "mean"] {
        let wide = refused_full(|forge| forge.node(node)["padding"] = json!([0, 0, 3, 0]));
        assert_refused!(wide, Error::Geometry { .. }, &format!("`{node}`"), "padding of 3", "empty");
    }
    let sparse = refused_full(|forge| {
        forge.node("mean")["dilation"] = json!([1, 4]);
        forge.node("mean")["padding"] = json!([1, 4, 1, 4]);
    });
    assert_refused!(sparse, Error::Geometry { .. }, "`mean`", "dilation of 4", "3 padded pixels");
}

#[test]
fn values_must_have_a_size_within_bounds() {
    for shape in [json!([0]), json!([3, 0, 2]), json!([1 << 29]), json!([1_u64 << 40, 1_u64 << 40, 1])] {
        let refused = refused(|forge| forge.graph["input"]["shape"] = shape);
        assert_refused!(refused, Error::ValueSize { .. }, "`x`", "268435456");
    }
    let output = refused(|forge| {
        forge.graph["input"]["shape"] = json!([16384, 8192, 2]);
    });
    assert_refused!(output, Error::Geometry { .. }, "`stem`", "2147483648");
}

#[test]
fn the_output_must_be_a_node() {
    for output in ["nothing", "x"] {
        assert_refused!(refused(|forge| forge.graph["output"] = json!(output)), Error::UnknownOutput { .. }, output);
    }
}

#[test]
fn every_value_must_be_read() {
    let refused = refused(|forge| forge.graph["output"] = json!("flat"));
    assert_refused!(refused, Error::Unread { .. }, "`logits`", "`flat`");
}

#[test]
fn orders_must_be_1_to_8() {
    for order in [0, 9, usize::MAX] {
        let refused = refused(|forge| forge.node("binary")["order"] = json!(order));
        assert_refused!(refused, Error::Order { .. }, "`binary`", &order.to_string(), "8");
    }
}

#[test]
fn bases_must_be_1_to_8() {
    for bases in [0, 9] {
        let base = json!({ "weight": "w", "alpha": "a" });
        let refused = refused(|forge| forge.node("binary")["bases"] = Value::Array(vec![base; bases]));
        assert_refused!(refused, Error::Bases { .. }, "`binary`", &format!("{bases} weight bases"));
    }
}

#[test]
fn only_mode_fixed_has_scales() {
    let missing = refused(|forge| drop(forge.node("binary").as_object_mut().unwrap().remove("scales")));
    assert_refused!(missing, Error::ScalesMissing { .. }, "`binary`", "one positive constant an order");
    for mode in ["window", "image", "none"] {
        let unexpected = refused(|forge| forge.node("binary")["mode"] = json!(mode));
        assert_refused!(unexpected, Error::ScalesUnexpected { .. }, "`binary`", "`binary.scales`");
    }
}

#[test]
fn tensors_must_fill_whole_lines() {
    for length in [4, 65] {
        let odd = Tensor { dtype: "U8".into(), shape: vec![length], bytes: vec![0; length] };
        let found = refused(|forge| forge.tensors.insert(0, ("odd".into(), odd)));
        assert_refused!(found, Error::TensorLength { .. }, "`odd`", &format!("{length} bytes"), "64");
    }
}

#[test]
fn the_tensors_must_be_those_of_the_graph() {
    let missing = refused(|forge| forge.node("stem")["bias"] = json!("bias"));
    assert_refused!(missing, Error::TensorMissing { .. }, "`stem`", "`bias`");
    let unknown = refused(|forge| drop(forge.node("stem").as_object_mut().unwrap().remove("bias")));
    assert_refused!(unknown, Error::TensorUnknown { .. }, "`stem.bias`");
    let shared = refused(|forge| forge.node("binary")["bases"][0]["alpha"] = json!("stem.bias"));
    assert_refused!(shared, Error::TensorShared { .. }, "`stem`", "`binary`", "`stem.bias`");
}

#[test]
fn tensors_must_have_the_type_and_shape_that_the_graph_implies() {
    let floats = refused(|forge| forge.tensor("binary.weight.0").dtype = "F32".into());
    assert_refused!(floats, Error::TensorDtype { .. }, "`binary.weight.0`", "F32", "U32");
    let words = refused(|forge| forge.tensor("stem.bias").dtype = "I32".into());
    assert_refused!(words, Error::TensorDtype { .. }, "`stem`", "`stem.bias`", "I32", "F32");
    let flat = refused(|forge| forge.tensor("binary.weight.0").shape = vec![9 * 16]);
    assert_refused!(flat, Error::TensorShape { .. }, "`binary`", "[1, 9, 1, 16]", "[144]");
    let filters = refused(|forge| forge.node("stem")["filters"] = json!(33));
    assert_refused!(filters, Error::TensorShape { .. }, "`stem.weight`", "[3, 18, 16]", "[1, 18, 16]");
    let order = refused_full(|forge| forge.node("two_bases")["order"] = json!(1));
    assert_refused!(order, Error::DirtyPadding { index: 1, .. }, "`two_bases.scales`");
    let dims = refused(|forge| forge.tensor("stem.bias").shape = [vec![16], vec![1; 1000]].concat());
    assert_refused!(dims, Error::TensorShape { .. }, "993 sizes more");
}

#[test]
fn floats_must_be_finite() {
    for (bits, text) in [(0x7fc0_0000, "NaN"), (0x7f80_0000, "inf"), (0xff80_0000, "-inf"), (0x7f80_0001, "NaN")] {
        for tensor in ["stem.weight", "stem.bias", "binary.alpha.0", "binary.scales", "logits.weight"] {
            let node = tensor.split('.').next().unwrap();
            let found = refused(|forge| forge.set(tensor, 1, bits));
            assert_refused!(
                found,
                Error::NotFinite { index: 1, .. },
                &format!("`{tensor}`"),
                &format!("`{node}`"),
                text
            );
        }
    }
    let golden = refused_full(|forge| forge.set("golden.output", 19, 0x7f80_0000));
    assert_refused!(golden, Error::NotFinite { index: 19, .. }, "`golden.output`");
}

#[test]
fn fixed_scales_must_be_positive() {
    for value in [0.0_f32, -0.0, -1.0] {
        let refused = refused(|forge| forge.set("binary.scales", 1, value.to_bits()));
        assert_refused!(refused, Error::ScaleNotPositive { index: 1, .. }, "`binary.scales`", "positive");
    }
}

#[test]
fn codes_must_name_entries_of_a_codebook() {
    let refused = |change: &dyn Fn(&mut Forge)| refused_of(packed().to_bytes("logits").unwrap(), change);
    for entries in [0, 33, usize::MAX] {
        let found = refused(&|forge| forge.node("nine")["entries"] = json!(entries));
        assert_refused!(found, Error::CodebookEntries { limit: 32, .. }, "`nine`", &format!("{entries} entries"));
    }
    // Code 9 in the last place of a word of nine entries, then one entry less than there are.
    let beyond = refused(&|forge| forge.set("nine.codes", 3, 9 << 28));
    assert_refused!(
        beyond,
        Error::CodeBeyond { index: 3, code: 9, entries: 9, .. },
        "`nine.codes`",
        "code 9",
        "9 entries"
    );
    let fewer = refused(&|forge| {
        forge.node("three")["entries"] = json!(2);
        forge.set("three.codebook", 2, 0);
    });
    assert_refused!(fewer, Error::CodeBeyond { code: 2, entries: 2, .. }, "`three.codes`", "2 entries");
    let nan = refused(&|forge| forge.set("nine.codebook", 8, f32::NAN.to_bits()));
    assert_refused!(nan, Error::NotFinite { index: 8, .. }, "`nine.codebook`");
    let wide = refused(&|forge| forge.node("nine")["entries"] = json!(17));
    assert_refused!(wide, Error::TensorShape { .. }, "`nine.codes`", "[4, 14, 16]", "[4, 11, 16]");
    // A code past the depth of 81, a filter past the 17 of a group, the spare bits of 3-bit codes.
    for (tensor, element, bits) in
        [("nine.codes", 10 * 16, 1 << 4), ("nine.codes", 11 * 16 + 1, 1), ("three.codes", 2, 1 << 30)]
    {
        let found = refused(&|forge| forge.set(tensor, element, bits));
        assert_refused!(found, Error::DirtyPadding { .. }, &format!("`{tensor}`"), &format!("element {element} "));
    }
    let signs = refused(&|forge| forge.set("signs.weight", 0, 1 << 6));
    assert_refused!(signs, Error::DirtyPadding { index: 0, .. }, "`signs.weight`");
    let floats = refused(&|forge| forge.tensor("three.codes").dtype = "F32".into());
    assert_refused!(floats, Error::TensorDtype { .. }, "`three.codes`", "F32", "U32");
}

#[test]
fn bytes_are_symmetric_and_their_scale_can_be_divided_by() {
    let refused = |change: &dyn Fn(&mut Forge)| refused_of(packed().to_bytes("logits").unwrap(), change);
    let extreme = refused(&|forge| forge.tensor("bytes.weight").bytes[9] = 0x80);
    assert_refused!(extreme, Error::Int8Range { index: 9, .. }, "`bytes.weight`", "element 9", "-127 to 127");
    // A run of 111 products takes 28 rows, the last of three; the third panel has 5 filters; the dense layer 5 features and 6 filters.
    for (tensor, byte) in
        [("bytes.weight", 27 * 64 + 3), ("bytes.weight", 2 * 84 * 64 + 20), ("eight.weight", 65), ("eight.weight", 24)]
    {
        let found = refused(&|forge| forge.tensor(tensor).bytes[byte] = 1);
        assert_refused!(found, Error::DirtyPadding { .. }, &format!("`{tensor}`"), &format!("element {byte} "));
    }
    for scale in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, 1e-39] {
        let found = refused(&|forge| forge.set("eight.input_scale", 0, scale.to_bits()));
        assert_refused!(found, Error::InputScale { .. }, "`eight.input_scale`", "2^-126");
    }
    let second = refused(&|forge| forge.set("eight.input_scale", 1, 1));
    assert_refused!(second, Error::DirtyPadding { index: 1, .. }, "`eight.input_scale`");
    let shape = refused(&|forge| forge.tensor("eight.weight").shape = vec![1, 2, 64]);
    assert_refused!(shape, Error::TensorShape { .. }, "`eight.weight`", "[1, 2, 16, 4]");
    let unsigned = refused(&|forge| forge.tensor("eight.weight").dtype = "U8".into());
    assert_refused!(unsigned, Error::TensorDtype { .. }, "`eight.weight`", "U8", "I8");
    for zero_point in [json!(256), json!(-1), json!(0.5), json!(null)] {
        let (_, text) = refused(&|forge| forge.node("eight")["zero_point"] = zero_point.clone());
        assert!(text.contains("graph"), "{zero_point}: {text}");
    }
}

/// Sums of more products than fit an i32 are refused before any weight is looked at.
#[test]
fn filters_of_8_bits_are_not_too_deep() {
    let mut builder = horq::Builder::new("x", horq::graph::Shape::Flat(65_537));
    let quantize = horq::Int8Quantize { scale: 1.0, zero_point: 0 };
    let layer = horq::Layer::Int8Dense { filters: 1, quantize, weight: &[], alpha: &[], bias: None };
    let error = builder.add("y", &["x"], layer).map(drop).expect_err("too deep");
    assert!(matches!(error, Error::Geometry { .. }) && error.to_string().contains("65537 products"), "{error}");
}

#[test]
fn padding_must_be_zero() {
    // Bit panels: a channel past the last, a filter past the last; 10 filters and 9 channels a group.
    for (element, bit) in [(0, 9), (0, 31), (10, 0), (15, 31)] {
        let found = refused_full(|forge| forge.set("grouped.weight.0", element, 1 << bit));
        assert_refused!(
            found,
            Error::DirtyPadding { .. },
            "`grouped`",
            "`grouped.weight.0`",
            &format!("element {element} ")
        );
    }
    // The second panel of a group of 18 filters, and float panels alike.
    let second = refused_full(|forge| forge.set("two_bases.weight.1", 9 * 16 + 2, 1));
    assert_refused!(second, Error::DirtyPadding { index: 146, bits: 1, .. }, "0x00000001");
    let floats = refused_full(|forge| forge.set("stem.weight", 45 * 16 + 44 * 16 + 2, 0x8000_0000));
    assert_refused!(floats, Error::DirtyPadding { index: 1426, .. }, "`stem.weight`", "0x80000000");
    for (tensor, element) in
        [("stem.bias", 18), ("norm.scale", 31), ("act.slope", 18), ("two_bases.scales", 2), ("golden.input", 630)]
    {
        let found = refused_full(|forge| forge.set(tensor, element, 1_f32.to_bits()));
        assert_refused!(found, Error::DirtyPadding { .. }, &format!("`{tensor}`"), "padding");
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
    assert_refused!(set(0), Error::Malformed { key: "golden", .. }, "at least one sample");
    assert_refused!(set(u64::MAX), Error::Malformed { key: "golden", .. }, "more than the file can hold");
    assert_refused!(set(3), Error::TensorShape { .. }, "`golden.input`", "[960]", "[640]");
    let unnamed = refused_full(|forge| drop(forge.metadata.remove("golden")));
    assert_refused!(unnamed, Error::TensorUnknown { .. }, "`golden.input`");
}
