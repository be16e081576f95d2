//! Images of another size.

use super::inputs::Inputs;
use super::layer::{Compute, Layer, unweighted};
use super::{Body, Context, Fields, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{Content, TensorSpec};
use horq_plain::resize::{self, Coordinates, Interpolation, Outside, Resizing, Rounding, Scaling};
use serde::{Deserialize, Serialize};

/// The most rows or columns that a `resize` makes: each takes some bytes of a table.
pub const MAX_RESIZED: usize = 1 << 18;

/// How a `resize` makes pixels of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResizeMode {
    /// Each is the nearest one.
    Nearest,
    /// Of two along each axis.
    Linear,
    /// Of four along each axis.
    Cubic,
}

/// An image of another size, as the operator `Resize` of ONNX and `torch.nn.functional.interpolate` make it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Resize<T = String> {
    /// Rows and columns of the result, at most [`MAX_RESIZED`].
    pub size: [usize; 2],
    /// How pixels are made.
    pub mode: ResizeMode,
    /// Where the result's pixels lie in the image.
    pub coordinates: Coordinates,
    /// Which pixel is the nearest; of mode nearest only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// The coefficient of the cubic; of mode cubic only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cubic: Option<T>,
    /// What pixels past the border count as; of mode cubic only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// Rows and columns of the result for one of the image, by which coordinates go; without it the ratio of the sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<T>,
}

impl<T> Resize<T> {
    fn new(size: [usize; 2], mode: ResizeMode) -> Self {
        let coordinates = Coordinates::HalfPixel;
        Self { size, mode, coordinates, rounding: None, cubic: None, outside: None, scale: None }
    }

    /// So many rows and columns, each pixel the nearest by that rounding. Pixels are squares ([`Coordinates::HalfPixel`]) unless
    /// [`Self::coordinates`] says otherwise.
    pub fn nearest(size: [usize; 2], rounding: Rounding) -> Self {
        Self { rounding: Some(rounding), ..Self::new(size, ResizeMode::Nearest) }
    }

    /// So many rows and columns, each pixel made of two along each axis.
    pub fn linear(size: [usize; 2]) -> Self {
        Self::new(size, ResizeMode::Linear)
    }

    /// So many rows and columns, each pixel made of four along each axis by the cubic of that coefficient: -0.75 is that of
    /// ONNX and PyTorch.
    pub fn cubic(size: [usize; 2], coefficient: impl Into<T>, outside: Outside) -> Self {
        Self { cubic: Some(coefficient.into()), outside: Some(outside), ..Self::new(size, ResizeMode::Cubic) }
    }

    /// Sets where the result's pixels lie in the image.
    pub fn coordinates(self, coordinates: Coordinates) -> Self {
        Self { coordinates, ..self }
    }

    /// Sets the scale down and across by which coordinates go, where it is not the ratio of the sizes.
    pub fn scale(self, scale: impl Into<T>) -> Self {
        Self { scale: Some(scale.into()), ..self }
    }
}

impl<T> Body<T> for Resize<T> {
    type With<U> = Resize<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self {
            size: fields.counts("size", None)?,
            mode: fields.word("mode")?,
            coordinates: fields.word("coordinates")?,
            rounding: fields.optional_word("rounding")?,
            cubic: fields.optional_scalar("cubic")?,
            outside: fields.optional_word("outside")?,
            scale: fields.optional_tensor("scale")?,
        })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Resize<U> {
        let Self { size, mode, coordinates, rounding, cubic, outside, scale } = self;
        let cubic = cubic.map(|cubic| f("cubic", cubic));
        Resize { size, mode, coordinates, rounding, cubic, outside, scale: scale.map(|scale| f("scale", scale)) }
    }
}

impl Operation for Resize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let [_, _, channels] = inputs.image()?;
        if self.size.iter().any(|size| !(1..=MAX_RESIZED).contains(size)) {
            return Err(inputs.field("size", "must be two numbers from 1 to 262144: rows and columns"));
        }
        let (nearest, cubic) = (self.mode == ResizeMode::Nearest, self.mode == ResizeMode::Cubic);
        for (field, stands, must) in [
            ("rounding", self.rounding.is_some(), nearest),
            ("cubic", self.cubic.is_some(), cubic),
            ("outside", self.outside.is_some(), cubic),
        ] {
            match (stands, must) {
                (false, true) => return Err(inputs.field(field, "is missing; this mode needs it")),
                (true, false) => return Err(inputs.field(field, "is none of this mode; remove it or change the mode")),
                _ => {}
            }
        }
        let [height, width] = self.size;
        Ok(Shape::Image { height, width, channels })
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        let cubic = self.cubic.iter().map(|cubic| TensorSpec::vector(cubic, 1));
        cubic.chain(self.scale.iter().map(|scale| TensorSpec::new(scale, Content::Scales(2)))).collect()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Resize {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let [height, width, channels] = context.image()?;
        let value = |name: &String, i: usize| context.tensors.f32s(name)[i];
        let axis = |i: usize, from| Scaling {
            from,
            to: self.size[i],
            scale: self.scale.as_ref().map(|scale| value(scale, i)),
            coordinates: self.coordinates,
        };
        let interpolation = match (self.rounding, &self.cubic, self.outside) {
            (Some(rounding), ..) => Interpolation::Nearest(rounding),
            (None, Some(cubic), Some(outside)) => Interpolation::Cubic(value(cubic, 0), outside),
            _ => Interpolation::Linear,
        };
        let resizing = Resizing::new([axis(0, height), axis(1, width)], channels, interpolation);
        unweighted(context.isa, move |runner, operands, output| {
            resize::resize(runner, &resizing, operands.get(0), output);
        })
    }
}
