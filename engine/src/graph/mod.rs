//! The graph of a model: what a `.horq` file says should be computed, before any kernel is chosen.
//!
//! Values are f32 in NHWC order; every shape here leaves the batch dimension out. A node has one value, named after the
//! node. Nodes stand in an order in which each reads inputs of the graph or earlier nodes, so a graph has no cycle.

mod shapes;

pub use crate::ops::Op;
pub use crate::shape::Shape;
pub use crate::tensor::{Content, TensorSpec};
pub(crate) use shapes::{check_name, check_size, infer};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// A network as data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Graph {
    /// The inputs, at least one, in the order in which a run takes them.
    pub inputs: Vec<Input>,
    /// The names of the nodes whose values are the answers, at least one, in the order in which a run gives them. Other nodes
    /// may read those values as well.
    pub outputs: Vec<String>,
    /// The nodes, each after those it reads.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The first input, which most graphs have alone.
    ///
    /// # Panics
    /// If there is none; no valid graph is without.
    pub fn input(&self) -> &Input {
        &self.inputs[0]
    }

    /// The name of the first output, which most graphs have alone.
    ///
    /// # Panics
    /// If there is none; no valid graph is without.
    pub fn output(&self) -> &str {
        &self.outputs[0]
    }
}

/// As the file has it: the first of the inputs and of the outputs stand alone, as in version 1.0, the others in lists.
impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (more_inputs, more_outputs) = (&self.inputs[1..], &self.outputs[1..]);
        let fields = 3 + usize::from(!more_inputs.is_empty()) + usize::from(!more_outputs.is_empty());
        let mut graph = serializer.serialize_struct("Graph", fields)?;
        graph.serialize_field("input", self.input())?;
        if !more_inputs.is_empty() {
            graph.serialize_field("more_inputs", more_inputs)?;
        }
        graph.serialize_field("output", self.output())?;
        if !more_outputs.is_empty() {
            graph.serialize_field("more_outputs", more_outputs)?;
        }
        graph.serialize_field("nodes", &self.nodes)?;
        graph.end()
    }
}

/// An input of the graph.
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
    /// The values it reads: inputs of the graph or earlier nodes.
    pub inputs: Vec<String>,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
}
