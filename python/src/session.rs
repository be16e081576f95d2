//! `horq.Session`.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments;
use crate::ending::{CancelToken, Ending};
use crate::errors::{engine, guard, refused};
use crate::run::{self, Layout, Wanted};
use horq::{Isa, Order, SessionOptions, Stage, Threads};

/// The options of a session, from Python's arguments.
pub(crate) fn options(
    batch: usize,
    threads: usize,
    isa: Option<&str>,
    profile: bool,
    order: Option<Order>,
    point: Option<String>,
) -> PyResult<SessionOptions> {
    let mut options = SessionOptions::new().batch(batch).profile(profile);
    options.threads = if threads == 1 { Threads::Inline } else { Threads::Own(threads) };
    options.isa = isa.map(|name| name.parse().and_then(Isa::check)).transpose().map_err(refused)?;
    (options.order, options.point) = (order, point);
    Ok(options)
}

/// A model made ready to run, with all the memory it needs; made by `Model.session`.
///
/// A session runs one call at a time: a second thread that calls it meanwhile gets an error, and should have a session
/// of its own, which shares the model's weights.
#[pyclass(frozen, module = "horq")]
pub(crate) struct Session(Mutex<horq::Session>);

impl Session {
    pub(crate) fn new(session: horq::Session) -> Self {
        Self(Mutex::new(session))
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, horq::Session>> {
        self.0.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                refused("the session is running in another thread; make one for each thread with Model.session")
            }
            TryLockError::Poisoned(_) => refused("an earlier run of the session broke off; make a new session"),
        })
    }
}

#[pymethods]
impl Session {
    /// Answers a batch of at most `batch` samples: arrays [N, *shape] in C order, one for each input of the model in its
    /// order, or a dict of them by name, to an array [N, *shape] of float32, or a tuple of one for each output; with
    /// as_dict=True to a dict by name.
    ///
    /// float32 is read where it lies, and uint8 without a float copy: bytes stand for 0 to 255. float16 is widened. The answer
    /// is written straight into a new array, or into `out` (a tuple of arrays for several outputs). With layout="nchw"
    /// images have their channels first, inputs and answers, which costs a copy of each. The GIL is released meanwhile, so no
    /// other thread may write to the inputs.
    ///
    /// `timeout` is how many seconds the call may take until it raises `horq.DeadlineError`; `cancel` is a `horq.CancelToken`, with
    /// which another thread makes it raise `horq.CancelledError`. On the main thread signals are handled within 100 ms. The
    /// session is as good as before afterwards; what `out` holds is unspecified.
    ///
    /// `point` sets the session to that operating point of the model first, as `set_point` does.
    #[expect(clippy::too_many_arguments, reason = "the keywords of a Python method")]
    #[pyo3(signature = (
        *inputs, point = None, out = None, layout = Layout::Nhwc, as_dict = false, timeout = None, cancel = None
    ))]
    fn run<'py>(
        &self,
        inputs: &Bound<'py, PyTuple>,
        point: Option<&str>,
        out: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = run::layout)] layout: Layout,
        as_dict: bool,
        #[pyo3(from_py_with = arguments::timeout)] timeout: Option<Duration>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let ending = Ending::new(cancel, timeout);
            let mut session = self.lock()?;
            let session: &mut horq::Session = &mut session;
            point.map_or(Ok(()), |point| session.set_point(point)).map_err(engine)?;
            let model = session.model().clone();
            let wanted = Wanted { out, layout, as_dict };
            run::run(&model, inputs, &wanted, &ending, |_, inputs, outputs, options| {
                session.run_many_with(inputs, outputs, options).map_err(engine)
            })
        })
    }

    /// Turns the dial: every binary layer runs at `order` (1 to 8), or at its highest where that is lower; or only
    /// `layer`, which must hold that order.
    #[pyo3(signature = (order, layer = None))]
    fn set_order(&self, #[pyo3(from_py_with = arguments::order)] order: Order, layer: Option<&str>) -> PyResult<()> {
        guard(|| {
            let mut session = self.lock()?;
            match layer {
                None => session.set_order(order),
                Some(layer) => session.set_layer_order(layer, order).map_err(engine)?,
            }
            Ok(())
        })
    }

    /// Runs every binary layer at the order that the model's operating point of that name gives it; "default" is the model's default
    /// point. Raises `horq.Error` with the names of the points if there is none of that name.
    fn set_point(&self, name: &str) -> PyResult<()> {
        guard(|| self.lock()?.set_point(name).map_err(engine))
    }

    /// The name of the operating point that the session is at; None if it was never set to one, or if an order was set since.
    #[getter]
    fn point(&self) -> PyResult<Option<String>> {
        guard(|| Ok(self.lock()?.point().map(str::to_owned)))
    }

    /// What each layer is and, if the session was made with profile=True, what it has cost since the last reset.
    ///
    /// A list of dicts with name, op, fused, output (shape), order and max_order (None for float layers), runs, samples,
    /// nanoseconds (a dict by stage, summed over threads), wall_nanoseconds, bit_macs, sign_macs, code_macs, float_macs and
    /// int8_macs of one sample, weight_bytes, activation_bytes, and packed: whether the output goes to the next layer as
    /// packed planes.
    fn profile<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        guard(|| self.lock()?.profile().iter().map(|layer| describe(py, layer)).collect())
    }

    /// Forgets the times measured so far.
    fn reset_profile(&self) -> PyResult<()> {
        guard(|| {
            self.lock()?.reset_profile();
            Ok(())
        })
    }

    /// The most samples of one run.
    #[getter]
    fn batch(&self) -> PyResult<usize> {
        guard(|| Ok(self.lock()?.batch()))
    }

    /// The name of the instruction set of the kernels.
    #[getter]
    fn isa(&self) -> PyResult<&'static str> {
        guard(|| Ok(self.lock()?.isa().name()))
    }

    /// Bytes of the activations between layers, for the samples that are worked on at a time.
    #[getter]
    fn arena_bytes(&self) -> PyResult<usize> {
        guard(|| Ok(self.lock()?.arena_bytes()))
    }
}

fn describe<'py>(py: Python<'py>, layer: &horq::LayerProfile) -> PyResult<Bound<'py, PyDict>> {
    let (entry, nanoseconds) = (PyDict::new(py), PyDict::new(py));
    for stage in Stage::ALL {
        nanoseconds.set_item(stage.name(), layer.stage(stage))?;
    }
    entry.set_item("name", &layer.name)?;
    entry.set_item("op", layer.op)?;
    entry.set_item("fused", &layer.fused)?;
    entry.set_item("output", PyTuple::new(py, Vec::from(layer.output))?)?;
    entry.set_item("order", layer.order())?;
    entry.set_item("max_order", layer.binary.map(|binary| binary.max_order))?;
    entry.set_item("runs", layer.runs)?;
    entry.set_item("samples", layer.samples)?;
    entry.set_item("nanoseconds", nanoseconds)?;
    entry.set_item("wall_nanoseconds", layer.wall_nanoseconds)?;
    entry.set_item("bit_macs", layer.macs.bit)?;
    entry.set_item("sign_macs", layer.macs.binary_weight)?;
    entry.set_item("code_macs", layer.macs.codebook)?;
    entry.set_item("float_macs", layer.macs.float)?;
    entry.set_item("int8_macs", layer.macs.int8)?;
    entry.set_item("weight_bytes", layer.weight_bytes)?;
    entry.set_item("activation_bytes", layer.activation_bytes)?;
    entry.set_item("packed", layer.packed)?;
    Ok(entry)
}
