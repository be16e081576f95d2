//! Tensors that are known before the network runs.

use ndarray::ArrayD;

/// A tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type that its elements have in the network; [`Data`] holds them in a wider one.
    pub element: ElementType,
    /// The elements.
    pub data: Data,
}

/// Elements, in the type in which they are computed with.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Of `Float16`, `BFloat16` and `Float32`.
    Float(ArrayD<f32>),
    /// Of `Float64`.
    Double(ArrayD<f64>),
    /// Of every type of whole numbers.
    Int(ArrayD<i64>),
    /// Of `Bool`.
    Bool(ArrayD<bool>),
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum ElementType {
    Float16,
    BFloat16,
    Float32,
    Float64,
    Bool,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt4,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
}

impl ElementType {
    /// The type that a number of `TensorProto.DataType` in `onnx.proto` means, if it is one of these.
    pub fn of_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Float32,
            2 => Self::UInt8,
            3 => Self::Int8,
            4 => Self::UInt16,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Float64,
            12 => Self::UInt32,
            13 => Self::UInt64,
            16 => Self::BFloat16,
            21 => Self::UInt4,
            22 => Self::Int4,
            _ => return None,
        })
    }

    /// The number of the type in `TensorProto.DataType` of `onnx.proto`.
    pub fn code(self) -> i32 {
        match self {
            Self::Float32 => 1,
            Self::UInt8 => 2,
            Self::Int8 => 3,
            Self::UInt16 => 4,
            Self::Int16 => 5,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::Bool => 9,
            Self::Float16 => 10,
            Self::Float64 => 11,
            Self::UInt32 => 12,
            Self::UInt64 => 13,
            Self::BFloat16 => 16,
            Self::UInt4 => 21,
            Self::Int4 => 22,
        }
    }

    /// The lowest and the highest whole number of the type, if it is one of whole numbers. Those of `UInt64` end at 2^63 - 1.
    pub fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Int4 => (-8, 7),
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Int64 => (i64::MIN, i64::MAX),
            Self::UInt4 => (0, 15),
            Self::UInt8 => (0, u8::MAX.into()),
            Self::UInt16 => (0, u16::MAX.into()),
            Self::UInt32 => (0, u32::MAX.into()),
            Self::UInt64 => (0, i64::MAX),
            _ => return None,
        })
    }

    /// Whether it is a type of floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::BFloat16 | Self::Float32 | Self::Float64)
    }
}

impl Tensor {
    /// A tensor of `Float32`.
    pub fn floats(values: ArrayD<f32>) -> Self {
        Self { element: ElementType::Float32, data: Data::Float(values) }
    }

    /// A tensor of `Int64`.
    pub fn ints(values: ArrayD<i64>) -> Self {
        Self { element: ElementType::Int64, data: Data::Int(values) }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        match &self.data {
            Data::Float(values) => values.shape(),
            Data::Double(values) => values.shape(),
            Data::Int(values) => values.shape(),
            Data::Bool(values) => values.shape(),
        }
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements as f64, which every type but 64-bit integers fits exactly.
    pub fn doubles(&self) -> ArrayD<f64> {
        match &self.data {
            Data::Float(values) => values.mapv(f64::from),
            Data::Double(values) => values.clone(),
            Data::Int(values) => values.mapv(|value| value as f64),
            Data::Bool(values) => values.mapv(|value| f64::from(u8::from(value))),
        }
    }

    /// Its elements as f32, rounded where they do not fit.
    pub fn singles(&self) -> ArrayD<f32> {
        match &self.data {
            Data::Float(values) => values.clone(),
            Data::Double(values) => values.mapv(|value| value as f32),
            Data::Int(values) => values.mapv(|value| value as f32),
            Data::Bool(values) => values.mapv(|value| f32::from(u8::from(value))),
        }
    }

    /// Its elements as whole numbers, if that is what they are.
    pub fn whole(&self) -> Option<&ArrayD<i64>> {
        if let Data::Int(values) = &self.data { Some(values) } else { None }
    }
}
