//! The detour that training code takes so that a gradient passes: q(x) - x + x is q(x).

use super::replace;
use crate::graph::{Graph, Node, ValueId};
use std::collections::HashMap;

/// More terms than any such sum has.
const MAX_TERMS: usize = 32;

/// Replaces sums in which all terms but one cancel by that one, on a graph whose constants may not be folded yet.
///
/// PyTorch's `sign(x).detach() - clip(x).detach() + clip(x)` is exported as `Add(Sub(sign, clip), clip)`. Computed in f32 that is the
/// sign with noise, and of weights it would make values that are no two values any more. Values are followed through nodes that
/// change nothing, and two nodes that compute the same count as one value. A number of one element is no such term: adding and
/// taking away a large number is how some code rounds.
pub fn straight_through(graph: &mut Graph) {
    let mut sums = Sums::new(graph);
    let mut with = HashMap::new();
    for node in &graph.nodes {
        let Some(result) = node.output(0) else { continue };
        let same = sums.same_as_earlier(node);
        sums.add(graph, node, result, same);
        if !is_sum(node) {
            continue;
        }
        let terms = &sums.terms[&result];
        if let [(term, 1)] = terms[..] {
            let cancelled = sums.cancelled.contains(&result);
            if cancelled && term != result && fits(graph, term, result) {
                with.insert(result, term);
            }
        }
    }
    // An answer keeps its name: what made it becomes a node that changes nothing.
    for node in &mut graph.nodes {
        let Some(result) = node.output(0) else { continue };
        if let (Some(&term), true) = (with.get(&result), graph.outputs.contains(&result)) {
            *node = Node { name: node.name.clone(), op: "Identity".into(), ..Node::default() };
            (node.inputs, node.outputs) = (vec![Some(term)], vec![Some(result)]);
            with.remove(&result);
        }
    }
    replace(graph, &with);
}

fn is_sum(node: &Node) -> bool {
    node.domain.is_empty() && matches!(node.op.as_str(), "Add" | "Sub" | "Neg")
}

fn changes_nothing(node: &Node) -> bool {
    node.domain.is_empty() && matches!(node.op.as_str(), "Identity" | "Dropout")
}

/// Whether a value may stand for a sum: shapes that are known are equal, and a scalar never was the whole of it.
fn fits(graph: &Graph, term: ValueId, sum: ValueId) -> bool {
    match (&graph.value(term).shape, &graph.value(sum).shape) {
        (Some(term), Some(sum)) => term == sum,
        (Some(term), None) => term.iter().product::<usize>() > 1,
        (None, _) => true,
    }
}

/// What two nodes that compute the same have in common.
type Key = (String, String, Vec<Option<ValueId>>, String);

/// Values as sums of others, each with a whole factor.
struct Sums {
    terms: HashMap<ValueId, Vec<(ValueId, i32)>>,
    /// Sums in which something has cancelled.
    cancelled: std::collections::HashSet<ValueId>,
    /// The first node's result of those that compute the same.
    first: HashMap<Key, ValueId>,
    /// The value that stands for each.
    stands_for: HashMap<ValueId, ValueId>,
}

impl Sums {
    fn new(graph: &Graph) -> Self {
        let mut sums = Self {
            terms: HashMap::new(),
            cancelled: std::collections::HashSet::new(),
            first: HashMap::new(),
            stands_for: HashMap::new(),
        };
        for id in (0..graph.values.len() as u32).map(ValueId) {
            sums.terms.insert(id, vec![(id, 1)]);
        }
        sums
    }

    fn same_as_earlier(&mut self, node: &Node) -> Option<ValueId> {
        let result = node.output(0)?;
        let stands = |id: &Option<ValueId>| id.map(|id| self.stands_for.get(&id).copied().unwrap_or(id));
        let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(stands).collect();
        let key = (node.domain.clone(), node.op.clone(), inputs, format!("{:?}", node.attributes));
        let first = *self.first.entry(key).or_insert(result);
        (first != result).then_some(first)
    }

    fn add(&mut self, graph: &Graph, node: &Node, result: ValueId, same: Option<ValueId>) {
        let known = |id: ValueId| self.terms.get(&id).cloned().unwrap_or_else(|| vec![(id, 1)]);
        if let Some(first) = same {
            self.stands_for.insert(result, first);
            self.terms.insert(result, known(first));
            if self.cancelled.contains(&first) {
                self.cancelled.insert(result);
            }
            return;
        }
        let operand = |place: usize| node.input(place).map(|id| known(self.stands_for.get(&id).copied().unwrap_or(id)));
        let single = |id: ValueId| {
            let value = graph.value(id);
            value.constant.as_ref().is_some_and(|tensor| tensor.len() <= 1)
        };
        if changes_nothing(node) {
            if let Some(terms) = operand(0) {
                self.stands_for.insert(result, terms_value(&terms).unwrap_or(result));
                self.terms.insert(result, terms);
            }
            return;
        }
        if !is_sum(node) || node.inputs.iter().flatten().any(|&id| single(id)) {
            return;
        }
        let (first, second) = (operand(0), operand(1));
        let (Some(mut terms), second) = (first, second.unwrap_or_default()) else { return };
        if node.op == "Neg" {
            terms.iter_mut().for_each(|term| term.1 = -term.1);
        }
        let factor = if node.op == "Sub" { -1 } else { 1 };
        let mut cancels = node.inputs.iter().flatten().any(|id| self.cancelled.contains(id));
        for (id, count) in second {
            match terms.iter_mut().find(|term| term.0 == id) {
                Some(term) => {
                    term.1 += factor * count;
                    cancels |= term.1 == 0;
                }
                None => terms.push((id, factor * count)),
            }
        }
        terms.retain(|term| term.1 != 0);
        if terms.len() > MAX_TERMS {
            return;
        }
        if cancels {
            self.cancelled.insert(result);
        }
        self.terms.insert(result, terms);
    }
}

fn terms_value(terms: &[(ValueId, i32)]) -> Option<ValueId> {
    if let [(id, 1)] = terms[..] { Some(id) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Tensor, Value};
    use ndarray::{ArrayD, IxDyn};

    struct Draft(Graph);

    impl Draft {
        fn value(&mut self, name: &str) -> ValueId {
            self.0.add_value(Value { name: name.into(), ..Value::default() })
        }

        fn node(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
            let result = self.value(op);
            let inputs = inputs.iter().copied().map(Some).collect();
            self.0.nodes.push(Node { op: op.into(), inputs, outputs: vec![Some(result)], ..Node::default() });
            result
        }
    }

    #[test]
    fn the_order_of_the_sum_does_not_matter() {
        for turned in [false, true] {
            let mut draft = Draft(Graph::default());
            let x = draft.value("x");
            let sign = draft.node("Sign", &[x]);
            let clip = draft.node("Clip", &[x]);
            let again = draft.node("Clip", &[x]);
            let sum = if turned {
                let rest = draft.node("Sub", &[again, clip]);
                draft.node("Add", &[sign, rest])
            } else {
                let rest = draft.node("Sub", &[sign, clip]);
                draft.node("Add", &[rest, again])
            };
            let end = draft.node("Relu", &[sum]);
            draft.0.outputs = vec![end];
            straight_through(&mut draft.0);
            assert_eq!(draft.0.nodes.last().unwrap().inputs, [Some(sign)], "{turned}");
        }
    }

    #[test]
    fn weights_that_are_initializers_cancel_and_numbers_do_not() {
        for len in [4, 1] {
            let mut draft = Draft(Graph::default());
            let w = draft.0.add_constant("w", Tensor::floats(ArrayD::zeros(IxDyn(&[len]))));
            let sign = draft.node("Sign", &[w]);
            let rest = draft.node("Sub", &[sign, w]);
            let sum = draft.node("Add", &[rest, w]);
            let end = draft.node("Relu", &[sum]);
            draft.0.outputs = vec![end];
            straight_through(&mut draft.0);
            assert_eq!(draft.0.nodes.last().unwrap().inputs, [Some(if len > 1 { sign } else { sum })]);
        }
    }

    #[test]
    fn an_answer_keeps_its_name() {
        let mut draft = Draft(Graph::default());
        let (x, y) = (draft.value("x"), draft.value("y"));
        let rest = draft.node("Sub", &[y, x]);
        let sum = draft.node("Add", &[rest, x]);
        draft.0.outputs = vec![sum];
        straight_through(&mut draft.0);
        let last = draft.0.nodes.last().unwrap();
        assert_eq!(
            (last.op.as_str(), &last.inputs[..], &last.outputs[..]),
            ("Identity", &[Some(y)][..], &[Some(sum)][..])
        );
    }

    #[test]
    fn a_shortcut_stays() {
        let mut draft = Draft(Graph::default());
        let x = draft.value("x");
        let f = draft.node("Tanh", &[x]);
        let sum = draft.node("Add", &[f, x]);
        let end = draft.node("Relu", &[sum]);
        draft.0.outputs = vec![end];
        straight_through(&mut draft.0);
        assert_eq!(draft.0.nodes.last().unwrap().inputs, [Some(sum)]);
    }
}
