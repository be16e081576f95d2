//! `horq import`: an ONNX file becomes a `.horq` file.

mod check;

use crate::cli;
use crate::failure::Failure;
use check::{Agreement, CLOSE};
use horq::replace_file;
use horq_import::{Error, Imported, onnx};
use serde_json::json;
use std::io::Write;

/// Of a hundred samples, how many may differ without a reason before the command fails: not every tie is found.
const UNEXPLAINED_THAT_MAY_BE: usize = 2;

/// Runs the command.
pub(crate) fn import(args: &cli::Import, out: &mut dyn Write) -> Result<(), Failure> {
    let (Some(file), Some(output), false) = (&args.file, &args.output, args.operations) else {
        return Ok(writeln!(out, "{}", horq_import::operations().join("\n"))?);
    };
    let fail = |error| match error {
        Error::Io { .. } => Failure::Failed(error.to_string()), // names its file itself
        error => Failure::file(file, error),
    };
    let shapes = args.input.iter().cloned().collect();
    let graph = onnx::read(file, &onnx::Options { shapes }).map_err(fail)?;
    let mut options = horq_import::Options::default();
    options.same_layout = args.same_layout;
    let imported = horq_import::import(graph, &options).map_err(fail)?;
    replace_file(output, &imported.file).map_err(|error| Failure::Failed(error.to_string()))?;
    let agreement = (args.check > 0).then(|| check::check(args, file, &imported)).transpose()?;
    if args.json {
        let report = document(&imported, agreement);
        writeln!(out, "{report}")?;
    } else {
        write!(out, "{}", imported.report)?;
        if let Some(agreement) = agreement {
            writeln!(out, "\n{}", sentence(agreement))?;
        }
    }
    match agreement {
        Some(agreement) if !agreement.holds() => {
            Err(Failure::file(output, "it does not answer as the original does; do not use it, and report this"))
        }
        _ => Ok(()),
    }
}

impl Agreement {
    /// Whether the file can stand for the original.
    fn holds(&self) -> bool {
        (self.samples - self.close - self.ties) * 100 <= self.samples * UNEXPLAINED_THAT_MAY_BE
    }
}

fn sentence(agreement: Agreement) -> String {
    let Agreement { samples, largest, close, ties, classes } = agreement;
    let sentence = format!(
        "beside the original, {samples} samples: same class {classes}, within {CLOSE:.0e} of the largest value {close}, \
         largest difference {largest:.1e}"
    );
    match samples - close {
        0 => sentence,
        off => format!(
            "{sentence}\nof the {off} that lie further off, {ties} move as far in the original when numbers change in their last \
             bits: a sign or a rounding hangs on them"
        ),
    }
}

fn document(imported: &Imported, agreement: Option<Agreement>) -> serde_json::Value {
    let ports = |ports: &[horq_import::Port]| -> Vec<serde_json::Value> {
        ports.iter().map(|port| json!({ "name": port.name, "shape": port.shape, "order": port.order })).collect()
    };
    let check = agreement.map(|Agreement { samples, largest, close, ties, classes }| {
        json!({ "samples": samples, "largest_difference": largest, "close": close, "ties": ties, "same_class": classes })
    });
    json!({
        "inputs": ports(&imported.inputs),
        "outputs": ports(&imported.outputs),
        "file_bytes": imported.file.len(),
        "report": imported.report,
        "check": check,
    })
}
