//! Tensors in plain order: what a [`crate::Builder`] is given, and what a model gives back.

use std::borrow::Cow;

use horq_kernels::weights::LANES;
use horq_kernels::weights::bits::{pack_bits, unpack_bits};
use horq_kernels::weights::codes::{pack_codes, unpack_codes};
use horq_kernels::weights::floats::{pack_floats, unpack_floats};
use horq_kernels::weights::int8::{pack_int8, unpack_int8};

use super::check::Place;
use super::content::{Content, code_bits};
use super::{TensorData, Tensors, filled};
use crate::Error;
use crate::error::InputError;

/// The values of a tensor, row-major and without padding.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plain {
    /// `[n]` of a vector; `[rows, columns]` of a table; `[filters, kernel rows, kernel columns, channels of the group]` of weights
    /// and codes, those of a dense layer having one row and one column.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: PlainValues<'static>,
}

/// Plain values, row-major and without padding: borrowed or owned. Slices, arrays and vectors convert into them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlainValues<'a> {
    /// Vectors and f32 weights. Of binary weights only the signs count: +1 for zeros of either sign; a model gives them back
    /// as +1 and -1.
    F32(Cow<'a, [f32]>),
    /// 8-bit weights, -127 to 127.
    I8(Cow<'a, [i8]>),
    /// Indices of a codebook's entries.
    Codes(Cow<'a, [u8]>),
}

/// Conversions of a type of elements.
macro_rules! convert {
    ($($element:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$element]> for PlainValues<'a> {
            fn from(values: &'a [$element]) -> Self {
                Self::$variant(Cow::Borrowed(values))
            }
        }

        impl<'a, const N: usize> From<&'a [$element; N]> for PlainValues<'a> {
            fn from(values: &'a [$element; N]) -> Self {
                Self::$variant(Cow::Borrowed(values))
            }
        }

        impl<'a> From<&'a Vec<$element>> for PlainValues<'a> {
            fn from(values: &'a Vec<$element>) -> Self {
                Self::$variant(Cow::Borrowed(values))
            }
        }

        impl From<Vec<$element>> for PlainValues<'_> {
            fn from(values: Vec<$element>) -> Self {
                Self::$variant(Cow::Owned(values))
            }
        }
    )*};
}

convert!(f32 => F32, i8 => I8, u8 => Codes);

impl PlainValues<'_> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::Codes(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of an element, as errors name it.
    fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::I8(_) => "i8",
            Self::Codes(_) => "u8",
        }
    }
}

/// Where plain values come from, for errors about them.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) place: Place<'a>,
    /// The tensor's name without the node's.
    pub(crate) role: &'a str,
}

impl Source<'_> {
    fn wrong_kind(&self, expected: &'static str, values: &PlainValues<'_>) -> Error {
        let (node, source_name, found) = (self.place.node.into(), self.role.into(), values.kind());
        Error::Input(InputError::SourceKind { node, source_name, expected, found })
    }

    fn check_len(&self, found: usize, expected: usize) -> Result<(), Error> {
        let (node, source_name) = (self.place.node.into(), self.role.into());
        if found == expected {
            Ok(())
        } else {
            Err(InputError::SourceLength { node, source_name, expected, found }.into())
        }
    }
}

impl Content {
    /// How many plain values the content has.
    fn plain_len(&self) -> usize {
        match *self {
            Self::BitPanels(g) | Self::FloatPanels(g) | Self::CodePanels(g, _) | Self::Int8Panels(g) => {
                g.filters.saturating_mul(g.depth())
            }
            Self::InputScale => 1,
            Self::Vector(len) | Self::Scales(len) | Self::HalvingScales(len) | Self::Positive(len) => len,
            Self::Table(rows, columns) => rows * columns,
        }
    }

    /// Checks plain values and packs them.
    pub(crate) fn pack(&self, source: Source<'_>, values: &PlainValues<'_>) -> Result<TensorData, Error> {
        source.check_len(values.len(), self.plain_len())?;
        let floats = || match values {
            PlainValues::F32(values) => source.place.check_finite(values).map(|()| &values[..]),
            other => Err(source.wrong_kind("f32", other)),
        };
        let known = "number and range of the values were just checked";
        Ok(match *self {
            Self::BitPanels(g) => TensorData::U32(pack_bits(&g, floats()?)),
            Self::FloatPanels(g) => TensorData::F32(pack_floats(&g, floats()?)),
            Self::CodePanels(g, entries) => {
                let PlainValues::Codes(codes) = values else { return Err(source.wrong_kind("u8", values)) };
                if let Some(index) = codes.iter().position(|&code| usize::from(code) >= entries) {
                    return Err(source.place.code_beyond(index, codes[index], entries));
                }
                TensorData::U32(pack_codes(&g, code_bits(entries), codes).expect(known))
            }
            Self::Int8Panels(g) => {
                let PlainValues::I8(weight) = values else { return Err(source.wrong_kind("i8", values)) };
                source.place.check_int8(weight)?;
                TensorData::I8(pack_int8(&g, weight).expect(known))
            }
            Self::InputScale => {
                if let PlainValues::F32(scale) = values {
                    source.place.check_input_scale(scale[0])?;
                }
                TensorData::F32(padded(floats()?)?)
            }
            Self::Positive(_) => {
                if let PlainValues::F32(values) = values {
                    source.place.check_positive(values)?;
                }
                TensorData::F32(padded(floats()?)?)
            }
            Self::HalvingScales(_) => {
                if let PlainValues::F32(values) = values {
                    source.place.check_halving(values)?;
                }
                TensorData::F32(padded(floats()?)?)
            }
            Self::Vector(_) | Self::Scales(_) | Self::Table(..) => TensorData::F32(padded(floats()?)?),
        })
    }

    /// Unpacks the tensor of that name, which the validator has checked.
    pub(crate) fn unpack(&self, tensors: &Tensors, name: &str) -> Plain {
        let known = "the validator has checked the tensor's length";
        let values = match *self {
            Self::BitPanels(g) => unpack_bits(&g, tensors.u32s(name)).into(),
            Self::FloatPanels(g) => unpack_floats(&g, tensors.f32s(name)).into(),
            Self::CodePanels(g, entries) => {
                unpack_codes(&g, code_bits(entries), tensors.u32s(name)).expect(known).into()
            }
            Self::Int8Panels(g) => unpack_int8(&g, tensors.i8s(name)).expect(known).into(),
            Self::InputScale
            | Self::Vector(_)
            | Self::Scales(_)
            | Self::HalvingScales(_)
            | Self::Positive(_)
            | Self::Table(..) => tensors.f32s(name)[..self.plain_len()].to_vec().into(),
        };
        Plain { shape: self.plain_shape(), values }
    }

    fn plain_shape(&self) -> Vec<usize> {
        match self {
            Self::BitPanels(g) | Self::FloatPanels(g) | Self::CodePanels(g, _) | Self::Int8Panels(g) => {
                let [rows, columns] = g.window.kernel;
                vec![g.filters, rows, columns, g.group_channels()]
            }
            Self::Table(rows, columns) => vec![*rows, *columns],
            Self::InputScale | Self::Vector(_) | Self::Scales(_) | Self::HalvingScales(_) | Self::Positive(_) => {
                vec![self.plain_len()]
            }
        }
    }
}

/// Values and zeros up to whole lines.
pub(crate) fn padded(values: &[f32]) -> Result<Vec<f32>, Error> {
    let mut padded = filled(values.len().next_multiple_of(LANES), 0.0)?;
    padded[..values.len()].copy_from_slice(values);
    Ok(padded)
}
