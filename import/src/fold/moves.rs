//! What a node moves, read from its attributes and inputs.

use super::movement::{Edge, Movement};
use super::view::View;
use crate::error::Refusal;

impl Movement {
    /// What a node moves, or none if it does something else.
    pub(super) fn of(view: &View<'_>) -> Result<Option<Self>, Refusal> {
        if !view.node.domain.is_empty() {
            return Ok(None);
        }
        Ok(Some(match view.node.op.as_str() {
            "Reshape" => reshape(view)?,
            "Flatten" => {
                let shape = view.shape(0)?;
                let axis = view.node.int("axis", 1);
                let axis = if axis == shape.len() as i64 { shape.len() } else { view.axis(axis, shape.len())? };
                Self::Reshape(vec![shape[..axis].iter().product(), shape[axis..].iter().product()])
            }
            "Squeeze" => squeeze(view)?,
            "Unsqueeze" => unsqueeze(view)?,
            "Transpose" => transpose(view)?,
            "Slice" => slice(view)?,
            "Gather" if view.constant(1).is_some() => gather(view)?,
            "Concat" => Self::Concat(view.axis(view.node.int("axis", 1), view.shape(0)?.len())?),
            "Expand" => {
                let sizes = sizes(view, 1, "sizes")?;
                Self::Expand(view.broadcast([view.shape(0)?, &sizes])?)
            }
            "Tile" => Self::Tile(sizes(view, 1, "repeats")?),
            "Pad" => pad(view)?,
            _ => return Ok(None),
        }))
    }
}

/// Sizes that are a constant input.
fn sizes(view: &View<'_>, place: usize, what: &str) -> Result<Vec<usize>, Refusal> {
    let values = view.ints(place, what)?.ok_or_else(|| view.broken(format!("it has no {what}")))?;
    values.into_iter().map(|size| view.size(size)).collect()
}

fn reshape(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let wanted = view.ints(1, "sizes")?.ok_or_else(|| view.broken("it has no shape"))?;
    let keeps_zero = view.node.int("allowzero", 0) != 0;
    let mut sizes = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &size) in wanted.iter().enumerate() {
        sizes.push(match size {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !keeps_zero => *shape
                .get(axis)
                .ok_or_else(|| view.broken(format!("its shape {wanted:?} copies an axis that is not there")))?,
            size => view.size(size)?,
        });
    }
    let mut sizes = view.bounded(sizes)?;
    let (count, rest) = (shape.iter().product::<usize>(), sizes.iter().product::<usize>());
    if let Some(axis) = open {
        sizes[axis] = count.checked_div(rest).unwrap_or(0);
    }
    if sizes.iter().product::<usize>() != count {
        let instead = "if the size of a batch is part of it, export the network with a batch of one";
        return Err(view.refuse(format!("{shape:?} cannot become {wanted:?}"), instead));
    }
    Ok(Movement::Reshape(sizes))
}

fn squeeze(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let drops = match view.ints(1, "axes")? {
        Some(axes) => view.axes(&axes, shape.len())?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = drops.iter().find(|&&axis| shape[axis] != 1) {
        return Err(view.broken(format!("axis {axis} of the shape {shape:?} is not 1")));
    }
    let kept = (0..shape.len()).filter(|axis| !drops.contains(axis));
    Ok(Movement::Reshape(kept.map(|axis| shape[axis]).collect()))
}

fn unsqueeze(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let axes = view.ints(1, "axes")?.ok_or_else(|| view.broken("it has no axes"))?;
    let axes = view.axes(&axes, shape.len() + axes.len())?;
    let mut sizes = shape.to_vec();
    for axis in axes {
        sizes.insert(axis, 1);
    }
    Ok(Movement::Reshape(view.bounded(sizes)?))
}

fn transpose(view: &View<'_>) -> Result<Movement, Refusal> {
    let rank = view.shape(0)?.len();
    let order = match view.node.ints("perm") {
        Some(order) => order.iter().map(|&axis| view.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(view.broken(format!("its order {order:?} is none of {rank} axes")));
    }
    Ok(Movement::Transpose(order))
}

fn slice(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let (Some(starts), Some(ends)) = (view.ints(1, "starts")?, view.ints(2, "ends")?) else {
        return Err(view.broken("it has no starts or no ends"));
    };
    let axes = view.ints(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = view.ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    view.axes(&axes, shape.len())?;
    if [ends.len(), axes.len(), steps.len()].iter().any(|&len| len != starts.len()) {
        return Err(view.broken("its starts, ends, axes and steps are not equally many"));
    }
    let mut cuts: Vec<(usize, usize, i64)> = shape.iter().map(|&size| (0, size, 1)).collect();
    for (at, &axis) in axes.iter().enumerate() {
        let axis = view.axis(axis, shape.len())?;
        let (size, step) = (shape[axis] as i64, steps[at]);
        // Places count from the end if they are negative, and stop at the ends.
        let bound = |place: i64, low: i64, high: i64| {
            (if place < 0 { place.saturating_add(size) } else { place }).clamp(low, high)
        };
        let (start, length) = match step {
            0 => return Err(view.broken("it has the step 0")),
            1.. => {
                let start = bound(starts[at], 0, size);
                (start, bound(ends[at], 0, size) - start)
            }
            _ => {
                let start = bound(starts[at], -1, size - 1);
                (start, start - bound(ends[at], -1, size - 1))
            }
        };
        let stride = step.unsigned_abs();
        let count = (length.max(0) as u64).div_ceil(stride) as usize;
        // A step beyond the axis takes one element and must not overflow.
        let step = step.clamp(-(size + 1), size + 1);
        cuts[axis] = if count == 0 { (0, 0, 1) } else { (start as usize, count, step) };
    }
    Ok(Movement::Slice(cuts))
}

fn gather(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let axis = view.axis(view.node.int("axis", 0), shape.len())?;
    let indices = view.ints(1, "indices")?.ok_or_else(|| view.broken("it has no indices"))?;
    let list = indices.iter().map(|&index| view.axis(index, shape[axis])).collect::<Result<_, _>>()?;
    Ok(Movement::Gather(axis, list, view.shape(1)?.to_vec()))
}

fn pad(view: &View<'_>) -> Result<Movement, Refusal> {
    let shape = view.shape(0)?;
    let edge = match view.node.text("mode", "constant") {
        "constant" => Edge::Constant,
        "reflect" => Edge::Reflect,
        "edge" => Edge::Repeat,
        "wrap" => Edge::Wrap,
        other => {
            return Err(view.refuse(format!("its mode is `{other}`"), "constant, reflect, edge and wrap can be had"));
        }
    };
    view.known(2, "constants outside")?;
    let pads = view.ints(1, "pads")?.ok_or_else(|| view.broken("it has no pads"))?;
    let axes = view.ints(3, "axes")?.unwrap_or_else(|| (0..shape.len() as i64).collect());
    view.axes(&axes, shape.len())?;
    if pads.len() != 2 * axes.len() {
        return Err(view.broken(format!("it has {} pads for {} axes", pads.len(), axes.len())));
    }
    let mut all = vec![(0, 0); shape.len()];
    for (at, &axis) in axes.iter().enumerate() {
        let axis = view.axis(axis, shape.len())?;
        let (before, after, size) = (pads[at], pads[at + axes.len()], shape[axis] as i64);
        let padded = before.checked_add(after).and_then(|both| both.checked_add(size));
        if padded.is_none_or(|padded| padded < 0) || before < -size || after < -size {
            return Err(view.broken(format!("it cuts off more than {size} elements")));
        }
        if edge != Edge::Constant && size == 0 && padded != Some(0) {
            return Err(view.broken("it repeats the elements of an empty tensor"));
        }
        all[axis] = (before, after);
    }
    Ok(Movement::Pad(all, edge))
}
