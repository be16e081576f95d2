//! What a file and its metadata must be.

use horq::error::FileError;
use horq::{Error, Model};
use serde_json::json;

use super::{assert_refused, error_of, refused};
use crate::forge::{Forge, Tensor, assemble, reseal};
use crate::zoo::small;

#[test]
fn the_header_must_be_whole() {
    assert_refused!(error_of(b"horq"), Error::File(FileError::Truncated { length: 4, needed: 8 }), "4 bytes");
    let file = small().to_bytes("logits").unwrap();
    assert_refused!(error_of(&file[..200]), Error::File(FileError::Truncated { length: 200, .. }), "200");
}

#[test]
fn the_header_must_be_bounded() {
    let file = assemble(&format!("{{{}", " ".repeat(horq::MAX_HEADER_BYTES)), 64, &[]);
    assert_refused!(error_of(&file), Error::File(FileError::HeaderTooLong { .. }), "1048576");
    // Also where the file is shorter than the header says.
    assert_refused!(error_of(&file[..100]), Error::File(FileError::HeaderTooLong { .. }), "1048576");
}

#[test]
fn the_header_must_be_that_of_safetensors() {
    for header in ["", "{", "[]", "nonsense", "{\"a\":1}", "{\"__metadata__\":{\"format\":1}}", "\u{fffd}"] {
        assert_refused!(
            error_of(&assemble(header, 64, &[])),
            Error::File(FileError::NotSafetensors { .. }),
            "not a safetensors file"
        );
    }
    let overlapping = r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"b":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;
    assert_refused!(
        error_of(&assemble(overlapping, 64, &[0; 64])),
        Error::File(FileError::NotSafetensors { .. }),
        "offset"
    );
    let wrong_size = r#"{"a":{"dtype":"F32","shape":[17],"data_offsets":[0,64]}}"#;
    assert_refused!(
        error_of(&assemble(wrong_size, 64, &[0; 64])),
        Error::File(FileError::NotSafetensors { .. }),
        "shape"
    );
    let overflowing = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert_refused!(
        error_of(&assemble(overflowing, 64, &[])),
        Error::File(FileError::NotSafetensors { .. }),
        "overflow"
    );
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_refused!(error_of(&assemble(&deep, 64, &[])), Error::File(FileError::NotSafetensors { .. }), "recursion");
}

/// Tensors whose end lies just below the end of the address space: lengths must not wrap around.
#[test]
fn the_tensors_must_fill_the_data() {
    let file = small().to_bytes("logits").unwrap();
    let data = file.len() - crate::forge::data_start(&file);
    let found = (data - 64).to_string();
    assert_refused!(
        error_of(&file[..file.len() - 64]),
        Error::File(FileError::DataLength { .. }),
        &data.to_string(),
        &found
    );
    let longer = [&file[..], &[0; 64]].concat();
    assert_refused!(error_of(&longer), Error::File(FileError::DataLength { .. }), "bytes of data");
    let step = (1usize << 61) - 64;
    let entry = |i: usize| {
        format!(r#""{i}":{{"dtype":"U8","shape":[{step}],"data_offsets":[{},{}]}}"#, i * step, (i + 1) * step)
    };
    let mut entries: Vec<String> = (0..8).map(entry).collect();
    let end = 8 * step;
    entries.push(format!(r#""8":{{"dtype":"U8","shape":[511],"data_offsets":[{end},{}]}}"#, end + 511));
    assert_refused!(
        error_of(&assemble(&format!("{{{}}}", entries.join(",")), 64, &[])),
        Error::File(FileError::DataLength { .. }),
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
        Error::File(FileError::DataUnaligned { .. }),
        "multiple of 64"
    );
}

#[test]
fn the_metadata_must_be_of_this_format() {
    assert_refused!(error_of(&assemble("{}", 64, &[])), Error::File(FileError::NotHorq { .. }), "nothing");
    let set = |value: &'static str| refused(move |forge| drop(forge.metadata.insert("format".into(), value.into())));
    assert_refused!(set("pt"), Error::File(FileError::NotHorq { .. }), "\"pt\"", "horq");
}

#[test]
fn the_version_must_be_known() {
    let set = |version: &str| {
        let version = version.to_owned();
        refused(move |forge| drop(forge.metadata.insert("format_version".into(), version)))
    };
    for version in ["2.0", "0.9", "0.0", "4294967295.4294967295"] {
        assert_refused!(set(version), Error::File(FileError::Version { .. }), &format!("\"{version}\""), "1.x");
    }
    for version in [
        "1",
        "",
        ".",
        "1.",
        ".0",
        "x.y",
        "1.0.0",
        "-1.0",
        "+1.0",
        "1.+0",
        "1.-0",
        " 1.0",
        "1.0 ",
        "1 .0",
        "1.00",
        "01.0",
        "1.01",
        "1.0\n",
        "1,0",
        "1.0e0",
        "1.4294967296",
        "99999999999.0",
        "4294967296.0",
        "1.\u{661}",
    ] {
        assert_refused!(
            set(version),
            Error::File(FileError::Malformed { key: "format_version", .. }),
            "two numbers",
            "2^32"
        );
    }
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.metadata.insert("format_version".into(), "1.4294967295".into());
    assert_eq!(Model::from_bytes(&forge.seal()).unwrap().version(), (1, u32::MAX));
}

#[test]
fn every_key_must_be_there() {
    for key in ["format_version", "producer"] {
        assert_refused!(
            refused(|forge| drop(forge.metadata.remove(key))),
            Error::File(FileError::MissingKey { .. }),
            key
        );
    }
    for key in ["graph", "header_sha256", "data_sha256"] {
        let mut file = rename_key(small().to_bytes("logits").unwrap(), key);
        reseal(&mut file);
        assert_refused!(error_of(&file), Error::File(FileError::MissingKey { .. }), key);
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
        assert_refused!(set("graph", graph), Error::File(FileError::Malformed { key: "graph", .. }), "docs/format.md");
    }
    for golden in ["", "{}", "{\"samples\":-1,\"input\":\"a\",\"output\":\"b\"}"] {
        assert_refused!(set("golden", golden), Error::File(FileError::Malformed { key: "golden", .. }), "golden");
    }
    for digest in ["", "0", &"G".repeat(64), &"A".repeat(64)] {
        assert_refused!(
            set("header_sha256", digest),
            Error::File(FileError::Malformed { key: "header_sha256", .. }),
            "64"
        );
        assert_refused!(set("data_sha256", digest), Error::File(FileError::Malformed { key: "data_sha256", .. }), "64");
    }
}

#[test]
fn nodes_must_parse() {
    let unknown = refused(|forge| forge.node("flat")["op"] = json!("flat_earth"));
    assert_refused!(unknown, Error::File(FileError::NodeMalformed { index: 2, .. }), "flat_earth", "node 2", "`flat`");
    for field in ["kernel", "stride", "dilation", "padding", "filters", "groups", "pad_value", "order", "mode", "bases"]
    {
        let refused = refused(|forge| drop(forge.node("binary").as_object_mut().unwrap().remove(field)));
        assert_refused!(refused, Error::File(FileError::NodeMalformed { index: 1, .. }), field);
    }
    for (field, value) in
        [("kernel", json!([3])), ("filters", json!(-4)), ("filters", json!(4.5)), ("mode", json!("all"))]
    {
        let refused = refused(|forge| forge.node("binary")[field] = value);
        assert_refused!(refused, Error::File(FileError::NodeMalformed { index: 1, .. }), "node 1");
    }
}

#[test]
fn digests_must_be_those_of_the_bytes() {
    let mut file = small().to_bytes("logits").unwrap();
    let place = file.windows(4).position(|window| window == b"none").unwrap();
    file[place] = b'N';
    assert_refused!(error_of(&file), Error::File(FileError::Digest { part: "header", .. }), "header was changed");
    let mut file = small().to_bytes("logits").unwrap();
    // The sign of a weight in the stem: still a right file, but not the one that was written.
    let data = crate::forge::data_start(&file);
    file[data + 3] ^= 0x80;
    let error = Model::from_bytes(&file).unwrap().verify_digest().unwrap_err();
    assert!(matches!(error, Error::File(FileError::Digest { part: "data", .. })), "{error}");
}

/// The first error found is the same each time, though maps are walked in an order of their own in each.
#[test]
fn the_first_error_does_not_vary() {
    let file = small().to_bytes("logits").unwrap();
    let mut forge = Forge::open(&file);
    for name in ["zeta", "alpha", "mid", "beta", "omega"] {
        let empty = Tensor { dtype: "F32".into(), shape: vec![0], bytes: vec![] };
        forge.tensors.insert(0, (name.into(), empty));
    }
    let texts: Vec<String> = (0..100).map(|_| error_of(&forge.seal()).1).collect();
    assert!(texts.iter().all(|text| text == &texts[0] && text.contains("`alpha`")), "{texts:?}");
    // Several places of the data, tensors that overlap, and notes.
    let overlap = |name| format!(r#""{name}":{{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#);
    let header = format!("{{{}}}", ["q", "a", "z", "m"].map(overlap).join(","));
    let texts: Vec<String> = (0..100).map(|_| error_of(&assemble(&header, 64, &[0; 64])).1).collect();
    assert!(texts.iter().all(|text| text == &texts[0] && text.contains("`m`")), "{texts:?}");
}
