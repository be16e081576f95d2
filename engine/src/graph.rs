//! The graph of a model: what a `.horq` file says should be computed, before any kernel is chosen.
//!
//! Values are f32 in NHWC order; every shape here leaves the batch dimension out. A node has one output, named after the
//! node. Nodes stand in an order in which each input is the graph's input or an earlier node, so a graph has no cycle.

mod infer;

pub use infer::{Content, TensorSpec};
pub(crate) use infer::{check_name, check_size, code_bits, infer, is_input_scale};

use horq_kernels::{Padding, ScaleMode, Window};
use serde::{Deserialize, Serialize};

/// The shape of one sample's value, batch left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub enum Shape {
    /// A vector of that many values.
    Flat(usize),
    /// An image, its channels innermost.
    Image {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Values a pixel.
        channels: usize,
    },
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = String;

    fn try_from(sizes: Vec<usize>) -> Result<Self, String> {
        match sizes[..] {
            [features] => Ok(Self::Flat(features)),
            [height, width, channels] => Ok(Self::Image { height, width, channels }),
            _ => {
                Err(format!("a shape has one size (features) or three (height, width, channels), not {}", sizes.len()))
            }
        }
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Flat(features) => vec![features],
            Shape::Image { height, width, channels } => vec![height, width, channels],
        }
    }
}

impl Shape {
    /// Values of one sample; saturates where the product does not fit, which no limit lets pass.
    pub const fn len(self) -> usize {
        match self {
            Self::Flat(features) => features,
            Self::Image { height, width, channels } => height.saturating_mul(width).saturating_mul(channels),
        }
    }

    /// Whether there is no value at all; no valid graph has such a shape.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Values that lie side by side: the channels of an image, the features of a vector.
    pub const fn channels(self) -> usize {
        match self {
            Self::Flat(features) => features,
            Self::Image { channels, .. } => channels,
        }
    }
}

impl std::fmt::Display for Shape {
    /// `784`, or `28x28x1` for an image.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flat(features) => write!(f, "{features}"),
            Self::Image { height, width, channels } => write!(f, "{height}x{width}x{channels}"),
        }
    }
}

/// A network as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Graph {
    /// The one input.
    pub input: Input,
    /// The name of the node whose value is the answer.
    pub output: String,
    /// The nodes, each after those it reads.
    pub nodes: Vec<Node>,
}

/// The graph's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its name, as nodes refer to it.
    pub name: String,
    /// Its shape, batch left out.
    pub shape: Shape,
}

/// One operation of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// A name of its own, which is also the name of its value.
    pub name: String,
    /// The values it reads: the graph's input or earlier nodes.
    pub inputs: Vec<String>,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
}

/// What a node computes. Strings named `weight`, `codes`, `codebook`, `bias`, `alpha`, `input_scale`, `scale`,
/// `shift`, `slope` and `scales` name tensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// f32 convolution: y = x * w + bias. Padding contributes zero.
    Conv2d {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// Float panels.
        weight: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// f32 matrix product on a flat value: y = W x + bias.
    Dense {
        /// Output features.
        filters: usize,
        /// Float panels.
        weight: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// Convolution of residual-quantized activations with binary weights:
    /// y = sum_l alpha_l * (sum_k b_k (H_k . B_l)) + bias.
    BinaryConv2d {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// What a padded tap stands for.
        pad_value: Padding,
        /// How activations become planes.
        #[serde(flatten)]
        quantizer: Quantizer,
        /// The weight bases, one or more.
        bases: Vec<Base>,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// The same for a flat value.
    BinaryDense {
        /// Output features.
        filters: usize,
        /// How activations become planes.
        #[serde(flatten)]
        quantizer: Quantizer,
        /// The weight bases, one or more.
        bases: Vec<Base>,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// Convolution of f32 activations with binary weights (BWN, BWNH): y = alpha * (x . B) + bias. Padding contributes zero.
    BinaryWeightConv2d {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// Bit panels of B.
        weight: String,
        /// One value a filter.
        alpha: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// The same for a flat value.
    BinaryWeightDense {
        /// Output features.
        filters: usize,
        /// Bit panels of B.
        weight: String,
        /// One value a filter.
        alpha: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// f32 convolution whose weights are entries of a codebook (DQC, INQ). Padding contributes zero.
    CodebookConv2d {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// Values of the codebook, 1 to 32.
        entries: usize,
        /// Code panels: which entry each weight is.
        codes: String,
        /// The entries.
        codebook: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// The same for a flat value.
    CodebookDense {
        /// Output features.
        filters: usize,
        /// Values of the codebook, 1 to 32.
        entries: usize,
        /// Code panels: which entry each weight is.
        codes: String,
        /// The entries.
        codebook: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// Convolution of 8-bit weights and activations quantized to 8 bits: y = alpha * (sum of (q - zero_point) * w) + bias, the
    /// sum being an exact integer. Padding contributes zero.
    Int8Conv2d {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// The quantized activation that stands for 0.
        zero_point: u8,
        /// What a step of the quantized activations stands for.
        input_scale: String,
        /// 8-bit panels.
        weight: String,
        /// One value a filter.
        alpha: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// The same for a flat value.
    Int8Dense {
        /// Output features.
        filters: usize,
        /// The quantized activation that stands for 0.
        zero_point: u8,
        /// What a step of the quantized activations stands for.
        input_scale: String,
        /// 8-bit panels.
        weight: String,
        /// One value a filter.
        alpha: String,
        /// One value a filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// y = x * scale + shift by channel, rounded after each step.
    Affine {
        /// One value a channel.
        scale: String,
        /// One value a channel.
        shift: String,
    },
    /// An affine for each order of a binary layer, the first of which at its order 1: a batch norm that every order of the
    /// dial has of its own.
    AffineByOrder {
        /// The binary layer whose present order decides; it may stand before or after this node.
        order_of: String,
        /// One for each order from 1 to the layer's highest.
        rows: Vec<AffineRow>,
    },
    /// y = max(x, 0).
    Relu,
    /// y = x where x >= 0, else x * slope by channel.
    Prelu {
        /// One value a channel.
        slope: String,
    },
    /// The largest value of each window; padded taps are left out.
    MaxPool {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
    },
    /// The mean of each window; padded taps are left out of the mean.
    AveragePool {
        /// Kernel, stride, dilation, padding.
        #[serde(flatten)]
        window: Window,
    },
    /// The mean of each channel over the image; the result is flat.
    GlobalAveragePool,
    /// The sum of two values of one shape.
    Add,
    /// Channels of two or more images (or vectors) side by side, in the order of `inputs`.
    Concat,
    /// An image as a vector, in memory order (height, width, channels).
    Flatten,
    /// exp(x - max x) / sum, over the channels of each pixel.
    Softmax,
}

/// One weight basis of a binary layer: W ~ alpha B.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Bit panels of B.
    pub weight: String,
    /// alpha, one value a filter.
    pub alpha: String,
}

/// What an [`Op::AffineByOrder`] is at one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffineRow {
    /// One value a channel.
    pub scale: String,
    /// One value a channel.
    pub shift: String,
}

/// The residual quantizer of a binary layer's input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantizer {
    /// The highest order the layer was made for, 1 to 8; a session may run it at a lower one.
    pub order: usize,
    /// Over what each plane's scale is the mean.
    pub mode: ScaleMode,
    /// The constants of mode `fixed`, one an order; absent in every other mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<String>,
}
