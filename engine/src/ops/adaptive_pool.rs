//! Pools of which the result's size is given.

use super::inputs::Inputs;
use super::layer::{Compute, Layer, unweighted};
use super::{Body, Context, Fields, Listed, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_kernels::Window;
use horq_kernels::pool::{self, PoolShape};
use horq_plain::pool::{adaptive_average_pool, adaptive_max_pool};
use serde::Serialize;

/// The largest value or the mean of as many windows as the result has pixels, which share the image evenly: window i of n over
/// m pixels is from floor(i m / n) to before ceil((i + 1) m / n), as `torch.nn.AdaptiveAvgPool2d` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AdaptivePool<const LARGEST: bool> {
    /// Rows and columns of the result, at least 1.
    pub size: [usize; 2],
}

/// The largest value of each of so many windows.
pub type AdaptiveMaxPool = AdaptivePool<true>;

/// The mean of each of so many windows.
pub type AdaptiveAveragePool = AdaptivePool<false>;

impl<const LARGEST: bool> AdaptivePool<LARGEST> {
    /// The pool to so many rows and columns.
    pub fn new(size: [usize; 2]) -> Self {
        Self { size }
    }
}

impl<T, const LARGEST: bool> Body<T> for AdaptivePool<LARGEST> {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { size: fields.counts("size", None)? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<const LARGEST: bool> Operation for AdaptivePool<LARGEST>
where
    Self: Listed,
{
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let [_, _, channels] = inputs.image()?;
        let [height, width] = self.size;
        Ok(Shape::Image { height, width, channels })
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl<const LARGEST: bool> Layer for AdaptivePool<LARGEST> {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let (size @ [height, width, channels], windows) = (context.image()?, self.size);
        let [rows, columns] = windows;
        if height.is_multiple_of(rows) && width.is_multiple_of(columns) {
            // Windows side by side are those of a pool with a kernel of its own, which gives the same bits.
            let kernel = [height / rows, width / columns];
            let window = Window { kernel, stride: kernel, ..Window::square(1) };
            let shape = PoolShape { height, width, channels, window };
            return unweighted(context.isa, move |runner, operands, output| match LARGEST {
                true => pool::max_pool(runner, &shape, operands.get(0), output),
                false => pool::average_pool(runner, &shape, operands.get(0), output),
            });
        }
        unweighted(context.isa, move |runner, operands, output| match LARGEST {
            true => adaptive_max_pool(runner, size, windows, operands.get(0), output),
            false => adaptive_average_pool(runner, size, windows, operands.get(0), output),
        })
    }
}
