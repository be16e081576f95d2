//! What the fields of operations that move values must be: each number may be anything, also in sizes whose product overflows.

use horq::error::{FileError, GraphError, TensorError};
use horq::{Error, Limits, Model};
use serde_json::{Value, json};

use super::{assert_refused, refused_of};
use crate::forge::Forge;
use crate::seeds;
use crate::zoo::{answers, noise};

/// The error about the seed of that name, one field of one of its nodes set to something else; null takes it out.
fn refused(name: &str, node: &str, field: &str, value: Value) -> (Error, String) {
    refused_of(seeds::bytes(name), |forge: &mut Forge| {
        let node = forge.node(node).as_object_mut().unwrap();
        match value {
            Value::Null => assert!(node.remove(field).is_some(), "{field} of {node:?}"),
            value => drop(node.insert(field.into(), value)),
        }
    })
}

const HUGE: u64 = u64::MAX;

#[test]
fn a_rearrangement_names_each_axis_once_and_keeps_the_number_of_values() {
    for order in
        [json!([0, 3, 1, 4, 4]), json!([0, 3, 1, 4]), json!([0, 3, 1, 4, 2, 5]), json!([0, 3, 1, 4, HUGE]), json!([])]
    {
        let refused = refused("moving", "pixels", "order", order);
        assert_refused!(
            refused,
            Error::Graph(GraphError::Field { field: "order", .. }),
            "`pixels`",
            "each axis",
            "once"
        );
    }
    for sizes in [json!([]), json!([0, 3, 1, 2, 2]), json!(vec![1; 17])] {
        let refused = refused("moving", "pixels", "sizes", sizes);
        assert_refused!(refused, Error::Graph(GraphError::Field { field: "sizes", .. }), "`pixels`", "1 to 16");
    }
    for sizes in [
        json!([4, 3, 1, 2, 3]),
        json!([HUGE, HUGE, HUGE, HUGE, HUGE]),
        json!([HUGE, 1, 1, 1, 2]),
        json!([1, 1, 1, 1, 1]),
    ] {
        let refused = refused("moving", "pixels", "sizes", sizes);
        assert_refused!(
            refused,
            Error::Graph(GraphError::Geometry { .. }),
            "`pixels`",
            "the product of its sizes",
            "48"
        );
    }
    for shape in [json!([8, 6, 2]), json!([47]), json!([HUGE, HUGE, 48]), json!([0])] {
        let refused = refused("moving", "pixels", "shape", shape);
        assert_refused!(
            refused,
            Error::Graph(GraphError::Geometry { .. }),
            "`pixels`",
            "the product of its shape",
            "48"
        );
    }
    let two = refused("moving", "pixels", "shape", json!([8, 6]));
    assert_refused!(two, Error::File(FileError::NodeMalformed { .. }), "`pixels`", "one size (features) or three");
    for list in [json!(3), json!(["3"]), json!([-1]), json!([1.0]), json!([[3]]), json!({ "0": 1 })] {
        let refused = refused("moving", "pixels", "sizes", list);
        assert_refused!(refused, Error::File(FileError::NodeMalformed { .. }), "`pixels`", "`sizes`");
    }
}

#[test]
fn a_slice_lies_in_its_input() {
    for (field, value) in [
        ("start", json!([3, 1, 0])),
        ("start", json!([0, 7, 0])),
        ("start", json!([HUGE, 1, 0])),
        ("stop", json!([0, 6, 2])),
        ("stop", json!([3, 7, 2])),
        ("stop", json!([3, 6, HUGE])),
    ] {
        let refused = refused("moving", "part", field, value);
        assert_refused!(refused, Error::Graph(GraphError::Geometry { .. }), "`part`", "along axis", "4x6x2");
    }
    let step = refused("moving", "part", "step", json!([2, 0, 1]));
    assert_refused!(step, Error::Graph(GraphError::Field { field: "step", .. }), "`part`", "at least 1", "`reverse`");
    let reverse = refused("moving", "part", "reverse", json!([0, 2, 0]));
    assert_refused!(reverse, Error::Graph(GraphError::Field { field: "reverse", .. }), "`part`", "0 or 1");
}

#[test]
fn a_border_has_a_value_where_it_is_constant() {
    let missing = refused("moving", "constant", "value", Value::Null);
    assert_refused!(missing, Error::Graph(GraphError::Field { field: "value", .. }), "`constant`", "missing");
    let unexpected = refused("moving", "constant", "mode", json!("reflect"));
    assert_refused!(unexpected, Error::Graph(GraphError::Field { field: "value", .. }), "`constant`", "remove it");
    let unknown = refused("moving", "constant", "mode", json!("mirror"));
    assert_refused!(unknown, Error::File(FileError::NodeMalformed { .. }), "mirror", "reflect");
    for (field, value) in [("before", json!([HUGE, 0, 0])), ("after", json!([1_u64 << 40, 1_u64 << 40, HUGE]))] {
        for node in ["constant", "reflect", "wrap", "edge"] {
            let refused = refused("moving", node, field, value.clone());
            assert_refused!(refused, Error::Graph(GraphError::ValueSize { .. }), &format!("`{node}`"), "268435456");
        }
    }
}

#[test]
fn other_movements_have_sizes_that_can_be() {
    let axis = refused("moving", "below", "axis", json!(2));
    assert_refused!(axis, Error::Graph(GraphError::Field { field: "axis", .. }), "`below`", "concat");
    let ragged = refused("moving", "below", "inputs", json!(["gather", "edge"]));
    assert_refused!(ragged, Error::Graph(GraphError::ShapesDiffer { .. }), "`below`", "may differ");
    let axis = refused("moving", "gather", "axis", json!(3));
    assert_refused!(axis, Error::Graph(GraphError::Field { field: "axis", .. }), "`gather`", "2 (channels)");
    for indices in [json!([0, 6]), json!([HUGE])] {
        let refused = refused("moving", "gather", "indices", indices);
        assert_refused!(refused, Error::Graph(GraphError::Geometry { .. }), "`gather`", "no place");
    }
    let empty = refused("moving", "gather", "indices", json!([]));
    assert_refused!(empty, Error::Graph(GraphError::ValueSize { elements: 0, .. }), "`gather`");
    let stride = refused("moving", "zeros", "stride", json!([2, 0]));
    assert_refused!(stride, Error::Graph(GraphError::Field { field: "stride", .. }), "`zeros`", "at least 1");
    let wide = refused("moving", "zeros", "stride", json!([HUGE, HUGE]));
    assert_refused!(wide, Error::Graph(GraphError::ValueSize { .. }), "`zeros`");
    for node in ["mean", "largest"] {
        for size in [json!([0, 2]), json!([HUGE, HUGE]), json!([1 << 20, 1 << 20])] {
            let refused = refused("sizes", node, "size", size);
            assert_refused!(refused, Error::Graph(GraphError::ValueSize { .. }), &format!("`{node}`"));
        }
    }
}

#[test]
fn a_resize_has_the_fields_of_its_mode_and_sizes_that_can_be() {
    for size in [json!([0, 2]), json!([7, HUGE]), json!([1_u64 << 31, 2]), json!([1, (1 << 18) + 1])] {
        let refused = refused("sizes", "nearest", "size", size);
        assert_refused!(refused, Error::Graph(GraphError::Field { field: "size", .. }), "`nearest`", "1 to 262144");
    }
    let large = refused("sizes", "nearest", "size", json!([1 << 18, 1 << 18]));
    assert_refused!(large, Error::Graph(GraphError::ValueSize { .. }), "`nearest`");
    for (node, field) in [("nearest", "rounding"), ("cubic", "cubic"), ("cubic", "outside")] {
        let (error, text) = refused("sizes", node, field, Value::Null);
        assert!(matches!(error, Error::Graph(GraphError::Field { field: found, .. }) if found == field), "{error}");
        assert!(text.contains("missing") && text.contains(node), "{text}");
    }
    for (node, field) in [("nearest", "rounding"), ("cubic", "cubic")] {
        let (error, text) = refused("sizes", node, "mode", json!("linear"));
        assert!(matches!(error, Error::Graph(GraphError::Field { field: found, .. }) if found == field), "{error}");
        assert!(text.contains("remove it"), "{text}");
    }
    for value in [0.0, -1.0, -f32::MIN_POSITIVE] {
        let scale = refused_of(seeds::bytes("sizes"), |forge| forge.set("nearest.scale", 1, value.to_bits()));
        assert_refused!(scale, Error::Tensor(TensorError::ScaleNotPositive { index: 1, .. }), "`nearest.scale`");
    }
}

/// Each number of the graph in turn is another: the file is refused, or opens and runs. None of it panics.
#[test]
fn every_number_may_be_anything() {
    let limits = Limits::new().value_elements(1 << 14).session_bytes(1 << 24);
    let (mut changed, mut opened) = (0, 0);
    for name in ["moving", "sizes"] {
        let forge = Forge::open(&seeds::bytes(name));
        let mut places = Vec::new();
        numbers(&forge.graph, String::new(), &mut places);
        for place in places {
            for value in [0, 1, 2, 3, 5, 64, 1 << 18, 1 << 31, 1 << 32, 1 << 63, HUGE] {
                let mut forge = forge.clone();
                *forge.graph.pointer_mut(&place).unwrap() = json!(value);
                changed += 1;
                let Ok(model) = Model::from_bytes_with(&forge.seal(), &limits) else { continue };
                opened += 1;
                let input = noise(1, model.input_shape().len());
                let Ok(answer) = answers(&model, 1, &input) else { continue };
                assert!(answer.iter().all(|y| y.is_finite()), "{name} {place} {value}: {answer:?}");
            }
        }
    }
    assert!(changed > 800 && opened > 200, "{opened} of {changed} opened");
}

/// The places of all numbers of a JSON value.
fn numbers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Number(_) => places.push(at),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, value)| numbers(value, format!("{at}/{i}"), places));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| numbers(value, format!("{at}/{name}"), places));
        }
        _ => {}
    }
}
