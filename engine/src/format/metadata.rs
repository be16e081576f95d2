//! The keys of `__metadata__`: version, digests, graph, golden values, producer, notes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::header::{Header, header_sha256};
use super::{Limits, VERSION};
use crate::Error;
use crate::graph::{Graph, Input, Node};

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
    pub(crate) fn parse(header: &Header, file: &[u8], limits: &Limits) -> Result<Self, Error> {
        match header.find(FORMAT) {
            Some(FORMAT_VALUE) => {}
            found => {
                let found = found.map_or("nothing".into(), |found| format!("{found:?}"));
                return Err(Error::NotHorq { found });
            }
        }
        let version = parse_version(header.get(FORMAT_VERSION)?)?;
        let header_sha256 = stated_digest(header, HEADER_SHA256)?;
        let data_sha256 = stated_digest(header, DATA_SHA256)?;
        let computed = self::header_sha256(&file[..header.data_start], &header_sha256);
        if computed != header_sha256 {
            return Err(Error::Digest { part: "header", stored: header_sha256, computed });
        }
        let graph = parse_graph(header.get(GRAPH)?, limits)?;
        let golden = header.find(GOLDEN).map(|json| serde_json::from_str(json).map_err(malformed(GOLDEN)));
        let notes = header.entries().filter_map(|(key, value)| Some((key.strip_prefix(NOTE)?.into(), value.into())));
        Ok(Self {
            version,
            header_sha256,
            data_sha256,
            graph,
            golden: golden.transpose()?,
            producer: header.get(PRODUCER)?.to_owned(),
            notes: notes.collect(),
        })
    }
}

fn malformed<E: std::fmt::Display>(key: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Malformed { key, reason: error.to_string() }
}

/// The same major version, any minor one: what a minor version adds, an older reader may ignore.
fn parse_version(found: &str) -> Result<(u32, u32), Error> {
    let number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?;
    match found.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?))) {
        Some((major, minor)) if major == VERSION.0 => Ok((major, minor)),
        _ => Err(Error::Version { found: found.to_owned(), supported: format!("{}.x", VERSION.0) }),
    }
}

fn stated_digest(header: &Header, key: &'static str) -> Result<String, Error> {
    let digest = header.get(key)?;
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() != DIGITS || !digest.bytes().all(is_digit) {
        return Err(Error::Malformed { key, reason: format!("it must be {DIGITS} lower-case hex digits") });
    }
    Ok(digest.to_owned())
}

/// The graph, its nodes not parsed yet: they are counted first, and an error can name the node.
#[derive(Deserialize)]
struct RawGraph<'a> {
    input: Input,
    output: String,
    #[serde(borrow)]
    nodes: Vec<&'a RawValue>,
}

/// The name alone of a node that is malformed.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

fn parse_graph(json: &str, limits: &Limits) -> Result<Graph, Error> {
    let raw: RawGraph<'_> = serde_json::from_str(json).map_err(malformed(GRAPH))?;
    let count = raw.nodes.len();
    if count > limits.nodes {
        return Err(Error::NodeCount { count, limit: limits.nodes });
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(count);
    for (index, json) in raw.nodes.iter().map(|node| node.get()).enumerate() {
        nodes.push(serde_json::from_str(json).map_err(|error: serde_json::Error| {
            let node = serde_json::from_str(json).map_or(String::new(), |Named { name }| name.into_owned());
            Error::NodeMalformed { index, node, reason: error.to_string() }
        })?);
    }
    Ok(Graph { input: raw.input, output: raw.output, nodes })
}
