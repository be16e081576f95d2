//! Operations that only move elements: their result for constants, their shape, and their plainest form.

use super::held::Held;
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Attribute, Data, Graph, Node, Tensor, ValueId};
use ndarray::{Array1, ArrayD, Axis, IxDyn, concatenate};

/// What moves where.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Movement {
    /// The same elements in another shape.
    Reshape(Vec<usize>),
    /// Result axis i is source axis order[i].
    Transpose(Vec<usize>),
    /// Of each axis: where it starts, how many it takes, and its step.
    Slice(Vec<(usize, usize, i64)>),
    /// Of one axis: which places, and the shape in which they stand.
    Gather(usize, Vec<usize>, Vec<usize>),
    /// Side by side along an axis.
    Concat(usize),
    /// Repeated where a size is 1.
    Expand(Vec<usize>),
    /// Repeated as often along each axis.
    Tile(Vec<usize>),
    /// Of each axis: how many stand before and after; negative ones are cut off.
    Pad(Vec<(i64, i64)>, Edge),
}

/// What stands outside of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Constant,
    Reflect,
    Repeat,
    Wrap,
}

impl Movement {
    /// The shape of the result.
    pub(super) fn shape(&self, view: &View<'_>) -> Result<Vec<usize>, Refusal> {
        let shape = view.shape(0)?;
        let result = match self {
            Self::Reshape(shape) | Self::Expand(shape) => shape.clone(),
            Self::Transpose(order) => order.iter().map(|&axis| shape[axis]).collect(),
            Self::Slice(cuts) => cuts.iter().map(|&(_, count, _)| count).collect(),
            Self::Gather(axis, _, places) => [&shape[..*axis], places, &shape[axis + 1..]].concat(),
            Self::Concat(axis) => {
                let mut shape = shape.to_vec();
                for place in 1..view.len() {
                    let other = view.shape(place)?;
                    let fits = |at: usize| at == *axis || shape[at] == other[at];
                    if other.len() != shape.len() || !(0..shape.len()).all(fits) {
                        return Err(view.broken(format!("{shape:?} and {other:?} cannot stand side by side")));
                    }
                    shape[*axis] = shape[*axis].saturating_add(other[*axis]);
                }
                shape
            }
            Self::Tile(repeats) => {
                if repeats.len() != shape.len() {
                    return Err(view.broken(format!("{} repeats for the shape {shape:?}", repeats.len())));
                }
                shape.iter().zip(repeats).map(|(&size, &count)| size.saturating_mul(count)).collect()
            }
            Self::Pad(pads, _) => {
                let padded = |(&size, &(before, after)): (&usize, &(i64, i64))| {
                    usize::try_from((size as i64).saturating_add(before).saturating_add(after)).unwrap_or(0)
                };
                shape.iter().zip(pads).map(padded).collect()
            }
        };
        view.bounded(result)
    }

    /// The elements of the result.
    pub(super) fn apply(&self, parts: &[&Tensor], fill: Option<&Tensor>) -> Option<Data> {
        match &parts.first()?.data {
            Data::Float(_) => self.typed::<f32>(parts, fill),
            Data::Double(_) => self.typed::<f64>(parts, fill),
            Data::Int(_) => self.typed::<i64>(parts, fill),
            Data::Bool(_) => self.typed::<bool>(parts, fill),
        }
    }

    fn typed<T: Held>(&self, parts: &[&Tensor], fill: Option<&Tensor>) -> Option<Data> {
        let arrays: Vec<&ArrayD<T>> = parts.iter().map(|part| T::of(&part.data)).collect::<Option<_>>()?;
        let fill = fill.and_then(|fill| T::of(&fill.data)).and_then(|fill| fill.first().copied()).unwrap_or_default();
        self.moved(&arrays, fill).map(T::data)
    }

    fn moved<T: Held>(&self, parts: &[&ArrayD<T>], fill: T) -> Option<ArrayD<T>> {
        let source = *parts.first()?;
        let shape = source.shape();
        match self {
            Self::Reshape(shape) => reshaped(source.clone(), shape),
            Self::Transpose(order) => {
                Some(source.view().permuted_axes(order.as_slice()).as_standard_layout().into_owned())
            }
            Self::Concat(axis) => {
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                concatenate(Axis(*axis), &views).ok().map(|joined| joined.as_standard_layout().into_owned())
            }
            Self::Expand(to) => Some(source.broadcast(IxDyn(to))?.as_standard_layout().into_owned()),
            Self::Gather(axis, list, places) => {
                let list: Vec<_> = list.iter().map(|&place| Some(place)).collect();
                let shape = [&shape[..*axis], places, &shape[axis + 1..]].concat();
                reshaped(taken(source.clone(), *axis, &list, fill), &shape)
            }
            Self::Slice(cuts) => {
                let list = |&(start, count, step): &(usize, usize, i64)| {
                    (0..count as i64).map(|at| Some((start as i64 + at * step) as usize)).collect()
                };
                Some(taken_all(source, cuts.iter().map(list).collect(), fill))
            }
            Self::Tile(repeats) => {
                let list = |(&size, &count): (&usize, &usize)| (0..size * count).map(|at| Some(at % size)).collect();
                Some(taken_all(source, shape.iter().zip(repeats).map(list).collect(), fill))
            }
            Self::Pad(pads, edge) => {
                let list = |(&size, &(before, after)): (&usize, &(i64, i64))| {
                    let (size, before) = (size as i64, before);
                    (-before..size + after).map(|at| edge.place(at, size).map(|at| at as usize)).collect()
                };
                Some(taken_all(source, shape.iter().zip(pads).map(list).collect(), fill))
            }
        }
    }

    /// The plainest node that moves the same: every axis is there and counts from the start, every list is a constant input.
    ///
    /// In a `Slice` with a negative step, an end before the first element is `-(size + 1)`.
    pub(super) fn node(&self, moved: &Node, shape: &[usize], graph: &mut Graph) -> Node {
        let mut node = Node { name: moved.name.clone(), outputs: moved.outputs.clone(), ..Node::default() };
        let source = moved.input(0);
        let mut list = |values: Vec<i64>| Some(graph.add_constant("", Tensor::ints(Array1::from(values).into_dyn())));
        let (op, inputs): (&str, Vec<Option<ValueId>>) = match self {
            Self::Reshape(to) => {
                // 0 is a size here, not that of the source.
                if to.contains(&0) {
                    node.attributes.insert("allowzero".into(), Attribute::Int(1));
                }
                ("Reshape", vec![source, list(signed(to))])
            }
            Self::Transpose(order) => {
                node.attributes.insert("perm".into(), Attribute::Ints(signed(order)));
                ("Transpose", vec![source])
            }
            Self::Slice(cuts) => {
                let starts = cuts.iter().map(|cut| cut.0 as i64).collect();
                let ends = cuts.iter().zip(shape).map(|(&(start, count, step), &size)| {
                    let end = start as i64 + count as i64 * step;
                    if end < 0 { -(size as i64 + 1) } else { end.min(size as i64) }
                });
                let (ends, axes) = (ends.collect(), (0..shape.len() as i64).collect());
                let steps = cuts.iter().map(|cut| cut.2).collect();
                ("Slice", vec![source, list(starts), list(ends), list(axes), list(steps)])
            }
            Self::Gather(axis, indices, places) => {
                node.attributes.insert("axis".into(), Attribute::Int(*axis as i64));
                let indices = ArrayD::from_shape_vec(IxDyn(places), signed(indices));
                let indices = Tensor::ints(indices.expect("as many as its shape says"));
                ("Gather", vec![source, Some(graph.add_constant("", indices))])
            }
            Self::Concat(axis) => {
                node.attributes.insert("axis".into(), Attribute::Int(*axis as i64));
                ("Concat", moved.inputs.clone())
            }
            Self::Expand(to) => ("Expand", vec![source, list(signed(to))]),
            Self::Tile(repeats) => ("Tile", vec![source, list(signed(repeats))]),
            Self::Pad(pads, edge) => {
                node.attributes.insert("mode".into(), Attribute::Text(edge.name().into()));
                let pads = pads.iter().map(|pad| pad.0).chain(pads.iter().map(|pad| pad.1)).collect();
                ("Pad", vec![source, list(pads), moved.input(2)])
            }
        };
        node.op = op.into();
        node.inputs = inputs;
        node
    }
}

impl Edge {
    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Reflect => "reflect",
            Self::Repeat => "edge",
            Self::Wrap => "wrap",
        }
    }

    /// Which element stands at a place of an axis of that size, or none for the constant.
    fn place(self, at: i64, size: i64) -> Option<i64> {
        if (0..size).contains(&at) {
            return Some(at);
        }
        match self {
            Self::Constant => None,
            Self::Repeat => Some(at.clamp(0, size - 1)),
            Self::Wrap => Some(at.rem_euclid(size)),
            Self::Reflect if size == 1 => Some(0),
            Self::Reflect => {
                let around = at.rem_euclid(2 * (size - 1));
                Some(around.min(2 * (size - 1) - around))
            }
        }
    }
}

/// Picks places along each axis. Axes that shrink go first, so that nothing in between is larger than source and result.
fn taken_all<T: Held>(source: &ArrayD<T>, lists: Vec<Vec<Option<usize>>>, fill: T) -> ArrayD<T> {
    let shrinks = |axis: usize| lists[axis].len() <= source.shape()[axis];
    let mut order: Vec<usize> = (0..lists.len()).collect();
    order.sort_by_key(|&axis| !shrinks(axis));
    order.into_iter().fold(source.clone(), |values, axis| taken(values, axis, &lists[axis], fill))
}

/// Picks places along an axis.
fn taken<T: Held>(source: ArrayD<T>, axis: usize, list: &[Option<usize>], fill: T) -> ArrayD<T> {
    let size = source.shape()[axis];
    if list.len() == size && list.iter().enumerate().all(|(at, place)| *place == Some(at)) {
        return source;
    }
    let mut shape = source.shape().to_vec();
    shape[axis] = list.len();
    let mut result = ArrayD::from_elem(IxDyn(&shape), fill);
    for (mut row, place) in result.axis_iter_mut(Axis(axis)).zip(list) {
        if let Some(place) = *place {
            row.assign(&source.index_axis(Axis(axis), place));
        }
    }
    result
}

fn reshaped<T: Held>(source: ArrayD<T>, shape: &[usize]) -> Option<ArrayD<T>> {
    let plain = source.as_standard_layout().into_owned();
    plain.into_shape_with_order(IxDyn(shape)).ok()
}

fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}
