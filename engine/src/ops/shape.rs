//! Operations that move values and compute nothing.

use super::layer::{Compute, Layer, unweighted};
use super::{Bare, Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_kernels::{Isa, elementwise};
use serde::Serialize;

/// Channels of two or more images (or vectors) side by side, in the order of the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Concat;

/// Images one below the other, or one beside the other, in the order of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Join {
    /// 0 along the height, 1 along the width; along the channels it is [`Concat`].
    pub axis: usize,
}

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

impl Join {
    /// Images joined along the height (0) or the width (1).
    pub fn new(axis: usize) -> Self {
        Self { axis }
    }
}

impl<T> Body<T> for Join {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { axis: fields.count("axis", None)? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl Operation for Join {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let (first, rest) = inputs.several()?;
        if self.axis > 1 {
            return Err(inputs.field("axis", "must be 0 (height) or 1 (width); a concat joins channels"));
        }
        let [height, width, channels] = rest.iter().try_fold(first.sizes(), |mut sum, next| {
            let mut same = next.sizes();
            same[self.axis] = sum[self.axis];
            if same != sum {
                return Err(inputs.differ(
                    first,
                    *next,
                    "only the height or width along which they are joined may differ",
                ));
            }
            sum[self.axis] = sum[self.axis].saturating_add(next.sizes()[self.axis]);
            Ok(sum)
        })?;
        Ok(Shape::Image { height, width, channels })
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Join {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        // What lies in one piece: whole images, or whole rows.
        let piece = |shape: &Shape| shape.sizes()[self.axis..].iter().product();
        side_by_side(context.isa, context.shapes.iter().map(piece).collect())
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

/// Pieces side by side, of so many values of each input; with one input, a copy.
fn side_by_side(isa: Isa, channels: Vec<usize>) -> Result<Box<dyn Compute>, Error> {
    unweighted(isa, move |runner, operands, output| {
        let (total, mut first) = (channels.iter().sum(), 0);
        for (i, &channels) in channels.iter().enumerate() {
            elementwise::concat(runner, first..first + channels, operands.get(i), total, output);
            first += channels;
        }
    })
}
