//! What the network's values and weights are, whatever the operations are called that make them.

mod activations;
mod function;
mod planes;
mod quantizer;
mod weights;

pub(crate) use activations::{Analysis, Cut, MOVES, analyse, quant_range, quant_rounding, scalar, trunc_rounding};
pub(crate) use function::{Function, Rounding};
pub(crate) use quantizer::{Quantized, first_above, quantized};
pub(crate) use weights::{Base, Kinds, kinds};
