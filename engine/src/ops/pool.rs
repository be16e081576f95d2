//! Pooling.

use super::fields::window;
use super::layer::{Compute, Layer, unweighted};
use super::{Bare, Body, Context, Fields, Inputs, Listed, Operation, Role};
use crate::Error;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_kernels::Window;
use horq_kernels::pool::{self, PoolShape};
use serde::Serialize;

/// The largest value of each window, or the mean; padded taps are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pool<const LARGEST: bool> {
    /// Kernel, stride, dilation, padding.
    #[serde(flatten)]
    pub window: Window,
}

/// The largest value of each window; padded taps are left out.
pub type MaxPool = Pool<true>;

/// The mean of each window; padded taps are left out of the mean.
pub type AveragePool = Pool<false>;

/// The mean of each channel over the image; the result is flat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GlobalAveragePool;

impl<const LARGEST: bool> Pool<LARGEST> {
    /// The pool of these windows.
    pub fn new(window: Window) -> Self {
        Self { window }
    }
}

impl<T, const LARGEST: bool> Body<T> for Pool<LARGEST> {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { window: window(fields)? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<const LARGEST: bool> Operation for Pool<LARGEST>
where
    Self: Listed,
{
    /// Every window must hold a pixel of the image: there is no largest value and no mean of nothing.
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let [height, width, channels] = inputs.image()?;
        let misfit = |reason| inputs.misfit(inputs.shapes[0], reason);
        check_taps(&self.window, [height, width]).map_err(misfit)?;
        let [height, width] = self.window.output(height, width).map_err(|error| misfit(error.to_string()))?;
        Ok(Shape::Image { height, width, channels })
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Pool { layer: self, window: &self.window, largest: LARGEST }
    }
}

impl<const LARGEST: bool> Layer for Pool<LARGEST> {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let ([height, width, channels], window) = (context.image()?, self.window);
        let shape = PoolShape { height, width, channels, window };
        unweighted(context.isa, move |runner, operands, output| match LARGEST {
            true => pool::max_pool(runner, &shape, operands.get(0), output),
            false => pool::average_pool(runner, &shape, operands.get(0), output),
        })
    }
}

impl Bare for GlobalAveragePool {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.image().map(|[_, _, channels]| Shape::Flat(channels))
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for GlobalAveragePool {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let [height, width, channels] = context.image()?;
        let pixels = height * width;
        unweighted(context.isa, move |runner, operands, output| {
            pool::global_average_pool(runner, pixels, channels, operands.get(0), output);
        })
    }
}

/// No side's padding reaches the window's span, so each window touches the image; and neighbouring taps are no further
/// apart than the image is long, so one tap lands on it.
fn check_taps(window: &Window, size: [usize; 2]) -> Result<(), String> {
    for axis in 0..2 {
        let (kernel, dilation) = (window.kernel[axis], window.dilation[axis]);
        let span = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        let padding = window.padding[axis].max(window.padding[axis + 2]);
        if padding >= span {
            return Err(format!("padding of {padding} pixels for a window that spans {span} leaves windows empty"));
        }
        if padding > 0 && dilation > size[axis] {
            return Err(format!("a dilation of {dilation} on {} padded pixels leaves windows empty", size[axis]));
        }
    }
    Ok(())
}
