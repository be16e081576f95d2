//! `horq._core.Graph`: networks of PyTorch's as the graph of the import crate.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use horq_import::graph::{self, Attribute, Data, ElementType, Node, Tensor, Value, ValueId};
use ndarray::ArrayD;
use numpy::prelude::*;
use numpy::{Element, PyReadonlyArrayDyn, PyUntypedArray, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::errors::{guard, refused};

/// A result of a node: its name, its shape with the batch of one, and the number that ONNX has for its type.
type Made = (String, Vec<usize>, i32);

/// A network as data, on its way into a file: values and operations of the ONNX operator set, by number.
#[pyclass(frozen, module = "horq._core")]
pub(crate) struct Graph(Mutex<graph::Graph>);

impl Graph {
    fn lock(&self) -> PyResult<MutexGuard<'_, graph::Graph>> {
        self.0.lock().map_err(|_| refused("an earlier call of the graph broke off; make a new one"))
    }

    /// The value of that number.
    fn known(graph: &graph::Graph, number: u32) -> PyResult<ValueId> {
        if (number as usize) < graph.values.len() {
            return Ok(ValueId(number));
        }
        Err(refused(format!("the graph has no value {number}; it has {} values", graph.values.len())))
    }
}

#[pymethods]
impl Graph {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Adds an input. `shape` begins with the batch of one; `element` is ONNX's number of the type.
    fn input(&self, name: String, shape: Vec<usize>, element: i32) -> PyResult<u32> {
        guard(|| {
            let mut graph = self.lock()?;
            let id = graph.add_value(value((name, shape, element))?);
            graph.inputs.push(id);
            Ok(id.0)
        })
    }

    /// Adds a constant: an array in C order.
    fn constant(&self, name: String, array: &Bound<'_, PyAny>) -> PyResult<u32> {
        guard(|| Ok(self.lock()?.add_constant(name, tensor(array)?).0))
    }

    /// Adds a node that reads `inputs` (none where an optional one is left out) and makes `outputs`; returns their numbers.
    #[pyo3(signature = (name, op, inputs, outputs, attributes, domain = String::new()))]
    fn node(
        &self,
        name: String,
        op: String,
        inputs: Vec<Option<u32>>,
        outputs: Vec<Made>,
        attributes: &Bound<'_, PyDict>,
        domain: String,
    ) -> PyResult<Vec<u32>> {
        guard(|| {
            let attributes: BTreeMap<_, _> = attributes
                .iter()
                .map(|(name, value)| Ok((name.extract::<String>()?, attribute(&value)?)))
                .collect::<PyResult<_>>()?;
            let outputs = outputs.into_iter().map(value).collect::<PyResult<Vec<_>>>()?;
            let mut graph = self.lock()?;
            let inputs = inputs
                .into_iter()
                .map(|number| number.map(|number| Self::known(&graph, number)).transpose())
                .collect::<PyResult<_>>()?;
            let made: Vec<ValueId> = outputs.into_iter().map(|value| graph.add_value(value)).collect();
            let outputs = made.iter().copied().map(Some).collect();
            graph.nodes.push(Node { name, domain, op, inputs, outputs, attributes });
            Ok(made.iter().map(|id| id.0).collect())
        })
    }

    /// Makes a value the next answer.
    fn output(&self, number: u32) -> PyResult<()> {
        guard(|| {
            let mut graph = self.lock()?;
            let id = Self::known(&graph, number)?;
            graph.outputs.push(id);
            Ok(())
        })
    }

    /// The nodes: of each its name, its domain, its operation and the names of what it reads.
    fn nodes(&self) -> PyResult<Vec<(String, String, String, Vec<String>)>> {
        guard(|| {
            let graph = self.lock()?;
            let read = |node: &Node| {
                node.inputs.iter().map(|id| id.map_or_else(String::new, |id| graph.value(id).name.clone())).collect()
            };
            let row = |node: &Node| (node.name.clone(), node.domain.clone(), node.op.clone(), read(node));
            Ok(graph.nodes.iter().map(row).collect())
        })
    }
}

/// A value that is computed.
fn value((name, shape, element): Made) -> PyResult<Value> {
    let element = match element {
        1 => ElementType::Float32,
        7 => ElementType::Int64,
        9 => ElementType::Bool,
        _ => return Err(refused(format!("value `{name}`: there is no type {element}; float32 is 1, int64 7, bool 9"))),
    };
    Ok(Value { name, constant: None, element: Some(element), shape: Some(shape) })
}

/// The elements of an array.
fn elements<T: Element + Clone>(array: &Bound<'_, PyAny>) -> PyResult<ArrayD<T>> {
    let array: PyReadonlyArrayDyn<'_, T> = array.extract()?;
    Ok(array.as_array().to_owned())
}

/// An array as a tensor.
fn tensor(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = array.py();
    let found = array.cast::<PyUntypedArray>()?.dtype();
    let whole = |element, values| Tensor { element, data: Data::Int(values) };
    Ok(if found.is_equiv_to(&dtype::<f32>(py)) {
        Tensor::floats(elements(array)?)
    } else if found.is_equiv_to(&dtype::<i64>(py)) {
        Tensor::ints(elements(array)?)
    } else if found.is_equiv_to(&dtype::<bool>(py)) {
        Tensor { element: ElementType::Bool, data: Data::Bool(elements(array)?) }
    } else if found.is_equiv_to(&dtype::<i8>(py)) {
        whole(ElementType::Int8, elements::<i8>(array)?.mapv(i64::from))
    } else if found.is_equiv_to(&dtype::<u8>(py)) {
        whole(ElementType::UInt8, elements::<u8>(array)?.mapv(i64::from))
    } else {
        return Err(PyTypeError::new_err(format!("a tensor of {found}; convert it to float32, int64 or bool")));
    })
}

/// A value of Python's as an attribute.
fn attribute(value: &Bound<'_, PyAny>) -> PyResult<Attribute> {
    Ok(if value.is_instance_of::<PyBool>() {
        Attribute::Int(i64::from(value.extract::<bool>()?))
    } else if value.is_instance_of::<PyInt>() {
        Attribute::Int(value.extract()?)
    } else if value.is_instance_of::<PyFloat>() {
        Attribute::Float(value.extract::<f64>()? as f32)
    } else if value.is_instance_of::<PyString>() {
        Attribute::Text(value.extract()?)
    } else if value.is_instance_of::<PyList>() {
        if let Ok(numbers) = value.extract() { Attribute::Ints(numbers) } else { Attribute::Floats(value.extract()?) }
    } else {
        Attribute::Tensor(tensor(value)?.into())
    })
}
