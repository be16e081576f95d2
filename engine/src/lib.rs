//! CPU inference for binary neural networks with high-order residual quantized activations.

pub mod graph;
