//! What several inputs and outputs of a graph must be.

use horq::error::{FileError, GraphError, TensorError};
use horq::graph::Shape;
use horq::ops::{Add, Dense, Relu};
use horq::{Builder, Error, Model};
use serde_json::{Value, json};

use super::{assert_refused, error_of, refused_of};
use crate::forge::Forge;
use crate::zoo::{halving, noise, small};

/// `sum` of two vectors and `act` of one of them go out.
fn two() -> Vec<u8> {
    let mut builder = Builder::new("x", Shape::Flat(3));
    builder.add_input("z", Shape::Flat(3)).unwrap();
    builder.add("act", &["x"], Relu).unwrap();
    builder.add("sum", &["act", "z"], Add).unwrap();
    builder.golden_many(&[&noise(1, 6), &noise(2, 6)], &[&noise(3, 6), &noise(4, 6)]);
    builder.to_bytes_many(&["sum", "act"]).unwrap()
}

fn refused(change: impl FnOnce(&mut Forge)) -> (Error, String) {
    refused_of(two(), change)
}

/// Changes what `golden` says.
fn golden(change: impl FnOnce(&mut Value)) -> (Error, String) {
    refused(|forge| {
        let mut golden = serde_json::from_str(&forge.metadata["golden"]).unwrap();
        change(&mut golden);
        forge.metadata.insert("golden".into(), golden.to_string());
    })
}

#[test]
fn a_file_states_the_least_version_that_has_all_of_it() {
    for (file, version, keys) in [
        (small().to_bytes("logits").unwrap(), "1.0", vec!["input", "nodes", "output"]),
        (halving().to_bytes("logits").unwrap(), "1.1", vec!["input", "nodes", "output"]),
        (two(), "1.1", vec!["input", "more_inputs", "more_outputs", "nodes", "output"]),
    ] {
        let forge = Forge::open(&file);
        assert_eq!(forge.metadata["format_version"], version);
        assert!(forge.graph.as_object().unwrap().keys().eq(keys));
    }
    // What a reader of version 1.0 takes for a graph with one of each is one.
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    for empty in [json!([]), json!([])] {
        forge.graph["more_inputs"] = empty.clone();
        forge.graph["more_outputs"] = empty;
        assert_eq!(Model::from_bytes(&forge.seal()).unwrap().inputs().len(), 1);
    }
}

#[test]
fn names_of_inputs_must_be_names_and_differ() {
    for (name, reason) in [("", "empty"), (&"n".repeat(257)[..], "256"), ("a\nb", "control")] {
        let found = refused(|forge| forge.graph["more_inputs"][0]["name"] = json!(name));
        assert_refused!(found, Error::Graph(GraphError::Name { .. }), reason);
    }
    let first = refused(|forge| forge.graph["more_inputs"][0]["name"] = json!("x"));
    assert_refused!(first, Error::Graph(GraphError::DuplicateName { .. }), "`x`");
    let node = refused(|forge| forge.graph["more_inputs"][0]["name"] = json!("act"));
    assert_refused!(node, Error::Graph(GraphError::DuplicateName { .. }), "`act`");
    let twice = refused(|forge| {
        let input = forge.graph["more_inputs"][0].clone();
        forge.graph["more_inputs"].as_array_mut().unwrap().push(input);
    });
    assert_refused!(twice, Error::Graph(GraphError::DuplicateName { .. }), "`z`");
}

#[test]
fn inputs_must_be_read_and_have_a_size() {
    let unread = refused(|forge| {
        forge.graph["more_inputs"].as_array_mut().unwrap().push(json!({ "name": "idle", "shape": [1] }));
    });
    assert_refused!(unread, Error::Graph(GraphError::UnreadInput { .. }), "`idle`", "remove it");
    let first = refused(|forge| forge.node("act")["inputs"] = json!(["z"]));
    assert_refused!(first, Error::Graph(GraphError::UnreadInput { .. }), "`x`");
    for shape in [json!([0]), json!([1, 2, 0]), json!([1_u64 << 29])] {
        let found = refused(|forge| forge.graph["more_inputs"][0]["shape"] = shape);
        assert_refused!(found, Error::Graph(GraphError::ValueSize { .. }), "`z`", "268435456");
    }
    let shapes = refused(|forge| forge.graph["more_inputs"][0]["shape"] = json!([4]));
    assert_refused!(shapes, Error::Graph(GraphError::ShapesDiffer { .. }), "`sum`", "3 and 4");
    let missing = refused(|forge| drop(forge.graph.as_object_mut().unwrap().remove("more_inputs")));
    assert_refused!(missing, Error::Graph(GraphError::UnknownInput { .. }), "`sum`", "`z`", "an input of the graph");
}

#[test]
fn inputs_and_outputs_are_counted_before_they_are_read() {
    let input = |i: usize| json!({ "name": format!("i{i}"), "shape": [3] });
    let many = refused(|forge| forge.graph["more_inputs"] = (0..horq::MAX_INPUTS).map(input).collect());
    assert_refused!(many, Error::Graph(GraphError::InputLimit { count: 1025, .. }), "1025 inputs", "1024");
    let many = refused(|forge| forge.graph["more_outputs"] = vec!["act"; horq::MAX_NODES].into());
    assert_refused!(many, Error::Graph(GraphError::OutputLimit { count: 4097, .. }), "4097 outputs", "4096");
    let more = refused(|forge| forge.graph["more_inputs"] = vec![0; horq::MAX_INPUTS + 7].into());
    assert_refused!(more, Error::File(FileError::Malformed { key: "graph", .. }), "invalid type: integer");
}

#[test]
fn outputs_must_be_nodes_each_named_once() {
    for output in ["nothing", "x", "z"] {
        let found = refused(|forge| forge.graph["more_outputs"] = json!([output]));
        assert_refused!(found, Error::Graph(GraphError::UnknownOutput { .. }), &format!("`{output}`"));
    }
    for more in [json!(["sum"]), json!(["act", "act"])] {
        let found = refused(|forge| forge.graph["more_outputs"] = more);
        assert_refused!(found, Error::Graph(GraphError::DuplicateOutput { .. }), "twice");
    }
    let unread = refused(|forge| {
        forge.graph["output"] = json!("act");
        forge.graph["more_outputs"] = json!([]);
        forge.metadata.remove("golden");
    });
    assert_refused!(unread, Error::Graph(GraphError::Unread { .. }), "`sum`", "`act`");
}

#[test]
fn more_inputs_and_outputs_are_arrays() {
    for (key, values) in [
        ("more_inputs", vec![json!({}), json!("z"), json!(["z"]), json!([["z", [3]]]), json!([{ "name": "z" }])]),
        ("more_outputs", vec![json!({}), json!("act"), json!([0]), json!([["act"]])]),
    ] {
        for value in values {
            let found = refused(|forge| forge.graph[key] = value.clone());
            assert_refused!(found, Error::File(FileError::Malformed { key: "graph", .. }), "");
        }
    }
}

#[test]
fn golden_values_are_those_of_every_input_and_output() {
    for (key, what) in [("more_inputs", "1 inputs, but the graph has 2"), ("more_outputs", "1 outputs")] {
        let fewer = golden(|golden| drop(golden.as_object_mut().unwrap().remove(key)));
        assert_refused!(fewer, Error::File(FileError::Malformed { key: "golden", .. }), what);
        let more = golden(|golden| golden[key].as_array_mut().unwrap().push(json!("golden.input")));
        assert_refused!(more, Error::File(FileError::Malformed { key: "golden", .. }), "but the graph has 2");
        let missing = golden(|golden| golden[key] = json!(["nothing"]));
        assert_refused!(missing, Error::Tensor(TensorError::TensorMissing { .. }), "`nothing`");
        let shared = golden(|golden| golden[key] = json!(["golden.input"]));
        assert_refused!(shared, Error::Tensor(TensorError::TensorShared { .. }), "`golden.input`");
        let words = golden(|golden| golden[key] = json!(7));
        assert_refused!(words, Error::File(FileError::Malformed { key: "golden", .. }), "an array");
    }
    let many = golden(|golden| golden["samples"] = json!(1_u64 << 40));
    assert_refused!(many, Error::File(FileError::Malformed { key: "golden", .. }), "more than the file can hold");
    let nan = refused(|forge| forge.set("golden.output.1", 2, f32::NAN.to_bits()));
    assert_refused!(nan, Error::Tensor(TensorError::NotFinite { .. }), "`golden.output.1`");
}

/// A reader of version 1.0, which ignores fields that it does not know, refuses a second input and an output that nobody reads
/// by its own rules; of an output that a node reads it gives the first output alone.
#[test]
fn a_reader_of_version_1_0_refuses_or_answers_the_same() {
    let without = |file: Vec<u8>| {
        let mut forge = Forge::open(&file);
        forge.graph.as_object_mut().unwrap().retain(|key, _| !key.starts_with("more_"));
        forge.seal()
    };
    let inputs = error_of(&without(two()));
    assert_refused!(inputs, Error::Graph(GraphError::UnknownInput { .. }), "`z`");
    let build = |outputs: &[&str]| {
        let mut builder = Builder::new("x", Shape::Flat(3));
        builder.add("a", &["x"], Dense::new(2, noise(1, 6))).unwrap();
        builder.add("b", &["a"], Relu).unwrap();
        builder.add("c", &["a"], Relu).unwrap();
        builder.add("d", &["b", "c"], Add).unwrap();
        builder.to_bytes_many(outputs).unwrap()
    };
    let mut two_ends = Builder::new("x", Shape::Flat(3));
    two_ends.add("a", &["x"], Relu).unwrap().add("b", &["x"], Relu).unwrap();
    let ends = error_of(&without(two_ends.to_bytes_many(&["a", "b"]).unwrap()));
    assert_refused!(ends, Error::Graph(GraphError::Unread { .. }), "`b`");
    let first = Model::from_bytes(&without(build(&["d", "b"]))).unwrap();
    assert!(first.outputs().eq([("d", Shape::Flat(2))]));
}
