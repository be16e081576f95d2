//! The arrays of a run: inputs as the engine takes them, outputs as the caller wants them.

use numpy::prelude::*;
use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, dtype};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyTuple};

use crate::array;
use crate::ending::Ending;
use crate::errors::refused;
use horq::graph::Shape;
use horq::{Model, RunOptions, Values};

/// Where the channels of images stand in the arrays of a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Last, as the engine has them.
    Nhwc,
    /// First, as PyTorch has them.
    Nchw,
}

/// The argument `layout`.
pub(crate) fn layout(value: &Bound<'_, PyAny>) -> PyResult<Layout> {
    match value.extract::<&str>() {
        Ok("nhwc") => Ok(Layout::Nhwc),
        Ok("nchw") => Ok(Layout::Nchw),
        _ => {
            Err(refused(format!("layout must be \"nhwc\" (channels last) or \"nchw\" (channels first), not {value:?}")))
        }
    }
}

impl Layout {
    /// The sizes of a sample as the caller has them.
    fn sizes(self, shape: Shape) -> Vec<usize> {
        match (self, shape) {
            (Self::Nchw, Shape::Image { height, width, channels }) => vec![channels, height, width],
            _ => shape.into(),
        }
    }

    /// Whether arrays of that shape have to be turned.
    fn turns(self, shape: Shape) -> bool {
        self == Self::Nchw && matches!(shape, Shape::Image { .. })
    }
}

/// An input, in the engine's order of axes.
enum Input<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    U8(PyReadonlyArrayDyn<'py, u8>),
}

impl<'py> Input<'py> {
    /// Takes an array of a caller: its number of samples, and its values, read where they lie unless they must be turned or
    /// widened.
    fn take(
        array: &Bound<'py, PyAny>,
        shape: Shape,
        layout: Layout,
        what: &str,
        ending: &Ending,
    ) -> PyResult<(usize, Self)> {
        let py = array.py();
        let untyped = array.cast::<PyUntypedArray>().map_err(|_| {
            refused(format!("{what} must be a numpy array; convert it with numpy.asarray(.., numpy.float32)"))
        })?;
        let found = untyped.dtype();
        let is = |name: &str| Ok::<bool, PyErr>(found.is_equiv_to(&numpy::PyArrayDescr::new(py, name)?));
        let is_bytes = found.is_equiv_to(&dtype::<u8>(py));
        let is_half = is("float16")?;
        if !is_bytes && !is_half && !found.is_equiv_to(&dtype::<f32>(py)) {
            return Err(refused(format!(
                "{what} must be float32, float16 or uint8, not {found}; convert it with .astype(numpy.float32)"
            )));
        }
        let samples = array::samples(untyped.shape(), &layout.sizes(shape), what, layout == Layout::Nchw)?;
        let mut array = array.clone();
        let turns = layout.turns(shape);
        if turns || is_half {
            let from = if turns { array.call_method1("transpose", (0, 2, 3, 1))? } else { array };
            let element = if is_bytes { "uint8" } else { "float32" };
            array = py.import("numpy")?.call_method1("empty", (from.getattr("shape")?, element))?;
            copy(&array, &from, ending)?;
        }
        let input =
            if is_bytes { Self::U8(array::reading(&array, what)?) } else { Self::F32(array::reading(&array, what)?) };
        Ok((samples, input))
    }

    fn values(&self) -> PyResult<Values<'_>> {
        Ok(match self {
            Self::F32(values) => Values::F32(values.as_slice()?),
            Self::U8(values) => Values::U8(values.as_slice()?),
        })
    }
}

/// How a caller wants the answers.
pub(crate) struct Wanted<'a, 'py> {
    pub(crate) out: Option<&'a Bound<'py, PyAny>>,
    pub(crate) layout: Layout,
    pub(crate) as_dict: bool,
}

/// Bytes that are copied between two looks for signals: some milliseconds.
const COPIED: usize = 8 << 20;

/// Copies `from` to an array of the same shape, some samples at a time, and handles signals meanwhile. Ends early where the call
/// does.
fn copy(to: &Bound<'_, PyAny>, from: &Bound<'_, PyAny>, ending: &Ending) -> PyResult<()> {
    let (py, numpy) = (to.py(), to.py().import("numpy")?);
    let (samples, bytes): (usize, usize) = (to.len()?, to.getattr("nbytes")?.extract()?);
    let step = (COPIED / (bytes / samples.max(1)).max(1)).max(1);
    for start in (0..samples).step_by(step) {
        let part = PySlice::new(py, start as isize, samples.min(start + step) as isize, 1);
        numpy.call_method1("copyto", (to.get_item(&part)?, from.get_item(&part)?))?;
        py.check_signals()?;
        if ending.is_over() {
            break;
        }
    }
    Ok(())
}

/// Answers the arrays of a caller by `compute`, which gets the number of samples, a slice for each input and one for each
/// output, and what ends it. It runs without the GIL.
pub(crate) fn run<'py>(
    model: &Model,
    inputs: &Bound<'py, PyTuple>,
    wanted: &Wanted<'_, 'py>,
    ending: &Ending,
    compute: impl FnOnce(usize, &[Values<'_>], &mut [&mut [f32]], &RunOptions<'_>) -> PyResult<()> + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, layout) = (inputs.py(), wanted.layout);
    let arrays = by_input(model, inputs)?;
    let single = arrays.len() == 1;
    let (mut taken, mut samples) = (Vec::with_capacity(arrays.len()), 0);
    for ((name, shape), array) in model.inputs().zip(&arrays) {
        let what = if single { "the input".into() } else { format!("the input `{name}`") };
        let (found, input) = Input::take(array, shape, layout, &what, ending)?;
        if !taken.is_empty() && found != samples {
            let first = &model.graph().input().name;
            return Err(refused(format!(
                "{what} has {found} samples, but `{first}` has {samples}; pass as many of each"
            )));
        }
        samples = found;
        taken.push(input);
    }
    let outs = outs(wanted.out, model.outputs().len())?;
    let mut answers = Vec::with_capacity(outs.len());
    for (i, (name, shape)) in model.outputs().enumerate() {
        let what = if outs.len() == 1 { "out".into() } else { format!("out[{i}] (`{name}`)") };
        let out = outs[i].as_ref();
        if let Some(out) = out {
            let mut sizes = vec![samples];
            sizes.extend(layout.sizes(shape));
            array::check_out(out, &sizes, &what)?;
        }
        // What has to be turned is computed elsewhere first.
        let target = out.filter(|_| !layout.turns(shape));
        answers.push((array::output(py, target, samples, shape)?, what, out, shape));
    }
    {
        let writing = |(answer, what, ..): &(Bound<'py, PyAny>, String, Option<&Bound<'py, PyAny>>, Shape)| {
            array::writing(answer, what)
        };
        let mut borrowed: Vec<PyReadwriteArrayDyn<'py, f32>> = answers.iter().map(writing).collect::<PyResult<_>>()?;
        let values: Vec<Values<'_>> = taken.iter().map(Input::values).collect::<PyResult<_>>()?;
        let mut slices: Vec<&mut [f32]> = Vec::with_capacity(borrowed.len());
        for array in &mut borrowed {
            slices.push(array.as_slice_mut()?);
        }
        let slices = &mut slices[..];
        py.detach(|| ending.watch(|options| compute(samples, &values, slices, options)))?;
    }
    drop(taken);
    let turned = |(answer, what, out, shape): (Bound<'py, PyAny>, String, Option<&Bound<'py, PyAny>>, Shape)| {
        if !layout.turns(shape) {
            return Ok(answer);
        }
        let (numpy, turned) = (py.import("numpy")?, answer.call_method1("transpose", (0, 3, 1, 2))?);
        let out = match out {
            Some(out) => out.clone(),
            None => numpy.call_method1("empty", (turned.getattr("shape")?, "float32"))?,
        };
        drop(array::writing(&out, &what)?);
        copy(&out, &turned, ending)?;
        Ok(out)
    };
    let answers: Vec<Bound<'py, PyAny>> = answers.into_iter().map(turned).collect::<PyResult<_>>()?;
    if wanted.as_dict {
        let named = PyDict::new(py);
        model.outputs().zip(answers).try_for_each(|((name, _), answer)| named.set_item(name, answer))?;
        return Ok(named.into_any());
    }
    match <[_; 1]>::try_from(answers) {
        Ok([answer]) => Ok(answer),
        Err(answers) => Ok(PyTuple::new(py, answers)?.into_any()),
    }
}

/// One thing for each input of the model: as many arguments in its order, or a dict by name.
pub(crate) fn by_input<'py>(model: &Model, arguments: &Bound<'py, PyTuple>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let names: Vec<&str> = model.inputs().map(|(name, _)| name).collect();
    let known = || names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    if arguments.len() == 1
        && let Ok(by_name) = arguments.get_item(0)?.cast::<PyDict>()
    {
        for (name, _) in by_name {
            if !name.extract::<&str>().is_ok_and(|name| names.contains(&name)) {
                return Err(refused(format!("the model has no input {}; its inputs are: {}", name.repr()?, known())));
            }
        }
        let find = |name: &&str| {
            let found = by_name.get_item(name)?;
            found.ok_or_else(|| refused(format!("the input '{name}' is missing; the model's inputs are: {}", known())))
        };
        return names.iter().map(find).collect();
    }
    if arguments.len() != names.len() {
        let text = "give one for each, in that order, or a dict by name";
        return Err(refused(format!(
            "{} inputs were given, but the model has {}: {}; {text}",
            arguments.len(),
            names.len(),
            known()
        )));
    }
    Ok(arguments.iter().collect())
}

/// The arrays that `out` names, one for each output.
fn outs<'py>(out: Option<&Bound<'py, PyAny>>, outputs: usize) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    let Some(out) = out else { return Ok(vec![None; outputs]) };
    let given: Vec<Bound<'py, PyAny>> = if out.is_instance_of::<PyTuple>() || out.is_instance_of::<PyList>() {
        out.try_iter()?.collect::<PyResult<_>>()?
    } else {
        vec![out.clone()]
    };
    if given.len() != outputs {
        return Err(refused(format!(
            "out has {} arrays, but the model has {outputs} outputs; give a tuple of one for each",
            given.len()
        )));
    }
    Ok(given.into_iter().map(Some).collect())
}
