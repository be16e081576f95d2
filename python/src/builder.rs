//! `horq.Builder`: makes `.horq` files from numpy arrays.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use horq::graph::Shape;
use horq::{AffineRow, BinaryBase, Int8Quantize, Layer, Padding, Quantize, ScaleMode, Window};
use numpy::{Element, PyReadonlyArrayDyn};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arguments::{Byte, Count, Real};
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
        let fields = Fields { node: name, op, values: fields.map(|fields| fields.copy()).transpose()? };
        let source = Source::take(&fields)?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let (bases, rows) = (source.bases()?, source.rows()?);
        let layer = match op {
            "conv2d" => Layer::Conv2d {
                window: fields.window()?,
                filters: fields.count("filters")?,
                groups: fields.groups()?,
                weight: source.weight()?,
                bias: source.bias()?,
            },
            "dense" => {
                Layer::Dense { filters: fields.count("filters")?, weight: source.weight()?, bias: source.bias()? }
            }
            "binary_conv2d" => Layer::BinaryConv2d {
                window: fields.window()?,
                filters: fields.count("filters")?,
                groups: fields.groups()?,
                pad_value: fields.choice::<Padding>("pad_value")?,
                quantize: source.quantize(&fields)?,
                bases: &bases,
                bias: source.bias()?,
            },
            "binary_dense" => Layer::BinaryDense {
                filters: fields.count("filters")?,
                quantize: source.quantize(&fields)?,
                bases: &bases,
                bias: source.bias()?,
            },
            "binary_weight_conv2d" => Layer::BinaryWeightConv2d {
                window: fields.window()?,
                filters: fields.count("filters")?,
                groups: fields.groups()?,
                base: source.base()?,
                bias: source.bias()?,
            },
            "binary_weight_dense" => Layer::BinaryWeightDense {
                filters: fields.count("filters")?,
                base: source.base()?,
                bias: source.bias()?,
            },
            "codebook_conv2d" => Layer::CodebookConv2d {
                window: fields.window()?,
                filters: fields.count("filters")?,
                groups: fields.groups()?,
                codes: source.codes()?,
                codebook: source.vector(7, "codebook")?,
                bias: source.bias()?,
            },
            "codebook_dense" => Layer::CodebookDense {
                filters: fields.count("filters")?,
                codes: source.codes()?,
                codebook: source.vector(7, "codebook")?,
                bias: source.bias()?,
            },
            "int8_conv2d" => Layer::Int8Conv2d {
                window: fields.window()?,
                filters: fields.count("filters")?,
                groups: fields.groups()?,
                quantize: fields.int8()?,
                weight: source.bytes()?,
                alpha: source.vector(6, "alpha")?,
                bias: source.bias()?,
            },
            "int8_dense" => Layer::Int8Dense {
                filters: fields.count("filters")?,
                quantize: fields.int8()?,
                weight: source.bytes()?,
                alpha: source.vector(6, "alpha")?,
                bias: source.bias()?,
            },
            "affine" => Layer::Affine { scale: source.vector(1, "scale")?, shift: source.vector(2, "shift")? },
            "affine_by_order" => Layer::AffineByOrder { order_of: source.order_of()?, rows: &rows },
            "relu" => Layer::Relu,
            "prelu" => Layer::Prelu { slope: source.vector(3, "slope")? },
            "max_pool" => Layer::MaxPool { window: fields.window()? },
            "average_pool" => Layer::AveragePool { window: fields.window()? },
            "global_average_pool" => Layer::GlobalAveragePool,
            "add" => Layer::Add,
            "concat" => Layer::Concat,
            "flatten" => Layer::Flatten,
            "softmax" => Layer::Softmax,
            _ => return Err(refused(format!("node `{name}`: there is no operation {op:?}; see docs/format.md"))),
        };
        fields.finish()?;
        self.lock()?.add(name, &inputs, layer).map_err(engine)?;
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

    /// Adds the node `name` that reads `inputs` (the graph's input or earlier nodes).
    ///
    /// `op` is an operation of docs/format.md and the keywords are its fields: kernel, stride, dilation (pairs), padding
    /// (top, left, bottom, right), filters, groups, pad_value, order, mode, input_scale, zero_point; and float32 arrays:
    /// weight [filter, kernel row, kernel column, channel of the group] or [filter, feature], alpha, bias, scale, shift,
    /// slope, scales, codebook, and bases, a list of (weight, alpha). An affine_by_order has order_of, the name of a binary
    /// layer, and rows, a list of (scale, shift), one for each of that layer's orders. The weight of an 8-bit layer is int8, and codes, in
    /// the shape of a weight, are uint8.
    #[pyo3(signature = (name, inputs, op, **fields))]
    fn add(&self, name: &str, inputs: Vec<String>, op: &str, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        guard(|| self.node(name, &inputs, op, fields))
    }

    /// The shape of the graph's input or of a node's value, batch left out.
    fn shape(&self, value: &str) -> PyResult<Vec<usize>> {
        guard(|| {
            let shape = self.lock()?.shape(value);
            shape.map(Vec::from).ok_or_else(|| refused(format!("there is no value `{value}`")))
        })
    }

    /// Gives the file an input and its answer for a self-test: float32 arrays of a whole number of samples.
    fn golden(&self, input: &Bound<'_, PyAny>, output: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let (input, output) =
                (array::reading(input, "the golden input")?, array::reading(output, "the golden output")?);
            self.lock()?.golden(input.as_slice()?, output.as_slice()?);
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

    /// The file's bytes, with the node `output` as the answer.
    fn to_bytes<'py>(&self, py: Python<'py>, output: &str) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| Ok(PyBytes::new(py, &self.lock()?.to_bytes(output).map_err(engine)?)))
    }

    /// Writes the file: whoever opens the path sees the old file or the whole new one.
    fn write(&self, output: &str, #[pyo3(from_py_with = arguments::path)] path: PathBuf) -> PyResult<()> {
        guard(|| self.lock()?.write(output, path).map_err(engine))
    }
}

type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;

/// The keywords of a node, each taken once.
struct Fields<'a, 'py> {
    node: &'a str,
    op: &'a str,
    values: Option<Bound<'py, PyDict>>,
}

impl<'py> Fields<'_, 'py> {
    fn take(&self, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(values) = &self.values else { return Ok(None) };
        let value = values.get_item(key)?;
        if value.is_some() {
            values.del_item(key)?;
        }
        Ok(value.filter(|value| !value.is_none()))
    }

    fn optional<T: FromPyObjectOwned<'py>>(&self, key: &str) -> PyResult<Option<T>> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        value.extract().map(Some).map_err(|error: T::Error| {
            let error: PyErr = error.into();
            refused(format!("node `{}` ({}): {key}: {}", self.node, self.op, error.value(value.py())))
        })
    }

    fn count(&self, key: &str) -> PyResult<usize> {
        Ok(self.required::<Count>(key)?.0)
    }

    fn counts<const N: usize>(&self, key: &str) -> PyResult<Option<[usize; N]>> {
        Ok(self.optional::<[Count; N]>(key)?.map(|counts| counts.map(|count| count.0)))
    }

    fn groups(&self) -> PyResult<usize> {
        Ok(self.optional::<Count>("groups")?.map_or(1, |groups| groups.0))
    }

    fn required<T: FromPyObjectOwned<'py>>(&self, key: &str) -> PyResult<T> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> PyErr {
        refused(format!("node `{}` ({}) needs the field {key}", self.node, self.op))
    }

    fn array<T: Element>(&self, key: &str) -> PyResult<Option<PyReadonlyArrayDyn<'py, T>>> {
        let what = format!("{key} of node `{}`", self.node);
        self.take(key)?.map(|value| array::reading(&value, &what)).transpose()
    }

    fn int8(&self) -> PyResult<Int8Quantize> {
        let (scale, zero_point): (Real, Byte) = (self.required("input_scale")?, self.required("zero_point")?);
        Ok(Int8Quantize { scale: scale.0, zero_point: zero_point.0 })
    }

    /// One of the words of an enumeration of the format.
    fn choice<T: serde::de::DeserializeOwned>(&self, key: &str) -> PyResult<T> {
        let word: String = self.required(key)?;
        serde_json::from_value(serde_json::Value::String(word))
            .map_err(|error| refused(format!("node `{}` ({}): {key}: {error}", self.node, self.op)))
    }

    fn window(&self) -> PyResult<Window> {
        Ok(Window {
            kernel: self.counts("kernel")?.ok_or_else(|| self.missing("kernel"))?,
            stride: self.counts("stride")?.unwrap_or([1; 2]),
            dilation: self.counts("dilation")?.unwrap_or([1; 2]),
            padding: self.counts("padding")?.unwrap_or([0; 4]),
        })
    }

    fn finish(&self) -> PyResult<()> {
        match &self.values {
            Some(left) if !left.is_empty() => {
                Err(refused(format!("node `{}` ({}) has no fields {}", self.node, self.op, left.keys())))
            }
            _ => Ok(()),
        }
    }
}

/// The arrays of a node, borrowed while the builder packs them.
struct Source<'py> {
    node: String,
    /// weight, scale, shift, slope, bias, scales, alpha, codebook.
    arrays: [Option<Floats<'py>>; 8],
    /// The weight of an 8-bit layer.
    bytes: Option<PyReadonlyArrayDyn<'py, i8>>,
    codes: Option<PyReadonlyArrayDyn<'py, u8>>,
    bases: Vec<(Floats<'py>, Floats<'py>)>,
    order_of: Option<String>,
    rows: Vec<(Floats<'py>, Floats<'py>)>,
}

impl<'py> Source<'py> {
    fn take(fields: &Fields<'_, 'py>) -> PyResult<Self> {
        let bytes = if fields.op.starts_with("int8") { fields.array("weight")? } else { None };
        let codes = fields.array("codes")?;
        let mut arrays = [const { None }; 8];
        let keys = ["weight", "scale", "shift", "slope", "bias", "scales", "alpha", "codebook"];
        for (array, key) in arrays.iter_mut().zip(keys) {
            *array = fields.array(key)?;
        }
        let what = |role: &str| format!("{role} of node `{}`", fields.node);
        let pairs = |key: &str, first: &str, second: &str| -> PyResult<Vec<(Floats<'py>, Floats<'py>)>> {
            let pairs: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> = fields.optional(key)?.unwrap_or_default();
            pairs
                .iter()
                .map(|(a, b)| Ok((array::reading(a, &what(first))?, array::reading(b, &what(second))?)))
                .collect()
        };
        let (bases, rows) = (pairs("bases", "weight", "alpha")?, pairs("rows", "scale", "shift")?);
        Ok(Self { node: fields.node.into(), arrays, bytes, codes, bases, order_of: fields.optional("order_of")?, rows })
    }

    fn maybe(&self, index: usize) -> PyResult<Option<&[f32]>> {
        Ok(self.arrays[index].as_ref().map(|array| array.as_slice()).transpose()?)
    }

    fn vector(&self, index: usize, key: &str) -> PyResult<&[f32]> {
        self.maybe(index)?.ok_or_else(|| self.missing(key))
    }

    fn weight(&self) -> PyResult<&[f32]> {
        self.vector(0, "weight")
    }

    fn bytes(&self) -> PyResult<&[i8]> {
        Ok(self.bytes.as_ref().ok_or_else(|| self.missing("weight"))?.as_slice()?)
    }

    fn codes(&self) -> PyResult<&[u8]> {
        Ok(self.codes.as_ref().ok_or_else(|| self.missing("codes"))?.as_slice()?)
    }

    fn base(&self) -> PyResult<BinaryBase<'_>> {
        Ok(BinaryBase { weight: self.weight()?, alpha: self.vector(6, "alpha")? })
    }

    fn missing(&self, key: &str) -> PyErr {
        refused(format!("node `{}` needs the field {key}", self.node))
    }

    fn bias(&self) -> PyResult<Option<&[f32]>> {
        self.maybe(4)
    }

    fn quantize(&self, fields: &Fields<'_, '_>) -> PyResult<Quantize<'_>> {
        let mode = fields.choice::<ScaleMode>("mode")?;
        Ok(Quantize { order: fields.count("order")?, mode, scales: self.maybe(5)? })
    }

    fn bases(&self) -> PyResult<Vec<BinaryBase<'_>>> {
        self.bases
            .iter()
            .map(|(weight, alpha)| Ok(BinaryBase { weight: weight.as_slice()?, alpha: alpha.as_slice()? }))
            .collect()
    }

    fn order_of(&self) -> PyResult<&str> {
        self.order_of.as_deref().ok_or_else(|| self.missing("order_of"))
    }

    fn rows(&self) -> PyResult<Vec<AffineRow<'_>>> {
        self.rows
            .iter()
            .map(|(scale, shift)| Ok(AffineRow { scale: scale.as_slice()?, shift: shift.as_slice()? }))
            .collect()
    }
}
