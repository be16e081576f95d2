//! The keys of `__metadata__`: version, digests, graph, golden values, producer, notes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::JsonFields;
use super::header::{Header, header_sha256};
use super::json::{self, Object};
use crate::Error;
use crate::error::{FileError, GraphError};
use crate::graph::{Graph, Input, Node};
use crate::limits::{Limits, MAX_NODES, VERSION};

pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_VALUE: &str = "horq";
pub(super) const FORMAT_VERSION: &str = "format_version";
pub(super) const HEADER_SHA256: &str = "header_sha256";
pub(super) const DATA_SHA256: &str = "data_sha256";
pub(super) const GRAPH: &str = "graph";
pub(super) const GOLDEN: &str = "golden";
pub(super) const PRODUCER: &str = "producer";
/// Notes are keys of their own under this prefix.
pub(super) const NOTE: &str = "note.";

/// Hex digits of a sha256.
pub(super) const DIGITS: usize = 64;

/// What `golden` says: the names of two tensors, and how many samples they hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoldenRef {
    pub(crate) samples: usize,
    pub(crate) input: String,
    pub(crate) output: String,
}

/// Everything that `__metadata__` says.
pub(crate) struct Metadata {
    pub(crate) version: (u32, u32),
    pub(crate) header_sha256: String,
    pub(crate) data_sha256: String,
    pub(crate) graph: Graph,
    pub(crate) golden: Option<GoldenRef>,
    pub(crate) producer: String,
    pub(crate) notes: BTreeMap<String, String>,
}

impl Metadata {
    /// Reads the keys; checks format, version and the header's digest before it believes anything else.
    pub(super) fn parse(header: &Header, head: &[u8], limits: &Limits) -> Result<Self, Error> {
        match header.find(FORMAT) {
            Some(FORMAT_VALUE) => {}
            found => {
                let found = found.map_or("nothing".into(), |found| json::brief(format_args!("{found:?}")));
                return Err(FileError::NotHorq { found }.into());
            }
        }
        let version = parse_version(header.get(FORMAT_VERSION)?)?;
        let header_sha256 = stated_digest(header, HEADER_SHA256)?;
        let data_sha256 = stated_digest(header, DATA_SHA256)?;
        let computed = self::header_sha256(&head[..header.data_start], &header_sha256);
        if computed != header_sha256 {
            return Err(FileError::Digest { part: "header", stored: header_sha256, computed }.into());
        }
        let graph = parse_graph(header.get(GRAPH)?, limits)?;
        let golden = header.find(GOLDEN).map(|json| json::parse(json).map_err(malformed(GOLDEN)));
        let notes = header.entries().filter_map(|(key, value)| Some((key.strip_prefix(NOTE)?.into(), value.into())));
        Ok(Self {
            version,
            header_sha256,
            data_sha256,
            graph,
            golden: golden.transpose()?.map(|Object(golden)| golden),
            producer: header.get(PRODUCER)?.to_owned(),
            notes: notes.collect(),
        })
    }
}

fn malformed(key: &'static str) -> impl Fn(String) -> Error {
    move |reason| Error::File(FileError::Malformed { key, reason })
}

/// The same major version, any minor one: what a minor version adds, an older reader may ignore.
fn parse_version(found: &str) -> Result<(u32, u32), Error> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        plain.then(|| digits.parse().ok())?
    };
    match found.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?))) {
        Some((major, minor)) if major == VERSION.0 => Ok((major, minor)),
        Some(_) => Err(FileError::Version { found: found.to_owned(), supported: format!("{}.x", VERSION.0) }.into()),
        None => Err(malformed(FORMAT_VERSION)(json::brief(format_args!(
            "{found:?} must be two numbers below 2^32 with a dot between them, each of digits alone and without a zero before \
             others"
        )))),
    }
}

fn stated_digest(header: &Header, key: &'static str) -> Result<String, Error> {
    let digest = header.get(key)?;
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() != DIGITS || !digest.bytes().all(is_digit) {
        return Err(malformed(key)(format!("it must be {DIGITS} lower-case hex digits")));
    }
    Ok(digest.to_owned())
}

/// The graph, its nodes not parsed yet: they are counted first, and an error can name the node.
#[derive(Deserialize)]
struct RawGraph<'a> {
    input: Object<Input>,
    output: String,
    #[serde(borrow)]
    nodes: RawNodes<'a>,
}

/// The JSON of the first [`MAX_NODES`] nodes, and how many there are.
struct RawNodes<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawNodes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self { first: Vec::new(), count: 0 })
    }
}

impl<'de: 'a, 'a> Visitor<'de> for RawNodes<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut nodes: A) -> Result<Self, A::Error> {
        while self.first.len() < MAX_NODES {
            let Some(node) = nodes.next_element()? else { break };
            self.first.push(node);
        }
        self.count = self.first.len();
        while nodes.next_element::<IgnoredAny>()?.is_some() {
            self.count += 1;
        }
        Ok(self)
    }
}

fn parse_graph(json: &str, limits: &Limits) -> Result<Graph, Error> {
    let Object(raw): Object<RawGraph<'_>> = json::parse(json).map_err(malformed(GRAPH))?;
    let count = raw.nodes.count;
    if count > limits.nodes {
        return Err(GraphError::NodeCount { count, limit: limits.nodes }.into());
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(count);
    for (index, json) in raw.nodes.first.iter().map(|node| node.get()).enumerate() {
        let malformed = |node, reason| Error::File(FileError::NodeMalformed { index, node, reason });
        let fields = JsonFields::parse(json).map_err(|reason| malformed(String::new(), reason))?;
        nodes.push(fields.node().map_err(|reason| malformed(fields.required("name").unwrap_or_default(), reason))?);
    }
    Ok(Graph { input: raw.input.0, output: raw.output, nodes })
}
