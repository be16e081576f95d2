//! Convolution and matrix product of f32 activations with binary weights.

use super::epilogue::Steps;
use super::layer::Call;
use super::product::{Kernel, Site, Weights};
use super::{Body, Context, Fields, Flat, Inputs, Quantizer, Sliding, Weighted};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::{Content, PerFilter, TensorSpec, View};
use bytemuck::cast_slice;
use horq_kernels::{BinaryWeightCall, BinaryWeightConv, Epilogue, Geometry, Memory, Window};
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
    fn check(&self, _: &Inputs<'_>, _: &Geometry) -> Result<(), Error> {
        Ok(())
    }

    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        let panels = TensorSpec::new(&self.weight, Content::BitPanels(geometry));
        vec![panels, TensorSpec::vector(&self.alpha, geometry.filters)]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry, 1)
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        None
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
        Ok(Box::new(Panels { kernel, panels, alpha }))
    }
}

struct Panels {
    kernel: BinaryWeightConv,
    panels: View<u32>,
    alpha: PerFilter,
}

impl Kernel for Panels {
    fn run(&self, call: Call<'_>, epilogue: Epilogue<'_>) -> Result<(), horq_kernels::Error> {
        let operands = BinaryWeightCall {
            input: call.operands.get(0),
            panels: &self.panels,
            alpha: &self.alpha,
            epilogue,
            parallel: call.parallel,
            clock: call.clock,
        };
        self.kernel.run(operands, call.output, &mut call.floats[..self.kernel.scratch_len()]);
        Ok(())
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        each(cast_slice(&self.panels));
        each(cast_slice(&self.alpha));
    }
}
