//! What operating points must be.

use horq::error::{FileError, GraphError, PointsError};
use horq::{Cascade, Error, Latency, Loss, Model, Point, Points};
use serde_json::{Value, json};

use super::{assert_refused, refused};
use crate::zoo::small;

/// The error about the small model, whose one binary layer is `binary` of order 2, with that text as its points.
fn refused_text(text: &str) -> (Error, String) {
    refused(|forge| {
        forge.metadata.insert("points".into(), text.into());
    })
}

fn refused_points(points: &Value) -> (Error, String) {
    refused_text(&points.to_string())
}

fn one(orders: Value) -> Value {
    json!({"points": [{"name": "a", "orders": orders}]})
}

#[test]
fn the_text_must_be_json_of_the_right_kinds() {
    for text in [
        "",
        "[]",
        "{}",
        "{\"points\": {}}",
        "{\"points\": [[]]}",
        "{\"points\": [{\"name\": \"a\"}]}",
        "{\"points\": [{\"name\": 1, \"orders\": {}}]}",
        "{\"points\": [{\"name\": \"a\", \"orders\": []}]}",
        "{\"points\": [{\"name\": \"a\", \"orders\": {\"binary\": 1.0}}]}",
        "{\"points\": [{\"name\": \"a\", \"orders\": {\"binary\": -1}}]}",
        "{\"points\": [{\"name\": \"a\", \"orders\": {}, \"loss\": 3}]}",
        "{\"points\": [{\"name\": \"a\", \"orders\": {}, \"loss\": {\"value\": 1e400, \"measure\": \"\", \"data\": \"\"}}]}",
        "{\"points\": [], \"cascades\": [{\"low\": \"a\", \"high\": \"b\"}]}",
    ] {
        assert_refused!(refused_text(text), Error::File(FileError::Malformed { key: "points", .. }), "points");
    }
    let twice = "{\"points\": [{\"name\": \"a\", \"orders\": {\"binary\": 1, \"bin\\u0061ry\": 2}}]}";
    assert_refused!(refused_text(twice), Error::File(FileError::Malformed { .. }), "binary", "twice");
    for order in [0, 9, u64::MAX] {
        let refused = refused_points(&one(json!({"binary": order})));
        assert_refused!(refused, Error::File(FileError::Malformed { .. }), "binary", "1 to 8");
    }
    // Fields that nobody knows yet are ignored, and a null is an absent field.
    let mut forge = crate::forge::Forge::open(&small().to_bytes("logits").unwrap());
    let text =
        json!({"points": [{"name": "a", "orders": {}, "loss": null, "colour": [1]}], "later": 1, "default": null});
    forge.metadata.insert("points".into(), text.to_string());
    assert_eq!(*Model::from_bytes(&forge.seal()).unwrap().points(), Points::new([Point::new("a", [])]));
}

#[test]
fn there_may_be_so_many() {
    let points = |count: usize| {
        let all: Vec<Value> = (0..count).map(|i| json!({"name": i.to_string(), "orders": {}})).collect();
        json!({ "points": all })
    };
    assert_refused!(refused_points(&points(65)), Error::File(FileError::Malformed { .. }), "65 points", "64");
    assert_refused!(refused_points(&points(30_000)), Error::File(FileError::Malformed { .. }), "30000 points");
    let mut many = points(2);
    many["cascades"] = json!(vec![json!({"low": "0", "high": "1", "margin": 0}); 17]);
    assert_refused!(refused_points(&many), Error::File(FileError::Malformed { .. }), "17 cascades", "16");
    let at_the_limit = Points::new((0..64).map(|i| Point::new(&i.to_string(), [])));
    let at_the_limit =
        (0..16).fold(at_the_limit, |points, i| points.cascade(Cascade::new("0", &(i + 1).to_string(), 1.0)));
    let file = small().points(at_the_limit.clone()).to_bytes("logits").unwrap();
    assert_eq!(*Model::from_bytes(&file).unwrap().points(), at_the_limit);
    let error = small().points(Points::new((0..65).map(|i| Point::new(&i.to_string(), [])))).to_bytes("logits");
    assert!(matches!(error, Err(Error::Graph(GraphError::Points(PointsError::Count { count: 65, limit: 64 })))));
}

#[test]
fn names_must_be_names_and_differ() {
    for name in ["", "default", "a\nb", &"x".repeat(257)] {
        let refused = refused_points(&json!({"points": [{"name": name, "orders": {}}]}));
        assert_refused!(refused, Error::Graph(GraphError::Points(PointsError::Name { .. })), "1 to 256 bytes");
    }
    let point = json!({"name": "a", "orders": {}});
    let refused = refused_points(&json!({"points": [point, point]}));
    assert_refused!(refused, Error::Graph(GraphError::Points(PointsError::Duplicate { .. })), "`a`");
}

#[test]
fn orders_must_be_of_layers_that_have_them() {
    for layer in ["other", "stem", "x"] {
        let refused = refused_points(&one(json!({layer: 1})));
        assert_refused!(
            refused,
            Error::Graph(GraphError::Points(PointsError::UnknownLayer { .. })),
            "`a`",
            layer,
            "binary"
        );
    }
    let refused = refused_points(&one(json!({"binary": 3})));
    assert_refused!(
        refused,
        Error::Graph(GraphError::Points(PointsError::LayerOrder { .. })),
        "`binary`",
        "order 3",
        "1 to 2"
    );
}

#[test]
fn a_default_and_a_cascade_are_of_points() {
    let mut points = one(json!({}));
    points["default"] = "b".into();
    assert_refused!(
        refused_points(&points),
        Error::Graph(GraphError::Points(PointsError::Default { .. })),
        "`b`",
        ": a"
    );
    for (low, high) in [("b", "a"), ("a", "default"), ("a", "")] {
        let mut points = one(json!({}));
        points["cascades"] = json!([{"low": low, "high": high, "margin": 1}]);
        assert_refused!(
            refused_points(&points),
            Error::Graph(GraphError::Points(PointsError::CascadePoint { .. })),
            ": a"
        );
    }
    let mut points = one(json!({}));
    points["cascades"] = json!([{"low": "a", "high": "a", "margin": 1}]);
    assert_refused!(refused_points(&points), Error::Graph(GraphError::Points(PointsError::CascadeSame { .. })), "`a`");
}

#[test]
fn figures_must_be_figures() {
    let made = |points: Points| {
        let error = small().points(points).to_bytes("logits").expect_err("a figure is wrong");
        let text = error.to_string();
        (error, text)
    };
    let point = || Point::new("a", []);
    for value in [f64::NAN, f64::INFINITY] {
        let wrong = [
            Points::new([point().loss(Loss::new(value, "accuracy", ""))]),
            Points::new([point().latency(Latency::new(value, 1, "", ""))]),
            Points::new([point(), Point::new("b", [])]).cascade(Cascade::new("a", "b", value)),
        ];
        for points in wrong {
            assert_refused!(
                made(points),
                Error::Graph(GraphError::Points(PointsError::Number { .. })),
                "`a`",
                "finite"
            );
        }
    }
    for latency in [Latency::new(0.0, 1, "", ""), Latency::new(-1.0, 1, "", ""), Latency::new(1.0, 0, "", "")] {
        let points = Points::new([point().latency(latency)]);
        assert_refused!(made(points), Error::Graph(GraphError::Points(PointsError::Number { .. })), "`a`");
    }
    let negative = Points::new([point(), Point::new("b", [])]).cascade(Cascade::new("a", "b", -0.5));
    assert_refused!(made(negative), Error::Graph(GraphError::Points(PointsError::Number { .. })), "margin");
    let long = "x".repeat(257);
    for points in [
        Points::new([point().loss(Loss::new(0.0, &long, ""))]),
        Points::new([point().loss(Loss::new(0.0, "", &long))]),
        Points::new([point().latency(Latency::new(1.0, 1, &long, ""))]),
        Points::new([point().latency(Latency::new(1.0, 1, "", &long))]),
    ] {
        assert_refused!(made(points), Error::Graph(GraphError::Points(PointsError::Text { .. })), "257", "256");
    }
}
