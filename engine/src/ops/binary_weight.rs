//! Convolution and matrix product of f32 activations with binary weights.

use super::epilogue::Steps;
use super::product::{Kernel, Site, Weights, packed};
use super::{Body, Context, Fields, Flat, Sliding, Weighted};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::{Content, PerFilter, TensorSpec, View};
use horq_kernels::{BinaryWeightCall, BinaryWeightConv, Geometry, Memory, Window};
use serde::Serialize;

/// Binary weights of f32 activations: y = alpha * (x . B) + bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BinaryWeight<T = String> {
    /// Bit panels of B. Plain values are f32, of which only the signs count, `[filter][kernel row][kernel column][channel of the
    /// group]` or `[filter][feature]`.
    pub weight: T,
    /// One value a filter.
    pub alpha: T,
}

/// Convolution of f32 activations with binary weights.
pub type BinaryWeightConv2d<T = String> = Weighted<Sliding, BinaryWeight<T>, T>;

/// Matrix product of an f32 vector with binary weights.
pub type BinaryWeightDense<T = String> = Weighted<Flat, BinaryWeight<T>, T>;

impl<T> BinaryWeightConv2d<T> {
    /// A convolution without groups and bias.
    pub fn new(window: Window, filters: usize, weight: impl Into<T>, alpha: impl Into<T>) -> Self {
        Self::sliding(window, filters, BinaryWeight { weight: weight.into(), alpha: alpha.into() })
    }
}

impl<T> BinaryWeightDense<T> {
    /// A matrix product without bias.
    pub fn new(filters: usize, weight: impl Into<T>, alpha: impl Into<T>) -> Self {
        Self::flat(filters, BinaryWeight { weight: weight.into(), alpha: alpha.into() })
    }
}

impl<T> Body<T> for BinaryWeight<T> {
    type With<U> = BinaryWeight<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { weight: fields.tensor("weight")?, alpha: fields.tensor("alpha")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> BinaryWeight<U> {
        BinaryWeight { weight: f("weight", self.weight), alpha: f("alpha", self.alpha) }
    }
}

impl Weights for BinaryWeight {
    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        let panels = TensorSpec::new(&self.weight, Content::BitPanels(geometry));
        vec![panels, TensorSpec::vector(&self.alpha, geometry.filters)]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry, 1)
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { binary_weight: products, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error> {
        BinaryWeightConv::memory(context.isa, site.geometry).map_err(context.refusal())
    }

    fn kernel(&self, context: &Context<'_>, site: Site, _: &Steps) -> Result<Box<dyn Kernel>, Error> {
        let kernel = BinaryWeightConv::new(context.isa, site.geometry).map_err(context.refusal())?;
        let panels = View::new(context.tensors, |tensors| tensors.u32s(&self.weight));
        let alpha = PerFilter::new(context.tensors, &self.alpha, &site.geometry)?;
        packed(panels, alpha, move |panels, alpha, call, epilogue| {
            let (input, parallel, clock) = (call.operands.get(0), call.parallel, call.clock);
            let operands = BinaryWeightCall { input, panels, alpha, epilogue, parallel, clock };
            kernel.run(operands, call.output, &mut call.floats[..kernel.scratch_len()]);
            Ok(())
        })
    }
}
