//! The slices that a caller passes to a run.

use crate::error::InputError;
use crate::graph::Graph;
use crate::{Error, Values};

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
    for ((values, &len), input) in inputs.iter().zip(input_lens).zip(&graph.inputs) {
        let Values::F32(values) = values else { continue };
        if let Some(index) = first_not_finite(values) {
            let (input, sample) = (input.name.clone(), index / len);
            return Err(InputError::InputNotFinite { input, index, sample, value: values[index] }.into());
        }
    }
    Ok(first)
}

/// The first value that is NaN or infinite.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    /// The bits of infinity; what is not finite has at least these, the sign left out.
    const INFINITY: i32 = 0x7f80_0000;
    // Blocks without an early exit, which the compiler turns into vector code.
    let dirty = |block: &[f32]| block.iter().fold(false, |any, x| any | ((x.to_bits() as i32 & i32::MAX) >= INFINITY));
    let block = values.chunks(1024).position(dirty)?;
    values[block * 1024..].iter().position(|x| !x.is_finite()).map(|i| block * 1024 + i)
}
