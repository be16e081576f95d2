"""horq: binary and high-order residual quantized networks, trained in PyTorch, run by a Rust engine."""
