//! The new file beside the original: both answer the same inputs.

use crate::answer::{difference, top1};
use crate::cli;
use crate::failure::Failure;
use crate::input;
use horq::{Model, Session, SessionOptions, Values, escaped};
use horq_import::{Imported, Port};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Runs the original in Python.
const ORIGINAL: &str = include_str!("original.py");

/// How the answers compare.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreement {
    /// Samples that were compared.
    pub(super) samples: usize,
    /// The largest difference, relative to the largest value of its sample's answer.
    pub(super) largest: f64,
    /// Samples within [`CLOSE`].
    pub(super) close: usize,
    /// Samples further off, whose answer from the original moves as far when numbers change in their last bits: a value lies at the
    /// threshold of a sign or a rounding there, or the network magnifies rounding.
    pub(super) ties: usize,
    /// Samples whose first answer has its largest value at the same place.
    pub(super) classes: usize,
}

/// How far f32 answers lie apart where sums are taken in another order.
pub(super) const CLOSE: f64 = 1e-4;

/// A tie may move ours farther than it moved the original when that was tried, as many signs hang on the first.
const REACH: f64 = 2.0;

/// Runs both on `args.check` samples.
pub(super) fn check(args: &cli::Import, file: &Path, imported: &Imported) -> Result<Agreement, Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::Failed(format!("no temporary folder: {error}")))?;
    let shapes = |ports: &[Port]| ports.iter().map(|port| json!([port.name, port.shape])).collect::<Vec<_>>();
    let names: Vec<&str> = imported.outputs.iter().map(|port| port.name.as_str()).collect();
    let mut job = json!({ "inputs": shapes(&imported.inputs), "outputs": names });
    python(args, file, folder.path(), &job)?;
    let read = |kind: &str, ports: &[Port]| -> Result<Vec<Vec<f32>>, Failure> {
        (0..ports.len()).map(|place| floats(&folder.path().join(format!("{kind}_{place}.npy")))).collect()
    };
    let (inputs, outputs) = (read("input", &imported.inputs)?, read("output", &imported.outputs)?);
    let samples = compare(imported, &inputs, &outputs).map_err(|error| Failure::Failed(error.to_string()))?;
    let off: Vec<usize> = (0..samples.len()).filter(|&sample| samples[sample].apart > CLOSE).collect();
    let mut agreement = Agreement {
        samples: samples.len(),
        largest: samples.iter().map(|sample| sample.apart).fold(0.0, f64::max),
        close: samples.len() - off.len(),
        ties: 0,
        classes: samples.iter().filter(|sample| sample.same_class).count(),
    };
    if !off.is_empty() {
        job["moved"] = json!(off);
        python(args, file, folder.path(), &job)?;
        let moved = floats(&folder.path().join("moved.npy"))?;
        let explained = |(&sample, moved): (&usize, f32)| samples[sample].apart <= REACH * f64::from(moved);
        agreement.ties = off.iter().zip(moved).filter(|&pair| explained(pair)).count();
    }
    Ok(agreement)
}

/// Runs the original, which leaves its answers in `folder`.
fn python(args: &cli::Import, file: &Path, folder: &Path, job: &serde_json::Value) -> Result<(), Failure> {
    let mut command = Command::new(&args.python);
    command.arg("-c").arg(ORIGINAL).arg(file).arg(folder);
    command.arg(args.check.to_string()).arg("1").arg(job.to_string()).args(&args.samples);
    let ran = command.output().map_err(|error| {
        let python = escaped(&args.python);
        Failure::Failed(format!("cannot run {python}: {error}; name a Python with onnxruntime by --python"))
    })?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    // The reason stands at the end of what Python says, which may take several lines.
    let lines: Vec<&str> = said.trim().lines().map(str::trim).collect();
    let reason = lines[lines.len().saturating_sub(3)..].join(" ");
    Err(Failure::file(file, format_args!("the original does not run: {reason}")))
}

/// One sample in both.
struct Compared {
    /// The largest difference, relative to the largest value of the answer.
    apart: f64,
    /// Whether the first answer has its largest value at the same place.
    same_class: bool,
}

fn compare(imported: &Imported, inputs: &[Vec<f32>], outputs: &[Vec<f32>]) -> Result<Vec<Compared>, horq::Error> {
    let model = Model::from_bytes(&imported.file)?;
    let mut session = Session::new(&model, SessionOptions::new())?;
    let mut samples = Vec::new();
    for sample in 0..inputs[0].len() / len(&imported.inputs[0]) {
        let of = |port: &Port, values: &[f32]| {
            let values = &values[sample * len(port)..][..len(port)];
            moved(values, &port.shape, &port.order)
        };
        let given: Vec<Vec<f32>> = imported.inputs.iter().zip(inputs).map(|(port, values)| of(port, values)).collect();
        let expected: Vec<Vec<f32>> =
            imported.outputs.iter().zip(outputs).map(|(port, values)| of(port, values)).collect();
        let mut found: Vec<Vec<f32>> = expected.iter().map(|values| vec![0.0; values.len()]).collect();
        let given: Vec<Values<'_>> = given.iter().map(|values| Values::F32(values)).collect();
        let mut slices: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        session.run_many(&given, &mut slices)?;
        let apart = expected.iter().zip(&found).map(|(a, b)| difference(a, b)[1]).fold(0.0, f64::max);
        samples.push(Compared { apart, same_class: top1(&expected[0]) == top1(&found[0]) });
    }
    Ok(samples)
}

/// Values of one sample of a port.
fn len(port: &Port) -> usize {
    port.shape.iter().product::<usize>().max(1)
}

/// Row-major values of `shape`, their axes in another order: axis i of the result is axis `order[i]`.
fn moved(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
    let (mut place, mut at) = (vec![0; order.len()], 0);
    let mut result = Vec::with_capacity(values.len());
    while result.len() < values.len() {
        result.push(values[at]);
        for (axis, &source) in order.iter().enumerate().rev() {
            place[axis] += 1;
            at += strides[source];
            if place[axis] < shape[source] {
                break;
            }
            at -= strides[source] * shape[source];
            place[axis] = 0;
        }
    }
    result
}

fn floats(path: &Path) -> Result<Vec<f32>, Failure> {
    let array = input::read(path)?;
    let mut values = vec![0.0; array.dims.iter().product()];
    array.values.gather(0, 1, &mut values);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_move() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        // [1, 2, 3, 2] with channels in front becomes [1, 3, 2, 2] with channels behind.
        let expected = [0., 6., 1., 7., 2., 8., 3., 9., 4., 10., 5., 11.];
        assert_eq!(moved(&values, &[1, 2, 3, 2], &[0, 2, 3, 1]), expected);
        assert_eq!(moved(&values, &[1, 12], &[0, 1]), values);
    }
}
