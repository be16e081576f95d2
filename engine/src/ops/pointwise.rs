//! Functions of one, two or three values that stand in the same place.

use super::layer::{Compute, Layer, unweighted};
use super::{Bare, Body, Context, Fields, Inputs, Listed, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{PlainValues, TensorSpec};
use horq_plain::pointwise::{self, Pointwise};
use horq_plain::{Broadcast, broadcast_shape};
use serde::Serialize;

/// y = x where x >= 0, else alpha (e^x - 1).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Elu<T = String> {
    /// One value.
    pub alpha: T,
}

/// y = x to the power of a constant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Power<T = String> {
    /// One value.
    pub exponent: T,
}

impl Elu<PlainValues<'_>> {
    /// The ELU with that alpha.
    pub fn new(alpha: f32) -> Self {
        Self { alpha: vec![alpha].into() }
    }
}

impl Power<PlainValues<'_>> {
    /// The power with that exponent.
    pub fn new(exponent: f32) -> Self {
        Self { exponent: vec![exponent].into() }
    }
}

/// The operations of [`Pointwise`]: their operands are broadcast to one shape, a vector like an image of one pixel. Of vectors
/// alone the value is a vector.
impl<const N: usize, F: Pointwise<Operands = [f32; N]> + Listed + Default> Bare for F {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let shapes = inputs.exactly::<N>()?;
        let fits = |a: Shape, b: Shape| broadcast_shape(&[a.sizes(), b.sizes()]).is_some();
        for (i, &first) in shapes.iter().enumerate() {
            if let Some(&second) = shapes[i..].iter().find(|&&second| !fits(first, second)) {
                return Err(inputs.differ(first, second, "make height, width and channels equal, or 1 in one of them"));
            }
        }
        let [height, width, channels] = broadcast_shape(&shapes.map(Shape::sizes)).expect("each goes with each");
        let flat = shapes.iter().all(|shape| matches!(shape, Shape::Flat(_)));
        Ok(if flat { Shape::Flat(channels) } else { Shape::Image { height, width, channels } })
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl<const N: usize, F: Pointwise<Operands = [f32; N]>> Layer for F {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let sizes = std::array::from_fn(|i| context.shapes[i].sizes());
        let shapes = Broadcast::<N>::new(sizes).expect("validation has seen the shapes");
        unweighted(context.isa, move |runner, operands, output| {
            let inputs = std::array::from_fn(|i| operands.get(i));
            pointwise::pointwise::<N, F>(runner, &shapes, inputs, output);
        })
    }
}

impl<T> Body<T> for Elu<T> {
    type With<U> = Elu<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { alpha: fields.scalar("alpha")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Elu<U> {
        Elu { alpha: f("alpha", self.alpha) }
    }
}

impl Operation for Elu {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::vector(&self.alpha, 1)]
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Elu {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let alpha = context.tensors.f32s(&self.alpha)[0];
        unweighted(context.isa, move |runner, operands, output| {
            pointwise::elu(runner, alpha, operands.get(0), output);
        })
    }
}

impl<T> Body<T> for Power<T> {
    type With<U> = Power<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { exponent: fields.scalar("exponent")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Power<U> {
        Power { exponent: f("exponent", self.exponent) }
    }
}

impl Operation for Power {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::vector(&self.exponent, 1)]
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Power {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let exponent = context.tensors.f32s(&self.exponent)[0];
        unweighted(context.isa, move |runner, operands, output| {
            pointwise::power(runner, exponent, operands.get(0), output);
        })
    }
}
