//! The layers of a session: kernels prepared for one shape and instruction set, with their weights borrowed from the model.

mod binary;
mod binary_weight;
mod codebook;
mod concat;
mod elementwise;
mod epilogue;
mod float;
mod int8;
mod pooling;
mod view;

use crate::graph::{Graph, Node, Op, Shape};
use crate::plan::{Place, PlannedLayer, Room};
use crate::{Error, Model};
use bytemuck::cast_slice;
use epilogue::Steps;
use horq_kernels::{Geometry, Isa, Memory, Parallel, ScaleMode, StageClock};
use view::PerFilter;

/// The most steps of one epilogue, the layer's own bias among them.
pub(crate) const MAX_STEPS: usize = 8;

/// A layer ready to run.
pub(crate) trait Compute: Send + Sync {
    /// Computes the output of `call.samples` samples.
    fn run(&self, call: Call<'_>) -> Result<(), horq_kernels::Error>;
    /// What the layer is and what it costs.
    fn facts(&self) -> Facts {
        Facts::default()
    }
    /// Calls `each` with every weight and per-filter vector that a run reads.
    fn weights(&self, _each: &mut dyn FnMut(&[u8])) {}
}

/// What a layer is and what it costs; numbers are for one sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// The highest order of a binary layer and its scale mode.
    pub(crate) binary: Option<(usize, ScaleMode)>,
    /// Binary multiply-accumulates of one order, over all weight bases; padded taps counted.
    pub(crate) bit_macs: u64,
    /// f32 activations times binary weights; padded taps counted.
    pub(crate) sign_macs: u64,
    /// f32 activations times entries of a codebook; padded taps counted.
    pub(crate) code_macs: u64,
    /// f32 multiply-accumulates; padded taps counted.
    pub(crate) float_macs: u64,
    /// 8-bit multiply-accumulates; padded taps counted.
    pub(crate) int8_macs: u64,
}

/// What one call of a layer works on.
pub(crate) struct Call<'a> {
    pub(crate) operands: Operands<'a>,
    /// The values of all samples, or the words of their planes.
    pub(crate) output: &'a mut [f32],
    /// The order of a binary layer.
    pub(crate) order: usize,
    /// The order of the layer that reads the output as planes.
    pub(crate) reader_order: usize,
    pub(crate) words: &'a mut [u32],
    pub(crate) floats: &'a mut [f32],
    pub(crate) parallel: &'a dyn Parallel,
    pub(crate) clock: Option<&'a StageClock>,
}

/// The values that a layer reads: slices of the caller's input and of the arena on both sides of the layer's output.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) places: &'a [Place],
    pub(crate) samples: usize,
    pub(crate) input: &'a [f32],
    /// The arena before the layer's output.
    pub(crate) before: &'a [f32],
    /// The arena after the layer's output.
    pub(crate) after: &'a [f32],
    /// Where `after` starts in the arena.
    pub(crate) after_start: usize,
    /// The present order of every layer; 1 for those without one.
    pub(crate) orders: &'a [usize],
}

impl<'a> Operands<'a> {
    /// The value of input `i`, all samples of the call.
    pub(crate) fn get(&self, i: usize) -> &'a [f32] {
        let Place { room, shape } = self.places[i];
        let len = shape.len() * self.samples;
        match room {
            Room::Input => &self.input[..len],
            Room::Arena(start) => self.arena(start, len),
            Room::Planes { .. } => unreachable!("planes that are read as values"),
            Room::Output => unreachable!("a layer that reads the answer"),
        }
    }

    /// The planes as which input `i` comes, if it does.
    pub(crate) fn planes(&self, i: usize) -> Option<&'a [u32]> {
        match self.places[i].room {
            Room::Planes { start, words } => Some(cast_slice(self.arena(start, words))),
            _ => None,
        }
    }

    fn arena(&self, start: usize, len: usize) -> &'a [f32] {
        if start < self.before.len() {
            &self.before[start..start + len]
        } else {
            &self.after[start - self.after_start..][..len]
        }
    }
}

/// What every layer's constructor gets.
pub(crate) struct Context<'a> {
    pub(crate) model: &'a Model,
    pub(crate) graph: &'a Graph,
    pub(crate) layers: &'a [PlannedLayer],
    /// Which of them is being prepared.
    pub(crate) index: usize,
    pub(crate) isa: Isa,
    /// The most samples of a call.
    pub(crate) batch: usize,
}

impl Context<'_> {
    /// The layer's name.
    pub(crate) fn name(&self) -> &str {
        &self.node().name
    }

    fn planned(&self) -> &PlannedLayer {
        &self.layers[self.index]
    }

    fn node(&self) -> &Node {
        &self.graph.nodes[self.planned().node]
    }

    fn input(&self) -> Shape {
        self.planned().inputs[0].shape
    }

    /// The index of the layer whose kernel is that node's; nodes that were fused into others have none.
    fn layer_of(&self, node: &str) -> usize {
        let found = self.layers.iter().position(|layer| self.graph.nodes[layer.node].name == node);
        found.expect("validation has seen the binary layer, and no binary layer is ever fused into another")
    }

    /// The shape of a layer with filters and its products for one sample, padded taps counted.
    fn geometry(&self) -> Result<(Geometry, u64), Error> {
        let geometry = self.node().op.geometry(self.input()).expect("a layer with filters");
        let [rows, columns] = geometry.validate().map_err(self.refusal())?;
        Ok((geometry, (rows * columns * geometry.filters) as u64 * geometry.depth() as u64))
    }

    /// What a kernel takes, and with it the vectors of its layer: `own` and those of the epilogue.
    fn with_vectors(&self, kernel: Memory, geometry: &Geometry, own: usize) -> Memory {
        let bias = self.node().op.bias().is_some();
        let vectors = own * PerFilter::bytes(geometry) + Steps::bytes(self, geometry, bias);
        Memory { tables: kernel.tables.saturating_add(vectors), ..kernel }
    }

    /// The kernel's refusal, with the node's name.
    fn refusal(&self) -> impl Fn(horq_kernels::Error) -> Error + '_ {
        |error| match error {
            horq_kernels::Error::Memory { bytes } => Error::Memory { bytes },
            error => Error::LayerKernel { layer: self.node().name.clone(), error },
        }
    }
}

/// What the layer that `context` describes takes beside its values; allocates nothing of it.
pub(crate) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    match &context.node().op {
        Op::Conv2d { .. } | Op::Dense { .. } => float::memory(context),
        Op::BinaryConv2d { .. } | Op::BinaryDense { .. } => binary::memory(context),
        Op::BinaryWeightConv2d { .. } | Op::BinaryWeightDense { .. } => binary_weight::memory(context),
        Op::CodebookConv2d { .. } | Op::CodebookDense { .. } => codebook::memory(context),
        Op::Int8Conv2d { .. } | Op::Int8Dense { .. } => int8::memory(context),
        _ => Ok(Memory::default()),
    }
}

/// Prepares the layer that `context` describes.
pub(crate) fn prepare(context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
    Ok(match &context.node().op {
        Op::Conv2d { .. } | Op::Dense { .. } => Box::new(float::Float::new(context)?),
        Op::BinaryConv2d { .. } | Op::BinaryDense { .. } => Box::new(binary::Binary::new(context)?),
        Op::BinaryWeightConv2d { .. } | Op::BinaryWeightDense { .. } => {
            Box::new(binary_weight::BinaryWeight::new(context)?)
        }
        Op::CodebookConv2d { .. } | Op::CodebookDense { .. } => Box::new(codebook::Codebook::new(context)?),
        Op::Int8Conv2d { .. } | Op::Int8Dense { .. } => Box::new(int8::Int8::new(context)?),
        Op::MaxPool { .. } | Op::AveragePool { .. } | Op::GlobalAveragePool => Box::new(pooling::Pooling::new(context)),
        Op::Concat | Op::Flatten => Box::new(concat::Concat::new(context)),
        Op::Affine { .. } | Op::AffineByOrder { .. } | Op::Relu | Op::Prelu { .. } | Op::Add | Op::Softmax => {
            Box::new(elementwise::Elementwise::new(context))
        }
    })
}
