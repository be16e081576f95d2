//! Scale and shift by channel, whatever the order or for each order of a binary layer.

use super::epilogue::StepSpec;
use super::{Body, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{PerFilter, TensorSpec};
use horq_kernels::Step;
use serde::Serialize;

/// y = x * scale + shift by channel, rounded after each step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Affine<T = String> {
    /// One value a channel.
    pub scale: T,
    /// One value a channel.
    pub shift: T,
}

/// An affine for each order of a binary layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AffineByOrder<T = String> {
    /// The binary layer whose present order decides; it may stand before or after this node.
    pub order_of: String,
    /// One for each order from 1 to the layer's highest.
    pub rows: Vec<Affine<T>>,
}

impl<T> Affine<T> {
    /// The affine with these vectors, one value a channel.
    pub fn new(scale: impl Into<T>, shift: impl Into<T>) -> Self {
        Self { scale: scale.into(), shift: shift.into() }
    }
}

impl<T> AffineByOrder<T> {
    /// The affines of that layer's orders, the first of which at order 1.
    pub fn new(order_of: impl Into<String>, rows: impl Into<Vec<Affine<T>>>) -> Self {
        Self { order_of: order_of.into(), rows: rows.into() }
    }
}

impl Affine {
    fn names(&self) -> [&str; 2] {
        [&self.scale, &self.shift]
    }
}

fn step(vectors: &[PerFilter]) -> Step<'_> {
    Step::Affine { scale: &vectors[0], shift: &vectors[1] }
}

impl<T> Body<T> for Affine<T> {
    type With<U> = Affine<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { scale: fields.tensor("scale")?, shift: fields.tensor("shift")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Affine<U> {
        Affine { scale: f("scale", self.scale), shift: f("shift", self.shift) }
    }
}

impl Operation for Affine {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        self.names().map(|name| TensorSpec::vector(name, input.channels())).into()
    }

    fn role(&self) -> Role<'_> {
        Role::Step(StepSpec::new(self.names(), step))
    }
}

impl<T> Body<T> for AffineByOrder<T> {
    type With<U> = AffineByOrder<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (order_of, rows) = (fields.text("order_of")?, fields.pairs("rows", ["scale", "shift"])?);
        Ok(Self { order_of, rows: rows.into_iter().map(|[scale, shift]| Affine { scale, shift }).collect() })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> AffineByOrder<U> {
        let rows = self.rows.into_iter().enumerate().map(|(i, Affine { scale, shift })| Affine {
            scale: f(&format!("scale.{i}"), scale),
            shift: f(&format!("shift.{i}"), shift),
        });
        AffineByOrder { order_of: self.order_of, rows: rows.collect() }
    }
}

impl Operation for AffineByOrder {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.one()
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        let names = self.rows.iter().flat_map(Affine::names);
        names.map(|name| TensorSpec::vector(name, input.channels())).collect()
    }

    fn role(&self) -> Role<'_> {
        let rows = self.rows.iter().map(|row| row.names().into()).collect();
        Role::Step(StepSpec::Vectors { rows, order_of: Some(&self.order_of), make: step })
    }
}
