//! Operations of the engine as they are: layers of `horq.nn` inside networks of PyTorch's.
//!
//! A node of the domain `horq` has the name of an operation of docs/format.md and its fields as attributes: numbers and words as they
//! are, tensors as the builder takes them, and a list of pairs as one attribute a tensor, `bases.0.0` the first of the first pair. Its
//! input is a value [1, channels, height, width], [1, channels, width] or [1, features], and so is its result.

use super::Lowering;
use crate::error::Refusal;
use crate::graph::{Attribute, Data, Node, Tensor};
use crate::layout::View;
use horq::PlainValues;
use horq::graph::{Op, Shape};
use horq::ops::Fields;
use serde::de::DeserializeOwned;

/// The domain of such nodes.
pub(crate) const DOMAIN: &str = "horq";

impl Lowering<'_> {
    /// Lowers a node of the domain `horq`.
    pub(super) fn own(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (rank, result) = (self.shape(value)?.len(), self.result_shape(node)?.to_vec());
        let placed = match rank {
            2 => self.grouped(value, [&[], &[], &[1]], true)?,
            3 => self.grouped(value, [&[], &[2], &[1]], false)?,
            4 => self.grouped(value, [&[2], &[3], &[1]], false)?,
            _ => return Err(Refusal::of(node, format!("its input has {rank} axes"), "give it an image or a vector")),
        };
        let unknown = || Refusal::of(node, "the engine has no such operation", "");
        let op: Op<PlainValues<'_>> = Op::parse(&node.op, &Attributes(node)).ok_or_else(unknown)??;
        let name = self.emit(node, "", &[&placed.name], op)?;
        let order: Vec<usize> = match result.len() {
            0..=2 => (0..result.len()).collect(),
            rank => std::iter::once(0).chain(2..rank).chain([1]).collect(),
        };
        self.place(node, name, View::ordered(&result, &order));
        Ok(())
    }
}

/// The fields of an operation among the attributes of a node.
struct Attributes<'a>(&'a Node);

impl<'a> Attributes<'a> {
    fn wrong(&self, name: &str) -> Refusal {
        Refusal::of(self.0, format!("its field `{name}` is missing or of another kind"), "")
    }

    fn find(&self, name: &str) -> Option<&'a Attribute> {
        self.0.attributes.get(name)
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.find(name)? {
            Attribute::Int(value) => Some(*value as f64),
            Attribute::Float(value) => Some(f64::from(*value)),
            _ => None,
        }
    }

    fn values(&self, name: &str) -> Option<PlainValues<'a>> {
        let Attribute::Tensor(tensor) = self.find(name)? else { return None };
        plain(tensor)
    }
}

/// The values of a tensor in the type in which the engine takes them.
fn plain(tensor: &Tensor) -> Option<PlainValues<'static>> {
    use crate::graph::ElementType::{Int8, UInt8};
    Some(match (&tensor.data, tensor.element) {
        (Data::Float(values), _) => values.iter().copied().collect::<Vec<f32>>().into(),
        (Data::Int(values), Int8) => {
            values.iter().map(|&value| i8::try_from(value).ok()).collect::<Option<Vec<i8>>>()?.into()
        }
        (Data::Int(values), UInt8) => {
            values.iter().map(|&value| u8::try_from(value).ok()).collect::<Option<Vec<u8>>>()?.into()
        }
        _ => return None,
    })
}

impl<'a> Fields<PlainValues<'a>> for Attributes<'a> {
    type Error = Refusal;

    fn count(&self, name: &'static str, default: Option<usize>) -> Result<usize, Refusal> {
        let Some(attribute) = self.find(name) else { return default.ok_or_else(|| self.wrong(name)) };
        let Attribute::Int(value) = attribute else { return Err(self.wrong(name)) };
        usize::try_from(*value).map_err(|_| self.wrong(name))
    }

    fn counts<const N: usize>(&self, name: &'static str, default: Option<[usize; N]>) -> Result<[usize; N], Refusal>
    where
        [usize; N]: DeserializeOwned,
    {
        match (self.find(name), default) {
            (None, Some(default)) => Ok(default),
            _ => self.list(name)?.try_into().map_err(|_| self.wrong(name)),
        }
    }

    fn list(&self, name: &'static str) -> Result<Vec<usize>, Refusal> {
        let Some(Attribute::Ints(values)) = self.find(name) else { return Err(self.wrong(name)) };
        values.iter().map(|&value| usize::try_from(value).map_err(|_| self.wrong(name))).collect()
    }

    fn shape(&self, name: &'static str) -> Result<Shape, Refusal> {
        Shape::try_from(self.list(name)?).map_err(|_| self.wrong(name))
    }

    fn byte(&self, name: &'static str) -> Result<u8, Refusal> {
        u8::try_from(self.count(name, None)?).map_err(|_| self.wrong(name))
    }

    fn word<W: DeserializeOwned>(&self, name: &'static str) -> Result<W, Refusal> {
        serde_json::from_value(serde_json::Value::String(self.text(name)?)).map_err(|_| self.wrong(name))
    }

    fn optional_word<W: DeserializeOwned>(&self, name: &'static str) -> Result<Option<W>, Refusal> {
        self.find(name).map(|_| self.word(name)).transpose()
    }

    fn text(&self, name: &'static str) -> Result<String, Refusal> {
        let Some(Attribute::Text(text)) = self.find(name) else { return Err(self.wrong(name)) };
        Ok(text.clone())
    }

    fn tensor(&self, name: &'static str) -> Result<PlainValues<'a>, Refusal> {
        self.values(name).ok_or_else(|| self.wrong(name))
    }

    fn scalar(&self, name: &'static str) -> Result<PlainValues<'a>, Refusal> {
        Ok(vec![self.number(name).ok_or_else(|| self.wrong(name))? as f32].into())
    }

    fn optional_scalar(&self, name: &'static str) -> Result<Option<PlainValues<'a>>, Refusal> {
        self.find(name).map(|_| self.scalar(name)).transpose()
    }

    fn len_of(&self, tensor: &PlainValues<'a>) -> Option<usize> {
        Some(tensor.len())
    }

    fn optional_tensor(&self, name: &'static str) -> Result<Option<PlainValues<'a>>, Refusal> {
        self.find(name).map(|_| self.tensor(name)).transpose()
    }

    fn pairs(&self, name: &'static str, _: [&'static str; 2]) -> Result<Vec<[PlainValues<'a>; 2]>, Refusal> {
        let mut pairs = Vec::new();
        while let (Some(first), Some(second)) =
            (self.values(&format!("{name}.{}.0", pairs.len())), self.values(&format!("{name}.{}.1", pairs.len())))
        {
            pairs.push([first, second]);
        }
        if pairs.is_empty() { Err(self.wrong(name)) } else { Ok(pairs) }
    }
}
