//! `horq._core.Graph` and what the import crate makes of it, or of an ONNX file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use horq_import::graph::{self, Attribute, Data, ElementType, Node, Tensor, Value, ValueId};
use horq_import::report::Report;
use horq_import::{Golden, Options, onnx};
use ndarray::ArrayD;
use numpy::prelude::*;
use numpy::{Element, PyReadonlyArrayDyn, PyUntypedArray, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::arguments;
use crate::errors::{engine, guard, refused};
use crate::model::Model;

/// A result of a node: its name, its shape with the batch of one, and the number that ONNX has for its type.
type Made = (String, Vec<usize>, i32);

/// Arrays of the inputs and of the answers.
type GoldenOf<'py> = (Vec<Bound<'py, PyAny>>, Vec<Bound<'py, PyAny>>);

/// A node: its name, its domain, its operation and the names of what it reads.
type NodeOf = (String, String, String, Vec<String>);

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

    /// Recognises what the graph computes and makes a file of it: an `Imported`, or a list of (place, what, reason, instead) with
    /// everything that no file can express. `golden` has the values of each input and each answer, samples first, as the network
    /// lays them out, for a self-test.
    #[pyo3(signature = (*, producer, notes, golden))]
    fn to_horq<'py>(
        &self,
        py: Python<'py>,
        producer: String,
        notes: BTreeMap<String, String>,
        golden: Option<GoldenOf<'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let read = |arrays: &[Bound<'py, PyAny>]| arrays.iter().map(elements).collect::<PyResult<Vec<_>>>();
            let golden = golden
                .map(|(inputs, outputs)| Ok::<_, PyErr>(Golden { inputs: read(&inputs)?, outputs: read(&outputs)? }))
                .transpose()?;
            let graph = self.lock()?.clone();
            let mut options = Options::default();
            options.notes = notes;
            options.producer = Some(producer);
            options.golden = golden;
            imported(py, py.detach(|| horq_import::import(graph, &options)))
        })
    }

    /// The nodes: of each its name, its domain, its operation and the names of what it reads.
    fn nodes(&self) -> PyResult<Vec<NodeOf>> {
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

/// A network that has become a file.
#[pyclass(frozen, module = "horq._core")]
pub(crate) struct Imported(horq_import::Imported);

/// An input or output: its name, its shape in the network with the batch of one, the order of those axes in the engine's memory,
/// and its shape in the engine.
type PortOf = (String, Vec<usize>, Vec<usize>, Vec<usize>);

fn ports(ports: &[horq_import::Port]) -> Vec<PortOf> {
    let row = |port: &horq_import::Port| {
        (port.name.clone(), port.shape.clone(), port.order.clone(), port.engine_shape.clone())
    };
    ports.iter().map(row).collect()
}

#[pymethods]
impl Imported {
    /// The file's bytes.
    #[getter]
    fn file<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.file)
    }

    /// What became of each layer, as a list of dicts.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| rows(py, &self.0.report))
    }

    /// The same as a table.
    #[getter]
    fn table(&self) -> String {
        self.0.report.to_string()
    }

    /// How the inputs lie in the engine.
    #[getter]
    fn inputs(&self) -> Vec<PortOf> {
        ports(&self.0.inputs)
    }

    /// How the answers lie in the engine.
    #[getter]
    fn outputs(&self) -> Vec<PortOf> {
        ports(&self.0.outputs)
    }
}

/// A report's layers as a list of dicts.
fn rows<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(&report.layers).map_err(refused)?;
    py.import("json")?.call_method1("loads", (text,))
}

/// What became of a network, or all that was refused.
fn imported<'py>(
    py: Python<'py>,
    result: Result<horq_import::Imported, horq_import::error::Error>,
) -> PyResult<Bound<'py, PyAny>> {
    match result {
        Ok(found) => Ok(Bound::new(py, Imported(found))?.into_any()),
        Err(horq_import::error::Error::Refused(refusals)) => {
            let rows = refusals.into_iter().map(|one| (one.place, one.what, one.reason, one.instead));
            Ok(PyList::new(py, rows.collect::<Vec<_>>())?.into_any())
        }
        Err(horq_import::error::Error::Io { path, source }) => {
            Err(engine(horq::error::FileError::Io { action: "read", path, source }.into()))
        }
        Err(error) => Err(refused(error)),
    }
}

/// The layers of a model's report as a list of dicts, and the report as a table.
#[pyfunction]
pub(crate) fn layers_of<'py>(py: Python<'py>, model: &Model) -> PyResult<(Bound<'py, PyAny>, String)> {
    guard(|| {
        let report = Report::of(model.inner());
        Ok((rows(py, &report)?, report.to_string()))
    })
}

/// Reads an ONNX network, a path or bytes; see `horq.from_onnx`.
#[pyfunction]
#[pyo3(signature = (source, *, inputs, notes, same_layout))]
pub(crate) fn import_onnx<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    inputs: BTreeMap<String, Vec<usize>>,
    notes: BTreeMap<String, String>,
    same_layout: bool,
) -> PyResult<Bound<'py, PyAny>> {
    guard(|| {
        let mut options = Options::default();
        options.notes = notes;
        options.same_layout = same_layout;
        let given = onnx::Options { shapes: inputs };
        let result = if let Ok(bytes) = source.cast::<PyBytes>() {
            let bytes = bytes.as_bytes().to_vec();
            py.detach(|| onnx::parse(bytes, None, &given).and_then(|graph| horq_import::import(graph, &options)))
        } else {
            let path = arguments::path(source)?;
            py.detach(|| onnx::read(path, &given).and_then(|graph| horq_import::import(graph, &options)))
        };
        imported(py, result)
    })
}

/// Writes a file so that whoever opens the path sees the old file or the whole new one.
#[pyfunction]
pub(crate) fn write_file(bytes: &[u8], #[pyo3(from_py_with = arguments::path)] path: PathBuf) -> PyResult<()> {
    guard(|| horq::replace_file(path, bytes).map_err(engine))
}
