//! Axes in another order, and values under another shape.

use super::inputs::Inputs;
use super::layer::{Compute, Layer, unweighted};
use super::{Body, Context, Fields, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_plain::rearrange::{self, MAX_AXES, Rearrangement};
use serde::Serialize;

/// The values in another order, under a shape of their own: a reshape, a transposition, a shuffle of channels or pixels.
///
/// The input, in memory order, is seen as an array with axes of `sizes`. Axis i of the result is its axis `order[i]`, and the result's
/// values in memory order are those of `shape`. Where no value moves, nothing is computed: the input goes by another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rearrange {
    /// The axes of the input, outermost first, 1 to 16.
    pub sizes: Vec<usize>,
    /// Which of them each axis of the result is.
    pub order: Vec<usize>,
    /// The shape of the result.
    pub shape: Shape,
}

impl Rearrange {
    /// The rearrangement of axes of these sizes to that order and that shape.
    pub fn new(sizes: impl Into<Vec<usize>>, order: impl Into<Vec<usize>>, shape: Shape) -> Self {
        Self { sizes: sizes.into(), order: order.into(), shape }
    }

    /// The same values in the same order, of that shape.
    pub fn reshape(shape: Shape) -> Self {
        Self::new([shape.len()], [0], shape)
    }

    fn rearrangement(&self) -> Option<Rearrangement> {
        Rearrangement::new(&self.sizes, &self.order)
    }
}

impl<T> Body<T> for Rearrange {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { sizes: fields.list("sizes")?, order: fields.list("order")?, shape: fields.shape("shape")? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl Operation for Rearrange {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let input = inputs.one()?;
        let axes = self.sizes.len();
        if axes == 0 || axes > MAX_AXES || self.sizes.contains(&0) {
            return Err(
                inputs.field("sizes", "must have 1 to 16 sizes, each at least 1; merge axes that stay together")
            );
        }
        if self.order.len() != axes || (0..axes).any(|axis| !self.order.contains(&axis)) {
            return Err(inputs.field("order", "must name each axis of `sizes` once, counted from 0"));
        }
        let found = self.sizes.iter().fold(1_usize, |len, &size| len.saturating_mul(size));
        for (what, found) in [("sizes", found), ("shape", self.shape.len())] {
            if found != input.len() {
                let reason = format!("the product of its {what} is {found}, but there are {} values", input.len());
                return Err(inputs.misfit(input, reason));
            }
        }
        Ok(self.shape)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        if self.rearrangement().is_some_and(|to| to.is_identity()) { Role::Alias(self) } else { Role::Layer(self) }
    }
}

impl Layer for Rearrange {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let to = self.rearrangement().expect("inference has checked sizes and order");
        unweighted(context.isa, move |runner, operands, output| {
            rearrange::rearrange(runner, &to, operands.get(0), output);
        })
    }
}
