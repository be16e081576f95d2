//! Kernels.

use crate::escape::escaped;

/// What no kernel of this CPU does.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// No kernel runs a layer.
    #[error("layer `{}` cannot run: {error}", escaped(layer))]
    LayerKernel {
        /// The layer.
        layer: String,
        /// What the kernel says.
        error: horq_kernels::Error,
    },
    /// A kernel refused.
    #[error(transparent)]
    Kernel(horq_kernels::Error),
}
