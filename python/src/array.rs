//! numpy arrays as slices, without a copy.

use numpy::npyffi::{PY_ARRAY_API, npy_intp};
use numpy::prelude::*;
use numpy::{Element, PyArrayDyn, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, dtype};
use pyo3::prelude::*;

use crate::errors::refused;
use horq::PlainValues;
use horq::graph::Shape;

/// An array of that type in C order, or an error that names `what`, says what is wrong and what to do.
fn checked<'a, 'py, T: Element>(array: &'a Bound<'py, PyAny>, what: &str) -> PyResult<&'a Bound<'py, PyArrayDyn<T>>> {
    let wanted = dtype::<T>(array.py());
    let untyped = array.cast::<PyUntypedArray>().map_err(|_| {
        refused(format!("{what} must be a numpy array; convert it with numpy.asarray(.., numpy.{wanted})"))
    })?;
    if !untyped.dtype().is_equiv_to(&wanted) {
        let found = untyped.dtype();
        return Err(refused(format!("{what} must be {wanted}, not {found}; convert it with .astype(numpy.{wanted})")));
    }
    if !untyped.is_c_contiguous() {
        return Err(refused(format!(
            "{what} must lie in memory in C order without gaps; copy it with numpy.ascontiguousarray"
        )));
    }
    if !untyped.is_aligned() {
        return Err(refused(format!("{what} must be aligned; copy it with .copy()")));
    }
    Ok(array.cast::<PyArrayDyn<T>>()?)
}

/// Borrows an array for reading.
pub(crate) fn reading<'py, T: Element>(array: &Bound<'py, PyAny>, what: &str) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    checked(array, what)?.try_readonly().map_err(|_| {
        refused(format!("{what} is being written by another call; give each thread an output array of its own"))
    })
}

/// An array that can be a tensor of a model.
pub(crate) enum Array<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    I8(PyReadonlyArrayDyn<'py, i8>),
    Codes(PyReadonlyArrayDyn<'py, u8>),
}

impl<'py> Array<'py> {
    /// Borrows an array of one of the types that tensors have.
    pub(crate) fn read(array: &Bound<'py, PyAny>, what: &str) -> PyResult<Self> {
        let py = array.py();
        match array.cast::<PyUntypedArray>().map(|array| array.dtype()) {
            Ok(found) if found.is_equiv_to(&dtype::<i8>(py)) => reading(array, what).map(Self::I8),
            Ok(found) if found.is_equiv_to(&dtype::<u8>(py)) => reading(array, what).map(Self::Codes),
            Ok(_) | Err(_) => reading(array, what).map(Self::F32),
        }
    }

    /// Its values.
    pub(crate) fn values(&self) -> PyResult<PlainValues<'_>> {
        Ok(match self {
            Self::F32(values) => values.as_slice()?.into(),
            Self::I8(values) => values.as_slice()?.into(),
            Self::Codes(values) => values.as_slice()?.into(),
        })
    }
}

/// Borrows an array for writing.
pub(crate) fn writing<'py>(array: &Bound<'py, PyAny>, what: &str) -> PyResult<PyReadwriteArrayDyn<'py, f32>> {
    checked(array, what)?.try_readwrite().map_err(|_| {
        refused(format!("{what} is read-only or overlaps an array in use; pass a writable array that shares no memory"))
    })
}

/// The number of samples of an array [N, *sizes].
pub(crate) fn samples(found: &[usize], sizes: &[usize], what: &str, channels_first: bool) -> PyResult<usize> {
    match found {
        [samples, rest @ ..] if *samples > 0 && rest == sizes => Ok(*samples),
        _ => {
            let expected: Vec<String> = sizes.iter().map(usize::to_string).collect();
            let place = match channels_first {
                true => "first (layout=\"nchw\")",
                false => "last unless layout=\"nchw\" is given",
            };
            Err(refused(format!(
                "{what} must have the shape [N, {}] with N >= 1, not {found:?}; a single sample needs an axis before it \
                 (x[None]), and channels stand {place}",
                expected.join(", ")
            )))
        }
    }
}

/// Checks an array that a caller wants an answer in.
pub(crate) fn check_out(out: &Bound<'_, PyAny>, sizes: &[usize], what: &str) -> PyResult<()> {
    let found = checked::<f32>(out, what)?.shape().to_vec();
    if found != sizes {
        return Err(refused(format!("{what} must have the shape {sizes:?}, not {found:?}")));
    }
    Ok(())
}

/// The array that an answer of `samples` x `shape` is written to: `out`, which has been checked, or a new one.
pub(crate) fn output<'py>(
    py: Python<'py>,
    out: Option<&Bound<'py, PyAny>>,
    samples: usize,
    shape: Shape,
) -> PyResult<Bound<'py, PyAny>> {
    let mut sizes = vec![samples];
    sizes.extend(Vec::from(shape));
    out.map_or_else(|| zeros(py, &sizes), |out| Ok(out.clone()))
}

/// A new array of zeros, or numpy's `MemoryError`, where the numpy crate would panic.
fn zeros<'py>(py: Python<'py>, sizes: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let mut sizes: Vec<npy_intp> = sizes.iter().map(|&size| size as npy_intp).collect();
    // SAFETY: numpy reads as many sizes as it is told there are, takes the reference to the type over, and returns a new
    // reference, or null with an exception set.
    unsafe {
        let made = PY_ARRAY_API.PyArray_Zeros(
            py,
            sizes.len() as _,
            sizes.as_mut_ptr(),
            dtype::<f32>(py).into_dtype_ptr(),
            0, // C order
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}
