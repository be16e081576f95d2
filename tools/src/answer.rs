//! What a network's outputs say: the likeliest classes and how sure it is of them.

use horq::Model;
use horq::graph::Op;

/// The index of the highest output, the first one if several are equal.
pub(crate) fn top1(outputs: &[f32]) -> usize {
    let best = outputs.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(class, _)| class)
}

/// The indices of the `n` highest outputs, highest first, equal ones by index.
pub(crate) fn top(outputs: &[f32], n: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..outputs.len()).collect();
    classes.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]).then(a.cmp(&b)));
    classes.truncate(n);
    classes
}

/// The largest difference of two answers: absolute, and relative to the largest value of the first.
pub(crate) fn difference(expected: &[f32], found: &[f32]) -> [f64; 2] {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let apart = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).abs();
    let largest = expected.iter().zip(found).map(apart).fold(0.0, f64::max);
    [largest, largest / f64::from(scale)]
}

/// Turns the outputs of a model into probabilities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confidence {
    /// The model's last node is a softmax.
    done: bool,
}

impl Confidence {
    /// Looks at how the model ends.
    pub(crate) fn of(model: &Model) -> Self {
        let graph = model.graph();
        let last = graph.nodes.iter().find(|node| node.name == graph.output());
        Self { done: last.is_some_and(|node| matches!(node.op, Op::Softmax(_))) }
    }

    /// The outputs as probabilities: as they are if the model ends with a softmax, else their softmax.
    pub(crate) fn probabilities(self, outputs: &[f32]) -> Vec<f64> {
        if self.done {
            return outputs.iter().map(|&v| f64::from(v)).collect();
        }
        let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = outputs.iter().map(|&v| f64::from(v - highest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(top1(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(top(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(top(&[1.0], 5), [0]);
    }

    #[test]
    fn differences_are_relative_to_the_largest_value() {
        assert_eq!(difference(&[1.0, -4.0], &[2.0, -4.0]), [1.0, 0.25]);
        assert_eq!(difference(&[0.0], &[0.0]), [0.0, 0.0]);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let p = Confidence { done: false }.probabilities(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(p, [0.5, 0.5, 0.0]);
        assert_eq!(Confidence { done: true }.probabilities(&[0.25, 0.75]), [0.25, 0.75]);
    }
}
