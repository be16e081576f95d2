//! Algebra on the graph that needs no values.

mod straight_through;
mod xnor;

pub use straight_through::straight_through;
pub(crate) use xnor::xnor_products;

use crate::graph::{Graph, ValueId};
use std::collections::HashMap;

/// Lets all readers of some values read others instead.
pub(crate) fn replace(graph: &mut Graph, with: &HashMap<ValueId, ValueId>) {
    if with.is_empty() {
        return;
    }
    let target = |mut id: ValueId| {
        // A chain of replacements ends: each leads to a value that was there before.
        while let Some(&next) = with.get(&id) {
            id = next;
        }
        id
    };
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = target(*input);
        }
    }
}
