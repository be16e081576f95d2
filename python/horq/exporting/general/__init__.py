"""From any PyTorch module to the graph of the import crate: captured by torch.export, each ATen operation as nodes of
the ONNX operator set, recognised in Rust by what they compute."""
