//! Normalization: over the channels of a pixel, over groups of channels of an image, over neighbouring channels.

use super::layer::{Compute, Layer, by_vectors, unweighted};
use super::{Bare, Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{Content, PlainValues, TensorSpec, View};
use horq_kernels::Memory;
use horq_plain::norm::{self, ScaleShift};
use serde::Serialize;

/// (x - mean) / sqrt(variance + epsilon) * scale + shift, mean and variance over the channels of each pixel; the variance is that
/// of the population. `torch.nn.LayerNorm` over the last axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerNorm<T = String> {
    /// What is added to the variance: one value greater than 0.
    pub epsilon: T,
    /// One value a channel, if there is a scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<T>,
    /// One value a channel, if there is a shift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<T>,
}

/// (x - mean) / sqrt(variance + epsilon) * scale + shift, mean and variance over a group of neighbouring channels of all pixels;
/// the variance is that of the population. `torch.nn.GroupNorm`, and with a group a channel `torch.nn.InstanceNorm2d`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupNorm<T = String> {
    /// Groups of channels, of equal size.
    pub groups: usize,
    /// What is added to the variance: one value greater than 0.
    pub epsilon: T,
    /// One value a channel, if there is a scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<T>,
    /// One value a channel, if there is a shift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<T>,
}

/// x / sqrt(mean of squares + epsilon) * scale, over the channels of each pixel: `torch.nn.RMSNorm` over the last axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RmsNorm<T = String> {
    /// What is added to the mean of the squares: one value greater than 0.
    pub epsilon: T,
    /// One value a channel, if there is a scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<T>,
}

/// x / (bias + alpha / size * sum of squares)^beta, the sum over the `size` channels around each, as far as there are any: local
/// response normalization, ONNX's LRN.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Lrn<T = String> {
    /// Channels of a sum: (size - 1) / 2 before the value's own, rounded down, and as many or one more behind it.
    pub size: usize,
    /// The factor of the mean of the squares: one value.
    pub alpha: T,
    /// The exponent: one value.
    pub beta: T,
    /// The summand: one value.
    pub bias: T,
}

/// x - max x - log(sum of exp(x - max x)), over the channels of each pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LogSoftmax;

/// Functions that set a vector.
macro_rules! setters {
    ($($vector:ident),*) => {$(
        #[doc = concat!("Sets the ", stringify!($vector), ", one value a channel.")]
        pub fn $vector(self, $vector: impl Into<T>) -> Self {
            Self { $vector: Some($vector.into()), ..self }
        }
    )*};
}

impl<T> LayerNorm<T> {
    setters!(scale, shift);
}

impl<T> GroupNorm<T> {
    setters!(scale, shift);
}

impl<T> RmsNorm<T> {
    setters!(scale);
}

impl LayerNorm<PlainValues<'_>> {
    /// The normalization with that epsilon, without scale and shift.
    pub fn new(epsilon: f32) -> Self {
        Self { epsilon: vec![epsilon].into(), scale: None, shift: None }
    }
}

impl GroupNorm<PlainValues<'_>> {
    /// The normalization of that many groups with that epsilon, without scale and shift.
    pub fn new(groups: usize, epsilon: f32) -> Self {
        Self { groups, epsilon: vec![epsilon].into(), scale: None, shift: None }
    }
}

impl RmsNorm<PlainValues<'_>> {
    /// The normalization with that epsilon, without a scale.
    pub fn new(epsilon: f32) -> Self {
        Self { epsilon: vec![epsilon].into(), scale: None }
    }
}

impl Lrn<PlainValues<'_>> {
    /// The normalization by sums over that many channels.
    pub fn new(size: usize, alpha: f32, beta: f32, bias: f32) -> Self {
        let [alpha, beta, bias] = [alpha, beta, bias].map(|value| vec![value].into());
        Self { size, alpha, beta, bias }
    }
}

impl<T> Body<T> for LayerNorm<T> {
    type With<U> = LayerNorm<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let epsilon = fields.scalar("epsilon")?;
        Ok(Self { epsilon, scale: fields.optional_tensor("scale")?, shift: fields.optional_tensor("shift")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> LayerNorm<U> {
        LayerNorm {
            epsilon: f("epsilon", self.epsilon),
            scale: self.scale.map(|scale| f("scale", scale)),
            shift: self.shift.map(|shift| f("shift", shift)),
        }
    }
}

impl<T> Body<T> for GroupNorm<T> {
    type With<U> = GroupNorm<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (groups, LayerNorm { epsilon, scale, shift }) = (fields.count("groups", None)?, Body::parse(fields)?);
        Ok(Self { groups, epsilon, scale, shift })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> GroupNorm<U> {
        let Self { groups, epsilon, scale, shift } = self;
        let LayerNorm { epsilon, scale, shift } = LayerNorm { epsilon, scale, shift }.map(f);
        GroupNorm { groups, epsilon, scale, shift }
    }
}

impl<T> Body<T> for RmsNorm<T> {
    type With<U> = RmsNorm<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { epsilon: fields.scalar("epsilon")?, scale: fields.optional_tensor("scale")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> RmsNorm<U> {
        RmsNorm { epsilon: f("epsilon", self.epsilon), scale: self.scale.map(|scale| f("scale", scale)) }
    }
}

impl<T> Body<T> for Lrn<T> {
    type With<U> = Lrn<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (size, alpha) = (fields.count("size", None)?, fields.scalar("alpha")?);
        Ok(Self { size, alpha, beta: fields.scalar("beta")?, bias: fields.scalar("bias")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Lrn<U> {
        let (alpha, beta) = (f("alpha", self.alpha), f("beta", self.beta));
        Lrn { size: self.size, alpha, beta, bias: f("bias", self.bias) }
    }
}

/// The tensors of a normalization of that many channels.
fn tensors<'a>(epsilon: &'a str, vectors: [Option<&'a String>; 2], channels: usize) -> Vec<TensorSpec<'a>> {
    let vectors = vectors.into_iter().flatten().map(|name| TensorSpec::vector(name, channels));
    std::iter::once(TensorSpec::new(epsilon, Content::Positive(1))).chain(vectors).collect()
}

/// Scale and shift among the vectors of a layer, the first of which is epsilon.
fn scale_shift(vectors: &[View<f32>], has_scale: bool, has_shift: bool) -> ScaleShift<'_> {
    let vector = |has: bool, i: usize| has.then(|| &vectors[i][..]);
    ScaleShift { scale: vector(has_scale, 1), shift: vector(has_shift, 1 + usize::from(has_scale)) }
}

impl Operation for LayerNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        tensors(&self.epsilon, [self.scale.as_ref(), self.shift.as_ref()], input.channels())
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for LayerNorm {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let channels = context.input()?.channels();
        let (has_scale, has_shift) = (self.scale.is_some(), self.shift.is_some());
        let names = [Some(&self.epsilon), self.scale.as_ref(), self.shift.as_ref()];
        by_vectors(context, names.into_iter().flatten(), move |runner, vectors, call| {
            let (epsilon, by_channel) = (vectors[0][0], scale_shift(vectors, has_scale, has_shift));
            norm::layer_norm(runner, channels, epsilon, by_channel, call.operands.get(0), call.output);
            Ok(())
        })
    }
}

impl GroupNorm {
    /// The kernel on an input of that shape.
    fn kernel(&self, input: Shape, epsilon: f32) -> norm::GroupNorm {
        let channels = input.channels();
        norm::GroupNorm { pixels: input.len() / channels, channels, groups: self.groups, epsilon }
    }
}

impl Operation for GroupNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let (shape, groups) = (inputs.one()?, self.groups);
        let channels = shape.channels();
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(inputs.misfit(shape, format!("{groups} groups do not divide {channels} channels")));
        }
        Ok(shape)
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        tensors(&self.epsilon, [self.scale.as_ref(), self.shift.as_ref()], input.channels())
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for GroupNorm {
    fn memory(&self, context: &Context<'_>) -> Result<Memory, Error> {
        let floats = self.kernel(context.input()?, 0.0).scratch_len();
        Ok(Memory { floats, ..Memory::default() })
    }

    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let kernel = self.kernel(context.input()?, context.tensors.f32s(&self.epsilon)[0]);
        let (has_scale, has_shift) = (self.scale.is_some(), self.shift.is_some());
        let names = [Some(&self.epsilon), self.scale.as_ref(), self.shift.as_ref()];
        by_vectors(context, names.into_iter().flatten(), move |runner, vectors, call| {
            let by_channel = scale_shift(vectors, has_scale, has_shift);
            kernel.run(runner, by_channel, call.operands.get(0), call.output, call.floats);
            Ok(())
        })
    }
}

impl Operation for RmsNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        tensors(&self.epsilon, [self.scale.as_ref(), None], input.channels())
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for RmsNorm {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (channels, has_scale) = (context.input()?.channels(), self.scale.is_some());
        by_vectors(context, [&self.epsilon].into_iter().chain(&self.scale), move |runner, vectors, call| {
            let (epsilon, ScaleShift { scale, .. }) = (vectors[0][0], scale_shift(vectors, has_scale, false));
            norm::rms_norm(runner, channels, epsilon, scale, call.operands.get(0), call.output);
            Ok(())
        })
    }
}

impl Operation for Lrn {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let shape = inputs.one()?;
        if self.size == 0 {
            return Err(inputs.misfit(shape, "the size is 0; it must be at least 1"));
        }
        Ok(shape)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        [&self.alpha, &self.beta, &self.bias].map(|name| TensorSpec::vector(name, 1)).into()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Lrn {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (channels, size) = (context.input()?.channels(), self.size);
        by_vectors(context, [&self.alpha, &self.beta, &self.bias], move |runner, vectors, call| {
            let [alpha, beta, bias] = [0, 1, 2].map(|i| vectors[i][0]);
            let kernel = norm::Lrn { channels, size, alpha, beta, bias };
            kernel.run(runner, call.operands.get(0), call.output);
            Ok(())
        })
    }
}

impl Bare for LogSoftmax {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for LogSoftmax {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let channels = context.input()?.channels();
        unweighted(context.isa, move |runner, operands, output| {
            norm::log_softmax(runner, channels, operands.get(0), output);
        })
    }
}
