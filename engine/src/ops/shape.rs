//! Operations that move values and compute nothing.

use super::layer::{Compute, Layer, unweighted};
use super::{Bare, Context, Inputs, Role};
use crate::Error;
use crate::shape::Shape;
use horq_kernels::{Isa, elementwise};
use serde::Serialize;

/// Channels of two or more images (or vectors) side by side, in the order of the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Concat;

/// An image as a vector, in memory order (height, width, channels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Flatten;

impl Bare for Concat {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let (first, rest) = inputs.several()?;
        rest.iter().try_fold(first, |sum, &next| match (sum, next) {
            (Shape::Flat(a), Shape::Flat(b)) => Ok(Shape::Flat(a.saturating_add(b))),
            (Shape::Image { height, width, channels }, Shape::Image { height: h, width: w, channels: more })
                if (h, w) == (height, width) =>
            {
                Ok(Shape::Image { height, width, channels: channels.saturating_add(more) })
            }
            _ => Err(inputs.differ(first, next, "make height and width equal; only channels may differ")),
        })
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Concat {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        side_by_side(context.isa, context.shapes.iter().map(|shape| shape.channels()).collect())
    }
}

impl Bare for Flatten {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.image()?;
        Ok(Shape::Flat(inputs.one()?.len()))
    }

    fn role(&self) -> Role<'_> {
        Role::Alias(self)
    }
}

impl Layer for Flatten {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        side_by_side(context.isa, vec![context.input()?.channels()])
    }
}

/// Channels side by side, so many of each input; with one input, a copy.
fn side_by_side(isa: Isa, channels: Vec<usize>) -> Result<Box<dyn Compute>, Error> {
    unweighted(isa, move |runner, operands, output| {
        let (total, mut first) = (channels.iter().sum(), 0);
        for (i, &channels) in channels.iter().enumerate() {
            elementwise::concat(runner, first..first + channels, operands.get(i), total, output);
            first += channels;
        }
    })
}
