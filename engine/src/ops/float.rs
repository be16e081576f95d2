//! f32 convolution and matrix product.

use super::epilogue::Steps;
use super::layer::Call;
use super::product::{Kernel, Site, Weights};
use super::{Body, Context, Fields, Flat, Inputs, Quantizer, Sliding, Weighted};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::{Content, TensorSpec, View};
use bytemuck::cast_slice;
use horq_kernels::{Epilogue, FloatCall, FloatConv, Geometry, Memory, Window};
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
    fn check(&self, _: &Inputs<'_>, _: &Geometry) -> Result<(), Error> {
        Ok(())
    }

    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        vec![TensorSpec::new(&self.weight, Content::FloatPanels(geometry.float_layout()))]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry.float_layout(), 0)
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        None
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
        Ok(Box::new(Panels { kernel, weight }))
    }
}

struct Panels {
    kernel: FloatConv,
    weight: View<f32>,
}

impl Kernel for Panels {
    fn run(&self, call: Call<'_>, epilogue: Epilogue<'_>) -> Result<(), horq_kernels::Error> {
        let (input, weight) = (call.operands.get(0), &*self.weight);
        let operands = FloatCall { input, weight, epilogue, parallel: call.parallel, clock: call.clock };
        self.kernel.run(operands, call.output, &mut call.floats[..self.kernel.scratch_len()]);
        Ok(())
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        each(cast_slice(&self.weight));
    }
}
