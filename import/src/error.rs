//! What goes wrong on the way in, and what to do about it.

use crate::graph::Node;
use std::fmt;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a network did not become a `.horq` file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that the network needs cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are no network at all.
    #[error("not an ONNX model: {0}")]
    Malformed(String),
    /// The bytes are a file of another kind.
    #[error("the file is {found}, not an ONNX model; {advice}")]
    OtherFormat {
        /// What it is.
        found: horq::FileKind,
        /// What to do.
        advice: &'static str,
    },
    /// Parts of the network cannot be had; all of them are listed.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
}

/// One part of a network that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where: the node's name, or that of an input, an initializer or the model.
    pub place: String,
    /// The operation, or what else it is: `input`, `tensor`, `model`.
    pub what: String,
    /// Why.
    pub reason: String,
    /// The nearest thing that works, or empty where there is none.
    pub instead: String,
}

/// Refusals, gathered until a stage is over.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

/// A longer list hides what matters.
const SHOWN: usize = 50;

impl Refusal {
    /// A refusal of a node.
    pub fn of(node: &Node, reason: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::at(&node.name, &node.op, reason, instead)
    }

    /// A refusal of anything.
    pub fn at(
        place: impl Into<String>,
        what: impl Into<String>,
        reason: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self { place: place.into(), what: what.into(), reason: reason.into(), instead: instead.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.place, self.what, self.reason)?;
        if self.instead.is_empty() { Ok(()) } else { write!(f, "; {}", self.instead) }
    }
}

impl Refusals {
    /// Adds one, unless the same is there already.
    pub fn push(&mut self, refusal: Refusal) {
        if !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the stage.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is a refusal.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Refused(self.0)) }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

fn list(refusals: &[Refusal]) -> String {
    let mut text: Vec<String> = refusals.iter().take(SHOWN).map(Refusal::to_string).collect();
    if refusals.len() > SHOWN {
        text.push(format!("and {} more", refusals.len() - SHOWN));
    }
    text.join("\n")
}
