//! From the bytes of an ONNX file to a folded graph.

mod constants;
mod external;
mod functions;
mod inputs;
mod mutations;
mod net;
mod shapes;
mod tensors;
mod versions;
