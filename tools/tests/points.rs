//! Operating points on the command line: tuned, shown, run, profiled, and refused by name.

mod common;

use common::{Files, Said, answers, horq, idx, network, noise, npy_f32};
use horq::{Cascade, Model, Order, Point, Points, Session, SessionOptions};
use serde_json::Value;
use std::path::Path;

/// The network with points made by hand.
fn pointed(files: &Files) -> String {
    let order = |order| Order::new(order).unwrap();
    let low = Point::new("low", [("conv2", Order::ONE), ("fc1", Order::ONE)]);
    let points = Points::new([low, Point::new("mid", [("conv2", order(2))]), Point::new("top", [])]).default_to("mid");
    let points = points.cascade(Cascade::new("low", "top", 0.5));
    let path = files.path("pointed.horq");
    Model::from_bytes(&network(true)).unwrap().write_with_points(&points, Path::new(&path)).unwrap();
    path
}

/// The outputs of all samples as `horq run --json` writes them, a line each, each sample's from the highest on.
fn outputs(said: Said) -> Vec<f32> {
    let said = said.ok();
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON document a line"));
    let values = |line: Value| line["top"].as_array().expect("the highest outputs").clone();
    lines.flat_map(values).map(|one| one["output"].as_f64().expect("a number") as f32).collect()
}

#[test]
fn a_run_at_a_point_answers_as_the_library_does() {
    let files = Files::new();
    let (model, input) = (pointed(&files), noise(3 * 192, 11));
    let samples = files.write("samples.npy", &npy_f32(&[3, 8, 8, 3], &input));
    let labels = files.write("labels.idx", &idx(&[3], &[0, 1, 2]));
    let mut seen = Vec::new();
    for (asked, point) in
        [(Some("low"), Some("low")), (Some("mid"), Some("mid")), (Some("default"), Some("mid")), (None, None)]
    {
        let mut session =
            Session::new(&Model::open(Path::new(&model)).unwrap(), SessionOptions::new().batch(3)).unwrap();
        if let Some(point) = point {
            session.set_point(point).unwrap();
        }
        let mut wanted = vec![0.0; 15];
        session.run(&input, &mut wanted).unwrap();
        wanted.chunks_mut(5).for_each(|one| one.sort_by(|a, b| b.total_cmp(a)));
        let choice = asked.map_or(vec![], |name| vec!["--point", name]);
        let said = horq(&[&["run", &model, &samples, "--top", "5", "--json"], &choice[..]].concat());
        assert_eq!(outputs(said), wanted, "{asked:?}");
        let said = horq(&[&["run", &model, &samples, "--labels", &labels, "--json"], &choice[..]].concat()).json();
        assert_eq!(said["point"].as_str(), point, "{said}");
        seen.push(wanted);
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[3] && seen[1] == seen[2], "the points differ");
    let said = horq(&["run", &model, &samples, "--labels", &labels, "--point", "low"]).ok();
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
        horq(&[command, &["--point", "fast"]].concat()).fails(2, &["fast", "low", "mid", "top"]);
        horq(&[command, &["--point", "low", "--order", "1"]].concat()).fails(2, &["--point", "--order"]);
    }
    horq(&["run", &plain, &samples, "--point", "low"]).fails(2, &["none at all", "horq tune"]);
    horq(&["run", &plain, &samples, "--point", "default"]).fails(2, &["none at all", "horq tune"]);
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
        assert_eq!(outputs(horq(&["run", &tuned, &data, "--point", name, "--top", "5", "--json"])).len(), 200);
    }
    // The weights are as they were.
    let outputs = |model: &str| outputs(horq(&["run", model, &data, "--top", "5", "--json"]));
    assert_eq!(outputs(&tuned), outputs(&model));
    // A budget that nothing reaches is refused with what can be had, and leaves no file.
    let other = files.path("other.horq");
    horq(&[&quick[..], &["-o", &other, "--latency", "0.01us"]].concat()).fails(1, &["us"]);
    assert!(!Path::new(&other).exists());
    let short = files.write("short.npy", &npy_f32(&[1, 4, 4, 3], &noise(48, 14)));
    horq(&["tune", &model, "--data", &short]).fails(1, &["short.npy"]);
}
