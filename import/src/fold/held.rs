//! Elements of every kind, for code that is written once for all.

use crate::graph::{Data, ElementType, Tensor};
use half::{bf16, f16};
use ndarray::ArrayD;

/// A type in which tensors hold their elements.
pub(super) trait Held: Copy + Default + PartialOrd {
    /// The elements of a tensor that holds this type.
    fn of(data: &Data) -> Option<&ArrayD<Self>>;
    /// A tensor's elements.
    fn data(values: ArrayD<Self>) -> Data;
}

impl Held for f32 {
    fn of(data: &Data) -> Option<&ArrayD<Self>> {
        if let Data::Float(values) = data { Some(values) } else { None }
    }
    fn data(values: ArrayD<Self>) -> Data {
        Data::Float(values)
    }
}

impl Held for f64 {
    fn of(data: &Data) -> Option<&ArrayD<Self>> {
        if let Data::Double(values) = data { Some(values) } else { None }
    }
    fn data(values: ArrayD<Self>) -> Data {
        Data::Double(values)
    }
}

impl Held for i64 {
    fn of(data: &Data) -> Option<&ArrayD<Self>> {
        if let Data::Int(values) = data { Some(values) } else { None }
    }
    fn data(values: ArrayD<Self>) -> Data {
        Data::Int(values)
    }
}

impl Held for bool {
    fn of(data: &Data) -> Option<&ArrayD<Self>> {
        if let Data::Bool(values) = data { Some(values) } else { None }
    }
    fn data(values: ArrayD<Self>) -> Data {
        Data::Bool(values)
    }
}

/// A number as the type has it: rounded once if it is one of floats.
pub(super) fn rounded(element: ElementType, value: f64) -> f64 {
    match element {
        ElementType::Float16 => f16::from_f64(value).to_f64(),
        ElementType::BFloat16 => bf16::from_f64(value).to_f64(),
        ElementType::Float32 => f64::from(value as f32),
        _ => value,
    }
}

/// A whole number as the type has it: its low bits.
pub(super) fn wrapped(element: ElementType, value: i64) -> i64 {
    let narrow = |bits: u32| value << (64 - bits) >> (64 - bits);
    let unsigned = |bits: u32| value & ((1 << bits) - 1);
    match element {
        ElementType::Int4 => narrow(4),
        ElementType::Int8 => narrow(8),
        ElementType::Int16 => narrow(16),
        ElementType::Int32 => narrow(32),
        ElementType::UInt4 => unsigned(4),
        ElementType::UInt8 => unsigned(8),
        ElementType::UInt16 => unsigned(16),
        ElementType::UInt32 => unsigned(32),
        _ => value,
    }
}

/// A whole number as the type has it: its nearest value.
pub(super) fn saturated(element: ElementType, value: f64) -> i64 {
    let (low, high) = element.range().unwrap_or((i64::MIN, i64::MAX));
    // A cast of a float saturates at the ends of i64, and makes NaN 0.
    (value as i64).clamp(low, high)
}

/// A tensor of a type of floats, from numbers that are rounded to it.
pub(super) fn float_tensor(element: ElementType, values: ArrayD<f64>) -> Tensor {
    let data = match element {
        ElementType::Float64 => Data::Double(values),
        _ => Data::Float(values.mapv(|value| rounded(element, value) as f32)),
    };
    Tensor { element, data }
}

/// The same numbers in another type of elements: floats are rounded, whole numbers keep their low bits, floats that become whole numbers
/// lose their fraction and saturate.
pub(super) fn cast(tensor: &Tensor, element: ElementType) -> Tensor {
    if tensor.element == element {
        return tensor.clone();
    }
    let data = match (&tensor.data, element) {
        (data, ElementType::Bool) => Data::Bool(match data {
            Data::Bool(values) => values.clone(),
            Data::Int(values) => values.mapv(|value| value != 0),
            Data::Float(values) => values.mapv(|value| value != 0.0),
            Data::Double(values) => values.mapv(|value| value != 0.0),
        }),
        (_, to) if to.is_float() => return float_tensor(to, tensor.doubles()),
        (Data::Int(values), to) => Data::Int(values.mapv(|value| wrapped(to, value))),
        (Data::Bool(values), _) => Data::Int(values.mapv(i64::from)),
        // Of 4 bits ONNX keeps the lowest, of more it leaves open what becomes of values that do not fit.
        (_, to @ (ElementType::Int4 | ElementType::UInt4)) => {
            Data::Int(tensor.doubles().mapv(|value| wrapped(to, value as i64)))
        }
        (_, to) => Data::Int(tensor.doubles().mapv(|value| saturated(to, value))),
    };
    Tensor { element, data }
}
