//! The keys of `__metadata__`: version, digests, graph, golden values, producer, notes, operating points.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::fields::JsonFields;
use super::header::{Header, header_sha256};
use super::json::{self, Counted, Object};
use super::points;
use crate::error::{FileError, GraphError};
use crate::graph::{Graph, Input, Node};
use crate::limits::{Limits, MAX_INPUTS, MAX_NODES, VERSION};
use crate::{Error, Points};

pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_VALUE: &str = "horq";
pub(super) const FORMAT_VERSION: &str = "format_version";
pub(super) const HEADER_SHA256: &str = "header_sha256";
pub(super) const DATA_SHA256: &str = "data_sha256";
pub(super) const GRAPH: &str = "graph";
pub(super) const GOLDEN: &str = "golden";
pub(super) const POINTS: &str = "points";
pub(super) const PRODUCER: &str = "producer";
/// Notes are keys of their own under this prefix.
pub(super) const NOTE: &str = "note.";

/// Hex digits of a sha256.
pub(super) const DIGITS: usize = 64;

/// What `golden` says: the names of a tensor for each input and each output, and how many samples they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoldenRef {
    pub(crate) samples: usize,
    /// In the order of the graph's inputs.
    pub(crate) inputs: Vec<String>,
    /// In the order of the graph's outputs.
    pub(crate) outputs: Vec<String>,
}

/// As the file has it: the first tensor of each kind stands alone, as in version 1.0, the others in lists.
impl Serialize for GoldenRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut golden = serializer.serialize_map(None)?;
        golden.serialize_entry("samples", &self.samples)?;
        for (first, more, names) in [("input", "more_inputs", &self.inputs), ("output", "more_outputs", &self.outputs)]
        {
            golden.serialize_entry(first, &names[0])?;
            if names.len() > 1 {
                golden.serialize_entry(more, &names[1..])?;
            }
        }
        golden.end()
    }
}

/// [`GoldenRef`] as it is read.
#[derive(Deserialize)]
struct RawGolden {
    samples: usize,
    input: String,
    #[serde(default)]
    more_inputs: Counted<String, MAX_INPUTS>,
    output: String,
    #[serde(default)]
    more_outputs: Counted<String, MAX_NODES>,
}

impl From<RawGolden> for GoldenRef {
    fn from(raw: RawGolden) -> Self {
        let all = |first, more: Vec<String>| std::iter::once(first).chain(more).collect();
        let inputs = all(raw.input, raw.more_inputs.first);
        Self { samples: raw.samples, inputs, outputs: all(raw.output, raw.more_outputs.first) }
    }
}

/// Everything that `__metadata__` says.
#[derive(Clone)]
pub(crate) struct Metadata {
    pub(crate) version: (u32, u32),
    pub(crate) header_sha256: String,
    pub(crate) data_sha256: String,
    pub(crate) graph: Graph,
    pub(crate) golden: Option<GoldenRef>,
    pub(crate) producer: String,
    pub(crate) notes: BTreeMap<String, String>,
    /// Checked against the graph once that is.
    pub(crate) points: Points,
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
        let graph = parse_graph(header.get(GRAPH)?, limits).map_err(|error| newer(version, error))?;
        let golden = header.find(GOLDEN).map(|json| json::parse(json).map_err(malformed(GOLDEN)));
        let points = header.find(POINTS).map(|text| points::parse(text).map_err(malformed(POINTS)));
        let notes = header.entries().filter_map(|(key, value)| Some((key.strip_prefix(NOTE)?.into(), value.into())));
        Ok(Self {
            version,
            header_sha256,
            data_sha256,
            graph,
            golden: golden.transpose()?.map(|Object::<RawGolden>(golden)| golden.into()),
            producer: header.get(PRODUCER)?.to_owned(),
            notes: notes.collect(),
            points: points.transpose()?.unwrap_or_default(),
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

/// An error about a graph of a newer version than this library knows is about the version.
fn newer(version: (u32, u32), error: Error) -> Error {
    if version <= VERSION || !matches!(error, Error::File(_)) {
        return error;
    }
    let text = |(major, minor)| format!("{major}.{minor}");
    FileError::Newer { found: text(version), supported: text(VERSION), reason: error.to_string() }.into()
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
    #[serde(default)]
    more_inputs: Counted<Object<Input>, MAX_INPUTS>,
    output: String,
    #[serde(default)]
    more_outputs: Counted<String, MAX_NODES>,
    #[serde(borrow)]
    nodes: Counted<&'a RawValue, MAX_NODES>,
}

fn parse_graph(json: &str, limits: &Limits) -> Result<Graph, Error> {
    let Object(raw): Object<RawGraph<'_>> = json::parse(json).map_err(malformed(GRAPH))?;
    let count = raw.nodes.count;
    if count > limits.nodes {
        return Err(GraphError::NodeCount { count, limit: limits.nodes }.into());
    }
    let (inputs, outputs) = (1 + raw.more_inputs.count, 1 + raw.more_outputs.count);
    if inputs > MAX_INPUTS {
        return Err(GraphError::InputLimit { count: inputs, limit: MAX_INPUTS }.into());
    }
    if outputs > limits.nodes {
        return Err(GraphError::OutputLimit { count: outputs, limit: limits.nodes }.into());
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(count);
    for (index, json) in raw.nodes.first.iter().map(|node| node.get()).enumerate() {
        let malformed = |node, reason| Error::File(FileError::NodeMalformed { index, node, reason });
        let fields = JsonFields::parse(json).map_err(|reason| malformed(String::new(), reason))?;
        nodes.push(fields.node().map_err(|reason| malformed(fields.required("name").unwrap_or_default(), reason))?);
    }
    let inputs = std::iter::once(raw.input).chain(raw.more_inputs.first).map(|Object(input)| input).collect();
    let outputs = std::iter::once(raw.output).chain(raw.more_outputs.first).collect();
    Ok(Graph { inputs, outputs, nodes })
}
