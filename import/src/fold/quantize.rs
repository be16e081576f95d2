//! Quantizers of constants: ONNX's pairs, and those of QONNX (`qonnx.custom_op.general`), after the definitions of their operator sets.

use super::held::{float_tensor, saturated};
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Data, ElementType, Tensor};
use ndarray::{Array1, ArrayD, Axis, IxDyn, Zip, arr0};

/// The domain of QONNX's operations.
pub(super) const QONNX: &str = "qonnx.custom_op.general";

/// Whether an operation of QONNX gives a value of its first input's shape.
pub(super) fn is_quantizer(view: &View<'_>) -> bool {
    view.node.domain == QONNX
        && matches!(view.node.op.as_str(), "Quant" | "IntQuant" | "BipolarQuant" | "Trunc" | "MultiThreshold")
}

/// The type that `QuantizeLinear` gives.
pub(super) fn quantized_element(view: &View<'_>) -> Result<ElementType, Refusal> {
    match view.node.int("output_dtype", 0) {
        0 if view.has(2) => view.element(2),
        0 => Ok(ElementType::UInt8),
        2 => Ok(ElementType::UInt8),
        3 => Ok(ElementType::Int8),
        4 => Ok(ElementType::UInt16),
        5 => Ok(ElementType::Int16),
        21 => Ok(ElementType::UInt4),
        22 => Ok(ElementType::Int4),
        _ => Err(view.refuse("it quantizes to floats", "quantization to integers of 4 to 16 bits can be had")),
    }
}

/// A scale or a zero point, one a block or a channel, spread over the shape of the values.
fn spread(view: &View<'_>, tensor: &Tensor, shape: &[usize]) -> Result<ArrayD<f64>, Refusal> {
    let values = tensor.doubles();
    let blocks = view.node.int("block_size", 0);
    let place = view.node.int("axis", 1);
    let unfit = || view.broken(format!("its scales of shape {:?} do not fit {shape:?}", tensor.shape()));
    if values.len() == 1 {
        let one = values.iter().next().copied().unwrap_or(0.0);
        return Ok(ArrayD::from_elem(IxDyn(&vec![1; shape.len()]), one));
    }
    let axis = view.axis(place, shape.len())?;
    if blocks > 0 {
        let size = shape[axis];
        let list: Vec<usize> = (0..size).map(|at| at / blocks as usize).collect();
        let fits = values.ndim() == shape.len() && list.last().is_none_or(|&last| last < values.shape()[axis]);
        return if fits { Ok(values.select(Axis(axis), &list)) } else { Err(unfit()) };
    }
    if values.ndim() != 1 || values.len() != shape[axis] {
        return Err(unfit());
    }
    let mut wide = vec![1; shape.len()];
    wide[axis] = values.len();
    values.into_shape_with_order(IxDyn(&wide)).map_err(|_| unfit())
}

/// `QuantizeLinear` or `DequantizeLinear` of constants.
pub(super) fn linear(view: &View<'_>, inputs: &[Option<&Tensor>]) -> Result<Option<Tensor>, Refusal> {
    let [Some(x), Some(scale), ..] = inputs else { return Ok(None) };
    let shape = x.shape();
    let zero_point = match inputs.get(2).copied().flatten() {
        Some(point) => spread(view, point, shape)?,
        None => ArrayD::zeros(IxDyn(&vec![1; shape.len()])),
    };
    let scales = spread(view, scale, shape)?;
    let (Some(scales), Some(points)) = (scales.broadcast(IxDyn(shape)), zero_point.broadcast(IxDyn(shape))) else {
        return Err(view.broken("its scales and zero points do not fit"));
    };
    let values = x.doubles();
    if view.node.op == "DequantizeLinear" {
        let values = Zip::from(&values).and(scales).and(points).map_collect(|&x, &scale, &point| (x - point) * scale);
        return Ok(Some(float_tensor(scale.element, values)));
    }
    let element = quantized_element(view)?;
    // The quotient is one of f32 values, rounded like them.
    let values = Zip::from(&values).and(scales).and(points).map_collect(|&x, &scale, &point| {
        let quotient = f64::from((x / scale) as f32);
        saturated(element, quotient.round_ties_even() + point)
    });
    Ok(Some(Tensor { element, data: Data::Int(values) }))
}

/// `DynamicQuantizeLinear` of a constant: the values, their scale and their zero point.
pub(super) fn dynamic(x: &Tensor) -> Option<Vec<Tensor>> {
    let values = x.doubles();
    let low = values.fold(0.0f64, |low, &value| low.min(value));
    let high = values.fold(0.0f64, |high, &value| high.max(value));
    let scale = (high - low) as f32 / 255.0;
    let point = if scale == 0.0 { 0.0 } else { f64::from(-low as f32 / scale).round_ties_even().clamp(0.0, 255.0) };
    let element = ElementType::UInt8;
    let quantized = values.mapv(|value| {
        let quotient = if scale == 0.0 { 0.0 } else { f64::from(value as f32 / scale) };
        saturated(element, quotient.round_ties_even() + point)
    });
    let zero_point = Data::Int(arr0(point as i64).into_dyn());
    Some(vec![
        Tensor { element, data: Data::Int(quantized) },
        Tensor::floats(arr0(scale).into_dyn()),
        Tensor { element, data: zero_point },
    ])
}

/// A quantizer of QONNX on constants.
pub(super) fn evaluate(
    view: &View<'_>,
    inputs: &[Option<&Tensor>],
    shape: &[usize],
) -> Result<Option<Tensor>, Refusal> {
    let operands: Option<Vec<ArrayD<f32>>> = inputs.iter().map(|input| input.map(Tensor::singles)).collect();
    let Some(operands) = operands else { return Ok(None) };
    let element = view.element(0)?;
    let values = match (view.node.op.as_str(), operands.as_slice()) {
        ("BipolarQuant", [x, scale]) => join(view, x, scale, shape, |x, scale| if x >= 0.0 { scale } else { -scale })?,
        ("Quant" | "IntQuant", [x, scale, point, bits]) => quant(view, [x, scale, point, bits], shape)?,
        ("Trunc", [x, scale, point, bits, out_bits]) => trunc(view, [x, scale, point, bits, out_bits], shape)?,
        ("MultiThreshold", [x, thresholds]) => multi_threshold(view, x, thresholds)?,
        ("Trunc", _) => return Err(view.refuse("it is of version 2", "Trunc with five inputs can be had")),
        _ => return Err(view.broken(format!("it has {} inputs", operands.len()))),
    };
    Ok(Some(float_tensor(element, values.mapv(f64::from))))
}

/// The integers of a `Quant`: the lowest and the highest.
pub(super) fn integer_range(view: &View<'_>, bits: f32) -> (f32, f32) {
    let (signed, narrow) = (view.node.int("signed", 1) != 0, view.node.int("narrow", 1) != 0);
    let power = |bits: f32| libm::exp2f(bits);
    match (signed, narrow) {
        (true, false) => (-power(bits - 1.0), power(bits - 1.0) - 1.0),
        (true, true) => (-power(bits - 1.0) + 1.0, power(bits - 1.0) - 1.0),
        (false, false) => (0.0, power(bits) - 1.0),
        (false, true) => (0.0, power(bits) - 2.0),
    }
}

/// What a rounding mode of QONNX does.
pub(super) fn rounding(view: &View<'_>, default: &str) -> Result<fn(f32) -> f32, Refusal> {
    Ok(match view.node.text("rounding_mode", default).to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => f32::round_ties_even,
        "CEIL" => f32::ceil,
        "FLOOR" => f32::floor,
        "UP" => |x| x.abs().ceil().copysign(x),
        "DOWN" | "ROUND_TO_ZERO" => f32::trunc,
        "HALF_UP" => |x| (x.abs() + 0.5).floor().copysign(x),
        "HALF_DOWN" => |x| (x.abs() - 0.5).ceil().copysign(x),
        other => {
            let instead = "ROUND, CEIL, FLOOR, UP, DOWN, HALF_UP and HALF_DOWN can be had";
            return Err(view.refuse(format!("its rounding_mode is `{other}`"), instead));
        }
    })
}

fn quant(view: &View<'_>, [x, scale, point, bits]: [&ArrayD<f32>; 4], shape: &[usize]) -> Result<ArrayD<f32>, Refusal> {
    let round = rounding(view, "ROUND")?;
    let mut values = join(view, x, scale, shape, |x, scale| x / scale)?;
    values = join(view, &values, point, shape, |x, point| x + point)?;
    let signed = view.node.int("signed", 1) != 0;
    values = join(view, &values, bits, shape, |x, bits| {
        // One signed bit is a sign.
        if signed && bits == 1.0 {
            return if x >= 0.0 { 1.0 } else { -1.0 };
        }
        let (low, high) = integer_range(view, bits);
        let below = if x > high { high } else { x };
        round(if below < low { low } else { below })
    })?;
    values = join(view, &values, point, shape, |x, point| x - point)?;
    join(view, &values, scale, shape, |x, scale| x * scale)
}

fn trunc(
    view: &View<'_>,
    [x, scale, point, bits, out_bits]: [&ArrayD<f32>; 5],
    shape: &[usize],
) -> Result<ArrayD<f32>, Refusal> {
    let round = rounding(view, "FLOOR")?;
    let mut values = join(view, x, scale, shape, |x, scale| x / scale)?;
    values = join(view, &values, point, shape, |x, point| (x + point).round_ties_even())?;
    let lost = join(view, bits, out_bits, &view.broadcast([bits.shape(), out_bits.shape()])?, |bits, out| {
        libm::exp2f(bits - out)
    })?;
    values = join(view, &values, &lost, shape, |x, lost| x / lost)?;
    values.mapv_inplace(round);
    values = join(view, &values, point, shape, |x, point| x - point)?;
    join(view, &values, scale, shape, |x, scale| x * scale)
}

/// The axis of the channels of a `MultiThreshold`.
pub(super) fn channel_axis(view: &View<'_>, rank: usize) -> Result<usize, Refusal> {
    let layout = match (view.node.text("data_layout", ""), rank) {
        ("", 3) => "NWC",
        ("", _) => "NC",
        (layout, _) => layout,
    };
    let axis = layout.find('C').unwrap_or(1);
    if axis < rank { Ok(axis) } else { Err(view.broken(format!("its layout `{layout}` does not fit {rank} axes"))) }
}

fn multi_threshold(view: &View<'_>, x: &ArrayD<f32>, thresholds: &ArrayD<f32>) -> Result<ArrayD<f32>, Refusal> {
    let axis = channel_axis(view, x.ndim())?;
    let rows = match thresholds.shape() {
        &[rows, _] if rows == 1 || rows == x.shape()[axis] => rows,
        other => return Err(view.broken(format!("its thresholds of shape {other:?} do not fit {:?}", x.shape()))),
    };
    let (scale, bias) = (view.node.float("out_scale", 1.0), view.node.float("out_bias", 0.0));
    let mut result = x.clone();
    for (channel, mut values) in result.axis_iter_mut(Axis(axis)).enumerate() {
        let row: Array1<f32> = thresholds.index_axis(Axis(0), channel % rows).iter().copied().collect();
        values.mapv_inplace(|x| scale * row.iter().filter(|&&threshold| x >= threshold).count() as f32 + bias);
    }
    Ok(result)
}

/// Both broadcast to the shape, element by element.
fn join(
    view: &View<'_>,
    a: &ArrayD<f32>,
    b: &ArrayD<f32>,
    shape: &[usize],
    f: impl Fn(f32, f32) -> f32,
) -> Result<ArrayD<f32>, Refusal> {
    let (Some(a), Some(b)) = (a.broadcast(IxDyn(shape)), b.broadcast(IxDyn(shape))) else {
        return Err(view.broken(format!(
            "its inputs of shapes {:?} and {:?} do not fit {shape:?}",
            a.shape(),
            b.shape()
        )));
    };
    Ok(Zip::from(a).and(b).map_collect(|&a, &b| f(a, b)))
}
