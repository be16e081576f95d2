//! The shapes of values.

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

    /// Height, width and channels, a vector being an image of one pixel.
    pub const fn sizes(self) -> [usize; 3] {
        match self {
            Self::Flat(features) => [1, 1, features],
            Self::Image { height, width, channels } => [height, width, channels],
        }
    }

    /// The shape of these sizes: a vector where this is one and they are those of one pixel, else an image.
    pub(crate) const fn with_sizes(self, sizes: [usize; 3]) -> Self {
        match (self, sizes) {
            (Self::Flat(_), [1, 1, features]) => Self::Flat(features),
            (_, [height, width, channels]) => Self::Image { height, width, channels },
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
