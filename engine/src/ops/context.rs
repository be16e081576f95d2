//! What a layer is prepared from.

use std::sync::Arc;

use horq_kernels::{Geometry, Isa, PlaneLayout};

use super::{Inputs, Op, Product};
use crate::Error;
use crate::error::{CpuError, ResourceError};
use crate::shape::Shape;
use crate::tensor::Tensors;

/// A layer to be prepared, and what lies around it.
pub(crate) struct Context<'a> {
    pub(crate) tensors: &'a Arc<Tensors>,
    /// The node's name.
    pub(crate) name: &'a str,
    pub(crate) op: &'a Op,
    /// The names of the node's inputs.
    pub(crate) inputs: &'a [String],
    /// Their shapes.
    pub(crate) shapes: Vec<Shape>,
    /// The operations that become its epilogue, first to last.
    pub(crate) fused: Vec<&'a Op>,
    /// The layer's index.
    pub(crate) index: usize,
    /// Whether its first input comes as packed planes.
    pub(crate) reads_planes: bool,
    /// The layer that reads the output as packed planes, if one does.
    pub(crate) reader: Option<Reader<'a>>,
    /// The index of the layer whose kernel is that node's.
    pub(crate) layer_of: &'a dyn Fn(&str) -> usize,
    pub(crate) isa: Isa,
    /// The most samples of a call.
    pub(crate) batch: usize,
}

/// The layer that reads an output as packed planes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// Its index.
    pub(crate) layer: usize,
    pub(crate) op: &'a Op,
    /// How the planes lie.
    pub(crate) layout: PlaneLayout,
}

impl Context<'_> {
    /// The node and the shapes of its inputs.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { node: self.name, op: self.op.kind(), names: self.inputs, shapes: &self.shapes }
    }

    /// The shape of the one input.
    pub(super) fn input(&self) -> Result<Shape, Error> {
        self.inputs().one()
    }

    /// Height, width and channels of the one input.
    pub(super) fn image(&self) -> Result<[usize; 3], Error> {
        self.inputs().image()
    }

    /// The geometry of a convolution or matrix product.
    pub(super) fn geometry(&self, product: &dyn Product) -> Result<Geometry, Error> {
        let input = self.input()?;
        let geometry = product.geometry(input).map_err(|expected| self.inputs().rank(input, expected))?;
        geometry.validate().map_err(self.refusal())?;
        Ok(geometry)
    }

    /// The kernel's refusal, with the node's name.
    pub(super) fn refusal(&self) -> impl Fn(horq_kernels::Error) -> Error + '_ {
        |error| match error {
            horq_kernels::Error::Memory { bytes } => Error::Resource(ResourceError::Memory { bytes }),
            error => Error::Cpu(CpuError::LayerKernel { layer: self.name.into(), error }),
        }
    }
}
