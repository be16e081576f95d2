//! Tensors.

use crate::escape::escaped;

/// A tensor and the node that names it.
fn of(tensor: &str, node: &str) -> String {
    format!("tensor `{}` of node `{}`", escaped(tensor), escaped(node))
}

/// What is wrong with a tensor of a file, or with values that a builder was given for one.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// A tensor whose length is no multiple of 64, so that the next one does not start on a boundary.
    #[error("tensor `{}` has {length} bytes, which is no multiple of 64; pad it with zeros", escaped(tensor))]
    TensorLength {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        length: usize,
    },
    /// The graph names a tensor that is not there.
    #[error(
        "node `{}` needs the tensor `{}`, which the file does not hold; export the model again",
        escaped(node),
        escaped(tensor)
    )]
    TensorMissing {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that nothing names.
    #[error("nothing in the graph names the tensor `{}`; remove it or name it", escaped(tensor))]
    TensorUnknown {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that is named twice.
    #[error(
        "nodes `{}` and `{}` both name the tensor `{}`; give each a tensor of its own",
        escaped(first),
        escaped(second),
        escaped(tensor)
    )]
    TensorShared {
        /// The node that names it first.
        first: String,
        /// The node that names it again.
        second: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor of the wrong element type.
    #[error("{} has elements of type {}, but must have {expected}", of(tensor, node), escaped(found))]
    TensorDtype {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A tensor of the wrong shape.
    #[error(
        "{} has shape {}, but the graph makes it {}; export the model again",
        of(tensor, node),
        escaped(found),
        escaped(expected)
    )]
    TensorShape {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The shape that the graph implies.
        expected: String,
        /// The shape in the header.
        found: String,
    },
    /// A float that is NaN or infinite.
    #[error("value {index} of {} is {value}; every float of a model must be finite", of(tensor, node))]
    NotFinite {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A scale that is zero or negative: a constant of mode `fixed`, or that of a `resize`.
    #[error("scale {index} of {} is {value}; scales must be positive", of(tensor, node))]
    ScaleNotPositive {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A scale of mode `halving` that is too small to be halved, zero or negative.
    #[error(
        "scale {index} of {} is {value:e}; scales that are halved must be at least 2^-110 (7.7e-34); make the layer's \
         input and scales larger alike",
        of(tensor, node)
    )]
    ScaleTooSmall {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A step or an epsilon that is zero or negative.
    #[error("value {index} of {} is {value}; it must be greater than 0", of(tensor, node))]
    NotPositive {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Padding that is not zero.
    #[error("element {index} of {} holds {bits:#010x} where padding must be zero", of(tensor, node))]
    DirtyPadding {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// The element's bits.
        bits: u32,
    },
    /// A code that names no entry of its codebook.
    #[error(
        "element {index} of {} holds code {code}, but the codebook has {entries} entries; codes count from 0",
        of(tensor, node)
    )]
    CodeBeyond {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element; of a builder's source the code, of a file's tensor the word.
        index: usize,
        /// The code.
        code: u8,
        /// Entries of the codebook.
        entries: usize,
    },
    /// An 8-bit weight of -128.
    #[error(
        "element {index} of {} is -128; 8-bit weights are -127 to 127, scaled alike on both sides",
        of(tensor, node)
    )]
    Int8Range {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
    },
    /// An 8-bit layer whose input scale cannot be divided by.
    #[error("the input scale in {} is {value:e}; it must be finite and at least 2^-126", of(tensor, node))]
    InputScale {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The scale.
        value: f32,
    },
}
