//! How the filters of a convolution or matrix product lie on its input. Behind the format both are one thing: a flat value is
//! an image of one pixel under a window of one tap.

use horq_kernels::{Geometry, Padding, Window};
use serde::Serialize;

use super::fields::{Fields, window};
use super::inputs::{IMAGE, VECTOR};
use crate::shape::Shape;

/// Filters over a whole vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Flat {
    /// Output features.
    pub filters: usize,
}

/// Filters over the windows of an image. Padding contributes zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sliding {
    /// Kernel, stride, dilation, padding.
    #[serde(flatten)]
    pub window: Window,
    /// Output channels.
    pub filters: usize,
    /// Channel groups.
    pub groups: usize,
}

/// Binary filters over the windows of an image, in which a padded tap has a sign like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignPadded {
    /// Window, filters and groups.
    #[serde(flatten)]
    pub sliding: Sliding,
    /// What a padded tap stands for.
    pub pad_value: Padding,
}

/// How filters lie on an input.
pub(super) trait Layout: Sized {
    /// Reads the fields.
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error>;
    /// The window, if there is one.
    fn window(&self) -> Option<&Window>;
    /// What a padded tap stands for where the activations are signs.
    fn pad_value(&self) -> Padding;
    /// Their geometry on an input of that shape; what the input must be if it is something else.
    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str>;
    /// The shape of the output, given its height and width.
    fn output(&self, size: [usize; 2]) -> Shape;
}

impl Layout for Flat {
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { filters: fields.count("filters", None)? })
    }

    fn window(&self) -> Option<&Window> {
        None
    }

    fn pad_value(&self) -> Padding {
        Padding::ValidTaps
    }

    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str> {
        match input {
            Shape::Flat(features) => Ok(Geometry::dense(features, self.filters)),
            Shape::Image { .. } => Err(VECTOR),
        }
    }

    fn output(&self, _: [usize; 2]) -> Shape {
        Shape::Flat(self.filters)
    }
}

impl Layout for Sliding {
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let window = window(fields)?;
        Ok(Self { window, filters: fields.count("filters", None)?, groups: fields.count("groups", Some(1))? })
    }

    fn window(&self) -> Option<&Window> {
        Some(&self.window)
    }

    fn pad_value(&self) -> Padding {
        Padding::ValidTaps
    }

    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str> {
        let Self { window, filters, groups } = *self;
        match input {
            Shape::Image { height, width, channels } => {
                Ok(Geometry { height, width, channels, filters, groups, window })
            }
            Shape::Flat(_) => Err(IMAGE),
        }
    }

    fn output(&self, [height, width]: [usize; 2]) -> Shape {
        Shape::Image { height, width, channels: self.filters }
    }
}

impl Layout for SignPadded {
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { sliding: Sliding::parse(fields)?, pad_value: fields.word("pad_value")? })
    }

    fn window(&self) -> Option<&Window> {
        self.sliding.window()
    }

    fn pad_value(&self) -> Padding {
        self.pad_value
    }

    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str> {
        self.sliding.geometry(input)
    }

    fn output(&self, size: [usize; 2]) -> Shape {
        self.sliding.output(size)
    }
}
