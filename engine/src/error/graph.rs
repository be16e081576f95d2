//! Graphs.

use super::PointsError;
use crate::escape::escaped;
use crate::shape::Shape;

/// Which rule a graph breaks, in a file or in a builder.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// More nodes than [`crate::Limits::nodes`], or none.
    #[error("the graph has {count} nodes; it must have 1 to {limit}")]
    NodeCount {
        /// Nodes of the graph.
        count: usize,
        /// Nodes allowed.
        limit: usize,
    },
    /// A name that is empty, too long or holds control characters.
    #[error("{name:?} cannot be a name: {reason}; rename it")]
    Name {
        /// The name, cut off where it is very long.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Two values of one name.
    #[error("the name `{}` is taken by an earlier node or an input of the graph; rename one of them", escaped(node))]
    DuplicateName {
        /// The name.
        node: String,
    },
    /// A node reads a value that does not stand before it.
    #[error(
        "node `{}` reads `{}`, which is neither an input of the graph nor an earlier node; order the nodes so that each follows what it reads",
        escaped(node),
        escaped(input)
    )]
    UnknownInput {
        /// The reading node.
        node: String,
        /// The value.
        input: String,
    },
    /// A node with the wrong number of inputs.
    #[error("node `{}` ({op}) reads {found} values, but must read {expected}", escaped(node))]
    InputCount {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// How many it must read.
        expected: &'static str,
        /// How many it reads.
        found: usize,
    },
    /// A node's input has the wrong rank.
    #[error(
        "node `{}` ({op}) reads `{}`, which has shape {shape}, but it needs {expected}",
        escaped(node),
        escaped(input)
    )]
    Rank {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What it must read, and how to get there.
        expected: &'static str,
        /// The value it reads.
        input: String,
        /// The value's shape.
        shape: Shape,
    },
    /// Two inputs of a node do not go together.
    #[error("node `{}` ({op}) reads values of shapes {first} and {second}; {rule}", escaped(node))]
    ShapesDiffer {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Shape of its first input.
        first: Shape,
        /// Shape of the input that does not fit it.
        second: Shape,
        /// What would fit.
        rule: &'static str,
    },
    /// A window or convolution that does not fit its input.
    #[error("node `{}` ({op}) does not fit its input of shape {shape}: {}", escaped(node), escaped(reason))]
    Geometry {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Shape of its input.
        shape: Shape,
        /// Which sizes disagree.
        reason: String,
    },
    /// A field that must not stand as it does beside the operation's others.
    #[error("node `{}` ({op}): the field `{field}` {rule}", escaped(node))]
    Field {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A value of zero elements, or of more than [`crate::Limits::value_elements`].
    #[error("value `{}` of shape {shape} has {elements} elements a sample; it must have 1 to {limit}", escaped(name))]
    ValueSize {
        /// The value's name.
        name: String,
        /// Its shape.
        shape: Shape,
        /// Its elements.
        elements: usize,
        /// Elements allowed.
        limit: usize,
    },
    /// More inputs than [`crate::MAX_INPUTS`], or none.
    #[error("the graph has {count} inputs; it must have 1 to {limit}")]
    InputLimit {
        /// Inputs of the graph.
        count: usize,
        /// Inputs allowed.
        limit: usize,
    },
    /// More outputs than [`crate::Limits::nodes`], or none.
    #[error("the graph has {count} outputs; it must have 1 to {limit}, each another node")]
    OutputLimit {
        /// Outputs of the graph.
        count: usize,
        /// Outputs allowed.
        limit: usize,
    },
    /// An input that no node reads.
    #[error("nobody reads the input `{}`; remove it", escaped(input))]
    UnreadInput {
        /// The input.
        input: String,
    },
    /// A node that is an output twice.
    #[error("the graph names the output `{}` twice; name each node once", escaped(output))]
    DuplicateOutput {
        /// The node.
        output: String,
    },
    /// A node that cannot work on inputs of other sizes, because its tensors are those of one size.
    #[error(
        "node `{}` cannot read a value of shape {shape}: its tensor `{}` is made for shape {made_for}; give inputs whose size comes to that here, or export the model for the other size",
        escaped(node),
        escaped(tensor)
    )]
    Resized {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The shape of its first input at the new sizes.
        shape: Shape,
        /// The shape of its first input in the file.
        made_for: Shape,
    },
    /// An output of the graph that is not one of its nodes.
    #[error("the output `{}` is not a node of the graph; name one of its nodes", escaped(output))]
    UnknownOutput {
        /// The name.
        output: String,
    },
    /// A node whose value goes nowhere.
    #[error(
        "nobody reads node `{}` and it is no output (`{}`); remove it or make it an output",
        escaped(node),
        escaped(output)
    )]
    Unread {
        /// The node.
        node: String,
        /// The outputs of the graph; the first of them where there are many.
        output: String,
    },
    /// An order outside 1 to 8.
    #[error("node `{}` has order {order}; it must be 1 to {limit}", escaped(node))]
    Order {
        /// The node.
        node: String,
        /// Its order.
        order: usize,
        /// The highest order allowed.
        limit: usize,
    },
    /// An `affine_by_order` that names no binary layer.
    #[error(
        "node `{}` goes by the order of `{}`, which is no binary layer of the graph; name one",
        escaped(node),
        escaped(layer)
    )]
    OrderOf {
        /// The node.
        node: String,
        /// What it names.
        layer: String,
    },
    /// An `affine_by_order` with rows for other orders than its layer has.
    #[error(
        "node `{}` has {rows} rows, but `{}`, by whose order it goes, has {order} orders; give one row an order",
        escaped(node),
        escaped(layer)
    )]
    RowsByOrder {
        /// The node.
        node: String,
        /// The binary layer.
        layer: String,
        /// The node's rows.
        rows: usize,
        /// The layer's highest order.
        order: usize,
    },
    /// No weight basis, or too many.
    #[error("node `{}` has {count} weight bases; it must have 1 to {limit}", escaped(node))]
    Bases {
        /// The node.
        node: String,
        /// Its bases.
        count: usize,
        /// Bases allowed.
        limit: usize,
    },
    /// A codebook without entries, or with too many.
    #[error("node `{}` has a codebook of {entries} entries; it must have 1 to {limit}", escaped(node))]
    CodebookEntries {
        /// The node.
        node: String,
        /// Its entries.
        entries: usize,
        /// Entries allowed.
        limit: usize,
    },
    /// Operating points that break a rule.
    #[error(transparent)]
    Points(PointsError),
    /// Mode `fixed` or `halving` without its constants.
    #[error(
        "node `{}` has scale mode fixed or halving, but names no `scales`; give one positive constant an order",
        escaped(node)
    )]
    ScalesMissing {
        /// The node.
        node: String,
    },
    /// Constants in a mode that has none.
    #[error(
        "node `{}` names the scales `{}`, but only scale modes fixed and halving have any; remove them or change the mode",
        escaped(node),
        escaped(tensor)
    )]
    ScalesUnexpected {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },
}
