//! Operations that pick values by their place: parts of an image, a border around it, zeros between its pixels.
//!
//! Each has three numbers an axis (height, width, channels). A vector is an image of one pixel, and stays a vector where the
//! result is one pixel too.

use super::inputs::Inputs;
use super::layer::{Compute, Layer, unweighted};
use super::{Body, Context, Fields, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_plain::select::{Border, Picks, Selection, select};
use serde::Serialize;

/// Every `step`-th value from `start` on, before `stop`, along each of height, width and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Slice {
    /// The first place.
    pub start: [usize; 3],
    /// The place behind the last; at most the input's size.
    pub stop: [usize; 3],
    /// From one to the next, at least 1.
    pub step: [usize; 3],
    /// 1 where they are taken from the last to the first, else 0.
    pub reverse: [usize; 3],
}

/// A border around an image, along each of height, width and channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pad<T = String> {
    /// Places before the first value.
    pub before: [usize; 3],
    /// Places after the last.
    pub after: [usize; 3],
    /// What the border holds.
    pub mode: Border,
    /// The value of a constant border; other borders have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<T>,
}

/// Zeros between the pixels of an image: with a border and a convolution whose filters are turned by half a circle it makes a
/// transposed convolution of that stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ZeroInsert {
    /// From one pixel to the next in the result, down and across; at least 1.
    pub stride: [usize; 2],
}

/// The values at these places of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gather {
    /// 0 height, 1 width, 2 channels.
    pub axis: usize,
    /// The places, in the result's order; any may stand more than once.
    pub indices: Vec<usize>,
}

impl Slice {
    /// The values from `start` on, before `stop`.
    pub fn new(start: [usize; 3], stop: [usize; 3]) -> Self {
        Self { start, stop, step: [1; 3], reverse: [0; 3] }
    }

    /// Takes each `step`-th value only.
    pub fn step(self, step: [usize; 3]) -> Self {
        Self { step, ..self }
    }

    /// Takes them from the last to the first along the axes where `reverse` is 1.
    pub fn reverse(self, reverse: [usize; 3]) -> Self {
        Self { reverse, ..self }
    }
}

impl<T> Pad<T> {
    /// A border of that value.
    pub fn constant(before: [usize; 3], after: [usize; 3], value: impl Into<T>) -> Self {
        Self { before, after, mode: Border::Constant, value: Some(value.into()) }
    }

    /// A border of the image's own values.
    pub fn of_image(before: [usize; 3], after: [usize; 3], mode: Border) -> Self {
        Self { before, after, mode, value: None }
    }
}

impl ZeroInsert {
    /// Pixels that far apart.
    pub fn new(stride: [usize; 2]) -> Self {
        Self { stride }
    }
}

impl Gather {
    /// The values at these places of that axis.
    pub fn new(axis: usize, indices: impl Into<Vec<usize>>) -> Self {
        Self { axis, indices: indices.into() }
    }
}

impl<T> Body<T> for Slice {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self {
            start: fields.counts("start", None)?,
            stop: fields.counts("stop", None)?,
            step: fields.counts("step", Some([1; 3]))?,
            reverse: fields.counts("reverse", Some([0; 3]))?,
        })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<T> Body<T> for Pad<T> {
    type With<U> = Pad<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self {
            before: fields.counts("before", None)?,
            after: fields.counts("after", None)?,
            mode: fields.word("mode")?,
            value: fields.optional_scalar("value")?,
        })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Pad<U> {
        let Self { before, after, mode, value } = self;
        Pad { before, after, mode, value: value.map(|value| f("value", value)) }
    }
}

impl<T> Body<T> for ZeroInsert {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { stride: fields.counts("stride", None)? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<T> Body<T> for Gather {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { axis: fields.count("axis", None)?, indices: fields.list("indices")? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

/// An operation that picks values.
trait Picking {
    /// What it picks along each axis of an input of these sizes.
    fn picks(&self, size: [usize; 3]) -> [Picks; 3];
}

impl Picking for Slice {
    fn picks(&self, _: [usize; 3]) -> [Picks; 3] {
        [0, 1, 2].map(|axis| {
            let span = self.stop[axis] - self.start[axis];
            // A step past the end is as good as one to it, and fits any arithmetic.
            let step = self.step[axis].min(span);
            let len = span.div_ceil(step);
            if self.reverse[axis] == 1 {
                let first = self.start[axis] + (len - 1) * step;
                Picks::Range { first, step: -(step as isize), len }
            } else {
                Picks::Range { first: self.start[axis], step: step as isize, len }
            }
        })
    }
}

impl<T> Picking for Pad<T> {
    fn picks(&self, size: [usize; 3]) -> [Picks; 3] {
        [0, 1, 2].map(|axis| match [self.before[axis], self.after[axis]] {
            [0, 0] => Picks::all(size[axis]),
            border => Picks::Bordered { size: size[axis], border, kind: self.mode },
        })
    }
}

impl Picking for ZeroInsert {
    fn picks(&self, [height, width, channels]: [usize; 3]) -> [Picks; 3] {
        let [down, across] = self.stride;
        let spread = |size, stride| Picks::Spread { size, stride };
        [spread(height, down), spread(width, across), Picks::all(channels)]
    }
}

impl Picking for Gather {
    fn picks(&self, size: [usize; 3]) -> [Picks; 3] {
        let mut picks = size.map(Picks::all);
        picks[self.axis] = Picks::List(self.indices.clone());
        picks
    }
}

/// The shape of what is picked.
fn picked(op: &impl Picking, input: Shape) -> Shape {
    input.with_sizes(op.picks(input.sizes()).map(|picks| picks.places()))
}

/// The layer that picks, and puts the value that `fill` gives where there is none.
fn picking(op: &impl Picking, context: &Context<'_>, fill: f32) -> Result<Box<dyn Compute>, Error> {
    let size = context.input()?.sizes();
    let selection = Selection::new(size, op.picks(size));
    unweighted(context.isa, move |runner, operands, output| {
        select(runner, &selection, fill, operands.get(0), output);
    })
}

impl Operation for Slice {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let input = inputs.one()?;
        for (axis, size) in input.sizes().into_iter().enumerate() {
            let (start, stop) = (self.start[axis], self.stop[axis]);
            if start >= stop || stop > size {
                let reason =
                    format!("the slice from {start} to {stop} along axis {axis} is empty or passes its {size} values");
                return Err(inputs.misfit(input, reason));
            }
        }
        if self.step.contains(&0) {
            return Err(inputs.field("step", "must be at least 1 along each axis; `reverse` turns the direction"));
        }
        if self.reverse.iter().any(|&reverse| reverse > 1) {
            return Err(inputs.field("reverse", "must be 0 or 1 along each axis"));
        }
        Ok(picked(self, input))
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Slice {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        picking(self, context, 0.0)
    }
}

impl Operation for Pad {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let input = inputs.one()?;
        match (self.mode, &self.value) {
            (Border::Constant, None) => Err(inputs.field("value", "is missing; mode constant needs one value")),
            (Border::Reflect | Border::Edge | Border::Wrap, Some(_)) => {
                Err(inputs.field("value", "is of mode constant only; remove it or change the mode"))
            }
            _ => Ok(picked(self, input)),
        }
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        self.value.iter().map(|value| TensorSpec::vector(value, 1)).collect()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Pad {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let fill = self.value.as_ref().map_or(0.0, |value| context.tensors.f32s(value)[0]);
        picking(self, context, fill)
    }
}

impl Operation for ZeroInsert {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.image()?;
        if self.stride.contains(&0) {
            return Err(inputs.field("stride", "must be at least 1 down and across"));
        }
        Ok(picked(self, inputs.one()?))
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for ZeroInsert {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        picking(self, context, 0.0)
    }
}

impl Operation for Gather {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let input = inputs.one()?;
        let Some(&size) = input.sizes().get(self.axis) else {
            return Err(inputs.field("axis", "must be 0 (height), 1 (width) or 2 (channels)"));
        };
        if let Some(index) = self.indices.iter().find(|&&index| index >= size) {
            let reason = format!("there is no place {index} among the {size} of axis {}", self.axis);
            return Err(inputs.misfit(input, reason));
        }
        Ok(picked(self, input))
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Gather {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        picking(self, context, 0.0)
    }
}
