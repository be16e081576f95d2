//! Operations that move values and compute nothing.

use super::layer::{Call, Compute, Layer};
use super::{Bare, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::macs::Macs;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_kernels::{Isa, Runner, Stage, elementwise, timed};
use serde::Serialize;

/// Channels of two or more images (or vectors) side by side, in the order of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Concat;

/// An image as a vector, in memory order (height, width, channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Flatten;

impl Bare for Concat {
    fn parse<T, F: Fields<T>>(_: &F) -> Result<Self, F::Error> {
        Ok(Self)
    }
}

impl Operation for Concat {
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

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Concat {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let channels = context.shapes.iter().map(|shape| shape.channels()).collect();
        Ok(Box::new(SideBySide { isa: context.isa, channels }))
    }
}

impl Bare for Flatten {
    fn parse<T, F: Fields<T>>(_: &F) -> Result<Self, F::Error> {
        Ok(Self)
    }
}

impl Operation for Flatten {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.image()?;
        Ok(Shape::Flat(inputs.one()?.len()))
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Alias(self)
    }
}

impl Layer for Flatten {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        Ok(Box::new(SideBySide { isa: context.isa, channels: vec![context.input()?.channels()] }))
    }
}

/// Channels side by side; with one input, a copy.
struct SideBySide {
    isa: Isa,
    /// Channels of each input.
    channels: Vec<usize>,
}

impl Compute for SideBySide {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let total = self.channels.iter().sum();
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || {
            let mut first = 0;
            for (i, &channels) in self.channels.iter().enumerate() {
                elementwise::concat(runner, first..first + channels, call.operands.get(i), total, call.output);
                first += channels;
            }
        });
        Ok(())
    }

    fn macs(&self) -> Macs {
        Macs::default()
    }

    fn weights(&self, _: &mut dyn FnMut(&[u8])) {}
}
