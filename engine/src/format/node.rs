//! A node of the graph, from its JSON.

use std::collections::BTreeMap;

use horq_kernels::Window;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::json::{Object, Word, brief};
use crate::graph::{AffineRow, Base, Node, Op, Quantizer};

/// The fields of a node, their values not parsed: those that the operation does not know are never looked into, so that
/// nothing they hold takes memory.
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// The fields of a JSON object.
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map(Self).map_err(brief)
    }

    /// The value of a field that must be there.
    pub(super) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        self.find(name)?.ok_or_else(|| format!("missing field `{name}`"))
    }

    /// The value of a field that may be absent or null.
    fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        self.find::<Option<T>>(name).map(Option::flatten)
    }

    fn find<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.get(name).map(|json| serde_json::from_str(json.get()));
        value.transpose().map_err(|error| format!("field `{name}`: {}", brief(error)))
    }

    fn objects<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, String> {
        let objects: Vec<Object<T>> = self.required(name)?;
        Ok(objects.into_iter().map(|Object(value)| value).collect())
    }

    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        self.required(name).map(|Word(value)| value)
    }

    fn window(&self) -> Result<Window, String> {
        Ok(Window {
            kernel: self.required("kernel")?,
            stride: self.required("stride")?,
            dilation: self.required("dilation")?,
            padding: self.required("padding")?,
        })
    }

    fn quantizer(&self) -> Result<Quantizer, String> {
        Ok(Quantizer { order: self.required("order")?, mode: self.word("mode")?, scales: self.optional("scales")? })
    }

    /// The whole node.
    pub(super) fn node(&self) -> Result<Node, String> {
        Ok(Node { name: self.required("name")?, inputs: self.required("inputs")?, op: self.op()? })
    }

    fn op(&self) -> Result<Op, String> {
        let kind: String = self.required("op")?;
        Ok(match kind.as_str() {
            "conv2d" => Op::Conv2d {
                window: self.window()?,
                filters: self.required("filters")?,
                groups: self.required("groups")?,
                weight: self.required("weight")?,
                bias: self.optional("bias")?,
            },
            "dense" => Op::Dense {
                filters: self.required("filters")?,
                weight: self.required("weight")?,
                bias: self.optional("bias")?,
            },
            "binary_conv2d" => Op::BinaryConv2d {
                window: self.window()?,
                filters: self.required("filters")?,
                groups: self.required("groups")?,
                pad_value: self.word("pad_value")?,
                quantizer: self.quantizer()?,
                bases: self.objects::<Base>("bases")?,
                bias: self.optional("bias")?,
            },
            "binary_dense" => Op::BinaryDense {
                filters: self.required("filters")?,
                quantizer: self.quantizer()?,
                bases: self.objects::<Base>("bases")?,
                bias: self.optional("bias")?,
            },
            "binary_weight_conv2d" => Op::BinaryWeightConv2d {
                window: self.window()?,
                filters: self.required("filters")?,
                groups: self.required("groups")?,
                weight: self.required("weight")?,
                alpha: self.required("alpha")?,
                bias: self.optional("bias")?,
            },
            "binary_weight_dense" => Op::BinaryWeightDense {
                filters: self.required("filters")?,
                weight: self.required("weight")?,
                alpha: self.required("alpha")?,
                bias: self.optional("bias")?,
            },
            "codebook_conv2d" => Op::CodebookConv2d {
                window: self.window()?,
                filters: self.required("filters")?,
                groups: self.required("groups")?,
                entries: self.required("entries")?,
                codes: self.required("codes")?,
                codebook: self.required("codebook")?,
                bias: self.optional("bias")?,
            },
            "codebook_dense" => Op::CodebookDense {
                filters: self.required("filters")?,
                entries: self.required("entries")?,
                codes: self.required("codes")?,
                codebook: self.required("codebook")?,
                bias: self.optional("bias")?,
            },
            "int8_conv2d" => Op::Int8Conv2d {
                window: self.window()?,
                filters: self.required("filters")?,
                groups: self.required("groups")?,
                zero_point: self.required("zero_point")?,
                input_scale: self.required("input_scale")?,
                weight: self.required("weight")?,
                alpha: self.required("alpha")?,
                bias: self.optional("bias")?,
            },
            "int8_dense" => Op::Int8Dense {
                filters: self.required("filters")?,
                zero_point: self.required("zero_point")?,
                input_scale: self.required("input_scale")?,
                weight: self.required("weight")?,
                alpha: self.required("alpha")?,
                bias: self.optional("bias")?,
            },
            "affine" => Op::Affine { scale: self.required("scale")?, shift: self.required("shift")? },
            "affine_by_order" => {
                Op::AffineByOrder { order_of: self.required("order_of")?, rows: self.objects::<AffineRow>("rows")? }
            }
            "relu" => Op::Relu,
            "prelu" => Op::Prelu { slope: self.required("slope")? },
            "max_pool" => Op::MaxPool { window: self.window()? },
            "average_pool" => Op::AveragePool { window: self.window()? },
            "global_average_pool" => Op::GlobalAveragePool,
            "add" => Op::Add,
            "concat" => Op::Concat,
            "flatten" => Op::Flatten,
            "softmax" => Op::Softmax,
            unknown => {
                return Err(brief(format_args!("the operation {unknown:?} is not known to this version of horq")));
            }
        })
    }
}
