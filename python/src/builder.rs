//! `horq.Builder`: makes `.horq` files from numpy arrays.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use horq::PlainValues;
use horq::graph::{Op, Shape};
use horq::ops::Fields;
use numpy::PyReadonlyArrayDyn;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use serde::de::DeserializeOwned;

use crate::arguments::{Byte, Count, Counts, Real};
use crate::array::Array;
use crate::errors::{engine, guard, refused};
use crate::{arguments, array};

/// Makes a `.horq` file node by node; `horq.export` does so from a `torch.nn.Module`.
///
/// Builder(input_name, shape): shape is (features,) or (height, width, channels) of one sample.
#[pyclass(frozen, module = "horq")]
pub(crate) struct Builder(Mutex<horq::Builder>);

impl Builder {
    fn lock(&self) -> PyResult<MutexGuard<'_, horq::Builder>> {
        self.0.lock().map_err(|_| refused("an earlier call of the builder broke off; make a new one"))
    }

    fn node(&self, name: &str, inputs: &[String], op: &str, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let keywords = Keywords::new(name, op, fields)?;
        let unknown = || refused(format!("node `{name}`: there is no operation {op:?}; see docs/format.md"));
        let op: Op<PlainValues<'_>> = Op::parse(op, &&keywords).ok_or_else(unknown)??;
        keywords.finish()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.lock()?.add(name, &inputs, op).map_err(engine)?;
        Ok(())
    }
}

#[pymethods]
impl Builder {
    #[new]
    fn new(input_name: &str, #[pyo3(from_py_with = arguments::sizes)] shape: Vec<usize>) -> PyResult<Self> {
        guard(|| {
            let shape = Shape::try_from(shape).map_err(refused)?;
            Ok(Self(Mutex::new(horq::Builder::new(input_name, shape))))
        })
    }

    /// Adds an input to the one that the builder was made with. A run takes them in the order in which they were added.
    fn add_input(&self, name: &str, #[pyo3(from_py_with = arguments::sizes)] shape: Vec<usize>) -> PyResult<()> {
        guard(|| {
            let shape = Shape::try_from(shape).map_err(refused)?;
            self.lock()?.add_input(name, shape).map_err(engine)?;
            Ok(())
        })
    }

    /// Adds the node `name` that reads `inputs` (inputs of the graph or earlier nodes).
    ///
    /// `op` is an operation of docs/format.md and the keywords are its fields: kernel, stride, dilation (pairs), padding
    /// (top, left, bottom, right), filters, groups, pad_value, order, mode, input_scale, zero_point; and float32 arrays:
    /// weight [filter, kernel row, kernel column, channel of the group] or [filter, feature], alpha, bias, scale, shift,
    /// slope, scales, codebook, and bases, a list of (weight, alpha). Those that move values have lists of whole numbers: sizes,
    /// order, shape, indices, start, stop, step, reverse, before, after, size. An affine_by_order has order_of, the name of a binary
    /// layer, and rows, a list of (scale, shift), one for each of that layer's orders. The weight of an 8-bit layer is int8, and codes, in
    /// the shape of a weight, are uint8. Numbers are the low and high of a clip, the alpha of an elu and the exponent of a power;
    /// a reduction's axes are three of 0 and 1.
    #[pyo3(signature = (name, inputs, op, **fields))]
    fn add(&self, name: &str, inputs: Vec<String>, op: &str, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        guard(|| self.node(name, &inputs, op, fields))
    }

    /// The shape of an input or of a node's value, batch left out.
    fn shape(&self, value: &str) -> PyResult<Vec<usize>> {
        guard(|| {
            let shape = self.lock()?.shape(value);
            shape.map(Vec::from).ok_or_else(|| refused(format!("there is no value `{value}`")))
        })
    }

    /// Gives the file an input and its answer for a self-test: float32 arrays of a whole number of samples; of several inputs
    /// or outputs a tuple of arrays, in their order.
    fn golden(&self, input: &Bound<'_, PyAny>, output: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let (inputs, outputs) = (floats(input, "the golden input")?, floats(output, "the golden output")?);
            fn slices<'a>(arrays: &'a [PyReadonlyArrayDyn<'_, f32>]) -> PyResult<Vec<&'a [f32]>> {
                arrays.iter().map(|array| Ok(array.as_slice()?)).collect()
            }
            self.lock()?.golden_many(&slices(&inputs)?, &slices(&outputs)?);
            Ok(())
        })
    }

    /// Names the program that makes the file.
    fn producer(&self, producer: &str) -> PyResult<()> {
        guard(|| {
            self.lock()?.producer(producer);
            Ok(())
        })
    }

    /// Adds a note, or replaces the one of that key.
    fn note(&self, key: &str, value: &str) -> PyResult<()> {
        guard(|| {
            self.lock()?.note(key, value);
            Ok(())
        })
    }

    /// The file's bytes, with the node `output` as the answer, or several nodes as the answers, in their order.
    fn to_bytes<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = outputs)] output: Vec<String>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| Ok(PyBytes::new(py, &self.lock()?.to_bytes_many(&names(&output)).map_err(engine)?)))
    }

    /// Writes the file: whoever opens the path sees the old file or the whole new one.
    fn write(
        &self,
        #[pyo3(from_py_with = outputs)] output: Vec<String>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
    ) -> PyResult<()> {
        guard(|| self.lock()?.write_many(&names(&output), path).map_err(engine))
    }
}

/// The name of an output, or a list of names.
fn outputs(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() { Ok(vec![value.extract()?]) } else { value.extract() }
}

fn names(outputs: &[String]) -> Vec<&str> {
    outputs.iter().map(String::as_str).collect()
}

/// An array, or a tuple or list of arrays.
fn floats<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Vec<PyReadonlyArrayDyn<'py, f32>>> {
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyList>() {
        return value.try_iter()?.map(|array| array::reading(&array?, what)).collect();
    }
    Ok(vec![array::reading(value, what)?])
}

/// The keywords of a node, with the arrays among them borrowed while the builder packs them.
struct Keywords<'a, 'py> {
    node: &'a str,
    op: &'a str,
    values: Vec<(String, Keyword<'py>)>,
    /// The names that the operation has asked for.
    known: RefCell<Vec<&'static str>>,
}

struct Keyword<'py> {
    value: Bound<'py, PyAny>,
    /// The value as a tensor, or why it is none.
    tensor: PyResult<Array<'py>>,
    /// The value as a list of pairs of tensors, if it is a list of pairs.
    pairs: Vec<[PyResult<Array<'py>>; 2]>,
}

impl<'py> Keyword<'py> {
    fn new(node: &str, name: &str, value: Bound<'py, PyAny>) -> Self {
        let tensor = |value: &Bound<'py, PyAny>| Array::read(value, &format!("{name} of node `{node}`"));
        let pairs: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> = value.extract().unwrap_or_default();
        let pairs = pairs.iter().map(|(first, second)| [tensor(first), tensor(second)]).collect();
        Self { tensor: tensor(&value), value, pairs }
    }

    /// The values of a tensor.
    fn values<'a>(&self, tensor: &'a PyResult<Array<'py>>) -> PyResult<PlainValues<'a>> {
        tensor.as_ref().map_err(|error| error.clone_ref(self.value.py()))?.values()
    }
}

impl<'a, 'py> Keywords<'a, 'py> {
    fn new(node: &'a str, op: &'a str, fields: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        let fields = fields.into_iter().flat_map(|fields| fields.iter());
        let values = fields.map(|(name, value)| {
            let name: String = name.extract()?;
            let keyword = Keyword::new(node, &name, value);
            Ok((name, keyword))
        });
        Ok(Self { node, op, values: values.collect::<PyResult<_>>()?, known: RefCell::default() })
    }

    fn find(&self, name: &'static str) -> Option<&Keyword<'py>> {
        self.known.borrow_mut().push(name);
        let (_, keyword) = self.values.iter().find(|(given, _)| given == name)?;
        Some(keyword).filter(|keyword| !keyword.value.is_none())
    }

    fn required(&self, name: &'static str) -> PyResult<&Keyword<'py>> {
        self.find(name).ok_or_else(|| refused(format!("node `{}` ({}) needs the field {name}", self.node, self.op)))
    }

    fn wrong(&self, name: &str, reason: impl std::fmt::Display) -> PyErr {
        refused(format!("node `{}` ({}): {name}: {reason}", self.node, self.op))
    }

    fn extract<T: FromPyObjectOwned<'py>>(&self, name: &'static str) -> PyResult<T> {
        let value = &self.required(name)?.value;
        value.extract().map_err(|error: T::Error| {
            let error: PyErr = error.into();
            self.wrong(name, error.value(value.py()))
        })
    }

    /// Refuses what the operation has not asked for.
    fn finish(&self) -> PyResult<()> {
        let known = self.known.borrow();
        let unknown = |(name, _): &&(String, Keyword<'py>)| !known.contains(&name.as_str());
        let names: Vec<String> = self.values.iter().filter(unknown).map(|(name, _)| format!("'{name}'")).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(refused(format!("node `{}` ({}) has no fields [{}]", self.node, self.op, names.join(", "))))
    }
}

impl<'a> Fields<PlainValues<'a>> for &'a Keywords<'_, '_> {
    type Error = PyErr;

    fn count(&self, name: &'static str, default: Option<usize>) -> PyResult<usize> {
        match (self.find(name), default) {
            (None, Some(default)) => Ok(default),
            _ => self.extract::<Count>(name).map(|count| count.0),
        }
    }

    fn counts<const N: usize>(&self, name: &'static str, default: Option<[usize; N]>) -> PyResult<[usize; N]>
    where
        [usize; N]: DeserializeOwned,
    {
        match (self.find(name), default) {
            (None, Some(default)) => Ok(default),
            _ => self.extract::<[Count; N]>(name).map(|counts| counts.map(|count| count.0)),
        }
    }

    fn list(&self, name: &'static str) -> PyResult<Vec<usize>> {
        self.extract::<Counts>(name).map(|counts| counts.0)
    }

    fn shape(&self, name: &'static str) -> PyResult<Shape> {
        Shape::try_from(self.list(name)?).map_err(|reason| self.wrong(name, reason))
    }

    fn byte(&self, name: &'static str) -> PyResult<u8> {
        self.extract::<Byte>(name).map(|byte| byte.0)
    }

    fn word<W: DeserializeOwned>(&self, name: &'static str) -> PyResult<W> {
        let word: String = self.extract(name)?;
        serde_json::from_value(serde_json::Value::String(word)).map_err(|error| self.wrong(name, error))
    }

    fn optional_word<W: DeserializeOwned>(&self, name: &'static str) -> PyResult<Option<W>> {
        self.find(name).map(|_| self.word(name)).transpose()
    }

    fn text(&self, name: &'static str) -> PyResult<String> {
        self.extract(name)
    }

    fn tensor(&self, name: &'static str) -> PyResult<PlainValues<'a>> {
        let keywords: &'a Keywords<'_, '_> = self;
        let keyword = keywords.required(name)?;
        keyword.values(&keyword.tensor)
    }

    fn scalar(&self, name: &'static str) -> PyResult<PlainValues<'a>> {
        Ok(vec![self.extract::<Real>(name)?.0].into())
    }

    fn optional_scalar(&self, name: &'static str) -> PyResult<Option<PlainValues<'a>>> {
        self.find(name).map(|_| self.scalar(name)).transpose()
    }

    fn len_of(&self, tensor: &PlainValues<'a>) -> Option<usize> {
        Some(tensor.len())
    }

    fn optional_tensor(&self, name: &'static str) -> PyResult<Option<PlainValues<'a>>> {
        self.find(name).map(|_| self.tensor(name)).transpose()
    }

    fn pairs(&self, name: &'static str, _: [&'static str; 2]) -> PyResult<Vec<[PlainValues<'a>; 2]>> {
        let keywords: &'a Keywords<'_, '_> = self;
        let keyword = keywords.required(name)?;
        if keyword.pairs.is_empty() {
            // What keeps it from being a list of pairs; an empty list is one that the engine refuses.
            let _: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = keywords.extract(name)?;
        }
        let values =
            |[first, second]: &'a [PyResult<Array<'_>>; 2]| Ok([keyword.values(first)?, keyword.values(second)?]);
        keyword.pairs.iter().map(values).collect()
    }
}
