//! An `If` whose condition is known becomes its branch.

use super::view::View;
use crate::error::Refusal;
use crate::graph::{Attribute, Data, Graph, Node, ValueId};

/// The nodes of the branch that is taken, or none if the node is no `If`.
pub(super) fn taken(graph: &mut Graph, node: &Node) -> Result<Option<Vec<Node>>, Refusal> {
    if node.op != "If" || !node.domain.is_empty() {
        return Ok(None);
    }
    let view = View { graph, node };
    let condition = view.constant(0).and_then(|condition| match &condition.data {
        Data::Bool(values) => values.first().copied(),
        _ => None,
    });
    let condition = condition.ok_or_else(|| {
        view.refuse("its condition depends on the network's input", "export the network without control flow")
    })?;
    // Attributes lie in the order of their names, and the inputs of `else_branch` before those of `then_branch`.
    let branch = |name: &str| match node.attributes.get(name) {
        Some(Attribute::Graph(branch)) => Ok(branch.as_ref()),
        _ => Err(view.broken(format!("it has no {name}"))),
    };
    let (first, second) = (branch("else_branch")?, branch("then_branch")?);
    let (chosen, skipped) = if condition { (second, first.inputs.len()) } else { (first, 0) };
    let captured = node.inputs.get(1 + skipped..).unwrap_or(&[]);
    if captured.len() < chosen.inputs.len() || chosen.outputs.len() != node.outputs.len() {
        return Err(view.broken("its branch does not fit its results"));
    }
    let chosen = chosen.clone();
    let mut places: Vec<Option<ValueId>> = vec![None; chosen.values.len()];
    for (input, outer) in chosen.inputs.iter().zip(captured) {
        places[input.0 as usize] = *outer;
    }
    let mut place = |id: ValueId, graph: &mut Graph| {
        *places[id.0 as usize].get_or_insert_with(|| graph.add_value(chosen.values[id.0 as usize].clone()))
    };
    let mut nodes = Vec::with_capacity(chosen.nodes.len() + node.outputs.len());
    for inner in &chosen.nodes {
        let mut inner = inner.clone();
        inner.inputs.iter_mut().chain(&mut inner.outputs).flatten().for_each(|id| *id = place(*id, graph));
        nodes.push(inner);
    }
    for (from, to) in chosen.outputs.iter().zip(&node.outputs) {
        if to.is_some() {
            let inputs = vec![Some(place(*from, graph))];
            nodes.push(Node {
                name: node.name.clone(),
                op: "Identity".into(),
                inputs,
                outputs: vec![*to],
                ..Node::default()
            });
        }
    }
    Ok(Some(nodes))
}
