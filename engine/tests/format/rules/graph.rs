//! What a graph must be.

use horq::Error;
use horq::error::GraphError;
use serde_json::{Value, json};

use super::{assert_refused, refused, refused_full};

#[test]
fn a_graph_has_nodes() {
    assert_refused!(
        refused(|forge| forge.graph["nodes"] = json!([])),
        Error::Graph(GraphError::NodeCount { count: 0, .. }),
        "4096"
    );
    let many = refused(|forge| {
        let node = forge.node("flat").clone();
        forge.graph["nodes"] = Value::Array(vec![node; horq::MAX_NODES + 1]);
    });
    assert_refused!(many, Error::Graph(GraphError::NodeCount { count: 4097, .. }), "4097");
}

#[test]
fn names_must_be_printable() {
    let long = "n".repeat(257);
    for (name, reason) in [("", "empty"), (&long[..], "256"), ("a\nb", "control")] {
        assert_refused!(
            refused(|forge| forge.node("flat")["name"] = json!(name)),
            Error::Graph(GraphError::Name { .. }),
            reason
        );
        assert_refused!(
            refused(|forge| forge.graph["input"]["name"] = json!(name)),
            Error::Graph(GraphError::Name { .. }),
            reason
        );
    }
}

#[test]
fn names_must_differ() {
    assert_refused!(
        refused(|forge| forge.node("flat")["name"] = json!("stem")),
        Error::Graph(GraphError::DuplicateName { .. }),
        "`stem`"
    );
    assert_refused!(
        refused(|forge| forge.node("flat")["name"] = json!("x")),
        Error::Graph(GraphError::DuplicateName { .. }),
        "`x`"
    );
}

#[test]
fn nodes_must_follow_what_they_read() {
    let nobody = refused(|forge| forge.node("flat")["inputs"] = json!(["nobody"]));
    assert_refused!(nobody, Error::Graph(GraphError::UnknownInput { .. }), "`flat`", "`nobody`");
    let cycle = refused(|forge| forge.node("stem")["inputs"] = json!(["binary"]));
    assert_refused!(cycle, Error::Graph(GraphError::UnknownInput { .. }), "`stem`", "`binary`");
    let itself = refused(|forge| forge.node("stem")["inputs"] = json!(["stem"]));
    assert_refused!(itself, Error::Graph(GraphError::UnknownInput { .. }), "`stem`");
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
        assert_refused!(refused, Error::Graph(GraphError::InputCount { .. }), node, expected);
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
        assert_refused!(
            refused,
            Error::Graph(GraphError::Rank { .. }),
            &format!("`{node}`"),
            "`vector`",
            "315",
            "image"
        );
    }
    for node in ["hidden", "logits"] {
        let refused = refused_full(|forge| forge.node(node)["inputs"] = json!(["sum"]));
        assert_refused!(refused, Error::Graph(GraphError::Rank { .. }), &format!("`{node}`"), "9x7x18", "flatten");
    }
}

#[test]
fn values_that_are_combined_must_go_together() {
    let sum = refused_full(|forge| forge.node("sum")["inputs"] = json!(["two_bases", "grouped"]));
    assert_refused!(sum, Error::Graph(GraphError::ShapesDiffer { .. }), "`sum`", "9x7x18", "9x7x20", "equal");
    let both = refused_full(|forge| forge.node("both")["inputs"] = json!(["mean", "sum"]));
    assert_refused!(both, Error::Graph(GraphError::ShapesDiffer { .. }), "`both`", "4x3x18", "9x7x18");
    let ranks = refused_full(|forge| forge.node("features")["inputs"] = json!(["channels", "relu"]));
    assert_refused!(ranks, Error::Graph(GraphError::ShapesDiffer { .. }), "`features`", "36", "4x3x36");
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
        ("kernel", json!([usize::MAX, usize::MAX]), "at most 2147483648"),
        ("stride", json!([usize::MAX, 1]), "at most 2147483648"),
        ("dilation", json!([usize::MAX, 1]), "at most 2147483648"),
        ("padding", json!([0, usize::MAX, 0, usize::MAX]), "at most 2147483648"),
        ("padding", json!([0, 1_u64 << 40, 0, 0]), "at most 2147483648"),
        ("padding", json!([0, 1_u64 << 31, 0, 0]), "does not fit"),
        ("filters", json!(usize::MAX), "overflow"),
        ("filters", json!(1_u64 << 40), "elements"),
    ] {
        let found = refused_full(|forge| forge.node("stem")[field] = value);
        assert_refused!(found, Error::Graph(GraphError::Geometry { .. }), "`stem`", reason, "9x7");
    }
    let deep = refused_full(|forge| {
        forge.graph["input"]["shape"] = json!([1, 1, 1 << 24]);
        forge.node("stem")["kernel"] = json!([1, 1]);
        forge.node("stem")["padding"] = json!([0, 0, 0, 0]);
    });
    assert_refused!(deep, Error::Graph(GraphError::Geometry { .. }), "`stem`", "more than 8388608 products");
}

#[test]
fn windows_of_pools_must_hold_a_pixel() {
    for node in ["max", "mean"] {
        let wide = refused_full(|forge| forge.node(node)["padding"] = json!([0, 0, 3, 0]));
        assert_refused!(wide, Error::Graph(GraphError::Geometry { .. }), &format!("`{node}`"), "padding of 3", "empty");
    }
    let sparse = refused_full(|forge| {
        forge.node("mean")["dilation"] = json!([1, 4]);
        forge.node("mean")["padding"] = json!([1, 4, 1, 4]);
    });
    assert_refused!(sparse, Error::Graph(GraphError::Geometry { .. }), "`mean`", "dilation of 4", "3 padded pixels");
}

#[test]
fn values_must_have_a_size_within_bounds() {
    for shape in [json!([0]), json!([3, 0, 2]), json!([1 << 29]), json!([1_u64 << 40, 1_u64 << 40, 1])] {
        let refused = refused(|forge| forge.graph["input"]["shape"] = shape);
        assert_refused!(refused, Error::Graph(GraphError::ValueSize { .. }), "`x`", "268435456");
    }
    let output = refused(|forge| {
        forge.graph["input"]["shape"] = json!([16384, 8192, 2]);
    });
    assert_refused!(output, Error::Graph(GraphError::Geometry { .. }), "`stem`", "2147483648");
}

#[test]
fn the_output_must_be_a_node() {
    for output in ["nothing", "x"] {
        assert_refused!(
            refused(|forge| forge.graph["output"] = json!(output)),
            Error::Graph(GraphError::UnknownOutput { .. }),
            output
        );
    }
}

#[test]
fn every_value_must_be_read() {
    let refused = refused(|forge| forge.graph["output"] = json!("flat"));
    assert_refused!(refused, Error::Graph(GraphError::Unread { .. }), "`logits`", "`flat`");
}

#[test]
fn orders_must_be_1_to_8() {
    for order in [0, 9, usize::MAX] {
        let refused = refused(|forge| forge.node("binary")["order"] = json!(order));
        assert_refused!(refused, Error::Graph(GraphError::Order { .. }), "`binary`", &order.to_string(), "8");
    }
}

#[test]
fn what_goes_by_an_order_needs_a_layer_of_as_many() {
    for nobody in ["nobody", "stem", "by_order", "image"] {
        let found = refused_full(|forge| forge.node("by_order")["order_of"] = json!(nobody));
        assert_refused!(
            found,
            Error::Graph(GraphError::OrderOf { .. }),
            "`by_order`",
            &format!("`{nobody}`"),
            "binary layer"
        );
    }
    let long = refused_full(|forge| forge.node("by_order")["order_of"] = json!("n".repeat(257)));
    assert_refused!(long, Error::Graph(GraphError::Name { .. }), "256");
    let other = refused_full(|forge| forge.node("by_order")["order_of"] = json!("grouped"));
    assert_refused!(
        other,
        Error::Graph(GraphError::RowsByOrder { .. }),
        "`by_order`",
        "4 rows",
        "`grouped`",
        "3 orders"
    );
    let fewer = refused_full(|forge| drop(forge.node("by_order")["rows"].as_array_mut().unwrap().pop()));
    assert_refused!(fewer, Error::Graph(GraphError::RowsByOrder { .. }), "3 rows", "`hidden`", "4 orders");
    let none = refused_full(|forge| forge.node("by_order")["rows"] = json!([]));
    assert_refused!(none, Error::Graph(GraphError::RowsByOrder { .. }), "0 rows");
}

#[test]
fn bases_must_be_1_to_8() {
    for bases in [0, 9] {
        let base = json!({ "weight": "w", "alpha": "a" });
        let refused = refused(|forge| forge.node("binary")["bases"] = Value::Array(vec![base; bases]));
        assert_refused!(refused, Error::Graph(GraphError::Bases { .. }), "`binary`", &format!("{bases} weight bases"));
    }
}

#[test]
fn only_modes_with_constants_have_scales() {
    for mode in ["fixed", "halving"] {
        let missing = refused(|forge| {
            forge.node("binary")["mode"] = json!(mode);
            forge.node("binary").as_object_mut().unwrap().remove("scales");
        });
        assert_refused!(
            missing,
            Error::Graph(GraphError::ScalesMissing { .. }),
            "`binary`",
            "one positive constant an order"
        );
    }
    for mode in ["window", "image", "none"] {
        let unexpected = refused(|forge| forge.node("binary")["mode"] = json!(mode));
        assert_refused!(unexpected, Error::Graph(GraphError::ScalesUnexpected { .. }), "`binary`", "`binary.scales`");
    }
}

/// Sums of more products than fit an i32 are refused before any weight is looked at.
#[test]
fn filters_of_8_bits_are_not_too_deep() {
    let mut builder = horq::Builder::new("x", horq::graph::Shape::Flat(65_537));
    let quantize = horq::ops::Int8Quantize { scale: 1.0, zero_point: 0 };
    let layer = horq::ops::Int8Dense::new(1, quantize, &[0_i8; 0], &[0.0; 0]);
    let error = builder.add("y", &["x"], layer).map(drop).expect_err("too deep");
    assert!(
        matches!(error, Error::Graph(GraphError::Geometry { .. })) && error.to_string().contains("65537 products"),
        "{error}"
    );
}
