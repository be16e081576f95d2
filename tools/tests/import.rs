//! `horq import`.

mod common;

use common::{Files, horq};
use horq::Model;

/// One of the small ONNX files from which the fuzzer starts.
fn seed(name: &str) -> String {
    format!("{}/../fuzz/onnx/{name}.onnx", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_file_is_imported_and_each_layer_told() {
    let files = Files::new();
    let (file, output) = (seed("conv"), files.path("conv.horq"));
    let said = horq(&["import", &file, "-o", &output]).ok();
    for word in ["layer", "became", "conv2d", "bytes of weights", "predicted"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let model = Model::open(&output).unwrap();
    assert!(model.notes().contains_key("onnx.inputs") && model.notes().contains_key("onnx.outputs"));
    horq(&["verify", &output]).ok();
}

#[test]
fn json_has_the_layers_and_how_values_lie() {
    let files = Files::new();
    let json = |more: &[&str]| {
        let (file, output) = (seed("conv"), files.path("conv.horq"));
        horq(&[&["import", &file, "-o", &output, "--json"], more].concat()).json()
    };
    let (last, same) = (json(&[]), json(&["--same-layout"]));
    assert!(last["report"]["layers"].as_array().unwrap().iter().any(|layer| layer["became"] == "conv2d"));
    assert_eq!(last["check"], serde_json::Value::Null);
    assert_eq!(last["inputs"][0]["order"], serde_json::json!([0, 2, 3, 1]));
    assert_eq!(same["inputs"][0]["order"], serde_json::json!([0, 1, 2, 3]));
}

#[test]
fn refusals_name_the_node_and_leave_no_file() {
    let files = Files::new();
    let output = files.path("out.horq");
    let refused = |file: &str, code, words: &[&str], more: &[&str]| {
        horq(&[&["import", file, "-o", &output], more].concat()).fails(code, words);
        assert!(!std::fs::exists(&output).unwrap());
    };
    refused(&seed("moves"), 1, &["`y` (Slice)"], &[]);
    refused(&files.write("page.onnx", b"<!DOCTYPE html>"), 1, &["not an ONNX model"], &[]);
    refused(&files.path("missing.onnx"), 1, &["missing.onnx"], &[]);
    refused(&seed("conv"), 2, &["input=1x3x224x224"], &["--input", "x=1xtwo"]);
}

#[test]
fn the_operations_that_may_stand_in_a_file_are_listed() {
    let said = horq(&["import", "--operations"]).ok();
    let names: Vec<&str> = said.lines().collect();
    assert!(names.is_sorted() && names.len() >= 60, "{names:?}");
    for name in ["BipolarQuant", "Conv", "MultiThreshold", "Sign"] {
        assert!(names.contains(&name), "{name}");
    }
    horq(&["import"]).fails(2, &["--output", "FILE"]);
}

#[test]
fn a_check_without_python_says_what_is_missing() {
    let files = Files::new();
    let (file, output, python) = (seed("conv"), files.path("out.horq"), files.path("no-python"));
    horq(&["import", &file, "-o", &output, "--check", "2", "--python", &python]).fails(1, &["no-python", "--python"]);
}
