//! Operations value by value that no order decides on, and softmax.

use super::epilogue::StepSpec;
use super::layer::{Compute, Layer, unweighted};
use super::{Bare, Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{PlainValues, TensorSpec};
use horq_kernels::{Step, elementwise};
use serde::Serialize;

/// y = max(x, 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Relu;

/// y = x * min(max(x + 3, 0), 6) / 6, as `torch.nn.Hardswish`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HardSwish;

/// y = x where x >= 0, else x * slope by channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prelu<T = String> {
    /// One value a channel.
    pub slope: T,
}

/// y = min(max(x, low), high): ReLU6, Hardtanh.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Clip<T = String> {
    /// The lower bound, one value.
    pub low: T,
    /// The upper bound, one value.
    pub high: T,
}

/// The sum of two values of one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Add;

/// exp(x - max x) / sum, over the channels of each pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Softmax;

impl Bare for Relu {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn role(&self) -> Role<'_> {
        Role::Step(StepSpec::new([], |_| Step::Relu))
    }
}

impl Bare for HardSwish {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn role(&self) -> Role<'_> {
        Role::Step(StepSpec::new([], |_| Step::HardSwish))
    }
}

impl<T> Prelu<T> {
    /// The PReLU with these slopes, one a channel.
    pub fn new(slope: impl Into<T>) -> Self {
        Self { slope: slope.into() }
    }
}

impl<T> Body<T> for Prelu<T> {
    type With<U> = Prelu<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { slope: fields.tensor("slope")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Prelu<U> {
        Prelu { slope: f("slope", self.slope) }
    }
}

impl Operation for Prelu {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::vector(&self.slope, input.channels())]
    }

    fn role(&self) -> Role<'_> {
        Role::Step(StepSpec::new([self.slope.as_str()], |vectors| Step::Prelu(&vectors[0])))
    }
}

impl Clip<PlainValues<'_>> {
    /// The clip between these bounds; where they cross it is `high`.
    pub fn new(low: f32, high: f32) -> Self {
        Self { low: vec![low].into(), high: vec![high].into() }
    }
}

impl<T> Body<T> for Clip<T> {
    type With<U> = Clip<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { low: fields.scalar("low")?, high: fields.scalar("high")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Clip<U> {
        Clip { low: f("low", self.low), high: f("high", self.high) }
    }
}

impl Operation for Clip {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        [&self.low, &self.high].map(|name| TensorSpec::vector(name, 1)).into()
    }

    fn role(&self) -> Role<'_> {
        let make = |scalars: &[f32]| Step::Clip { low: scalars[0], high: scalars[1] };
        Role::Step(StepSpec::Scalars { names: vec![&self.low, &self.high], make })
    }
}

impl Bare for Add {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let [first, second] = inputs.exactly()?;
        if first == second { Ok(first) } else { Err(inputs.differ(first, second, "make them equal")) }
    }

    fn role(&self) -> Role<'_> {
        Role::Step(StepSpec::Addend)
    }
}

impl Bare for Softmax {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Softmax {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let channels = context.input()?.channels();
        unweighted(context.isa, move |runner, operands, output| {
            elementwise::softmax(runner, channels, operands.get(0), output);
        })
    }
}
