//! Operations that make tensors from sizes, places and little else.

use super::held::{cast, wrapped};
use super::view::{Kind, View};
use crate::error::Refusal;
use crate::graph::{Attribute, Data, ElementType, Tensor};
use ndarray::{Array1, ArrayD, Axis, Dimension, IxDyn, arr0};

/// The kind of the result, or none for another operation.
pub(super) fn kind(view: &View<'_>) -> Result<Option<Kind>, Refusal> {
    if !view.node.domain.is_empty() {
        return Ok(None);
    }
    let kind = |element, shape| Ok(Some(Kind { element, shape: view.bounded(shape)? }));
    match view.node.op.as_str() {
        "Shape" => kind(ElementType::Int64, vec![sizes(view)?.len()]),
        "Size" => kind(ElementType::Int64, vec![]),
        "ConstantOfShape" => {
            let sizes = view.ints(0, "sizes")?.ok_or_else(|| view.broken("it has no sizes"))?;
            let shape = sizes.into_iter().map(|size| view.size(size)).collect::<Result<_, _>>()?;
            kind(filling(view)?.element, shape)
        }
        "Range" => kind(view.element(0)?, vec![range(view)?]),
        "EyeLike" => kind(element_attribute(view)?.map_or_else(|| view.element(0), Ok)?, view.shape(0)?.to_vec()),
        "Trilu" | "CumSum" => kind(view.element(0)?, view.shape(0)?.to_vec()),
        "OneHot" => {
            let (mut shape, axis, depth) = (view.shape(0)?.to_vec(), one_hot_axis(view)?, one_hot_depth(view)?);
            shape.insert(axis, depth);
            kind(view.element(2)?, shape)
        }
        "NonZero" => match view.constant(0) {
            Some(x) => kind(ElementType::Int64, vec![x.shape().len(), places(x).len()]),
            None => Err(view.refuse("how many elements are not zero depends on the network's input", "")),
        },
        _ => Ok(None),
    }
}

/// The result, where it is known; `kind` has checked the node.
pub(super) fn evaluate(view: &View<'_>, kind: &Kind) -> Result<Option<Tensor>, Refusal> {
    let shape = IxDyn(&kind.shape);
    Ok(match view.node.op.as_str() {
        "Shape" => {
            let sizes: Array1<i64> = sizes(view)?.iter().map(|&size| size as i64).collect();
            Some(Tensor::ints(sizes.into_dyn()))
        }
        "Size" => Some(Tensor::ints(arr0(view.shape(0)?.iter().product::<usize>() as i64).into_dyn())),
        "ConstantOfShape" => {
            let value = filling(view)?;
            let data = match &value.data {
                Data::Float(values) => Data::Float(ArrayD::from_elem(shape, values[[0].as_slice()])),
                Data::Double(values) => Data::Double(ArrayD::from_elem(shape, values[[0].as_slice()])),
                Data::Int(values) => Data::Int(ArrayD::from_elem(shape, values[[0].as_slice()])),
                Data::Bool(values) => Data::Bool(ArrayD::from_elem(shape, values[[0].as_slice()])),
            };
            Some(Tensor { element: value.element, data })
        }
        "Range" => range_values(view, kind.shape[0]),
        "EyeLike" => {
            let offset = view.node.int("k", 0);
            if shape.ndim() != 2 {
                return Err(view.broken("its input is no matrix"));
            }
            let one = |at: IxDyn| i64::from((at[0] as i64).checked_add(offset) == Some(at[1] as i64));
            Some(cast(&Tensor::ints(ArrayD::from_shape_fn(shape, one)), kind.element))
        }
        "Trilu" => trilu(view)?,
        "CumSum" => cumulative(view)?,
        "OneHot" => one_hot(view, kind)?,
        "NonZero" => view.constant(0).and_then(|x| {
            let list = places(x);
            let columns: Vec<i64> =
                (0..x.shape().len()).flat_map(|axis| list.iter().map(move |at| at[axis] as i64)).collect();
            ArrayD::from_shape_vec(shape, columns).ok().map(Tensor::ints)
        }),
        _ => None,
    })
}

/// The sizes that a `Shape` tells.
fn sizes<'a>(view: &View<'a>) -> Result<&'a [usize], Refusal> {
    let shape = view.shape(0)?;
    let rank = shape.len() as i64;
    let place = |place: i64| (if place < 0 { place.saturating_add(rank) } else { place }).clamp(0, rank) as usize;
    let (start, end) = (place(view.node.int("start", 0)), place(view.node.int("end", i64::MAX)));
    Ok(&shape[start..end.max(start)])
}

/// The value with which a `ConstantOfShape` fills.
fn filling(view: &View<'_>) -> Result<Tensor, Refusal> {
    match view.node.attributes.get("value") {
        None => Ok(Tensor::floats(ArrayD::zeros(IxDyn(&[1])))),
        Some(Attribute::Tensor(value)) if value.len() == 1 && value.shape().len() == 1 => Ok(Tensor::clone(value)),
        Some(_) => Err(view.broken("its value is no tensor of one element")),
    }
}

fn element_attribute(view: &View<'_>) -> Result<Option<ElementType>, Refusal> {
    match view.node.int("dtype", 0) {
        0 => Ok(None),
        code => element_of(view, code).map(Some),
    }
}

/// The type that a number of an attribute means, as in `onnx.proto`.
pub(super) fn element_of(view: &View<'_>, code: i64) -> Result<ElementType, Refusal> {
    let known = i32::try_from(code).ok().and_then(ElementType::of_code);
    known.ok_or_else(|| {
        view.refuse(format!("it asks for elements of type {code}"), "numbers of up to 64 bits can be had")
    })
}

/// How many numbers a `Range` has.
fn range(view: &View<'_>) -> Result<usize, Refusal> {
    let mut ends = [0.0; 3];
    for (place, end) in ends.iter_mut().enumerate() {
        let value = view.known(place, "ends")?.filter(|value| value.len() == 1);
        let value = value.ok_or_else(|| view.broken(format!("its input {place} is no single number")))?;
        *end = value.doubles().iter().next().copied().unwrap_or(0.0);
    }
    let [start, end, step] = ends;
    let count = ((end - start) / step).ceil();
    if step == 0.0 || !count.is_finite() {
        return Err(view.broken(format!("it goes from {start} to {end} in steps of {step}")));
    }
    // A cast of a float saturates.
    Ok(count.max(0.0) as usize)
}

fn range_values(view: &View<'_>, count: usize) -> Option<Tensor> {
    let (start, step) = (view.constant(0)?, view.constant(2)?);
    let element = start.element;
    if let (Data::Int(start), Data::Int(step)) = (&start.data, &step.data) {
        let (start, step) = (*start.first()?, *step.first()?);
        let value = |at: usize| wrapped(element, start.wrapping_add(step.wrapping_mul(at as i64)));
        return Some(Tensor { element, data: Data::Int((0..count).map(value).collect::<Array1<_>>().into_dyn()) });
    }
    let (start, step) = (*start.doubles().first()?, *step.doubles().first()?);
    let values: Array1<f64> = (0..count).map(|at| start + step * at as f64).collect();
    Some(super::held::float_tensor(element, values.into_dyn()))
}

fn trilu(view: &View<'_>) -> Result<Option<Tensor>, Refusal> {
    let offset = view.ints(1, "diagonal")?.and_then(|k| k.first().copied()).unwrap_or(0);
    let Some(x) = view.constant(0) else { return Ok(None) };
    let (rank, upper) = (x.shape().len(), view.node.int("upper", 1) != 0);
    if rank < 2 {
        return Err(view.broken("its input is no matrix"));
    }
    let keeps = |at: &IxDyn| {
        let (row, column) = (at[rank - 2] as i64, at[rank - 1] as i64);
        let diagonal = row.saturating_add(offset);
        if upper { column >= diagonal } else { column <= diagonal }
    };
    let mut x = x.clone();
    match &mut x.data {
        Data::Float(values) => values.indexed_iter_mut().for_each(|(at, value)| {
            if !keeps(&at) {
                *value = 0.0
            }
        }),
        Data::Double(values) => values.indexed_iter_mut().for_each(|(at, value)| {
            if !keeps(&at) {
                *value = 0.0
            }
        }),
        Data::Int(values) => values.indexed_iter_mut().for_each(|(at, value)| {
            if !keeps(&at) {
                *value = 0
            }
        }),
        Data::Bool(values) => values.indexed_iter_mut().for_each(|(at, value)| *value &= keeps(&at)),
    }
    Ok(Some(x))
}

fn cumulative(view: &View<'_>) -> Result<Option<Tensor>, Refusal> {
    let axis = view.ints(1, "axis")?.and_then(|axis| axis.first().copied());
    let axis = axis.ok_or_else(|| view.broken("it has no axis"))?;
    let Some(x) = view.constant(0) else { return Ok(None) };
    let axis = Axis(view.axis(axis, x.shape().len())?);
    let (exclusive, reverse) = (view.node.int("exclusive", 0) != 0, view.node.int("reverse", 0) != 0);
    let mut x = x.clone();
    match &mut x.data {
        Data::Int(values) => {
            let element = x.element;
            run(values, axis, exclusive, reverse, |sum, value| wrapped(element, sum.wrapping_add(value)));
        }
        Data::Float(values) => {
            let element = x.element;
            let add = |sum: f32, value: f32| super::held::rounded(element, f64::from(sum) + f64::from(value)) as f32;
            run(values, axis, exclusive, reverse, add);
        }
        Data::Double(values) => run(values, axis, exclusive, reverse, |sum, value| sum + value),
        Data::Bool(_) => return Ok(None),
    }
    Ok(Some(x))
}

/// Running sums of each lane.
fn run<T: Copy + Default>(values: &mut ArrayD<T>, axis: Axis, exclusive: bool, reverse: bool, add: impl Fn(T, T) -> T) {
    for mut lane in values.lanes_mut(axis) {
        let mut sum = T::default();
        let len = lane.len();
        for at in 0..len {
            let place = &mut lane[if reverse { len - 1 - at } else { at }];
            let next = add(sum, *place);
            *place = if exclusive { sum } else { next };
            sum = next;
        }
    }
}

fn one_hot_axis(view: &View<'_>) -> Result<usize, Refusal> {
    view.axis(view.node.int("axis", -1), view.shape(0)?.len() + 1)
}

fn one_hot_depth(view: &View<'_>) -> Result<usize, Refusal> {
    let depth = view.known(1, "depth")?.and_then(|depth| depth.doubles().iter().next().copied());
    depth.filter(|&depth| depth >= 0.0).map(|depth| depth as usize).ok_or_else(|| view.broken("it has no depth"))
}

fn one_hot(view: &View<'_>, kind: &Kind) -> Result<Option<Tensor>, Refusal> {
    let (Some(indices), Some(values)) = (view.constant(0), view.constant(2)) else { return Ok(None) };
    if values.len() != 2 {
        return Err(view.broken("its values are not two"));
    }
    let (axis, depth) = (one_hot_axis(view)?, one_hot_depth(view)? as f64);
    let indices = indices.doubles();
    let hot = ArrayD::from_shape_fn(IxDyn(&kind.shape), |at| {
        let mut place: Vec<usize> = (0..at.ndim()).map(|axis| at[axis]).collect();
        let class = place.remove(axis) as f64;
        let index = indices[place.as_slice()];
        usize::from((if index < 0.0 { index + depth } else { index }) == class)
    });
    let pair: Vec<f64> = values.doubles().iter().copied().collect();
    let chosen = Tensor { element: ElementType::Float64, data: Data::Double(hot.mapv(|hot| pair[hot])) };
    Ok(Some(cast(&chosen, values.element)))
}

/// Where elements are not zero, in order.
fn places(x: &Tensor) -> Vec<Vec<usize>> {
    let place = |at: IxDyn| (0..at.ndim()).map(|axis| at[axis]).collect();
    x.doubles().indexed_iter().filter(|(_, value)| **value != 0.0).map(|(at, _)| place(at)).collect()
}
