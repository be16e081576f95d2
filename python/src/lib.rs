//! The Python module `horq._core`: models, sessions and the builder of horq over numpy arrays.

mod arguments;
mod array;
mod builder;
mod ending;
mod errors;
mod importing;
mod model;
mod run;
mod session;

use pyo3::prelude::*;
use std::collections::BTreeMap;

use errors::{Error, engine, guard, refused};

/// Panics, so that a test can see what Python gets to see of a panic.
#[pyfunction]
fn _panic(message: String) -> PyResult<()> {
    guard(|| panic!("{message}"))
}

/// Runs the engine's self-test on every instruction set of this CPU: the fingerprint of its answers for each, the same on every CPU.
///
/// A horq.Error where one gives another, with the first layer that differs.
#[pyfunction]
fn selftest(py: Python<'_>) -> PyResult<BTreeMap<&'static str, String>> {
    guard(|| {
        let report = py.detach(horq::selftest::run).map_err(engine)?;
        if let Some(fault) = report.faults.first() {
            return Err(refused(format!("{fault}; do not trust answers of this machine, and report this")));
        }
        Ok(report.numbers.into_iter().map(|(isa, number)| (isa.name(), number)).collect())
    })
}

/// The compiled part of `horq`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let error = module.py().get_type::<Error>();
    // What an error is not about is None.
    error.setattr("sample", module.py().None())?;
    module.add("Error", error)?;
    module.add_class::<ending::CancelToken>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(_panic, module)?)?;
    module.add_function(wrap_pyfunction!(selftest, module)?)?;
    module.add("FINGERPRINT", horq::selftest::FINGERPRINT)?;
    module.add_function(wrap_pyfunction!(model::_unpickle_model, module)?)?;
    module.add_class::<model::Model>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<importing::Graph>()?;
    module.add_class::<importing::Imported>()?;
    module.add_function(wrap_pyfunction!(importing::import_onnx, module)?)?;
    module.add_function(wrap_pyfunction!(importing::layers_of, module)?)?;
    module.add_function(wrap_pyfunction!(importing::write_file, module)?)?;
    module.add_class::<builder::Builder>()
}
