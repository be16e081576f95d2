//! The order of nodes, and those that nobody needs.

use crate::error::{Refusal, Refusals};
use crate::graph::{Graph, Node, ValueId};
use std::collections::HashMap;

/// Puts each node behind those whose results it reads, and drops those whose results nobody reads.
pub(super) fn arrange(graph: &mut Graph, refusals: &mut Refusals) {
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for (place, node) in graph.nodes.iter().enumerate() {
        makers.extend(node.outputs.iter().flatten().map(|&id| (id, place)));
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; graph.nodes.len()];
    let mut order = Vec::new();
    // By hand instead of by recursion, which a long network would make too deep.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for output in &graph.outputs {
        stack.extend(makers.get(output).filter(|&&place| marks[place] == Mark::New).map(|&place| (place, 0)));
        while let Some((place, input)) = stack.pop() {
            let node = &graph.nodes[place];
            if input == 0 {
                if marks[place] == Mark::Done {
                    continue;
                }
                marks[place] = Mark::Open;
            }
            let Some(read) = node.inputs.get(input) else {
                marks[place] = Mark::Done;
                order.push(place);
                continue;
            };
            stack.push((place, input + 1));
            if let Some(&maker) = read.as_ref().and_then(|id| makers.get(id)) {
                match marks[maker] {
                    Mark::New => stack.push((maker, 0)),
                    Mark::Open => {
                        let instead = "the file is broken; export it again";
                        refusals.push(Refusal::of(node, "it reads what follows from its own result", instead));
                    }
                    Mark::Done => {}
                }
            }
        }
    }
    // The order of the file, where it is one.
    let follows = |place: usize| {
        let read = graph.nodes[place].inputs.iter().flatten().filter_map(|id| makers.get(id));
        read.into_iter().all(|&maker| maker < place)
    };
    if order.iter().all(|&place| follows(place)) {
        order.sort_unstable();
    }
    let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|place| nodes[place].take()).collect();
    let mut wanted = vec![false; graph.values.len()];
    let read = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
    for id in read {
        wanted[id.0 as usize] = true;
    }
    // Results that nobody reads count as left out.
    for node in &mut graph.nodes {
        for output in &mut node.outputs {
            *output = output.filter(|id| wanted[id.0 as usize]);
        }
    }
}

/// Drops the values that are no longer named.
pub(super) fn compact(graph: &mut Graph) {
    let mut wanted = vec![false; graph.values.len()];
    let named = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs).flatten());
    for id in named.chain(&graph.inputs).chain(&graph.outputs) {
        wanted[id.0 as usize] = true;
    }
    let mut next = 0;
    let places: Vec<ValueId> = wanted
        .iter()
        .map(|&wanted| {
            next += u32::from(wanted);
            ValueId(next.saturating_sub(1))
        })
        .collect();
    let mut keep = wanted.iter();
    graph.values.retain(|_| keep.next().copied().unwrap_or(false));
    let moved = |id: &mut ValueId| *id = places[id.0 as usize];
    graph.inputs.iter_mut().for_each(moved);
    graph.outputs.iter_mut().for_each(moved);
    for node in &mut graph.nodes {
        node.inputs.iter_mut().flatten().for_each(moved);
        node.outputs.iter_mut().flatten().for_each(moved);
    }
}
