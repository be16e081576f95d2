//! f32 convolution and matrix product.

use super::epilogue::Steps;
use super::product::{Kernel, Site, Weights, packed};
use super::{Body, Context, Fields, Flat, Sliding, Weighted};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::{Content, TensorSpec, View};
use horq_kernels::{FloatCall, FloatConv, Geometry, Memory, Window};
use serde::Serialize;

/// f32 weights: y = x * w + bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Float<T = String> {
    /// Float panels. Plain values are f32, `[filter][kernel row][kernel column][channel of the group]` or
    /// `[filter][feature]`.
    pub weight: T,
}

/// f32 convolution.
pub type Conv2d<T = String> = Weighted<Sliding, Float<T>, T>;

/// f32 matrix product.
pub type Dense<T = String> = Weighted<Flat, Float<T>, T>;

impl<T> Conv2d<T> {
    /// A convolution without groups and bias.
    pub fn new(window: Window, filters: usize, weight: impl Into<T>) -> Self {
        Self::sliding(window, filters, Float { weight: weight.into() })
    }
}

impl<T> Dense<T> {
    /// A matrix product without bias.
    pub fn new(filters: usize, weight: impl Into<T>) -> Self {
        Self::flat(filters, Float { weight: weight.into() })
    }
}

impl<T> Body<T> for Float<T> {
    type With<U> = Float<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { weight: fields.tensor("weight")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Float<U> {
        Float { weight: f("weight", self.weight) }
    }
}

impl Weights for Float {
    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::new(&self.weight, Content::FloatPanels(geometry.float_layout()))]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry.float_layout(), 0)
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { float: products, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error> {
        FloatConv::memory(context.isa, site.geometry).map_err(context.refusal())
    }

    fn kernel(&self, context: &Context<'_>, site: Site, _: &Steps) -> Result<Box<dyn Kernel>, Error> {
        let kernel = FloatConv::new(context.isa, site.geometry).map_err(context.refusal())?;
        let weight = View::new(context.tensors, |tensors| tensors.f32s(&self.weight));
        packed(weight, Vec::new(), move |weight, _, call, epilogue| {
            let (input, parallel, clock) = (call.operands.get(0), call.parallel, call.clock);
            let operands = FloatCall { input, weight, epilogue, parallel, clock };
            kernel.run(operands, call.output, &mut call.floats[..kernel.scratch_len()]);
            Ok(())
        })
    }
}
