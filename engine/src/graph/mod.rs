//! The graph of a model: what a `.horq` file says should be computed, before any kernel is chosen.
//!
//! Values are f32 in NHWC order; every shape here leaves the batch dimension out. A node has one output, named after the
//! node. Nodes stand in an order in which each input is the graph's input or an earlier node, so a graph has no cycle.

mod shapes;

pub use crate::ops::Op;
pub use crate::shape::Shape;
pub use crate::tensor::{Content, TensorSpec};
pub(crate) use shapes::{check_name, check_size, infer};

use serde::{Deserialize, Serialize};

/// A network as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Graph {
    /// The one input.
    pub input: Input,
    /// The name of the node whose value is the answer.
    pub output: String,
    /// The nodes, each after those it reads.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The first minor version of the format whose readers know everything in the graph.
    pub(crate) fn minor_version(&self) -> u32 {
        self.nodes.iter().map(|node| node.op.minor_version()).max().unwrap_or(0)
    }
}

/// The graph's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Input {
    /// Its name, as nodes refer to it.
    pub name: String,
    /// Its shape, batch left out.
    pub shape: Shape,
}

/// One operation of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// A name of its own, which is also the name of its value.
    pub name: String,
    /// The values it reads: the graph's input or earlier nodes.
    pub inputs: Vec<String>,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
}
