//! Values from a few, as floats: signs, the steps of uniform quantizers, counts of thresholds. Like the quantizers of the binary
//! layers they take no value that is not finite.

use super::layer::{Compute, Layer, by_vectors};
use super::{Bare, Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{Content, PlainValues, TensorSpec};
use horq_kernels::MAX_ELEMENTS;
use horq_plain::quantize::{self, Thresholds, Uniform};
use serde::Serialize;

/// 1 where x >= 0, else -1: the sign that binary layers take, where 0 is positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sign;

/// The nearest step of a uniform quantizer, as a float: (clamp(round(x / scale) + zero_point, low, high) - zero_point) * scale,
/// ties to even. ONNX's QuantizeLinear with DequantizeLinear behind it, and QONNX's Quant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FakeQuantize<T = String> {
    /// How many values each of the tensors has: 1, or one a channel.
    pub values: usize,
    /// What a step stands for; greater than 0.
    pub scale: T,
    /// The step that stands for 0.
    pub zero_point: T,
    /// The lowest step.
    pub low: T,
    /// The highest step.
    pub high: T,
}

/// scale * (number of thresholds that x reaches) + shift: FINN's MultiThreshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MultiThreshold<T = String> {
    /// Lists of thresholds: 1, or one a channel.
    pub rows: usize,
    /// Thresholds of a list.
    pub steps: usize,
    /// `[row][step]`, in any order.
    pub thresholds: T,
    /// What a threshold adds: one value.
    pub scale: T,
    /// The value where no threshold is reached: one value.
    pub shift: T,
}

impl Bare for Sign {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Sign {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        by_vectors(context, [], |runner, _, call| Ok(quantize::sign(runner, call.operands.get(0), call.output)?))
    }
}

impl<'a> FakeQuantize<PlainValues<'a>> {
    /// The quantizer with these scales, zero points, lowest and highest steps: one value each, or one a channel each.
    pub fn new(
        scale: impl Into<PlainValues<'a>>,
        zero_point: impl Into<PlainValues<'a>>,
        low: impl Into<PlainValues<'a>>,
        high: impl Into<PlainValues<'a>>,
    ) -> Self {
        let scale = scale.into();
        let values = scale.len();
        Self { values, scale, zero_point: zero_point.into(), low: low.into(), high: high.into() }
    }
}

impl<T> Body<T> for FakeQuantize<T> {
    type With<U> = FakeQuantize<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let [scale, zero_point] = [fields.tensor("scale")?, fields.tensor("zero_point")?];
        let [low, high] = [fields.tensor("low")?, fields.tensor("high")?];
        Ok(Self { values: fields.count("values", fields.len_of(&scale))?, scale, zero_point, low, high })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> FakeQuantize<U> {
        FakeQuantize {
            values: self.values,
            scale: f("scale", self.scale),
            zero_point: f("zero_point", self.zero_point),
            low: f("low", self.low),
            high: f("high", self.high),
        }
    }
}

impl Operation for FakeQuantize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let shape = inputs.one()?;
        one_or_channels(inputs, "values", self.values)?;
        Ok(shape)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        let mut tensors = vec![TensorSpec::new(&self.scale, Content::Positive(self.values))];
        tensors.extend([&self.zero_point, &self.low, &self.high].map(|name| TensorSpec::vector(name, self.values)));
        tensors
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for FakeQuantize {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let values = self.values;
        let names = [&self.scale, &self.zero_point, &self.low, &self.high];
        by_vectors(context, names, move |runner, vectors, call| {
            let [scale, zero_point, low, high] = [0, 1, 2, 3].map(|i| &vectors[i][..]);
            let uniform = Uniform { scale, zero_point, low, high };
            Ok(quantize::fake_quantize(runner, values, &uniform, call.operands.get(0), call.output)?)
        })
    }
}

impl<'a> MultiThreshold<PlainValues<'a>> {
    /// One list of thresholds for all channels if `rows` is 1, or as many as there are channels. Each that a value reaches
    /// adds `scale`; the value of none is `shift`.
    pub fn new(rows: usize, thresholds: impl Into<PlainValues<'a>>, scale: f32, shift: f32) -> Self {
        let thresholds = thresholds.into();
        let steps = thresholds.len().checked_div(rows).unwrap_or(0);
        Self { rows, steps, thresholds, scale: vec![scale].into(), shift: vec![shift].into() }
    }
}

impl<T> Body<T> for MultiThreshold<T> {
    type With<U> = MultiThreshold<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (rows, thresholds) = (fields.count("rows", None)?, fields.tensor("thresholds")?);
        let steps = fields.len_of(&thresholds).and_then(|len| len.checked_div(rows));
        let steps = fields.count("steps", steps)?;
        Ok(Self { rows, steps, thresholds, scale: fields.scalar("scale")?, shift: fields.scalar("shift")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> MultiThreshold<U> {
        MultiThreshold {
            rows: self.rows,
            steps: self.steps,
            thresholds: f("thresholds", self.thresholds),
            scale: f("scale", self.scale),
            shift: f("shift", self.shift),
        }
    }
}

impl Operation for MultiThreshold {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let shape = inputs.one()?;
        one_or_channels(inputs, "rows", self.rows)?;
        if self.rows.checked_mul(self.steps).is_none_or(|len| len == 0 || len > MAX_ELEMENTS) {
            let reason = format!("{} x {} thresholds; there must be 1 to {MAX_ELEMENTS}", self.rows, self.steps);
            return Err(inputs.misfit(shape, reason));
        }
        Ok(shape)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        vec![
            TensorSpec::new(&self.thresholds, Content::Table(self.rows, self.steps)),
            TensorSpec::vector(&self.scale, 1),
            TensorSpec::vector(&self.shift, 1),
        ]
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for MultiThreshold {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (rows, steps) = (self.rows, self.steps);
        by_vectors(context, [&self.thresholds, &self.scale, &self.shift], move |runner, vectors, call| {
            let (scale, shift) = (vectors[1][0], vectors[2][0]);
            let thresholds = Thresholds { rows, steps, thresholds: &vectors[0], scale, shift };
            Ok(quantize::multi_threshold(runner, &thresholds, call.operands.get(0), call.output)?)
        })
    }
}

/// Checks that there is one of something, or one a channel.
fn one_or_channels(inputs: &Inputs<'_>, field: &str, count: usize) -> Result<(), Error> {
    let shape = inputs.shapes[0];
    let channels = shape.channels();
    if count == 1 || count == channels {
        return Ok(());
    }
    Err(inputs.misfit(shape, format!("`{field}` is {count}; it must be 1, or the {channels} channels")))
}
