//! One value for all those along some axes.

use super::layer::{Compute, Layer, unweighted};
use super::{Body, Context, Fields, Inputs, Listed, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_plain::reduce::{self, L2, Max, Mean, Min, Product, Reduction, Sum};
use serde::Serialize;
use std::marker::PhantomData;

/// One value for all those along some axes, made by `R`. A reduced axis stays, with the size 1; a vector stays a vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reduce<R> {
    /// 1 for each of height, width and channels that is reduced, else 0; a vector has channels alone.
    pub axes: [usize; 3],
    #[serde(skip)]
    made_by: PhantomData<R>,
}

/// The mean of the values.
pub type ReduceMean = Reduce<Mean>;
/// The sum of the values.
pub type ReduceSum = Reduce<Sum>;
/// The largest value.
pub type ReduceMax = Reduce<Max>;
/// The smallest value.
pub type ReduceMin = Reduce<Min>;
/// The square root of the sum of the squares.
pub type ReduceL2 = Reduce<L2>;
/// The product of the values.
pub type ReduceProduct = Reduce<Product>;

impl<R> Reduce<R> {
    /// The reduction of these of height, width and channels.
    pub fn new(axes: [bool; 3]) -> Self {
        Self { axes: axes.map(usize::from), made_by: PhantomData }
    }

    fn is_reduced(&self) -> [bool; 3] {
        self.axes.map(|axis| axis == 1)
    }
}

impl<T, R> Body<T> for Reduce<R> {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { axes: fields.counts("axes", None)?, made_by: PhantomData })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<R: Reduction> Operation for Reduce<R>
where
    Self: Listed,
{
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let shape = inputs.one()?;
        if self.axes.iter().any(|&axis| axis > 1) || self.axes == [0; 3] {
            let axes = self.axes;
            let reason = format!(
                "the axes {axes:?} must be 1 for each of height, width and channels that is reduced, at least one, else 0"
            );
            return Err(inputs.misfit(shape, reason));
        }
        let [height, width, channels] =
            std::array::from_fn(|axis| if self.is_reduced()[axis] { 1 } else { shape.sizes()[axis] });
        Ok(match shape {
            Shape::Flat(_) => Shape::Flat(channels),
            Shape::Image { .. } => Shape::Image { height, width, channels },
        })
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl<R: Reduction> Layer for Reduce<R> {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (shape, axes) = (context.input()?.sizes(), self.is_reduced());
        unweighted(context.isa, move |runner, operands, output| {
            reduce::reduce::<R>(runner, shape, axes, operands.get(0), output);
        })
    }
}
