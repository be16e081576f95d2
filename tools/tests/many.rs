//! Models with several inputs and outputs, from the command line.

mod common;

use common::{Files, horq, npy, npy_f32};
use horq::Builder;
use horq::graph::Shape;
use horq::ops::{Add, Flatten, Relu};
use serde_json::json;

/// An image and a vector in; their sum, the image without what is below 0, and one value out.
fn model(files: &Files) -> String {
    let image = Shape::Image { height: 2, width: 1, channels: 2 };
    let mut builder = Builder::new("image", image);
    builder.add_input("vector", Shape::Flat(4)).unwrap();
    builder.add("act", &["image"], Relu).unwrap();
    builder.add("flat", &["act"], Flatten).unwrap();
    builder.add("sum", &["flat", "vector"], Add).unwrap();
    builder.golden_many(
        &[&[-1.0, 2.0, 3.0, -4.0], &[1.0, 1.0, 1.0, 1.0]],
        &[&[1.0, 3.0, 4.0, 1.0], &[0.0, 2.0, 3.0, 0.0]],
    );
    files.write("many.horq", &builder.to_bytes_many(&["sum", "act"]).unwrap())
}

#[test]
fn inspect_lists_all() {
    let files = Files::new();
    let model = model(&files);
    let text = horq(&["inspect", &model]).ok();
    for line in
        ["input     image: 2x1x2", "input     vector: 4", "output    sum: 4", "output    act: 2x1x2", "format 1.1"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let document = horq(&["inspect", &model, "--json"]).json();
    assert_eq!(document["input"]["name"], "image");
    let vector = json!({"name": "vector", "shape": [4]});
    assert_eq!((&document["inputs"][1], document["inputs"].as_array().unwrap().len()), (&vector, 2));
    assert_eq!(document["outputs"][1], json!({"name": "act", "shape": [2, 1, 2]}));
}

#[test]
fn verify_and_profile_run_all() {
    let files = Files::new();
    let model = model(&files);
    assert!(horq(&["verify", &model, "--selftest"]).ok().contains("selftest   ok  1 stored samples"));
    let profile = horq(&["profile", &model, "--runs", "10", "--batch", "3", "--json"]).json();
    let names: Vec<&str> = profile["layers"].as_array().unwrap().iter().filter_map(|l| l["name"].as_str()).collect();
    assert_eq!(names, ["act", "sum"]);

    // An answer that is not the stored one is found in the second output, too.
    let image = Shape::Image { height: 1, width: 1, channels: 1 };
    let mut builder = Builder::new("x", image);
    builder.add("a", &["x"], Relu).unwrap().add("b", &["a"], Flatten).unwrap();
    builder.golden_many(&[&[2.0]], &[&[2.0], &[2.5]]);
    let wrong = files.write("wrong.horq", &builder.to_bytes_many(&["a", "b"]).unwrap());
    horq(&["verify", &wrong, "--selftest"]).fails(1, &["differs from the stored answer"]);
}

#[test]
fn run_takes_files_by_input_and_shows_each_output() {
    let files = Files::new();
    let model = model(&files);
    let image = files.write("image.npy", &npy("|u1", &[2, 2, 1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
    let first = files.write("first.npy", &npy_f32(&[4], &[0.5, -9.0, 0.0, 0.0]));
    let second = files.write("second.npy", &npy_f32(&[4], &[1.0, 1.0, 1.0, 100.0]));
    let [by_image, by_first, by_second] =
        [("image", &image), ("vector", &first), ("vector", &second)].map(|(name, file)| format!("{name}={file}"));
    let inputs = ["--input", &by_first, "--input", &by_image, "--input", &by_second];
    let text = horq(&[&["run", &model, "--top", "2"], &inputs[..]].concat()).ok();
    let expected = format!(
        "{image}[0]  sum  3: 4  2: 3\n{image}[0]  act  2x1x2, values from 1 to 4\n\
         {image}[1]  sum  3: 108  2: 8\n{image}[1]  act  2x1x2, values from 5 to 8\n"
    );
    assert_eq!(text, expected);
    let lines = horq(&[&["run", &model, "--json"], &inputs[..]].concat()).ok();
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["outputs"][0], json!({"name": "sum", "shape": [4], "values": [6.0, 7.0, 8.0, 108.0]}));
    assert_eq!(line["outputs"][1]["values"], json!([5.0, 6.0, 7.0, 8.0]));
    assert_eq!(line["sample"], 1);
}

#[test]
fn run_says_which_input_is_wrong() {
    let files = Files::new();
    let model = model(&files);
    let image = files.write("image.npy", &npy_f32(&[2, 2, 1, 2], &[1.0; 8]));
    let vector = files.write("vector.npy", &npy_f32(&[3, 4], &[1.0; 12]));
    horq(&["run", &model, &image]).fails(2, &["the model has 2 inputs: image, vector", "--input NAME=FILE"]);
    let (by_image, by_vector) = (format!("image={image}"), format!("vector={vector}"));
    horq(&["run", &model, "--input", &by_image]).fails(2, &["--input vector=FILE is missing"]);
    horq(&["run", &model, "--input", &by_image, "--input", &by_vector])
        .fails(2, &["`vector` hold 3 samples", "`image` hold 2"]);
    let other = format!("top={image}");
    horq(&["run", &model, "--input", &by_image, "--input", &other]).fails(2, &["no input `top`", "image, vector"]);
    let swapped = format!("vector={image}");
    horq(&["run", &model, "--input", &by_vector, "--input", &swapped]).fails(2, &["--input image=FILE is missing"]);
    horq(&["run", &model, "--input", "image"]).fails(2, &["NAME=FILE"]);
    horq(&["run", &model, &image, "--input", &by_image]).fails(2, &["--input"]);
    horq(&["run", &model]).fails(2, &[]);

    let brightest = files.brightest();
    let pixels = files.write("pixels.npy", &npy_f32(&[4], &[0.0, 2.0, 1.0, -1.0]));
    let named = format!("pixels={pixels}");
    let by_name = horq(&["run", &brightest, "--input", &named]).ok();
    assert_eq!(by_name, horq(&["run", &brightest, &pixels]).ok());
}
