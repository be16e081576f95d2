//! The buffers of a run.

use std::ffi::c_void;
use std::ops::Range;

use crate::border::{slice, slice_mut, span};
use crate::failure::Failure;
use horq::Values;
use horq::error::InputError;

/// The type of an input's values: float.
pub const HORQ_F32: u32 = 0;
/// The type of an input's values: bytes, which stand for 0 to 255, as decoders of images give them.
pub const HORQ_U8: u32 = 1;

/// The values of one input of a run: its samples one after another, NHWC, without gaps.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The values.
    pub data: *const c_void,
    /// How many values there are, of all samples.
    pub length: usize,
    /// HORQ_F32 or HORQ_U8.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

/// Where one output of a run goes: as many samples as the inputs have, one after another.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The values. What they are after a run that failed is unspecified.
    pub data: *mut f32,
    /// How many values there are, of all samples.
    pub length: usize,
}

/// The slices of a run, in memory that is kept between runs.
pub(crate) struct Slices {
    inputs: Vec<Values<'static>>,
    outputs: Vec<&'static mut [f32]>,
    /// The addresses of the outputs, in ascending order.
    spans: Vec<Range<usize>>,
}

impl Slices {
    /// Room for the buffers of a model with so many inputs and outputs.
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        let spans = Vec::with_capacity(outputs);
        Self { inputs: Vec::with_capacity(inputs), outputs: Vec::with_capacity(outputs), spans }
    }

    /// Lets `run` have the buffers of a caller's as slices.
    ///
    /// # Safety
    /// Each buffer is NULL or has as many values as it says, which nobody writes meanwhile, and nobody reads those of outputs.
    pub(crate) unsafe fn with<T>(
        &mut self,
        inputs: &[Input],
        outputs: &[Output],
        run: impl FnOnce(&[Values<'_>], &mut [&mut [f32]]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // Most models have one of each, and their runs may be short.
        if let ([input], [output]) = (inputs, outputs) {
            let [from, to] = [input.span()?, span(output.data, output.length, "data of an output")?];
            if from.start < to.end && to.start < from.end {
                return Err(overlap(0));
            }
            // SAFETY: the caller's promise; the output does not lie in the same memory.
            let (values, slice) =
                unsafe { (input.values()?, slice_mut(output.data, output.length, "data of an output")?) };
            return run(&[values], &mut [slice]);
        }
        self.clear(); // of what a run left that broke off
        self.check_apart(inputs, outputs)?;
        for input in inputs {
            // SAFETY: the caller's promise; no output lies in the same memory. The slice is not kept beyond this call.
            self.inputs.push(unsafe { input.values() }?);
        }
        for output in outputs {
            // SAFETY: as above.
            self.outputs.push(unsafe { slice_mut(output.data, output.length, "data of an output") }?);
        }
        let outcome = run(&self.inputs, &mut self.outputs);
        self.clear();
        outcome
    }

    fn clear(&mut self) {
        self.inputs.clear();
        self.outputs.clear();
        self.spans.clear();
    }

    /// Checks that nothing else lies where an output goes.
    fn check_apart(&mut self, inputs: &[Input], outputs: &[Output]) -> Result<(), Failure> {
        for output in outputs {
            let span = span(output.data, output.length, "data of an output")?;
            if !span.is_empty() {
                self.spans.push(span);
            }
        }
        self.spans.sort_unstable_by_key(|span| span.start);
        if self.spans.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(Failure::input("two outputs overlap; give each memory of its own"));
        }
        for (number, input) in inputs.iter().enumerate() {
            let span = input.span()?;
            let next = self.spans.partition_point(|output| output.end <= span.start);
            if self.spans.get(next).is_some_and(|output| output.start < span.end) {
                return Err(overlap(number));
            }
        }
        Ok(())
    }
}

fn overlap(input: usize) -> Failure {
    Failure::input(format!("input {input} and an output overlap; give the output memory of its own"))
}

impl Input {
    fn span(&self) -> Result<Range<usize>, Failure> {
        match self.kind {
            HORQ_F32 => span(self.data.cast::<f32>(), self.length, "data of an input"),
            HORQ_U8 => span(self.data.cast::<u8>(), self.length, "data of an input"),
            kind => Err(Failure::input(format!("the kind of an input is HORQ_F32 or HORQ_U8, not {kind}"))),
        }
    }

    /// # Safety
    /// As [`slice`].
    unsafe fn values<'a>(&self) -> Result<Values<'a>, Failure> {
        if self.reserved != 0 {
            return Err(Failure::input("`reserved` of an input must be 0: nothing is defined for it"));
        }
        // SAFETY: the caller's promise is the same.
        Ok(unsafe {
            match self.kind {
                HORQ_U8 => Values::U8(slice(self.data.cast(), self.length, "data of an input")?),
                _ => Values::F32(slice(self.data.cast(), self.length, "data of an input")?),
            }
        })
    }
}

/// Checks that there are as many inputs or outputs as the model has, before any is looked at.
pub(crate) fn check_count<'a>(
    kind: &'static str,
    found: usize,
    names: impl ExactSizeIterator<Item = (&'a str, horq::graph::Shape)>,
) -> Result<(), Failure> {
    let expected = names.len();
    if found == expected {
        return Ok(());
    }
    let names = names.map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    Err(horq::Error::from(InputError::ValueCount { kind, found, expected, names }).into())
}
