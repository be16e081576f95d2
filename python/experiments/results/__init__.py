"""After training: evaluation in the engine and in PyTorch, latency, residual energy, tables, plots and model cards."""
