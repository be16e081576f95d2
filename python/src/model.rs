//! `horq.Model`.

use std::path::PathBuf;
use std::sync::Mutex;

use horq::PlainValues;
use numpy::prelude::*;
use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{engine, guard, refused};
use crate::session::{Session, options};
use crate::{arguments, array};

/// The most samples that [`Model::run`] hands to the engine at once: enough to fill every kernel's tile, while the
/// activations of common networks stay in the caches.
const CHUNK: usize = 64;

/// A network read from a `.horq` file: immutable, shared by all sessions made from it, usable from any thread.
///
/// Model(path) reads the file into memory and validates it. `run` keeps sessions of its own, one for each call that runs
/// at the same time; `threads` and `isa` are theirs (see `session`).
#[pyclass(frozen, module = "horq")]
pub(crate) struct Model {
    model: horq::Model,
    threads: usize,
    isa: Option<String>,
    /// Sessions that no call is using.
    idle: Mutex<Vec<horq::Session>>,
}

impl Model {
    /// The model that `read` reads, unless its sessions could not be had.
    fn wrap(
        read: impl FnOnce() -> Result<horq::Model, horq::Error>,
        threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        options(1, threads, isa.as_deref(), false, None)?;
        Ok(Self { model: read().map_err(engine)?, threads, isa, idle: Mutex::default() })
    }

    /// An idle session for `batch` samples, or a new one.
    fn take(&self, batch: usize) -> PyResult<horq::Session> {
        {
            let mut idle = self.idle.lock().map_err(refused)?;
            if let Some(found) = idle.iter().position(|session| session.batch() >= batch) {
                return Ok(idle.swap_remove(found));
            }
            idle.pop(); // too small: its place is taken by the new one
        }
        let options = options(batch, self.threads, self.isa.as_deref(), false, None)?;
        horq::Session::new(&self.model, options).map_err(engine)
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, *, threads = 1, isa = None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        guard(|| Self::wrap(|| py.detach(|| horq::Model::open(path)), threads, isa))
    }

    /// Maps a file instead of reading it: no weight is copied, and processes share the memory.
    ///
    /// Nobody may change or shorten the file while the model lives; replacing it by renaming is safe.
    #[staticmethod]
    #[pyo3(signature = (path, *, threads = 1, isa = None))]
    fn map(
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        // SAFETY: the caller has read the promise above; Python has no other way to say so.
        guard(|| Self::wrap(|| py.detach(|| unsafe { horq::Model::map(path) }), threads, isa))
    }

    /// Copies and validates the bytes of a file.
    #[staticmethod]
    #[pyo3(signature = (data, *, threads = 1, isa = None))]
    fn from_bytes(
        data: &[u8],
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        guard(|| Self::wrap(|| horq::Model::from_bytes(data), threads, isa))
    }

    /// Answers a batch: float32 [N, *input_shape] in C order to float32 [N, *output_shape].
    ///
    /// The input is read where it lies and the answer is written straight into a new array, or into `out`. The GIL is
    /// released meanwhile, so no other thread may write to the input. `order`, 1 to 8, turns the dial of every binary
    /// layer (a layer made for less runs at its highest); without it each layer runs at its highest.
    #[pyo3(signature = (input, *, order = None, out = None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        input: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = arguments::maybe_order)] order: Option<horq::Order>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let values = array::reading(input, "the input")?;
            let samples = array::samples(values.shape(), self.model.input_shape(), "the input")?;
            let answer = array::output(py, out, samples, self.model.output_shape())?;
            {
                let mut answer = array::writing(&answer, "out")?;
                let (from, to) = (values.as_slice()?, answer.as_slice_mut()?);
                let mut session = self.take(samples.min(CHUNK))?;
                let result = py.detach(|| {
                    session.set_order(order.unwrap_or(horq::Order::MAX));
                    let batch = session.batch();
                    let [inputs, outputs] = [session.input_len(), session.output_len()].map(|len| batch * len);
                    from.chunks(inputs).zip(to.chunks_mut(outputs)).try_for_each(|(from, to)| session.run(from, to))
                });
                self.idle.lock().map_err(refused)?.push(session);
                result.map_err(engine)?;
            }
            Ok(answer)
        })
    }

    /// Prepares a session: everything that a run needs is chosen and allocated here.
    ///
    /// batch: the most samples of one run. threads: 1 runs on the calling thread, more add helper threads of the session's own.
    /// isa: an instruction set by name; by default the one that HORQ_ISA names, else the best of this CPU. profile:
    /// whether to measure where the time goes. order: the dial to begin with, as `Session.set_order` has it.
    #[pyo3(signature = (*, batch = 1, threads = 1, isa = None, profile = false, order = None))]
    fn session(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::batch)] batch: usize,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<&str>,
        profile: bool,
        #[pyo3(from_py_with = arguments::maybe_order)] order: Option<horq::Order>,
    ) -> PyResult<Session> {
        guard(|| {
            let options = options(batch, threads, isa, profile, order)?;
            let session = py.detach(|| horq::Session::new(&self.model, options)).map_err(engine)?;
            Ok(Session::new(session))
        })
    }

    /// The shape of one sample: (features,) or (height, width, channels).
    #[getter]
    fn input_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        pyo3::types::PyTuple::new(py, Vec::from(self.model.input_shape()))
    }

    /// The shape of one answer.
    #[getter]
    fn output_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        pyo3::types::PyTuple::new(py, Vec::from(self.model.output_shape()))
    }

    /// What the model computes, as the file states it (docs/format.md): a dict with input, output and nodes.
    #[getter]
    fn graph<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let text = serde_json::to_string(self.model.graph()).map_err(refused)?;
            py.import("json")?.call_method1("loads", (text,))
        })
    }

    /// The values of a tensor that a node of the graph names, as `Builder.add` takes them: float32 [n] of a vector, weights
    /// [filters, kernel rows, kernel columns, channels of the group], those of a dense layer with one row and one column,
    /// binary ones as +1 and -1; 8-bit weights are int8, codes uint8.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let found = self.model.plain(name);
            let plain = found.ok_or_else(|| refused(format!("no node of the graph names a tensor {name:?}")))?;
            fn shaped<'py, T: numpy::Element>(
                py: Python<'py>,
                values: &[T],
                shape: Vec<usize>,
            ) -> PyResult<Bound<'py, PyAny>> {
                Ok(PyArray1::from_slice(py, values).reshape(shape)?.into_any())
            }
            match plain.values {
                PlainValues::F32(values) => shaped(py, &values, plain.shape),
                PlainValues::I8(values) => shaped(py, &values, plain.shape),
                PlainValues::Codes(values) => shaped(py, &values, plain.shape),
                _ => Err(refused(format!("the values of {name:?} have no type in numpy"))),
            }
        })
    }

    /// The notes in the file: accuracy, licence, input preparation.
    #[getter]
    fn notes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let notes = PyDict::new(py);
        for (key, value) in self.model.notes() {
            notes.set_item(key, value)?;
        }
        Ok(notes)
    }

    /// What wrote the file.
    #[getter]
    fn producer(&self) -> &str {
        self.model.producer()
    }

    /// The file's digest, 64 hex digits.
    #[getter]
    fn digest(&self) -> &str {
        self.model.digest()
    }

    /// Bytes of the file.
    #[getter]
    fn file_len(&self) -> usize {
        self.model.file_len()
    }

    /// Checks the digest of the weights, which reads every byte; raises `horq.Error` if it differs.
    fn verify_digest(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| py.detach(|| self.model.verify_digest()).map_err(engine))
    }

    /// The (input, answer) that the file carries for a self-test, as arrays, or None.
    fn golden<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        guard(|| {
            let Some(golden) = self.model.golden() else { return Ok(None) };
            let shaped = |values: &[f32], shape| -> PyResult<Bound<'py, PyAny>> {
                let mut sizes = vec![golden.samples];
                sizes.extend(Vec::from(shape));
                let array: Bound<'py, PyArrayDyn<f32>> = PyArray1::from_slice(py, values).reshape(sizes)?;
                Ok(array.into_any())
            };
            let (input, output) = (self.model.input_shape(), self.model.output_shape());
            Ok(Some((shaped(golden.input, input)?, shaped(golden.output, output)?)))
        })
    }

    fn __repr__(&self) -> String {
        let (input, output) = (self.model.input_shape(), self.model.output_shape());
        let (nodes, bytes) = (self.model.graph().nodes.len(), self.model.file_len());
        format!("<horq.Model {input} to {output}, {nodes} nodes, {bytes} bytes>")
    }
}
