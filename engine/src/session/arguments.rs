//! The slices that a caller passes to a run, and the search for values in them that are not finite.

use crate::error::InputError;
use crate::graph::Graph;
use crate::{Error, Values};
use horq_kernels::Interrupt;

/// Checks what a caller passes to a session of that batch, whose samples have so many values of each input and output;
/// returns the number of samples.
pub(super) fn check(
    graph: &Graph,
    [input_lens, output_lens]: [&[usize]; 2],
    batch: usize,
    inputs: &[Values<'_>],
    outputs: &[&mut [f32]],
) -> Result<usize, Error> {
    let counts = [("input", inputs.len(), input_lens.len()), ("output", outputs.len(), output_lens.len())];
    for (kind, found, expected) in counts {
        if found != expected {
            let names: Vec<&str> = match kind {
                "input" => graph.inputs.iter().map(|input| input.name.as_str()).collect(),
                _ => graph.outputs.iter().map(String::as_str).collect(),
            };
            return Err(InputError::ValueCount { kind, found, expected, names: names.join(", ") }.into());
        }
    }
    let first = inputs[0].len() / input_lens[0];
    for ((values, &sample), input) in inputs.iter().zip(input_lens).zip(&graph.inputs) {
        let (found, samples) = (values.len(), values.len() / sample);
        if !(1..=batch).contains(&samples) || !found.is_multiple_of(sample) {
            return Err(InputError::InputLength { input: input.name.clone(), found, sample, batch }.into());
        }
        if samples != first {
            let (input, other) = (input.name.clone(), graph.input().name.clone());
            return Err(InputError::SamplesDiffer { input, samples, other, expected: first }.into());
        }
    }
    for ((output, &sample), name) in outputs.iter().zip(output_lens).zip(&graph.outputs) {
        let (found, expected) = (output.len(), first * sample);
        if found != expected {
            let output = name.clone();
            return Err(InputError::OutputLength { output, found, expected, samples: first, sample }.into());
        }
    }
    Ok(first)
}

/// Checks that all values of the inputs are finite; errors count samples from `first_sample` on. Ends early where the run does.
///
/// # Errors
/// [`InputError::InputNotFinite`] with the first value of the first sample that has one.
pub(super) fn check_finite(
    graph: &Graph,
    input_lens: &[usize],
    inputs: &[Values<'_>],
    first_sample: usize,
    interrupt: Option<&dyn Interrupt>,
) -> Result<(), Error> {
    let found = inputs.iter().zip(input_lens).enumerate().filter_map(|(number, (values, &len))| {
        let Values::F32(values) = values else { return None };
        let index = first_not_finite(values, interrupt)?;
        Some((index / len, number, index, values[index]))
    });
    let Some((sample, number, index, value)) = found.min_by_key(|&(sample, number, ..)| (sample, number)) else {
        return Ok(());
    };
    let (input, before) = (graph.inputs[number].name.clone(), first_sample.saturating_mul(input_lens[number]));
    let (index, sample) = (index.saturating_add(before), sample.saturating_add(first_sample));
    Err(InputError::InputNotFinite { input, index, sample, value }.into())
}

/// Values that are looked at before the run's interrupt is: some 0.05 ms of reading from memory.
pub(super) const SPAN: usize = 1 << 17;

/// The first value that is NaN or infinite; none where the run ends meanwhile.
pub(super) fn first_not_finite(values: &[f32], interrupt: Option<&dyn Interrupt>) -> Option<usize> {
    let spans = values.chunks(SPAN).enumerate();
    let mut spans = spans.take_while(|_| !interrupt.is_some_and(Interrupt::is_raised));
    spans.find_map(|(number, span)| Some(number * SPAN + first_of_span(span)?))
}

/// The first value that is NaN or infinite.
fn first_of_span(values: &[f32]) -> Option<usize> {
    /// The bits of infinity; what is not finite has at least these, the sign left out.
    const INFINITY: i32 = 0x7f80_0000;
    // Blocks without an early exit, which the compiler turns into vector code.
    let dirty = |block: &[f32]| block.iter().fold(false, |any, x| any | ((x.to_bits() as i32 & i32::MAX) >= INFINITY));
    let block = values.chunks(1024).position(dirty)?;
    values[block * 1024..].iter().position(|x| !x.is_finite()).map(|i| block * 1024 + i)
}
