//! The values that a node reads, as inference sees them.

use crate::Error;
use crate::error::GraphError;
use crate::shape::Shape;

/// What a node must read where it reads an image.
pub(super) const IMAGE: &str = "an image (height, width, channels); place it before the flattening";
/// What a node must read where it reads a vector.
pub(super) const VECTOR: &str = "a vector; put a flatten before it";

/// A node and the shapes of its inputs. An operation gets at them by saying how many it reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) node: &'a str,
    pub(crate) op: &'static str,
    /// Their names.
    pub(crate) names: &'a [String],
    /// Their shapes, as many.
    pub(crate) shapes: &'a [Shape],
}

impl Inputs<'_> {
    /// The one input of a node that reads one.
    pub(super) fn one(&self) -> Result<Shape, Error> {
        match *self.shapes {
            [shape] => Ok(shape),
            _ => Err(self.count("1")),
        }
    }

    /// The inputs of a node that reads `N`, up to three.
    pub(super) fn exactly<const N: usize>(&self) -> Result<[Shape; N], Error> {
        self.shapes.try_into().map_err(|_| self.count(const { ["0", "1", "2", "3"][N] }))
    }

    /// The first input of a node that reads two or more, and the others.
    pub(super) fn several(&self) -> Result<(Shape, &[Shape]), Error> {
        match self.shapes {
            [first, rest @ ..] if !rest.is_empty() => Ok((*first, rest)),
            _ => Err(self.count("2 or more")),
        }
    }

    /// Height, width and channels of the one input of a node that reads an image.
    pub(super) fn image(&self) -> Result<[usize; 3], Error> {
        match self.one()? {
            Shape::Image { height, width, channels } => Ok([height, width, channels]),
            shape @ Shape::Flat(_) => Err(self.rank(shape, IMAGE)),
        }
    }

    fn count(&self, expected: &'static str) -> Error {
        Error::Graph(GraphError::InputCount { node: self.node.into(), op: self.op, expected, found: self.shapes.len() })
    }

    /// The refusal of a first input of the wrong rank.
    pub(super) fn rank(&self, shape: Shape, expected: &'static str) -> Error {
        let input = self.names.first().cloned().unwrap_or_default();
        Error::Graph(GraphError::Rank { node: self.node.into(), op: self.op, expected, input, shape })
    }

    /// The refusal of an input that the operation's sizes do not fit.
    pub(super) fn misfit(&self, shape: Shape, reason: impl ToString) -> Error {
        Error::Graph(GraphError::Geometry { node: self.node.into(), op: self.op, shape, reason: reason.to_string() })
    }

    /// The refusal of a field that does not go with the operation's others.
    pub(super) fn field(&self, field: &'static str, rule: &'static str) -> Error {
        Error::Graph(GraphError::Field { node: self.node.into(), op: self.op, field, rule })
    }

    /// The refusal of two inputs that do not go together.
    pub(super) fn differ(&self, first: Shape, second: Shape, rule: &'static str) -> Error {
        Error::Graph(GraphError::ShapesDiffer { node: self.node.into(), op: self.op, first, second, rule })
    }
}
