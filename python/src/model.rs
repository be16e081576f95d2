//! `horq.Model`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use horq::graph::Shape;
use horq::{PlainValues, RunOptions, Values};
use numpy::prelude::*;
use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::arguments;
use crate::ending::{CancelToken, Ending};
use crate::errors::{engine, guard, refused};
use crate::run::{self, Layout, Wanted};
use crate::session::{Session, options};

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
    /// The engine's model.
    pub(crate) fn inner(&self) -> &horq::Model {
        &self.model
    }

    /// The model that `read` reads, unless its sessions could not be had.
    fn wrap(
        read: impl FnOnce() -> Result<horq::Model, horq::Error>,
        threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        options(1, threads, isa.as_deref(), false, None, None)?;
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
        let options = options(batch, self.threads, self.isa.as_deref(), false, None, None)?;
        horq::Session::new(&self.model, options).map_err(engine)
    }
}

/// Runs any number of samples, as many at a time as the session takes, until a signal ends it.
fn chunked(
    session: &mut horq::Session,
    samples: usize,
    inputs: &[Values<'_>],
    outputs: &mut [&mut [f32]],
    options: &RunOptions<'_>,
    ending: &Ending,
) -> Result<(), horq::Error> {
    let batch = session.batch();
    let lens = [session.input_lens().to_vec(), session.output_lens().to_vec()];
    for start in (0..samples).step_by(batch) {
        let chunk = start..samples.min(start + batch);
        let part = |len: &usize| chunk.start * len..chunk.end * len;
        let inputs = inputs.iter().zip(&lens[0]).map(|(values, len)| values.slice(part(len)));
        let inputs: Vec<Values<'_>> = inputs.collect();
        let outputs = outputs.iter_mut().zip(&lens[1]).map(|(values, len)| &mut values[part(len)]);
        session.run_many_with(&inputs, &mut outputs.collect::<Vec<_>>(), &options.first_sample(start))?;
        if ending.is_signalled() {
            break; // what the handler raised is the outcome
        }
    }
    Ok(())
}

/// The model of a pickle: the file's bytes, and the shapes of the inputs.
#[pyfunction]
pub(crate) fn _unpickle_model(
    data: &[u8],
    threads: usize,
    isa: Option<String>,
    shapes: Vec<Vec<usize>>,
) -> PyResult<Model> {
    guard(|| {
        let shapes = shapes.into_iter().map(Shape::try_from).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        Model::wrap(|| horq::Model::from_bytes(data).and_then(|model| sized(model, &shapes)), threads, isa)
    })
}

/// The model with inputs of these shapes: itself if they are its own.
fn sized(model: horq::Model, shapes: &[Shape]) -> Result<horq::Model, horq::Error> {
    let is_same = model.inputs().map(|(_, shape)| shape).eq(shapes.iter().copied());
    if is_same { Ok(model) } else { model.resized(shapes) }
}

/// The model in shared memory.
#[cfg(target_os = "linux")]
fn from_fd(fd: i32) -> Result<horq::Model, horq::Error> {
    // SAFETY: the number is not negative. A number without a file makes the system refuse to duplicate it. One that another
    // thread closes meanwhile may lead elsewhere, and what that is is checked.
    horq::Model::from_shared_fd(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
}

#[cfg(not(target_os = "linux"))]
fn from_fd(_fd: i32) -> Result<horq::Model, horq::Error> {
    let source = std::io::Error::new(std::io::ErrorKind::Unsupported, "only Linux has it; use Model(path)");
    Err(horq::error::FileError::SharedMemory { source }.into())
}

/// The descriptor of a model's shared memory.
fn fileno(model: &horq::Model) -> Option<i32> {
    #[cfg(target_os = "linux")]
    return model.shared_fd().map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd));
    #[cfg(not(target_os = "linux"))]
    return None;
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

    /// Reads a file into shared memory that nobody can change any more, and validates it: as safe as Model(path), with one copy
    /// for this process, its forked children, and every process that calls `from_fd` with the number that `fileno` gives.
    ///
    /// Linux keeps such memory (a sealed memfd); elsewhere this is Model(path).
    #[staticmethod]
    #[pyo3(signature = (path, *, threads = 1, isa = None))]
    fn open_shared(
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        guard(|| Self::wrap(|| py.detach(|| horq::Model::open_shared(path)), threads, isa))
    }

    /// The model in the shared memory of another process, by the number of a descriptor that leads to its `fileno`. The
    /// descriptor stays the caller's. Memory that is not sealed, and so could change, is refused.
    #[staticmethod]
    #[pyo3(signature = (fd, *, threads = 1, isa = None))]
    fn from_fd(
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::descriptor)] fd: i32,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        guard(|| Self::wrap(|| py.detach(|| from_fd(fd)), threads, isa))
    }

    /// The number of the descriptor of the shared memory of `open_shared`, for `from_fd` in another process: give it on with
    /// `pass_fds` of `subprocess`, or over a socket. It is open as long as the model lives.
    fn fileno(&self) -> PyResult<i32> {
        guard(|| {
            fileno(&self.model).ok_or_else(|| {
                refused("the model lies in no shared memory; open it with Model.open_shared, on Linux, to have a descriptor")
            })
        })
    }

    /// Checks the values of all tensors, as the first session of a model from `map` or `from_fd` does; other models are checked
    /// when they are opened. Raises `horq.Error` with the first value that breaks a rule.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| py.detach(|| self.model.check()).map_err(engine))
    }

    /// Maps a file instead of reading it: no weight is copied, and processes share the memory. Weights are checked by the first
    /// session.
    ///
    /// The file must stay as it is while the model lives. If anybody changes it in place, answers change without a word; if
    /// anybody cuts it, the process ends with SIGBUS. trusted=True says that this will not happen: that the file is only
    /// replaced by renaming, as horq writes files. `open_shared` is safe for any file.
    #[staticmethod]
    #[pyo3(signature = (path, *, trusted = false, threads = 1, isa = None))]
    fn map(
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
        trusted: bool,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<String>,
    ) -> PyResult<Self> {
        if !trusted {
            return Err(refused(
                "Model.map reads from the file as long as the model lives: if it is changed in place, answers change, and if it is \
                 cut, the process ends with SIGBUS; use Model.open_shared, or pass trusted=True if the file is only ever replaced \
                 by renaming",
            ));
        }
        // SAFETY: the caller has said that the file stays as it is.
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

    /// Answers a batch: arrays [N, *shape] in C order, one for each input in the model's order, or a dict of them by name, to an
    /// array [N, *shape] of float32, or a tuple of one for each output; with as_dict=True to a dict by name.
    ///
    /// float32 is read where it lies, and uint8 without a float copy: bytes stand for 0 to 255. float16 is widened. The answer
    /// is written straight into a new array, or into `out` (a tuple of arrays for several outputs). With layout="nchw"
    /// images have their channels first, inputs and answers, which costs a copy of each. The GIL is released meanwhile, so no
    /// other thread may write to the inputs. `order`, 1 to 8, turns the dial of every binary layer (a layer made for less runs
    /// at its highest); `point` is an operating point of the model by name, instead; without either each layer runs at its
    /// highest.
    ///
    /// `timeout` is how many seconds the call may take until it raises `horq.DeadlineError`; `cancel` is a `horq.CancelToken`, with
    /// which another thread makes it raise `horq.CancelledError`. On the main thread signals are handled within 100 ms, so that
    /// Ctrl-C ends the call. What `out` holds afterwards is unspecified.
    #[expect(clippy::too_many_arguments, reason = "the keywords of a Python method")]
    #[pyo3(signature = (
        *inputs, order = None, point = None, out = None, layout = Layout::Nhwc, as_dict = false, timeout = None, cancel = None
    ))]
    fn run<'py>(
        &self,
        inputs: &Bound<'py, PyTuple>,
        #[pyo3(from_py_with = arguments::maybe_order)] order: Option<horq::Order>,
        point: Option<&str>,
        out: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = run::layout)] layout: Layout,
        as_dict: bool,
        #[pyo3(from_py_with = arguments::timeout)] timeout: Option<Duration>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            if order.is_some() && point.is_some() {
                return Err(refused("run takes order or point, not both: a point has an order for each layer"));
            }
            let ending = Ending::new(cancel, timeout);
            let (mut used, wanted) = (None, Wanted { out, layout, as_dict });
            let answer = run::run(&self.model, inputs, &wanted, &ending, |samples, inputs, outputs, options| {
                let session = used.insert(self.take(samples.min(CHUNK))?);
                session.set_order(order.unwrap_or(horq::Order::MAX));
                point.map_or(Ok(()), |point| session.set_point(point)).map_err(engine)?;
                chunked(session, samples, inputs, outputs, options, &ending).map_err(engine)
            });
            if let Some(session) = used {
                self.idle.lock().map_err(refused)?.push(session);
            }
            answer
        })
    }

    /// Prepares a session: everything that a run needs is chosen and allocated here.
    ///
    /// batch: the most samples of one run. threads: 1 runs on the calling thread, more add helper threads of the session's own.
    /// isa: an instruction set by name; by default the one that HORQ_ISA names, else the best of this CPU. profile:
    /// whether to measure where the time goes. order: the dial to begin with, as `Session.set_order` has it. point: the
    /// operating point to begin with, as `Session.set_point` has it, which counts more than the order.
    #[expect(clippy::too_many_arguments, reason = "the keywords of a Python method")]
    #[pyo3(signature = (*, batch = 1, threads = 1, isa = None, profile = false, order = None, point = None))]
    fn session(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::batch)] batch: usize,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        isa: Option<&str>,
        profile: bool,
        #[pyo3(from_py_with = arguments::maybe_order)] order: Option<horq::Order>,
        point: Option<String>,
    ) -> PyResult<Session> {
        guard(|| {
            let options = options(batch, threads, isa, profile, order, point)?;
            let session = py.detach(|| horq::Session::new(&self.model, options)).map_err(engine)?;
            Ok(Session::new(session))
        })
    }

    /// The same network for inputs of other sizes, with the same weights, which the two share: a shape for each input,
    /// (features,) or (height, width, channels), in the model's order, or a dict by name.
    ///
    /// Raises `horq.Error` with the first node that cannot work at that size, such as a matrix product behind a flattened
    /// image. The result has no golden values.
    #[pyo3(signature = (*shapes))]
    fn resized(&self, shapes: &Bound<'_, PyTuple>) -> PyResult<Self> {
        guard(|| {
            let shape = |sizes: &Bound<'_, PyAny>| Shape::try_from(arguments::sizes(sizes)?).map_err(refused);
            let given = run::by_input(&self.model, shapes)?;
            let shapes = given.iter().map(shape).collect::<PyResult<Vec<_>>>()?;
            Self::wrap(|| self.model.resized(&shapes), self.threads, self.isa.clone())
        })
    }

    /// Pickles hold the whole file.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        guard(|| {
            let make = py.import("horq._core")?.getattr("_unpickle_model")?;
            let shapes: Vec<Vec<usize>> = self.model.inputs().map(|(_, shape)| shape.into()).collect();
            let data = PyBytes::new(py, self.model.file());
            Ok((make, (data, self.threads, self.isa.clone(), shapes).into_pyobject(py)?))
        })
    }

    /// The operating points that the file names: a dict with `points` (a list of dicts with name, orders and, where they were
    /// measured, loss and latency), `cascades` and, if there is one, `default`, as docs/format.md has them.
    #[getter]
    fn points<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| py.import("json")?.call_method1("loads", (self.model.points().to_json(),)))
    }

    /// Writes the file with other operating points, a dict as `points` has it; weights and all else stay. Whoever opens the path
    /// sees the old file or the whole new one.
    fn write_with_points(
        &self,
        py: Python<'_>,
        points: &Bound<'_, PyDict>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
    ) -> PyResult<()> {
        guard(|| {
            let text: String = py.import("json")?.call_method1("dumps", (points,))?.extract()?;
            let points = horq::Points::from_json(&text).map_err(engine)?;
            py.detach(|| self.model.write_with_points(&points, path)).map_err(engine)
        })
    }

    /// The shape of one sample of each input by name, in the order in which `run` takes them.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        named(py, self.model.inputs())
    }

    /// The shape of one answer of each output by name, in the order in which `run` gives them.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        named(py, self.model.outputs())
    }

    /// The shape of one sample: (features,) or (height, width, channels). Of the first input where there are several.
    #[getter]
    fn input_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, Vec::from(self.model.input_shape()))
    }

    /// The shape of one answer. Of the first output where there are several.
    #[getter]
    fn output_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, Vec::from(self.model.output_shape()))
    }

    /// What the model computes, as the file states it (docs/format.md): a dict with input, output and
    /// nodes, and more_inputs and more_outputs where there are any.
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
            self.model.check().map_err(engine)?;
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

    /// The (input, answer) that the file carries for a self-test, as arrays, or None. Where there are several inputs or outputs,
    /// a tuple of arrays stands in place of the one.
    fn golden<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        guard(|| {
            self.model.check().map_err(engine)?;
            let Some(golden) = self.model.golden() else { return Ok(None) };
            let shaped = |(values, shape): (&&[f32], Shape)| -> PyResult<Bound<'py, PyAny>> {
                let mut sizes = vec![golden.samples];
                sizes.extend(Vec::from(shape));
                let array: Bound<'py, PyArrayDyn<f32>> = PyArray1::from_slice(py, values).reshape(sizes)?;
                Ok(array.into_any())
            };
            let one_or_tuple = |values: &[&[f32]], shapes: Vec<Shape>| {
                let arrays = values.iter().zip(shapes).map(shaped).collect::<PyResult<Vec<_>>>()?;
                match <[_; 1]>::try_from(arrays) {
                    Ok([array]) => Ok(array),
                    Err(arrays) => PyTuple::new(py, arrays).map(Bound::into_any),
                }
            };
            let inputs = self.model.inputs().map(|(_, shape)| shape).collect();
            let outputs = self.model.outputs().map(|(_, shape)| shape).collect();
            Ok(Some((one_or_tuple(&golden.inputs, inputs)?, one_or_tuple(&golden.outputs, outputs)?)))
        })
    }

    fn __repr__(&self) -> String {
        let shapes = |shapes: Vec<Shape>| shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ");
        let input = shapes(self.model.inputs().map(|(_, shape)| shape).collect());
        let output = shapes(self.model.outputs().map(|(_, shape)| shape).collect());
        let (nodes, bytes) = (self.model.graph().nodes.len(), self.model.file_len());
        format!("<horq.Model {input} to {output}, {nodes} nodes, {bytes} bytes>")
    }
}

/// Shapes by name, as tuples.
fn named<'a, 'py>(py: Python<'py>, values: impl Iterator<Item = (&'a str, Shape)>) -> PyResult<Bound<'py, PyDict>> {
    let shapes = PyDict::new(py);
    for (name, shape) in values {
        shapes.set_item(name, PyTuple::new(py, Vec::from(shape))?)?;
    }
    Ok(shapes)
}
