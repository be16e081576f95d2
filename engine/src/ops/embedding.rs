//! Rows of a table by their numbers.

use super::layer::{Compute, Layer, LayerError, by_vectors};
use super::{Body, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::{Content, PlainValues, TensorSpec};
use horq_kernels::MAX_ELEMENTS;
use serde::Serialize;

/// The row of a table that each value is the number of, counted from 0: `torch.nn.Embedding`. Values that are no whole number, or
/// no row's, stop the run with [`InputError::EmbeddingRow`](crate::error::InputError::EmbeddingRow).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Embedding<T = String> {
    /// Rows of the table.
    pub rows: usize,
    /// Values of a row.
    pub features: usize,
    /// The table, `[row][feature]`.
    pub weight: T,
}

/// Rows that an f32 can number: the whole numbers below have no gap.
const MAX_ROWS: usize = 1 << f32::MANTISSA_DIGITS;

impl<'a> Embedding<PlainValues<'a>> {
    /// The embedding with that table of rows of `features` values.
    pub fn new(features: usize, weight: impl Into<PlainValues<'a>>) -> Self {
        let weight = weight.into();
        Self { rows: weight.len().checked_div(features).unwrap_or(0), features, weight }
    }
}

impl<T> Body<T> for Embedding<T> {
    type With<U> = Embedding<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (features, weight) = (fields.count("features", None)?, fields.tensor("weight")?);
        let rows = fields.len_of(&weight).and_then(|len| len.checked_div(features));
        Ok(Self { rows: fields.count("rows", rows)?, features, weight })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Embedding<U> {
        Embedding { rows: self.rows, features: self.features, weight: f("weight", self.weight) }
    }
}

impl Operation for Embedding {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let &Self { rows, features, .. } = self;
        let shape = inputs.one()?;
        if rows == 0 || rows > MAX_ROWS {
            return Err(inputs.misfit(shape, format!("a table of {rows} rows; it must have 1 to {MAX_ROWS}")));
        }
        if rows.checked_mul(features).is_none_or(|values| values == 0 || values > MAX_ELEMENTS) {
            let reason = format!("a table of {rows} x {features} values; it must have 1 to {MAX_ELEMENTS}");
            return Err(inputs.misfit(shape, reason));
        }
        match shape {
            Shape::Flat(width) => Ok(Shape::Image { height: 1, width, channels: features }),
            Shape::Image { height, width, channels: 1 } => Ok(Shape::Image { height, width, channels: features }),
            Shape::Image { .. } => Err(inputs.rank(shape, "a vector of numbers, or an image of one channel")),
        }
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::new(&self.weight, Content::Table(self.rows, self.features))]
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for Embedding {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (rows, features, len) = (self.rows, self.features, context.input()?.len());
        by_vectors(context, [&self.weight], move |runner, vectors, call| {
            let input = call.operands.get(0);
            horq_plain::embedding::embedding(runner, [rows, features], &vectors[0], input, call.output)
                .map_err(|place| LayerError::Row { index: place % len, value: input[place], rows })
        })
    }
}
