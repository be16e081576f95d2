//! The places of the largest channels.

use super::layer::{Compute, Layer, by_vectors};
use super::{Bare, Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use serde::Serialize;

/// The place of the largest channel of each pixel, as a float; the first of equal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ArgMax;

/// The places of the largest channels of each pixel, as floats, the largest first; of equal ones the first place comes first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TopK {
    /// How many places.
    pub k: usize,
}

/// Channels whose places an f32 can number: the whole numbers below have no gap.
const MAX_CHANNELS: usize = 1 << f32::MANTISSA_DIGITS;

/// The shape of `k` places for each pixel.
fn places(inputs: &Inputs<'_>, k: usize) -> Result<Shape, Error> {
    let shape = inputs.one()?;
    let channels = shape.channels();
    if channels > MAX_CHANNELS {
        return Err(inputs.misfit(shape, format!("{channels} channels; there must be at most {MAX_CHANNELS}")));
    }
    if !(1..=channels).contains(&k) {
        return Err(inputs.misfit(shape, format!("k is {k}; it must be 1 to {channels}, the channels")));
    }
    Ok(match shape {
        Shape::Flat(_) => Shape::Flat(k),
        Shape::Image { height, width, .. } => Shape::Image { height, width, channels: k },
    })
}

fn prepare(context: &Context<'_>, k: usize) -> Result<Box<dyn Compute>, Error> {
    let channels = context.input()?.channels();
    by_vectors(context, [], move |runner, _, call| {
        Ok(horq_plain::rank::top_k(runner, channels, k, call.operands.get(0), call.output)?)
    })
}

impl Bare for ArgMax {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        places(inputs, 1)
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for ArgMax {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        prepare(context, 1)
    }
}

impl TopK {
    /// The places of the `k` largest.
    pub fn new(k: usize) -> Self {
        Self { k }
    }
}

impl<T> Body<T> for TopK {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { k: fields.count("k", None)? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl Operation for TopK {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        places(inputs, self.k)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for TopK {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        prepare(context, self.k)
    }
}
