//! Products of values, norms, tables and steps.

use super::{Forge, assert_refused, refused_of};
use horq::error::{GraphError, TensorError};
use horq::graph::Shape;
use horq::ops::{ArgMax, Embedding, FakeQuantize, GroupNorm, LayerNorm, Lrn, MatMul, MultiThreshold, TopK};
use horq::{Builder, Error};
use serde_json::json;

/// The error about a chain of such layers that was changed and sealed again, and its text.
fn refused(change: &dyn Fn(&mut Forge)) -> (Error, String) {
    let mut builder = Builder::new("x", Shape::Image { height: 1, width: 4, channels: 3 });
    builder.add("norm", &["x"], LayerNorm::new(1e-5)).unwrap();
    builder.add("groups", &["norm"], GroupNorm::new(3, 1e-5)).unwrap();
    builder.add("neighbours", &["groups"], Lrn::new(3, 1.0, 0.75, 1.0)).unwrap();
    builder.add("product", &["neighbours", "x"], MatMul::transposed()).unwrap();
    builder.add("rounded", &["product"], FakeQuantize::new(&[0.5], &[0.0], &[-8.0], &[7.0])).unwrap();
    builder.add("counted", &["rounded"], MultiThreshold::new(1, &[0.0, 0.5], 1.0, 0.0)).unwrap();
    builder.add("two", &["counted"], TopK::new(2)).unwrap();
    builder.add("best", &["two"], ArgMax).unwrap();
    builder.add("y", &["best"], Embedding::new(8, vec![0.5; 16])).unwrap();
    refused_of(builder.to_bytes("y").unwrap(), change)
}

#[test]
fn what_is_divided_by_must_be_positive() {
    for value in [0.0_f32, -0.0, -1.0] {
        for tensor in ["norm.epsilon", "groups.epsilon", "rounded.scale"] {
            assert_refused!(
                refused(&|forge| forge.set(tensor, 0, value.to_bits())),
                Error::Tensor(TensorError::NotPositive { index: 0, .. }),
                tensor,
                "it must be greater than 0"
            );
        }
    }
    assert_refused!(
        refused(&|forge| forge.set("norm.epsilon", 0, f32::NAN.to_bits())),
        Error::Tensor(TensorError::NotFinite { index: 0, .. }),
        "`norm.epsilon`"
    );
    assert_refused!(
        refused(&|forge| forge.set("norm.epsilon", 1, 1)),
        Error::Tensor(TensorError::DirtyPadding { index: 1, .. }),
        "`norm.epsilon`"
    );
}

#[test]
fn numbers_of_any_size_are_refused_by_the_node() {
    for number in [0, usize::MAX, usize::MAX / 2 + 1] {
        for (node, field) in [
            ("y", "rows"),
            ("y", "features"),
            ("counted", "rows"),
            ("counted", "steps"),
            ("groups", "groups"),
            ("rounded", "values"),
            ("two", "k"),
        ] {
            assert_refused!(
                refused(&|forge| forge.node(node)[field] = json!(number)),
                Error::Graph(GraphError::Geometry { .. }),
                &format!("node `{node}`"),
                &number.to_string()
            );
        }
    }
    assert_refused!(
        refused(&|forge| forge.node("product")["transposed"] = json!(2)),
        Error::Graph(GraphError::Geometry { .. }),
        "transposed is 2; it must be 0 or 1"
    );
    assert_refused!(
        refused(&|forge| forge.node("neighbours")["size"] = json!(0)),
        Error::Graph(GraphError::Geometry { .. }),
        "the size is 0"
    );
}

#[test]
fn a_table_must_be_as_long_as_the_graph_says() {
    for (node, field, tensor) in [("y", "rows", "y.weight"), ("counted", "steps", "counted.thresholds")] {
        assert_refused!(
            refused(&|forge| forge.node(node)[field] = json!(17)),
            Error::Tensor(TensorError::TensorShape { .. }),
            tensor
        );
    }
}
