//! The tensors that the graph implies against those that the header lists: names, types, shapes.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::GoldenRef;
use super::header::Header;
use super::metadata::Metadata;
use crate::Error;
use crate::error::{FileError, TensorError};
use crate::graph::{Graph, Node, Shape};
use crate::limits::Limits;
use crate::tensor::{TensorSpec, Tensors, check_tensor};

/// The name that errors about golden tensors give in place of a node's.
const GOLDEN_NODE: &str = "golden";

/// Shapes of values and places of tensors.
pub(crate) struct Layout {
    /// The shape of each node's value.
    pub(crate) shapes: Vec<Shape>,
    /// Type and place of each tensor, its bytes counted from the start of the data.
    pub(crate) tensors: HashMap<String, (Dtype, Range<usize>)>,
}

impl Layout {
    /// Checks the graph, and that the file holds exactly its tensors, each of the type and shape that it must have.
    pub(super) fn new(metadata: &Metadata, header: &Header, limits: &Limits) -> Result<Self, Error> {
        let Metadata { graph, golden, .. } = metadata;
        let shapes = graph.shapes(limits)?;
        if let Some(golden) = golden {
            check_golden(golden, graph, &shapes, header)?;
        }
        let mut named: HashMap<&str, &str> = HashMap::new();
        for (node, spec) in specs(metadata, &shapes) {
            let Some(entry) = header.tensor(spec.name) else {
                return Err(TensorError::TensorMissing { node: node.to_owned(), tensor: spec.name.to_owned() }.into());
            };
            if let Some(first) = named.insert(spec.name, node) {
                let (first, second, tensor) = (first.to_owned(), node.to_owned(), spec.name.to_owned());
                return Err(TensorError::TensorShared { first, second, tensor }.into());
            }
            check_type(node, &spec, entry)?;
        }
        let mut tensors = HashMap::with_capacity(named.len());
        for tensor in header.tensor_names() {
            match header.tensor(&tensor) {
                Some(info) if named.contains_key(tensor.as_str()) => {
                    tensors.insert(tensor, (info.dtype, info.data_offsets.0..info.data_offsets.1))
                }
                _ => return Err(TensorError::TensorUnknown { tensor }.into()),
            };
        }
        Ok(Self { shapes, tensors })
    }
}

/// Checks the values of all tensors, whose types and shapes are right.
pub(crate) fn check_values(metadata: &Metadata, shapes: &[Shape], tensors: &Tensors) -> Result<(), Error> {
    specs(metadata, shapes).try_for_each(|(node, spec)| check_tensor(node, &spec, tensors.bytes(spec.name)))
}

/// The tensors that the graph and the golden values name, each with the name of its node.
fn specs<'a>(metadata: &'a Metadata, shapes: &[Shape]) -> impl Iterator<Item = (&'a str, TensorSpec<'a>)> {
    let Metadata { graph, golden, .. } = metadata;
    let values = graph.values(shapes);
    let of_golden: Vec<_> = golden
        .iter()
        .flat_map(|golden| {
            let inputs = golden.inputs.iter().zip(graph.inputs.iter().map(|input| input.shape));
            let outputs = golden.outputs.iter().zip(graph.outputs.iter().map(|output| values[output.as_str()]));
            let vector = |(name, shape): (&'a String, Shape)| TensorSpec::vector(name, golden.samples * shape.len());
            inputs.chain(outputs).map(vector).map(|spec| (GOLDEN_NODE, spec)).collect::<Vec<_>>()
        })
        .collect();
    let of_node = move |node: &'a Node| {
        let tensors = node.op.tensors(values[node.inputs[0].as_str()]);
        tensors.into_iter().map(|spec| (node.name.as_str(), spec))
    };
    graph.nodes.iter().flat_map(of_node).chain(of_golden)
}

/// Checks that the golden values are those of every input and output, that they have samples, and no more of them than the
/// file has bytes.
fn check_golden(golden: &GoldenRef, graph: &Graph, shapes: &[Shape], header: &Header) -> Result<(), Error> {
    let malformed = |reason| Err(FileError::Malformed { key: "golden", reason }.into());
    for (what, given, there) in
        [("inputs", golden.inputs.len(), graph.inputs.len()), ("outputs", golden.outputs.len(), graph.outputs.len())]
    {
        if given != there {
            return malformed(format!("it names tensors for {given} {what}, but the graph has {there}"));
        }
    }
    let values = graph.values(shapes);
    let outputs = graph.outputs.iter().map(|output| values[output.as_str()]);
    let mut all = graph.inputs.iter().map(|input| input.shape).chain(outputs);
    let fits = |shape: Shape| golden.samples.checked_mul(shape.len()).is_some_and(|n| n <= header.data_len);
    match golden.samples {
        0 => malformed("it must have at least one sample".into()),
        _ if all.all(fits) => Ok(()),
        samples => malformed(format!("{samples} samples are more than the file can hold")),
    }
}

fn check_type(node: &str, spec: &TensorSpec<'_>, entry: &TensorInfo) -> Result<(), Error> {
    let (node, tensor) = (node.to_owned(), spec.name.to_owned());
    let (dtype, expected) = spec.content.dtype();
    if entry.dtype != dtype {
        return Err(TensorError::TensorDtype { node, tensor, expected, found: entry.dtype.to_string() }.into());
    }
    let shape = spec.content.shape();
    if entry.shape != shape {
        let (expected, found) = (brief(&shape), brief(&entry.shape));
        return Err(TensorError::TensorShape { node, tensor, expected, found }.into());
    }
    Ok(())
}

/// A shape as text, cut off where a hostile header gives it very many sizes.
fn brief(shape: &[usize]) -> String {
    match shape.get(..8) {
        Some(sizes) if shape.len() > 8 => format!("{sizes:?} and {} sizes more", shape.len() - 8),
        _ => format!("{shape:?}"),
    }
}
