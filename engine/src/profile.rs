//! What each layer is, what it costs, and where its time went.

use crate::macs::Macs;
use crate::shape::Shape;
use horq_kernels::{BinaryKernel, Isa, ScaleMode, Stage};

/// One layer of a session: a kernel call, with the nodes that became its epilogue.
///
/// Times are zero unless the session was made with [`crate::SessionOptions::profile`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerProfile {
    /// The name of the node that the layer computes.
    pub name: String,
    /// Its operation, as the file names it.
    pub op: &'static str,
    /// The nodes that run in its epilogue, first to last.
    pub fused: Vec<String>,
    /// The instruction set of its kernel.
    pub isa: Isa,
    /// How a binary layer quantizes.
    pub binary: Option<BinaryProfile>,
    /// The shape of its output, batch left out.
    pub output: Shape,
    /// Whether the output goes to the layer that reads it as packed planes, quantized in the epilogue, and not as f32.
    pub packed: bool,
    /// Runs since the last reset.
    pub runs: u64,
    /// Samples of those runs.
    pub samples: u64,
    /// Nanoseconds of those runs by stage, in the order of [`Stage::ALL`], summed over threads.
    pub nanoseconds: [u64; 4],
    /// Nanoseconds of those runs from start to end, whatever the number of threads; samples that run side by side, each on
    /// a thread of its own, add up.
    pub wall_nanoseconds: u64,
    /// Multiply-accumulates of one sample at the present order; windows that a fused pool leaves out are not counted.
    pub macs: Macs,
    /// Bytes of weights and per-filter vectors.
    pub weight_bytes: usize,
    /// How many of them the session had to copy; the others it reads where the model lies. Only per-filter vectors of grouped
    /// convolutions are copied, if a group's filters are no multiple of 16.
    pub copied_bytes: usize,
    /// Bytes of activations that one sample reads and writes.
    pub activation_bytes: usize,
}

/// The quantizer of a binary layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BinaryProfile {
    /// The order it runs at.
    pub order: usize,
    /// The highest order that the model holds.
    pub max_order: usize,
    /// Over what a plane's scale is the mean.
    pub mode: ScaleMode,
    /// How it multiplies at that order on this CPU.
    pub kernel: BinaryKernel,
}

impl LayerProfile {
    /// Nanoseconds of one stage, summed over threads.
    pub fn stage(&self, stage: Stage) -> u64 {
        self.nanoseconds[stage as usize]
    }

    /// The order of a binary layer.
    pub fn order(&self) -> Option<usize> {
        self.binary.map(|binary| binary.order)
    }

    pub(crate) fn reset(&mut self) {
        (self.runs, self.samples, self.nanoseconds, self.wall_nanoseconds) = (0, 0, [0; 4], 0);
    }
}
