//! A node of the graph, from its JSON.

use std::collections::BTreeMap;

use serde::de::{Deserialize, DeserializeOwned};
use serde_json::value::RawValue;

use super::json::{Object, Word, brief};
use crate::graph::{Node, Op, Shape};
use crate::ops::Fields;

/// The fields of a node, their values not parsed: those that the operation does not know are never looked into, so that
/// nothing they hold takes memory.
pub(super) struct JsonFields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> JsonFields<'a> {
    /// The fields of a JSON object.
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map(|Object(fields)| Self(fields)).map_err(brief)
    }

    /// The value of a field that must be there.
    pub(super) fn required<T: Deserialize<'a>>(&self, name: &str) -> Result<T, String> {
        self.find(name)?.ok_or_else(|| missing(name))
    }

    fn find<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.get(name).map(|json| serde_json::from_str(json.get()));
        value.transpose().map_err(|error| format!("field `{name}`: {}", brief(error)))
    }

    /// The whole node.
    pub(super) fn node(&self) -> Result<Node, String> {
        let (name, inputs, kind): (_, _, String) =
            (self.required("name")?, self.required("inputs")?, self.required("op")?);
        let unknown = || brief(format_args!("the operation {kind:?} is not known to this version of horq"));
        Ok(Node { name, inputs, op: Op::parse(&kind, self).ok_or_else(unknown)?? })
    }
}

fn missing(name: &str) -> String {
    format!("missing field `{name}`")
}

impl Fields<String> for JsonFields<'_> {
    type Error = String;

    fn count(&self, name: &'static str, _: Option<usize>) -> Result<usize, String> {
        self.required(name)
    }

    fn counts<const N: usize>(&self, name: &'static str, _: Option<[usize; N]>) -> Result<[usize; N], String>
    where
        [usize; N]: DeserializeOwned,
    {
        self.required(name)
    }

    fn list(&self, name: &'static str) -> Result<Vec<usize>, String> {
        self.required(name)
    }

    fn shape(&self, name: &'static str) -> Result<Shape, String> {
        self.required(name)
    }

    fn byte(&self, name: &'static str) -> Result<u8, String> {
        self.required(name)
    }

    fn word<W: DeserializeOwned>(&self, name: &'static str) -> Result<W, String> {
        self.required(name).map(|Word(value)| value)
    }

    fn optional_word<W: DeserializeOwned>(&self, name: &'static str) -> Result<Option<W>, String> {
        let word: Option<Option<Word<W>>> = self.find(name)?;
        Ok(word.flatten().map(|Word(value)| value))
    }

    fn text(&self, name: &'static str) -> Result<String, String> {
        self.required(name)
    }

    fn tensor(&self, name: &'static str) -> Result<String, String> {
        self.required(name)
    }

    fn scalar(&self, name: &'static str) -> Result<String, String> {
        self.required(name)
    }

    fn optional_scalar(&self, name: &'static str) -> Result<Option<String>, String> {
        self.optional_tensor(name)
    }

    fn len_of(&self, _: &String) -> Option<usize> {
        None
    }

    fn optional_tensor(&self, name: &'static str) -> Result<Option<String>, String> {
        self.find::<Option<String>>(name).map(Option::flatten)
    }

    fn pairs(&self, name: &'static str, keys: [&'static str; 2]) -> Result<Vec<[String; 2]>, String> {
        let objects: Vec<&RawValue> = self.required(name)?;
        let pair = |object: &&RawValue| {
            let fields = JsonFields::parse(object.get())?;
            Ok([fields.required(keys[0])?, fields.required(keys[1])?])
        };
        let pairs: Result<_, String> = objects.iter().map(pair).collect();
        pairs.map_err(|error| format!("field `{name}`: {error}"))
    }
}
