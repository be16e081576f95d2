//! A model's tensors in plain order: what a [`crate::Builder`] was given.

use horq_kernels::codebook::unpack_codes;
use horq_kernels::int8::unpack_int8;
use horq_kernels::panel::{unpack_bits, unpack_floats};

use crate::Model;
use crate::graph::{Content, Shape, code_bits};

/// The values of a tensor, row-major and without padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    /// `[n]` of a vector; `[filters, kernel rows, kernel columns, channels of the group]` of weights and codes, those of a
    /// dense layer having one row and one column.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: PlainValues,
}

/// The values of a [`Plain`].
#[derive(Clone, Debug, PartialEq)]
pub enum PlainValues {
    /// Vectors and f32 weights; of binary weights +1 and -1.
    F32(Vec<f32>),
    /// 8-bit weights.
    I8(Vec<i8>),
    /// Indices of a codebook's entries.
    Codes(Vec<u8>),
}

impl Model {
    /// Unpacks the tensor that a node names in [`Self::graph`]; `None` if no node names it.
    ///
    /// This copies: it is for tools that look into models or go on with their training. Sessions read the file as it is.
    pub fn plain(&self, tensor: &str) -> Option<Plain> {
        let content = self.graph().nodes.iter().find_map(|node| {
            let input = self.shape(&node.inputs[0])?;
            node.op.tensors(input).into_iter().find(|spec| spec.name == tensor).map(|spec| spec.content)
        })?;
        let known = "the validator has checked the tensor's length";
        let (shape, values) = match content {
            Content::Vector(len) | Content::Scales(len) => {
                (vec![len], PlainValues::F32(self.f32s(tensor)[..len].into()))
            }
            Content::InputScale => (vec![1], PlainValues::F32(self.f32s(tensor)[..1].into())),
            Content::BitPanels(g) => (weight_shape(&g), PlainValues::F32(unpack_bits(&g, self.u32s(tensor)))),
            Content::FloatPanels(g) => (weight_shape(&g), PlainValues::F32(unpack_floats(&g, self.f32s(tensor)))),
            Content::CodePanels(g, entries) => {
                let codes = unpack_codes(&g, code_bits(entries), self.u32s(tensor)).expect(known);
                (weight_shape(&g), PlainValues::Codes(codes))
            }
            Content::Int8Panels(g) => {
                (weight_shape(&g), PlainValues::I8(unpack_int8(&g, self.i8s(tensor)).expect(known)))
            }
        };
        Some(Plain { shape, values })
    }

    /// The shape of the input or of a node's value, batch left out; `None` if there is no value of that name.
    pub fn shape(&self, value: &str) -> Option<Shape> {
        if value == self.graph().input.name {
            return Some(self.input_shape());
        }
        let node = self.graph().nodes.iter().position(|node| node.name == value)?;
        Some(self.shapes()[node])
    }
}

fn weight_shape(geometry: &horq_kernels::Geometry) -> Vec<usize> {
    let [rows, columns] = geometry.window.kernel;
    vec![geometry.filters, rows, columns, geometry.group_channels()]
}
