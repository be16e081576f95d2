//! What is measured: a module a suite, each with its arguments, tables and figures.

pub(crate) mod conv;
pub(crate) mod curve;
pub(crate) mod gemm;
pub(crate) mod network;
pub(crate) mod peak;
pub(crate) mod peers;
pub(crate) mod weights;
