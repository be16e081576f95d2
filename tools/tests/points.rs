//! Operating points on the command line: tuned, shown, run, profiled, and refused by name.

mod common;

use common::{Files, answers, horq, network, noise, npy_f32};
use horq::{Cascade, Model, Order, Point, Points, Session, SessionOptions};
use serde_json::Value;

/// The network with points made by hand.
fn pointed(files: &Files) -> String {
    let order = |order| Order::new(order).unwrap();
    let low = Point::new("low", [("conv2", Order::ONE), ("fc1", Order::ONE)]);
    let points = Points::new([low, Point::new("mid", [("conv2", order(2))]), Point::new("top", [])]).default_to("mid");
    let points = points.cascade(Cascade::new("low", "top", 0.5));
    let path = files.path("pointed.horq");
    Model::from_bytes(&network(true)).unwrap().write_with_points(&points, path.as_ref()).unwrap();
    path
}

/// The answers that a command wrote as numbers.
fn outputs(document: &Value) -> Vec<f32> {
    let samples = document["samples"].as_array().expect("a list of samples");
    let values = |sample: &Value| sample["top"].as_array().expect("the highest outputs").clone();
    samples.iter().flat_map(values).map(|one| one["value"].as_f64().expect("a number") as f32).collect()
}

#[test]
fn a_run_at_a_point_answers_as_the_library_does() {
    let files = Files::new();
    let (model, input) = (pointed(&files), noise(3 * 192, 11));
    let samples = files.write("samples.npy", &npy_f32(&[3, 8, 8, 3], &input));
    let mut seen = Vec::new();
    for (asked, point) in
        [(Some("low"), Some("low")), (Some("mid"), Some("mid")), (Some("default"), Some("mid")), (None, None)]
    {
        let mut session = Session::new(&Model::open(model.as_ref()).unwrap(), SessionOptions::new().batch(3)).unwrap();
        if let Some(point) = point {
            session.set_point(point).unwrap();
        }
        let mut wanted = vec![0.0; 15];
        session.run(&input, &mut wanted).unwrap();
        wanted.chunks_mut(5).for_each(|one| one.sort_by(|a, b| b.total_cmp(a)));
        let choice = asked.map_or(vec![], |name| vec!["--point", name]);
        let document = horq(&[&["run", &model, &samples, "--top", "5", "--json"], &choice[..]].concat()).json();
        assert_eq!(document["point"].as_str(), point, "{document}");
        assert_eq!(outputs(&document), wanted, "{asked:?}");
        seen.push(wanted);
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[3] && seen[1] == seen[2], "the points differ");
    let said = horq(&["run", &model, &samples, "--point", "low"]).ok();
    assert!(said.contains("point low"), "{said}");
    let mut plain = answers(&network(true), &input);
    plain.chunks_mut(5).for_each(|one| one.sort_by(|a, b| b.total_cmp(a)));
    assert_eq!(seen[3], plain, "without a point a file with points answers as one without");
}

#[test]
fn a_profile_is_of_the_point_that_was_asked_for() {
    let files = Files::new();
    let model = pointed(&files);
    let orders = |arguments: &[&str]| {
        let document = horq(&[&["profile", &model, "--runs", "2", "--json"], arguments].concat()).json();
        let layers = document["layers"].as_array().expect("layers");
        let orders: Vec<u64> = layers.iter().filter_map(|layer| layer["order"].as_u64()).collect();
        (document["point"].as_str().map(str::to_owned), orders)
    };
    assert_eq!(orders(&["--point", "low"]), (Some("low".into()), vec![1, 1]));
    assert_eq!(orders(&["--point", "default"]), (Some("mid".into()), vec![2, 2]));
    assert_eq!(orders(&[]), (None, vec![3, 2]));
}

#[test]
fn points_are_shown_and_refused_by_name() {
    let files = Files::new();
    let (model, plain) = (pointed(&files), files.network());
    let samples = files.write("samples.npy", &npy_f32(&[1, 8, 8, 3], &noise(192, 12)));
    let said = horq(&["inspect", &model]).ok();
    for word in ["low", "mid", "top", "default", "cascade"] {
        assert!(said.contains(word), "`{word}` is missing in {said}");
    }
    let shown = horq(&["inspect", &model, "--json"]).json();
    assert_eq!(shown["points"]["default"], "mid", "{shown}");
    assert_eq!(shown["points"]["points"][0]["orders"]["conv2"], 1, "{shown}");
    assert!(horq(&["inspect", &plain, "--json"]).json()["points"].is_null());
    for command in [&["run", &model, &samples][..], &["profile", &model]] {
        horq(&[command, &["--point", "fast"]].concat()).fails(1, &["fast", "low", "mid", "top"]);
        horq(&[command, &["--point", "low", "--order", "1"]].concat()).fails(2, &["--point", "--order"]);
    }
    horq(&["run", &plain, &samples, "--point", "low"]).fails(1, &["no operating points"]);
    horq(&["run", &plain, &samples, "--point", "default"]).fails(1, &["no operating points"]);
}

#[test]
fn a_tuned_file_has_points_that_run() {
    let files = Files::new();
    let (model, tuned, table) = (files.network(), files.path("tuned.horq"), files.path("all.csv"));
    let data = files.write("data.npy", &npy_f32(&[40, 8, 8, 3], &noise(40 * 192, 13)));
    let quick = ["tune", &model, "--data", &data, "--time", "20ms", "--candidates", "4", "--points", "3"];
    let report = horq(&[&quick[..], &["-o", &tuned, "--csv", &table, "--json"]].concat()).json();
    let points = report["points"]["points"].as_array().expect("points");
    assert!((2..=3).contains(&points.len()), "{report}");
    // The header, and at least the three uniform mixtures.
    let lines = std::fs::read_to_string(&table).unwrap();
    assert!(lines.starts_with("orders,us,predicted_us,") && lines.lines().count() >= 4, "{lines}");
    for point in points {
        let name = point["name"].as_str().unwrap();
        let said = horq(&["run", &tuned, &data, "--point", name, "--json"]).json();
        assert_eq!(said["point"].as_str(), Some(name));
    }
    // The weights are as they were.
    let outputs = |model: &str| outputs(&horq(&["run", model, &data, "--top", "5", "--json"]).json());
    assert_eq!(outputs(&tuned), outputs(&model));
    // A budget that nothing reaches is refused with what can be had, and leaves no file.
    let (other, none) = (files.path("other.horq"), std::path::Path::new(&files.path("other.horq")).to_owned());
    horq(&[&quick[..], &["-o", &other, "--latency", "1ns"]].concat()).fails(1, &["1ns", "us"]);
    assert!(!none.exists());
    let short = files.write("short.npy", &npy_f32(&[1, 4, 4, 3], &noise(48, 14)));
    horq(&["tune", &model, "--data", &short]).fails(1, &["short.npy"]);
}
