//! Pooling.

use super::fields::window;
use super::layer::{Call, Compute, Layer};
use super::{Bare, Context, Fields, Inputs, Operation, Role};
use crate::Error;
use crate::macs::Macs;
use crate::shape::Shape;
use crate::tensor::TensorSpec;
use horq_kernels::pool::{self, PoolShape};
use horq_kernels::{Isa, Runner, Stage, Window, timed};
use serde::Serialize;

/// The largest value of each window; padded taps are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MaxPool {
    /// Kernel, stride, dilation, padding.
    #[serde(flatten)]
    pub window: Window,
}

/// The mean of each window; padded taps are left out of the mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AveragePool {
    /// Kernel, stride, dilation, padding.
    #[serde(flatten)]
    pub window: Window,
}

/// The mean of each channel over the image; the result is flat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GlobalAveragePool;

impl MaxPool {
    /// The pool of these windows.
    pub fn new(window: Window) -> Self {
        Self { window }
    }
}

impl AveragePool {
    /// The pool of these windows.
    pub fn new(window: Window) -> Self {
        Self { window }
    }
}

impl Bare for MaxPool {
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { window: window(fields)? })
    }
}

impl Operation for MaxPool {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        infer(&self.window, inputs)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Pool { layer: self, window: &self.window, largest: true }
    }
}

impl Layer for MaxPool {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let shape = shape(&self.window, context)?;
        Ok(layer(context.isa, move |runner, input, output| pool::max_pool(runner, &shape, input, output)))
    }
}

impl Bare for AveragePool {
    fn parse<T, F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { window: window(fields)? })
    }
}

impl Operation for AveragePool {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        infer(&self.window, inputs)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Pool { layer: self, window: &self.window, largest: false }
    }
}

impl Layer for AveragePool {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let shape = shape(&self.window, context)?;
        Ok(layer(context.isa, move |runner, input, output| pool::average_pool(runner, &shape, input, output)))
    }
}

impl Bare for GlobalAveragePool {
    fn parse<T, F: Fields<T>>(_: &F) -> Result<Self, F::Error> {
        Ok(Self)
    }
}

impl Operation for GlobalAveragePool {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        inputs.image().map(|[_, _, channels]| Shape::Flat(channels))
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Layer(self)
    }
}

impl Layer for GlobalAveragePool {
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let [height, width, channels] = context.image()?;
        let pixels = height * width;
        Ok(layer(context.isa, move |runner, input, output| {
            pool::global_average_pool(runner, pixels, channels, input, output);
        }))
    }
}

fn shape(&window: &Window, context: &Context<'_>) -> Result<PoolShape, Error> {
    let [height, width, channels] = context.image()?;
    Ok(PoolShape { height, width, channels, window })
}

/// The shape of a pool's output. Every window must hold a pixel of the image: there is no largest value and no mean of
/// nothing.
fn infer(window: &Window, inputs: &Inputs<'_>) -> Result<Shape, Error> {
    let [height, width, channels] = inputs.image()?;
    let misfit = |reason| inputs.misfit(inputs.shapes[0], reason);
    check_taps(window, [height, width]).map_err(misfit)?;
    let [height, width] = window.output(height, width).map_err(|error| misfit(error.to_string()))?;
    Ok(Shape::Image { height, width, channels })
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

/// A layer that pools an input into an output.
fn layer(isa: Isa, pool: impl Fn(Runner<'_>, &[f32], &mut [f32]) + Send + Sync + 'static) -> Box<dyn Compute> {
    Box::new(Pooling { isa, pool })
}

struct Pooling<P> {
    isa: Isa,
    pool: P,
}

impl<P: Fn(Runner<'_>, &[f32], &mut [f32]) + Send + Sync> Compute for Pooling<P> {
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error> {
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || (self.pool)(runner, call.operands.get(0), call.output));
        Ok(())
    }

    fn macs(&self) -> Macs {
        Macs::default()
    }

    fn weights(&self, _: &mut dyn FnMut(&[u8])) {}
}
