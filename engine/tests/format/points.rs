//! Operating points in a file: written, read by both readers, and changed without touching anything else.

use std::collections::BTreeMap;

use horq::{Cascade, DEFAULT_POINT, Latency, Loss, Model, Order, Point, Points, Session, SessionOptions};

use crate::forge::Forge;
use crate::reader::Reader;
use crate::zoo::{every_op_but_softmax, every_op_input, noise};

fn order(order: usize) -> Order {
    Order::new(order).unwrap()
}

/// Points of the model with every operation, with all that a file can say of them.
fn points() -> Points {
    let mixed = Point::new("mixed", [("grouped", order(2)), ("hidden", order(3)), ("two_bases", order(1))])
        .loss(Loss::new(0.3, "accuracy", "noise, \"two\" samples"))
        .latency(Latency::new(12.25, 2, "a CPU", "portable"));
    let low = Point::new("low: \u{e9}", ["grouped", "two_bases", "hidden"].map(|layer| (layer, Order::ONE)));
    let cascade = Cascade::new("mixed", "highest", 0.1).loss(Loss::new(-1e-3, "accuracy", "noise"));
    let cascades =
        [cascade.latency(Latency::new(13.5, 1, "a CPU", "portable")), Cascade::new("low: \u{e9}", "mixed", 0.0)];
    let points = Points::new([mixed, low, Point::new("highest", [])]).default_to("mixed");
    cascades.into_iter().fold(points, Points::cascade)
}

fn file(points: &Points) -> Vec<u8> {
    let mut builder = every_op_but_softmax();
    builder.note("licence", "none").golden(&every_op_input(), &noise(19, 20)).points(points.clone());
    builder.to_bytes("logits").unwrap()
}

#[test]
fn points_are_read_as_they_were_written() {
    let model = Model::from_bytes(&file(&points())).unwrap();
    assert_eq!(*model.points(), points());
    assert_eq!(model.points().get(DEFAULT_POINT).unwrap().name, "mixed");
    assert!(model.points().get("other").is_none());
    // A resized model has them, too; a file without them has none, and no key for them.
    assert_eq!(*model.resized(&[model.input_shape()]).unwrap().points(), points());
    let plain = file(&Points::default());
    assert!(Model::from_bytes(&plain).unwrap().points().is_empty());
    assert!(!Forge::open(&plain).metadata.contains_key("points"));
}

#[test]
fn a_reader_from_the_specification_runs_each_point_to_the_same_bits() {
    let file = file(&points());
    let model = Model::from_bytes(&file).unwrap();
    let input = every_op_input();
    let sample = &input[..model.input_shape().len()];
    let mut answers = Vec::new();
    for name in ["mixed", "low: \u{e9}", "highest", "default"] {
        let mut session = Session::new(&model, SessionOptions::new().point(name)).unwrap();
        let mut ours = vec![0.0; session.output_len()];
        session.run(sample, &mut ours).unwrap();
        assert_eq!(ours, Reader::at_point(&file, name).run(sample), "{name}");
        answers.push(ours);
    }
    assert!(answers[0] != answers[1] && answers[1] != answers[2] && answers[0] == answers[3]);
}

#[test]
fn other_points_change_nothing_else_in_a_file() {
    let plain = file(&Points::default());
    let model = Model::from_bytes(&plain).unwrap();
    let tuned = model.to_bytes_with_points(&points()).unwrap();
    assert_eq!(tuned, file(&points()), "as if the file had been made with them");
    let tuned = Model::from_bytes(&tuned).unwrap();
    tuned.verify_digest().unwrap();
    assert_eq!((tuned.version(), tuned.notes(), tuned.golden()), (model.version(), model.notes(), model.golden()));
    assert_eq!(tuned.to_bytes_with_points(&Points::default()).unwrap(), plain);

    // What this library does not know stays as well.
    let mut forge = Forge::open(&plain);
    forge.metadata.insert("later".into(), "\"some\" {text}".into());
    let strange = forge.seal();
    let kept = Model::from_bytes(&strange).unwrap().to_bytes_with_points(&points()).unwrap();
    let kept = Forge::open(&kept);
    assert_eq!(kept.metadata["later"], "\"some\" {text}");
    assert_eq!(kept.tensors, forge.tensors);
    let of = |metadata: &BTreeMap<String, String>| metadata.len();
    assert_eq!(of(&kept.metadata), of(&forge.metadata) + 1);
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    let model = Model::from_bytes(&file(&Points::default())).unwrap();
    model.write_with_points(&points(), &path).unwrap();
    let tuned = Model::open(&path).unwrap();
    assert_eq!(*tuned.points(), points());
    let wrong = Points::new([Point::new("a", [("nobody", Order::ONE)])]);
    let error = tuned.write_with_points(&wrong, &path).unwrap_err().to_string();
    assert!(error.contains("`nobody`") && error.contains("grouped, two_bases, hidden, signs"), "{error}");
    assert_eq!(*Model::open(&path).unwrap().points(), points());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
