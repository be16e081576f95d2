//! Convolutions and matrix products with constant weights.

mod build;
mod choose;
mod sites;

use super::{Lowering, Rule};
use crate::error::Refusal;
use crate::graph::{Graph, Node, ValueId};
use crate::recognise::{Analysis, kinds, quantized};
pub(crate) use choose::rates;
use choose::{Form, choose};
pub(super) use sites::window;
use sites::{Site, site};

/// What no plan has taken has weights that are computed.
pub(super) const RULES: &[Rule] =
    &[("Conv", computed), ("ConvTranspose", computed), ("Gemm", |to, node| to.computed_gemm(node))];

/// A convolution or matrix product, decided on.
#[derive(Debug)]
pub(crate) struct Product {
    /// The value that it reads: the node's own operand, or what that was quantized from.
    pub(super) operand: ValueId,
    form: Form,
    site: Site,
    /// Products of a filter, row by row, `[filter][tap][channel of the group]`, summed over each tap's channels: what a constant
    /// offset of the activations adds.
    tap_sums: Vec<f64>,
    bias: Vec<f64>,
    note: String,
}

/// What becomes of a node, if it is a convolution or matrix product with constant weights.
pub(super) fn plan(graph: &Graph, analysis: &Analysis, node: &Node) -> Result<Option<Product>, Refusal> {
    let Some(found) = site(graph, node)? else { return Ok(None) };
    let sites::Found { value, site, weights, bias } = found;
    let quantized = quantized(analysis, value);
    let depth = weights.len() / site.filters;
    let (form, note) = choose(kinds(&weights, site.filters), weights.clone(), quantized, &site);
    let channels = depth / site.window.taps();
    let tap_sums = weights.chunks_exact(channels).map(|tap| tap.iter().map(|&w| f64::from(w)).sum()).collect();
    let operand = form.quantized().map_or(value, |quantized| quantized.source);
    Ok(Some(Product { operand, form, site, tap_sums, bias, note }))
}

fn computed(_: &mut Lowering<'_>, node: &Node) -> Result<(), Refusal> {
    let reason = "its weights are computed while the network runs";
    Err(Refusal::of(node, reason, "export the trained network, whose weights are constants"))
}
