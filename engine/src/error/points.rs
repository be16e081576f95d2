//! Operating points.

use crate::escape::escaped;

/// Which rule the operating points of a file break.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PointsError {
    /// More points than [`crate::MAX_POINTS`].
    #[error("the model has {count} operating points; it may have {limit} at most")]
    Count {
        /// Points of the model.
        count: usize,
        /// Points allowed.
        limit: usize,
    },
    /// More cascades than [`crate::MAX_CASCADES`].
    #[error("the model has {count} cascades; it may have {limit} at most")]
    CascadeCount {
        /// Cascades of the model.
        count: usize,
        /// Cascades allowed.
        limit: usize,
    },
    /// A name that no point can have.
    #[error(
        "an operating point cannot be named {point:?}; a name has 1 to 256 bytes without control characters, and `default` stands for the default point"
    )]
    Name {
        /// The name, cut off where it is very long.
        point: String,
    },
    /// Two points of one name.
    #[error("two operating points are named `{}`; rename one of them", escaped(point))]
    Duplicate {
        /// The name.
        point: String,
    },
    /// A point that gives an order to what is no binary layer.
    #[error(
        "the operating point `{}` sets the order of `{}`, which is no binary layer of the graph; those are: {}",
        escaped(point),
        escaped(layer),
        escaped(known)
    )]
    UnknownLayer {
        /// The point.
        point: String,
        /// What it names.
        layer: String,
        /// The binary layers.
        known: String,
    },
    /// A point that gives a layer an order which the layer has not.
    #[error(
        "the operating point `{}` runs layer `{}` at order {order}, but the model holds orders 1 to {limit} for it",
        escaped(point),
        escaped(layer)
    )]
    LayerOrder {
        /// The point.
        point: String,
        /// The layer.
        layer: String,
        /// The order that the point gives it.
        order: usize,
        /// The highest order that the model holds for it.
        limit: usize,
    },
    /// A default that is no point.
    #[error("the default operating point `{}` is none of the points: {}", escaped(point), escaped(known))]
    Default {
        /// The name.
        point: String,
        /// The names of the points.
        known: String,
    },
    /// A cascade of what is no point.
    #[error("a cascade names the operating point `{}`, which is none of: {}", escaped(point), escaped(known))]
    CascadePoint {
        /// The name.
        point: String,
        /// The names of the points.
        known: String,
    },
    /// A cascade from a point to itself.
    #[error("a cascade leads from the operating point `{}` to itself; name a higher one", escaped(point))]
    CascadeSame {
        /// The point.
        point: String,
    },
    /// A figure that is none.
    #[error(
        "`{field}` of the operating point `{}` is {value}; it must be finite, a time above 0, a margin at least 0, threads at least 1",
        escaped(point)
    )]
    Number {
        /// The point; of a cascade the low one.
        point: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// A text that is too long.
    #[error("`{field}` of the operating point `{}` has {length} bytes; it may have {limit} at most", escaped(point))]
    Text {
        /// The point; of a cascade the low one.
        point: String,
        /// The field.
        field: &'static str,
        /// Its bytes.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}
