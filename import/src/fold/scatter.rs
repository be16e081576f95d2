//! Operations that read or write elements at places that a tensor names; of constants alone.

use super::held::Held;
use super::view::{Kind, View};
use crate::error::Refusal;
use crate::graph::{Data, Tensor};
use ndarray::{ArrayD, Dimension, IxDyn};

const INSTEAD: &str =
    "places that are constants can be had, and only in constants: write it with Slice, Concat or Where";

/// The kind of the result, or none for another operation.
pub(super) fn kind(view: &View<'_>) -> Result<Option<Kind>, Refusal> {
    if !view.node.domain.is_empty() {
        return Ok(None);
    }
    let shape = match view.node.op.as_str() {
        "ScatterND" | "ScatterElements" | "Scatter" => view.shape(0)?.to_vec(),
        "GatherElements" => view.shape(1)?.to_vec(),
        "GatherND" => {
            let (shape, places) = (view.shape(0)?, view.shape(1)?);
            let batch = view.size(view.node.int("batch_dims", 0))?;
            let depth = places.last().copied().unwrap_or(0);
            let rest = shape.get(batch.saturating_add(depth)..).ok_or_else(|| view.broken("its places do not fit"))?;
            view.bounded([&places[..places.len().saturating_sub(1)], rest].concat())?
        }
        _ => return Ok(None),
    };
    if view.constants().is_none() {
        return Err(view.refuse("it reads or writes at places inside of a value", INSTEAD));
    }
    Ok(Some(Kind { element: view.element(0)?, shape }))
}

/// The result; `kind` has checked that all inputs are constants.
pub(super) fn evaluate(view: &View<'_>, inputs: &[Option<&Tensor>], kind: &Kind) -> Result<Option<Tensor>, Refusal> {
    let [Some(source), Some(places), ..] = inputs else { return Ok(None) };
    let Some(places) = places.whole() else { return Err(view.broken("its places are no whole numbers")) };
    let updates = inputs.get(2).copied().flatten();
    let data = match &source.data {
        Data::Float(_) => typed::<f32>(view, source, places, updates, kind, |old, new| match reduction(view) {
            "add" => Some(old + new),
            "mul" => Some(old * new),
            "max" => Some(old.max(new)),
            "min" => Some(old.min(new)),
            _ => None,
        })?,
        Data::Int(_) => typed::<i64>(view, source, places, updates, kind, |old, new| match reduction(view) {
            "add" => Some(old.wrapping_add(new)),
            "mul" => Some(old.wrapping_mul(new)),
            "max" => Some(old.max(new)),
            "min" => Some(old.min(new)),
            _ => None,
        })?,
        Data::Double(_) => typed::<f64>(view, source, places, updates, kind, |_, _| None)?,
        Data::Bool(_) => typed::<bool>(view, source, places, updates, kind, |_, _| None)?,
    };
    Ok(data.map(|data| Tensor { element: source.element, data }))
}

fn reduction<'a>(view: &View<'a>) -> &'a str {
    view.node.text("reduction", "none")
}

/// The result, where `joined` says what an element becomes if its reduction is not `none`.
fn typed<T: Held>(
    view: &View<'_>,
    source: &Tensor,
    places: &ArrayD<i64>,
    updates: Option<&Tensor>,
    kind: &Kind,
    joined: impl Fn(T, T) -> Option<T>,
) -> Result<Option<Data>, Refusal> {
    let Some(source) = T::of(&source.data) else { return Ok(None) };
    let unfit = || view.broken("its places do not fit its data");
    let mut result = match view.node.op.as_str() {
        "GatherND" | "GatherElements" => ArrayD::from_elem(IxDyn(&kind.shape), T::default()),
        _ => source.clone(),
    };
    let whole = reduction(view) == "none";
    let write = |result: &mut ArrayD<T>, at: &[usize], new: T| {
        let place = result.get_mut(at).ok_or_else(unfit)?;
        let refused = || view.refuse(format!("its reduction is `{}`", reduction(view)), "none can be had");
        *place = if whole { new } else { joined(*place, new).ok_or_else(refused)? };
        Ok::<(), Refusal>(())
    };
    match view.node.op.as_str() {
        "GatherElements" | "ScatterElements" | "Scatter" => {
            let rank = source.ndim();
            let axis = view.axis(view.node.int("axis", 0), rank)?;
            if places.ndim() != rank {
                return Err(unfit());
            }
            let size = source.shape()[axis];
            let updates = updates.and_then(|updates| T::of(&updates.data));
            for (at, &index) in places.indexed_iter() {
                let here: Vec<usize> = (0..rank).map(|axis| at[axis]).collect();
                let mut there = here.clone();
                there[axis] = view.axis(index, size)?;
                if view.node.op == "GatherElements" {
                    result[here.as_slice()] = *source.get(there.as_slice()).ok_or_else(unfit)?;
                } else {
                    let new = updates.and_then(|updates| updates.get(here.as_slice())).ok_or_else(unfit)?;
                    write(&mut result, &there, *new)?;
                }
            }
        }
        op => {
            let batch = if op == "GatherND" { view.size(view.node.int("batch_dims", 0))? } else { 0 };
            let outer = places.ndim().checked_sub(1).ok_or_else(unfit)?;
            let depth = places.shape()[outer];
            let inner = source.shape().get(batch + depth..).ok_or_else(unfit)?.to_vec();
            if batch > outer {
                return Err(unfit());
            }
            let updates = updates.and_then(|updates| T::of(&updates.data));
            for at in ndarray::indices(IxDyn(&places.shape()[..outer])) {
                let here: Vec<usize> = (0..outer).map(|axis| at[axis]).collect();
                let mut there = here[..batch].to_vec();
                for step in 0..depth {
                    let index = places[[here.as_slice(), &[step]].concat().as_slice()];
                    there.push(view.axis(index, source.shape()[batch + step])?);
                }
                for rest in ndarray::indices(IxDyn(&inner)) {
                    let rest: Vec<usize> = (0..rest.ndim()).map(|axis| rest[axis]).collect();
                    let (here, there) = ([here.as_slice(), &rest].concat(), [there.as_slice(), &rest].concat());
                    if op == "GatherND" {
                        *result.get_mut(here.as_slice()).ok_or_else(unfit)? =
                            *source.get(there.as_slice()).ok_or_else(unfit)?;
                    } else {
                        let new = updates.and_then(|updates| updates.get(here.as_slice())).ok_or_else(unfit)?;
                        write(&mut result, &there, *new)?;
                    }
                }
            }
        }
    }
    Ok(Some(T::data(result)))
}
