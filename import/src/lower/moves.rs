//! Operations that move values: most of them are a change of the view.

use super::placed::{Placed, image};
use super::{Lowering, Rule, axis};
use crate::error::Refusal;
use crate::graph::Node;
use crate::layout::View;
use horq::graph::Shape;
use horq::ops::{Border, Concat, Embedding, Gather, Pad, Slice};

pub(super) const RULES: &[Rule] = &[
    ("Concat", |to, node| to.concat(node)),
    ("DepthToSpace", |to, node| to.depth_to_space(node)),
    ("Expand", |to, node| to.expand(node)),
    ("Flatten", |to, node| to.reshape(node)),
    ("Gather", |to, node| to.gather(node)),
    ("Pad", |to, node| to.pad(node)),
    ("Reshape", |to, node| to.reshape(node)),
    ("Slice", |to, node| to.slice(node)),
    ("SpaceToDepth", |to, node| to.space_to_depth(node)),
    ("Split", |to, node| to.split(node)),
    ("Squeeze", |to, node| to.reshape(node)),
    ("Tile", |to, node| to.tile(node)),
    ("Transpose", |to, node| to.transpose(node)),
    ("Unsqueeze", |to, node| to.reshape(node)),
];

/// Which values of an axis are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    start: usize,
    stop: usize,
    step: usize,
    reverse: bool,
}

impl Taken {
    fn len(self) -> usize {
        (self.stop - self.start).div_ceil(self.step)
    }
}

/// An axis of a value in the engine: its axis there, and the value under a shape that has it.
struct Along {
    placed: Placed,
    axis: usize,
    order: Vec<usize>,
}

impl Lowering<'_> {
    /// A value in an order of its axes, those of the engine cut so that one of them is that axis.
    fn along_axis(&mut self, placed: Placed, axis: usize) -> Result<Along, Refusal> {
        let placed = self.settled(placed)?;
        let (placed, order) = match placed.view.order() {
            Some(order) => (placed, order),
            None => {
                let order: Vec<usize> = (0..placed.view.axes.len()).collect();
                let sequence = placed.view.sequence(&order);
                let shape = Shape::Flat(placed.shape.len());
                (self.rearranged(placed, &sequence, shape)?, order)
            }
        };
        let place = order.iter().position(|&other| other == axis).unwrap_or(0);
        let product = |axes: &[usize]| placed.view.size(&placed.view.sequence(axes));
        let (outer, size, inner) = (product(&order[..place]), product(&[axis]), product(&order[place + 1..]));
        let [height, width, channels] = placed.shape.sizes();
        // The shape that it has is best: what follows can then be fused with what came before.
        if inner == 1 && channels == size {
            return Ok(Along { placed, axis: 2, order });
        }
        if size > 1 && inner == channels && width == size && height == outer {
            return Ok(Along { placed, axis: 1, order });
        }
        if size > 1 && outer == 1 && height == size && inner == width * channels {
            return Ok(Along { placed, axis: 0, order });
        }
        let placed = self.reshaped(placed, image(outer, size, inner))?;
        Ok(Along { placed, axis: 1, order })
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let shape = self.result_shape(node)?;
        let placed = self.viewed(node, placed, shape)?;
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    /// A value under another logical shape: moved in memory only where the axes of that cut across its own.
    pub(super) fn viewed(&mut self, node: &Node, placed: Placed, shape: &[usize]) -> Result<Placed, Refusal> {
        if let Some(view) = placed.view.reshaped(shape) {
            return Ok(Placed { view, ..placed });
        }
        let order: Vec<usize> = (0..placed.view.axes.len()).collect();
        let sequence = placed.view.sequence(&order);
        let len = placed.shape.len();
        let placed = self.rearranged(placed, &sequence, Shape::Flat(len))?;
        let view = placed.view.reshaped(shape);
        let view =
            view.ok_or_else(|| Refusal::of(node, format!("{len} values do not make the shape {shape:?}"), ""))?;
        Ok(Placed { view, ..placed })
    }

    fn transpose(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let rank = placed.view.axes.len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order.iter().map(|&n| axis(node, n, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank {
            return Err(Refusal::of(node, format!("its `perm` does not name the {rank} axes"), ""));
        }
        let view = placed.view.transposed(&order);
        self.alias(node, placed, view);
        Ok(())
    }

    fn depth_to_space(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.shape(value)?);
        let block = usize::try_from(node.int("blocksize", 1)).unwrap_or(1).max(1);
        let [n, c, h, w] = shape[..] else { return Err(Refusal::of(node, "its input is no image", "")) };
        let depth = c / (block * block);
        let (cut, order) = match node.text("mode", "DCR") {
            "CRD" => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
            _ => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
        };
        let placed = self.viewed(node, placed, &cut)?;
        let placed = Placed { view: placed.view.transposed(&order), ..placed };
        let placed = self.viewed(node, placed, &[n, depth, h * block, w * block])?;
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    fn space_to_depth(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.shape(value)?);
        let block = usize::try_from(node.int("blocksize", 1)).unwrap_or(1).max(1);
        let [n, c, h, w] = shape[..] else { return Err(Refusal::of(node, "its input is no image", "")) };
        let placed = self.viewed(node, placed, &[n, c, h / block, block, w / block, block])?;
        let placed = Placed { view: placed.view.transposed(&[0, 3, 5, 1, 2, 4]), ..placed };
        let placed = self.viewed(node, placed, &[n, c * block * block, h / block, w / block])?;
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    fn expand(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.result_shape(node)?);
        let placed = self.expanded(node, placed, shape)?;
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    fn tile(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (mut placed, shape) = (self.placed(value)?, self.shape(value)?.to_vec());
        let result = self.result_shape(node)?;
        for (axis, (&before, &after)) in shape.iter().zip(result).enumerate() {
            if before != after {
                let indices = (0..after).map(|i| i % before).collect();
                placed = self.gathered(node, placed, axis, indices)?;
            }
        }
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    /// The values at those places of an axis.
    fn gathered(&mut self, node: &Node, placed: Placed, axis: usize, indices: Vec<usize>) -> Result<Placed, Refusal> {
        let mut shape = placed.view.shape();
        shape[axis] = indices.len();
        let along = self.along_axis(placed, axis)?;
        let name =
            self.emit(node, &format!("/axis {axis}"), &[&along.placed.name], Gather::new(along.axis, indices))?;
        self.made(name, &shape, &along.order)
    }

    /// A value that was just added, in that order of its axes.
    fn made(&self, name: String, shape: &[usize], order: &[usize]) -> Result<Placed, Refusal> {
        let engine = self.builder.shape(&name).expect("it was just added");
        Ok(Placed { name, shape: engine, view: View::ordered(shape, order), pending: None })
    }

    fn gather(&mut self, node: &Node) -> Result<(), Refusal> {
        let result = self.result_shape(node)?;
        let constant = |place: usize| node.input(place).and_then(|id| self.graph.value(id).constant.clone());
        match (constant(0), constant(1)) {
            (None, Some(indices)) => {
                let value = self.operand(node, 0)?;
                let placed = self.placed(value)?;
                let place = axis(node, node.int("axis", 0), placed.view.axes.len())?;
                let size = placed.view.shape()[place];
                let indices: Option<Vec<usize>> = indices
                    .doubles()
                    .iter()
                    .map(|&i| {
                        let i = if i < 0.0 { i + size as f64 } else { i };
                        (0.0..size as f64).contains(&i).then_some(i as usize)
                    })
                    .collect();
                let indices = indices.ok_or_else(|| Refusal::of(node, "an index is out of range", ""))?;
                let placed = self.gathered(node, placed, place, indices)?;
                let placed = self.viewed(node, placed, result)?;
                let view = placed.view.clone();
                self.alias(node, placed, view);
                Ok(())
            }
            (Some(table), None) => {
                let place = axis(node, node.int("axis", 0), table.shape().len())?;
                if place != 0 {
                    let reason = format!("it looks up along axis {place} of its table");
                    return Err(Refusal::of(node, reason, "axis 0 works: transpose the table"));
                }
                let value = self.operand(node, 1)?;
                let placed = self.placed(value)?;
                let len = placed.shape.len();
                let features = table.len() / table.shape()[0];
                let placed = self.reshaped(placed, Shape::Flat(len))?;
                let rows: Vec<f32> = table.singles().iter().copied().collect();
                let name = self.emit(node, "", &[&placed.name], Embedding::new(features, rows))?;
                let mut view = placed.view;
                let rest: Vec<usize> = table.shape()[1..].to_vec();
                for size in rest {
                    view.axes.push(Vec::new());
                    if size > 1 {
                        let last = view.axes.len() - 1;
                        view.axes[last].push(view.factors.len());
                        view.factors.push(size);
                    }
                }
                self.place(node, name, view);
                Ok(())
            }
            _ => {
                let reason = "both its table and its indices are computed";
                Err(Refusal::of(node, reason, "constant indices work, and a constant table"))
            }
        }
    }

    fn concat(&mut self, node: &Node) -> Result<(), Refusal> {
        let result = self.result_shape(node)?;
        let place = axis(node, node.int("axis", 0), result.len())?;
        let mut operands = Vec::new();
        for input in node.inputs.iter().flatten() {
            if self.shape(*input)?.iter().product::<usize>() > 0 {
                operands.push(self.any_operand(node, *input)?);
            }
        }
        // The order that costs the fewest moves is the first one's, unless that is a constant made a vector.
        let orders = operands.iter().filter(|placed| matches!(placed.shape, Shape::Image { .. }));
        let order = orders.chain(operands.first()).find_map(|placed| placed.view.order());
        let order = order.unwrap_or_else(|| (0..result.len()).collect());
        let at = order.iter().position(|&other| other == place).unwrap_or(0);
        let outer: usize = order[..at].iter().map(|&axis| result[axis]).product();
        let inner: usize = order[at + 1..].iter().map(|&axis| result[axis]).product();
        let like =
            operands.iter().map(|placed| placed.shape.sizes()).find(|size| inner == 1 && size[0] * size[1] == outer);
        let mut names = Vec::new();
        for placed in operands {
            let block = placed.view.size(&placed.view.axes[place]) * inner;
            let shape = match like {
                _ if outer == 1 => Shape::Flat(block),
                Some([height, width, _]) => image(height, width, block),
                None => image(1, outer, block),
            };
            let sequence = placed.view.sequence(&order);
            names.push(self.rearranged(placed, &sequence, shape)?.name);
        }
        let name = match &names[..] {
            [] => return Err(Refusal::of(node, "it has no input", "")),
            [only] => only.clone(),
            several => {
                let several: Vec<&str> = several.iter().map(String::as_str).collect();
                self.emit(node, "", &several, Concat)?
            }
        };
        self.place(node, name, View::ordered(result, &order));
        Ok(())
    }

    /// Parts of a value along some of its axes.
    fn sliced(
        &mut self,
        node: &Node,
        suffix: &str,
        placed: Placed,
        parts: &[(usize, Taken)],
    ) -> Result<Placed, Refusal> {
        let mut placed = placed;
        for &(axis, taken) in parts {
            let mut shape = placed.view.shape();
            if taken == (Taken { start: 0, stop: shape[axis], step: 1, reverse: false }) {
                continue;
            }
            shape[axis] = taken.len();
            let along = self.along_axis(placed, axis)?;
            let (mut start, mut stop, mut step, mut reverse) = ([0; 3], along.placed.shape.sizes(), [1; 3], [0; 3]);
            (start[along.axis], stop[along.axis], step[along.axis]) = (taken.start, taken.stop, taken.step);
            reverse[along.axis] = usize::from(taken.reverse);
            let op = Slice::new(start, stop).step(step).reverse(reverse);
            let name = self.emit(node, suffix, &[&along.placed.name], op)?;
            placed = self.made(name, &shape, &along.order)?;
        }
        Ok(placed)
    }

    fn slice(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.shape(value)?);
        let bounds = |place| {
            let values = self.whole(node, place)?;
            values.ok_or_else(|| Refusal::of(node, "its bounds are missing", ""))
        };
        let (starts, stops) = (bounds(1)?, bounds(2)?);
        let axes = self.whole(node, 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.whole(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if stops.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Refusal::of(node, "its bounds, axes and steps are not as many", ""));
        }
        let mut parts = Vec::new();
        for i in 0..starts.len() {
            let axis = axis(node, axes[i], shape.len())?;
            parts.push((axis, taken(starts[i], stops[i], steps[i], shape[axis])));
        }
        if parts.iter().any(|(_, taken)| taken.is_none()) {
            return Err(Refusal::of(node, "it takes no value at all", "leave it out"));
        }
        let parts: Vec<(usize, Taken)> = parts.into_iter().filter_map(|(axis, taken)| Some((axis, taken?))).collect();
        let placed = self.sliced(node, "", placed, &parts)?;
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    fn split(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.shape(value)?);
        let place = axis(node, node.int("axis", 0), shape.len())?;
        let mut start = 0;
        for (i, output) in node.outputs.iter().enumerate() {
            let Some(output) = *output else {
                return Err(Refusal::of(node, "one of its parts has no name", "give all of them one"));
            };
            let size = self.shape(output)?[place];
            let taken = Taken { start, stop: start + size, step: 1, reverse: false };
            start += size;
            if self.needs.contains_key(&output) {
                let part = self.sliced(node, &format!("/{i}"), placed.clone(), &[(place, taken)])?;
                self.values.insert(output, part);
            }
        }
        Ok(())
    }

    fn pad(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (placed, shape) = (self.placed(value)?, self.shape(value)?);
        let pads = self.whole(node, 1)?.ok_or_else(|| Refusal::of(node, "its pads are missing", ""))?;
        let number = self.number(node, 2)?.unwrap_or(0.0) as f32;
        let axes = match self.whole(node, 3)? {
            Some(axes) => axes.iter().map(|&n| axis(node, n, shape.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..shape.len()).collect(),
        };
        let mode = match node.text("mode", "constant") {
            "constant" => Border::Constant,
            "reflect" => Border::Reflect,
            "edge" => Border::Edge,
            "wrap" => Border::Wrap,
            other => {
                return Err(Refusal::of(
                    node,
                    format!("its mode is `{other}`"),
                    "constant, reflect, edge and wrap work",
                ));
            }
        };
        if pads.len() != 2 * axes.len() {
            return Err(Refusal::of(node, "its pads are not two for each axis", ""));
        }
        // Negative pads take away.
        let mut parts = Vec::new();
        let mut wanted = vec![(0, 0); shape.len()];
        for (i, &axis) in axes.iter().enumerate() {
            let (before, after) = (pads[i], pads[i + axes.len()]);
            let cut = |pad: i64| usize::try_from(-pad).unwrap_or(0);
            if cut(before) + cut(after) >= shape[axis] {
                return Err(Refusal::of(node, "its pads leave nothing", ""));
            }
            parts.push((axis, Taken { start: cut(before), stop: shape[axis] - cut(after), step: 1, reverse: false }));
            let fill = |pad: i64| usize::try_from(pad).unwrap_or(0);
            wanted[axis] = (fill(before), fill(after));
        }
        let mut placed = self.sliced(node, "/cut", placed, &parts)?;
        let op = |before, after| match mode {
            Border::Constant => Pad::constant(before, after, vec![number]),
            mode => Pad::of_image(before, after, mode),
        };
        let in_one = image_axes(&placed)
            .filter(|own| wanted.iter().enumerate().all(|(axis, pads)| *pads == (0, 0) || own.contains(&axis)));
        if let Some(own) = in_one {
            let pads = own.map(|axis| wanted[axis]);
            if pads != [(0, 0); 3] {
                let name = self.emit(node, "", &[&placed.name], op(pads.map(|p| p.0), pads.map(|p| p.1)))?;
                let order: Vec<usize> = (0..shape.len()).filter(|axis| !own.contains(axis)).chain(own).collect();
                placed = self.made(name, self.result_shape(node)?, &order)?;
            }
            let view = placed.view.clone();
            self.alias(node, placed, view);
            return Ok(());
        }
        for (axis, &(before, after)) in wanted.iter().enumerate().filter(|(_, pads)| **pads != (0, 0)) {
            let mut shape = placed.view.shape();
            shape[axis] += before + after;
            let along = self.along_axis(placed, axis)?;
            let (mut befores, mut afters) = ([0; 3], [0; 3]);
            (befores[along.axis], afters[along.axis]) = (before, after);
            let name = self.emit(node, &format!("/axis {axis}"), &[&along.placed.name], op(befores, afters))?;
            placed = self.made(name, &shape, &along.order)?;
        }
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }
}

/// What a slice of ONNX takes of an axis; none if nothing.
fn taken(start: i64, stop: i64, step: i64, size: usize) -> Option<Taken> {
    let len = size as i64;
    let place = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(len) } else { at }).clamp(low, high);
    if step > 0 {
        let (start, stop) = (place(start, 0, len), place(stop, 0, len));
        return (start < stop).then_some(Taken {
            start: start as usize,
            stop: stop as usize,
            step: step as usize,
            reverse: false,
        });
    }
    let (first, end) = (place(start, 0, len - 1), place(stop, -1, len - 1));
    let step = usize::try_from(step.checked_neg()?).ok().filter(|&step| step > 0)?;
    let count = usize::try_from(first - end).ok().filter(|&count| count > 0)?.div_ceil(step);
    // The same values from the last to the first.
    let low = first as usize - (count - 1) * step;
    Some(Taken { start: low, stop: first as usize + 1, step, reverse: true })
}

/// The logical axes that are height, width and channels of the engine's image, if it is an image of such.
pub(super) fn image_axes(placed: &Placed) -> Option<[usize; 3]> {
    let candidates: &[[usize; 3]] = match placed.view.axes.len() {
        4 => &[[2, 3, 1], [1, 2, 3]],
        3 => &[[0, 2, 1], [0, 1, 2]],
        _ => return None,
    };
    let fits = |axes: &&[usize; 3]| {
        let size = axes.map(|axis| placed.view.size(&placed.view.axes[axis]));
        placed.view.lies(&placed.view.sequence(&axes[..])) && size == placed.shape.sizes()
    };
    candidates.iter().find(fits).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_go_either_way() {
        let taken_of = |start, stop, step| taken(start, stop, step, 10).unwrap();
        assert_eq!(taken_of(2, 100, 3), Taken { start: 2, stop: 10, step: 3, reverse: false });
        assert_eq!(taken_of(-3, -1, 1), Taken { start: 7, stop: 9, step: 1, reverse: false });
        // 9, 6, 3, 0
        assert_eq!(taken_of(-1, i64::MIN, -3), Taken { start: 0, stop: 10, step: 3, reverse: true });
        // 8, 6, 4
        assert_eq!(taken_of(8, 3, -2), Taken { start: 4, stop: 9, step: 2, reverse: true });
        assert_eq!(taken(5, 5, 1, 10), None);
    }
}
