//! The Python module `horq._core`: models, sessions and the builder of horq over numpy arrays.

mod array;
mod builder;
mod model;
mod session;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(horq, Error, PyException, "What horq refuses, and what to do about it.");

/// An error of the engine as a `horq.Error`.
fn refused(error: impl std::fmt::Display) -> PyErr {
    Error::new_err(error.to_string())
}

/// The compiled part of `horq`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Error", module.py().get_type::<Error>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<model::Model>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<builder::Builder>()
}
