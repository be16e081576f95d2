//! Values of different shapes and orders, brought together.

use super::Lowering;
use super::placed::{Pending, Placed, image, narrowed};
use crate::error::Refusal;
use crate::graph::{Node, ValueId};
use crate::layout::View;
use horq::graph::Shape;
use horq::ops::{Affine, Gather, Slice};
use ndarray::{ArrayD, IxDyn};

/// An operation on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Two {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
    Greater,
    Less,
    Equal,
}

/// Operands whose shapes the engine broadcasts, and the view of what is made of them.
pub(super) struct Aligned {
    pub(super) values: Vec<Placed>,
    pub(super) view: View,
}

impl Lowering<'_> {
    /// A value, or a constant as one.
    pub(super) fn any_operand(&mut self, node: &Node, value: ValueId) -> Result<Placed, Refusal> {
        match self.graph.value(value).constant.clone() {
            None => self.placed(value),
            Some(tensor) => {
                let (shape, numbers) = (tensor.shape().to_vec(), tensor.singles());
                self.constant_value(node, &shape, numbers.iter().copied().collect())
            }
        }
    }

    /// A constant as a value: 0 times something, plus the constant.
    pub(super) fn constant_value(
        &mut self,
        node: &Node,
        shape: &[usize],
        numbers: Vec<f32>,
    ) -> Result<Placed, Refusal> {
        let input = self.graph.inputs.iter().copied().find(|input| self.values.contains_key(input));
        let start = self.placed(input.ok_or_else(|| Refusal::of(node, "the network has no input", ""))?)?;
        let numbers: Vec<f32> =
            numbers.into_iter().map(|number| super::elementwise::finite(number.into()) as f32).collect();
        let len = start.shape.len();
        let flat = self.reshaped(start, Shape::Flat(len))?;
        let mut name = flat.name;
        if len > 1 {
            name = self.emit(node, "/one", &[&name], Slice::new([0; 3], [1; 3]))?;
        }
        let count = numbers.len();
        if count > 1 {
            name = self.emit(node, "/many", &[&name], Gather::new(2, vec![0; count]))?;
        }
        let name = self.emit(node, "/constant", &[&name], Affine::new(vec![0.0; count], numbers))?;
        Ok(Placed { name, shape: Shape::Flat(count), view: View::row_major(shape), pending: None })
    }

    /// A value repeated along axes of size 1, up to that shape.
    pub(super) fn expanded(&mut self, node: &Node, placed: Placed, shape: &[usize]) -> Result<Placed, Refusal> {
        let mut placed = ranked(placed, shape.len());
        for (axis, &size) in shape.iter().enumerate() {
            let own = placed.view.size(&placed.view.axes[axis]);
            if own == size || size == 1 {
                continue;
            }
            if own != 1 {
                return Err(Refusal::of(node, format!("{own} values along an axis do not go with {size}"), ""));
            }
            let len = placed.shape.len();
            placed = self.reshaped(placed, image(1, 1, len))?;
            placed.name = self.emit(node, "/repeat", &[&placed.name], Gather::new(0, vec![0; size]))?;
            placed.shape = image(size, 1, len);
            let mut view = View { factors: vec![size], axes: Vec::new() };
            view.factors.extend(&placed.view.factors);
            view.axes = placed.view.axes.iter().map(|axis| axis.iter().map(|factor| factor + 1).collect()).collect();
            view.axes[axis] = vec![0];
            placed.view = view;
        }
        Ok(placed)
    }

    /// Operands in one order, under shapes that the engine broadcasts. The result has `shape`, or what follows from theirs.
    pub(super) fn aligned(
        &mut self,
        node: &Node,
        operands: Vec<Placed>,
        shape: Option<&[usize]>,
    ) -> Result<Aligned, Refusal> {
        let rank = operands.iter().map(|placed| placed.view.axes.len()).max().unwrap_or(0);
        let rank = rank.max(shape.map_or(0, <[usize]>::len));
        let mut operands: Vec<Placed> = operands.into_iter().map(|placed| ranked(placed, rank)).collect();
        let size = |axis: usize, placed: &Placed| placed.view.size(&placed.view.axes[axis]);
        let all = |axis: usize| operands.iter().map(|placed| size(axis, placed)).max().unwrap_or(1);
        let shape: Vec<usize> = (0..rank).map(all).collect();
        for placed in &mut operands {
            *placed = self.settled(placed.clone())?;
        }
        if operands.windows(2).all(|pair| pair[0].view == pair[1].view) {
            let (view, first) = (operands[0].view.clone(), operands[0].shape);
            let values = operands.into_iter().map(|placed| self.reshaped(placed, first));
            return Ok(Aligned { values: values.collect::<Result<_, _>>()?, view });
        }
        let leader = operands.iter().position(|placed| placed.view.shape() == shape);
        let order = leader.and_then(|leader| operands[leader].view.order());
        let order = order.unwrap_or_else(|| (0..rank).collect());
        let axes: Vec<usize> = order.iter().copied().filter(|&axis| shape[axis] > 1).collect();
        let has = |axis: usize| -> Vec<bool> { operands.iter().map(|placed| size(axis, placed) > 1).collect() };
        let groups = leader
            .and_then(|leader| cut_like(&axes, &shape, operands[leader].shape.sizes()))
            .filter(|groups| groups.iter().all(|group| group.windows(2).all(|pair| has(pair[0]) == has(pair[1]))))
            .or_else(|| {
                let mut groups: Vec<Vec<usize>> = Vec::new();
                for &axis in &axes {
                    match groups.last_mut() {
                        Some(group) if has(group[0]) == has(axis) => group.push(axis),
                        _ => groups.push(vec![axis]),
                    }
                }
                while groups.len() < 3 {
                    groups.insert(0, Vec::new());
                }
                <[Vec<usize>; 3]>::try_from(groups).ok()
            });
        let view = View::ordered(&shape, &order);
        let Some(groups) = groups else {
            // Three axes of the engine do not hold this pattern, so all values get the whole shape.
            let mut values = Vec::new();
            for placed in operands {
                let placed = self.expanded(node, placed, &shape)?;
                let sequence = placed.view.sequence(&order);
                let len = placed.shape.len();
                values.push(self.rearranged(placed, &sequence, Shape::Flat(len))?);
            }
            return Ok(Aligned { values, view });
        };
        let mut values = Vec::new();
        for placed in operands {
            let [h, w, c] = [0, 1, 2].map(|i| groups[i].iter().map(|&axis| size(axis, &placed)).product::<usize>());
            let shape = if placed.shape.sizes() == [h, w, c] { placed.shape } else { image(h, w, c) };
            let sequence = placed.view.sequence(&order);
            values.push(self.rearranged(placed, &sequence, shape)?);
        }
        Ok(Aligned { values, view })
    }

    /// A constant along a value's innermost axis of the engine, in the order of memory, the value under a shape that fits.
    pub(super) fn vector_of(
        &mut self,
        node: &Node,
        placed: Placed,
        numbers: ArrayD<f64>,
    ) -> Result<(Placed, Vec<f32>), Refusal> {
        let rank = placed.view.axes.len();
        let mut sizes = vec![1; rank.saturating_sub(numbers.ndim())];
        sizes.extend(numbers.shape());
        let refused = |_| Refusal::of(node, "its constant has more axes than its input", "");
        let scale = narrowed(numbers.into_shape_with_order(IxDyn(&sizes)).map_err(refused)?);
        if sizes.len() != rank {
            return Err(Refusal::of(node, "its constant has more axes than its input", ""));
        }
        let shift = ArrayD::zeros(IxDyn(&vec![1; rank]));
        let pending = Pending { scale, shift, node: node.name.clone(), op: node.op.clone() };
        let (placed, scale, _) = self.along(placed, &pending)?;
        Ok((placed, scale))
    }
}

/// The value with axes of size 1 in front, so that it has that many.
fn ranked(placed: Placed, rank: usize) -> Placed {
    let missing = rank.saturating_sub(placed.view.axes.len());
    if missing == 0 {
        return placed;
    }
    let mut view = placed.view.clone();
    view.axes.splice(0..0, std::iter::repeat_n(Vec::new(), missing));
    let pending = placed.pending.map(|pending| {
        let ranked = |array: ArrayD<f64>| {
            let mut array = array;
            for _ in 0..missing {
                array = array.insert_axis(ndarray::Axis(0));
            }
            array
        };
        Pending { scale: ranked(pending.scale), shift: ranked(pending.shift), ..pending }
    });
    Placed { view, pending, ..placed }
}

/// Axes, outermost first, in three groups of these sizes, if they can be cut so.
fn cut_like(axes: &[usize], shape: &[usize], sizes: [usize; 3]) -> Option<[Vec<usize>; 3]> {
    let mut groups = [Vec::new(), Vec::new(), Vec::new()];
    let mut rest = axes.iter().rev().peekable();
    for (group, size) in groups.iter_mut().zip(sizes).rev() {
        let mut product = 1;
        while product < size {
            let &axis = rest.next()?;
            product *= shape[axis];
            group.insert(0, axis);
        }
        if product != size {
            return None;
        }
    }
    rest.next().is_none().then_some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_cut_like_a_shape() {
        assert_eq!(cut_like(&[2, 3, 1], &[1, 8, 4, 5], [4, 5, 8]), Some([vec![2], vec![3], vec![1]]));
        assert_eq!(cut_like(&[2, 3, 1], &[1, 8, 4, 5], [1, 20, 8]), Some([vec![], vec![2, 3], vec![1]]));
        assert_eq!(cut_like(&[2, 3, 1], &[1, 8, 4, 5], [1, 10, 16]), None);
    }
}
