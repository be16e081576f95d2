//! Tensors of a file.

use super::external;
use super::schema;
use crate::error::Refusal;
use crate::graph::{Data, ElementType, Tensor};
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use std::path::Path;

/// No operation makes sense of more axes.
const MOST_AXES: usize = 32;

/// What a number of `DataType` in `onnx.proto` means, or why it cannot be had.
pub(super) fn element_type(code: i32) -> Result<ElementType, String> {
    ElementType::of_code(code).ok_or_else(|| match code {
        0 => "its elements have no type".to_owned(),
        8 => "its elements are texts".to_owned(),
        14 | 15 => "its elements are complex numbers".to_owned(),
        17..=20 | 24 => "its elements are floats of 8 bits".to_owned(),
        23 => "its elements are floats of 4 bits".to_owned(),
        other => format!("its elements are of type {other}, which this version does not know"),
    })
}

/// A tensor of a file as one of the graph. Files beside it may lie in `folder`.
pub(super) fn read(tensor: &schema::Tensor, folder: Option<&Path>) -> Result<Tensor, Refusal> {
    let name = tensor.name.as_deref().unwrap_or("");
    let refuse = |reason: String| {
        Refusal::at(name, "tensor", reason, "numbers of up to 64 bits, stored as ONNX says, can be had")
    };
    let element = element_type(tensor.data_type.unwrap_or(0)).map_err(refuse)?;
    let (shape, count) = shape(&tensor.dims).map_err(refuse)?;
    let data = if tensor.data_location == Some(1) {
        let bytes =
            external::read(tensor, byte_len(element, count).ok_or("it is too large".into()).map_err(refuse)?, folder)
                .map_err(|(reason, instead)| Refusal::at(name, "tensor", reason, instead))?;
        from_bytes(element, &shape, count, &bytes)
    } else if let Some(bytes) = &tensor.raw_data {
        from_bytes(element, &shape, count, bytes)
    } else {
        from_fields(element, &shape, count, tensor)
    };
    Ok(Tensor { element, data: data.map_err(refuse)? })
}

/// The sizes, and how many elements that are.
fn shape(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    if dims.len() > MOST_AXES {
        return Err(format!("it has {} axes; at most {MOST_AXES} are allowed", dims.len()));
    }
    let shape: Vec<usize> = dims
        .iter()
        .map(|&size| usize::try_from(size).map_err(|_| format!("its shape {dims:?} has a negative size")))
        .collect::<Result<_, _>>()?;
    let count = shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size.max(1)))
        .filter(|&count| isize::try_from(count).is_ok())
        .ok_or_else(|| format!("its shape {dims:?} has too many elements"))?;
    Ok((shape.clone(), if shape.contains(&0) { 0 } else { count }))
}

/// How many bytes hold so many elements.
fn byte_len(element: ElementType, count: usize) -> Option<usize> {
    match element {
        ElementType::Int4 | ElementType::UInt4 => Some(count.div_ceil(2)),
        ElementType::Bool | ElementType::Int8 | ElementType::UInt8 => Some(count),
        ElementType::Float16 | ElementType::BFloat16 | ElementType::Int16 | ElementType::UInt16 => count.checked_mul(2),
        ElementType::Float32 | ElementType::Int32 | ElementType::UInt32 => count.checked_mul(4),
        ElementType::Float64 | ElementType::Int64 | ElementType::UInt64 => count.checked_mul(8),
    }
}

fn from_bytes(element: ElementType, shape: &[usize], count: usize, bytes: &[u8]) -> Result<Data, String> {
    if byte_len(element, count) != Some(bytes.len()) {
        return Err(format!("{} bytes for a {element:?} tensor of shape {shape:?}", bytes.len()));
    }
    match element {
        ElementType::Float16 => floats(shape, numbers(bytes, |bits| f16::from_le_bytes(bits).to_f32())),
        ElementType::BFloat16 => floats(shape, numbers(bytes, |bits| bf16::from_le_bytes(bits).to_f32())),
        ElementType::Float32 => floats(shape, numbers(bytes, f32::from_le_bytes)),
        ElementType::Float64 => array(shape, numbers(bytes, f64::from_le_bytes)).map(Data::Double),
        ElementType::Bool => array(shape, bytes.iter().map(|&byte| byte != 0).collect()).map(Data::Bool),
        ElementType::Int4 | ElementType::UInt4 => ints(shape, nibbles(element, count, bytes.iter().copied())),
        ElementType::Int8 => ints(shape, numbers(bytes, |b| i8::from_le_bytes(b).into())),
        ElementType::Int16 => ints(shape, numbers(bytes, |b| i16::from_le_bytes(b).into())),
        ElementType::Int32 => ints(shape, numbers(bytes, |b| i32::from_le_bytes(b).into())),
        ElementType::Int64 => ints(shape, numbers(bytes, i64::from_le_bytes)),
        ElementType::UInt8 => ints(shape, numbers(bytes, |b| u8::from_le_bytes(b).into())),
        ElementType::UInt16 => ints(shape, numbers(bytes, |b| u16::from_le_bytes(b).into())),
        ElementType::UInt32 => ints(shape, numbers(bytes, |b| u32::from_le_bytes(b).into())),
        ElementType::UInt64 => bytes
            .chunks_exact(8)
            .map(|b| unsigned(u64::from_le_bytes(b.try_into().expect("8 bytes"))))
            .collect::<Result<Vec<i64>, String>>()
            .and_then(|values| ints(shape, values)),
    }
}

/// Elements from the field that holds that type.
fn from_fields(element: ElementType, shape: &[usize], count: usize, tensor: &schema::Tensor) -> Result<Data, String> {
    let packed = matches!(element, ElementType::Int4 | ElementType::UInt4);
    let stored = match element {
        ElementType::Float32 => tensor.float_data.len(),
        ElementType::Float64 => tensor.double_data.len(),
        ElementType::Int64 => tensor.int64_data.len(),
        ElementType::UInt32 | ElementType::UInt64 => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    };
    let wanted = if packed { count.div_ceil(2) } else { count };
    if stored != wanted {
        return Err(format!("{stored} stored elements for a {element:?} tensor of shape {shape:?}"));
    }
    let small = &tensor.int32_data;
    match element {
        ElementType::Float32 => floats(shape, tensor.float_data.clone()),
        ElementType::Float64 => array(shape, tensor.double_data.clone()).map(Data::Double),
        ElementType::Float16 => floats(shape, small.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect()),
        ElementType::BFloat16 => {
            floats(shape, small.iter().map(|&bits| bf16::from_bits(bits as u16).to_f32()).collect())
        }
        ElementType::Bool => array(shape, small.iter().map(|&value| value != 0).collect()).map(Data::Bool),
        ElementType::Int64 => ints(shape, tensor.int64_data.clone()),
        ElementType::UInt32 | ElementType::UInt64 => {
            let values = tensor.uint64_data.iter().map(|&value| unsigned(value)).collect::<Result<Vec<_>, _>>()?;
            ints(shape, in_range(element, values)?)
        }
        ElementType::Int4 | ElementType::UInt4 => {
            ints(shape, nibbles(element, count, small.iter().map(|&byte| byte as u8)))
        }
        _ => ints(shape, in_range(element, small.iter().map(|&value| value.into()).collect())?),
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| number(chunk)).collect()
}

/// Two elements lie in a byte, the first in its low half.
fn nibbles(element: ElementType, count: usize, bytes: impl Iterator<Item = u8>) -> Vec<i64> {
    let signed = element == ElementType::Int4;
    let value = |nibble: u8| if signed && nibble > 7 { i64::from(nibble) - 16 } else { i64::from(nibble) };
    bytes.flat_map(|byte| [value(byte & 15), value(byte >> 4)]).take(count).collect()
}

fn unsigned(value: u64) -> Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("its element {value} is beyond 2^63"))
}

fn in_range(element: ElementType, values: Vec<i64>) -> Result<Vec<i64>, String> {
    let (low, high) = element.range().expect("a type of whole numbers");
    match values.iter().find(|&&value| value < low || value > high) {
        Some(value) => Err(format!("its element {value} is no {element:?}")),
        None => Ok(values),
    }
}

fn floats(shape: &[usize], values: Vec<f32>) -> Result<Data, String> {
    array(shape, values).map(Data::Float)
}

fn ints(shape: &[usize], values: Vec<i64>) -> Result<Data, String> {
    array(shape, values).map(Data::Int)
}

fn array<T>(shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>, String> {
    ArrayD::from_shape_vec(IxDyn(shape), values).map_err(|error| format!("shape {shape:?}: {error}"))
}
