//! `horq verify`: is this file whole, and does this machine compute what its maker computed? Without a file: does this machine compute
//! what every other one does?

use crate::answer::difference as apart;
use crate::cli;
use crate::failure::Failure;
use crate::isa;
use crate::model;
use crate::table::Table;
use crate::terminal::Style;
use horq::selftest::{self, FINGERPRINT};
use horq::{Golden, Model, Session, SessionOptions, Values};
use horq_kernels::Isa;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How far a value may lie from the stored one, relative to the largest stored value of the same output and sample.
const TOLERANCE: f64 = 1e-4;

/// Runs the command.
pub(crate) fn verify(args: &cli::Verify, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.model {
        Some(path) => verify_model(path, args.selftest, out),
        None => verify_machine(out),
    }
}

/// Runs the engine's own test.
fn verify_machine(out: &mut dyn Write) -> Result<(), Failure> {
    // Fails where HORQ_ISA or HORQ_REQUIRE_ISA demands what this CPU lacks.
    isa::used()?;
    let start = Instant::now();
    let report = selftest::run().map_err(|error| Failure::Failed(error.to_string()))?;
    show(&report, start.elapsed(), out)
}

/// Shows a report, and fails if a backend has another number than all must have.
fn show(report: &selftest::Report, took: Duration, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(&["instruction set", "fingerprint", "result"]);
    for (isa, number) in &report.numbers {
        let verdict = if number == FINGERPRINT { "ok" } else { "DIFFERS" };
        table.row([isa.name().into(), number.clone(), verdict.into()]);
    }
    let verdict = if report.faults.is_empty() { "ok" } else { "FAILED" };
    writeln!(out, "selftest   {verdict}  fingerprint {FINGERPRINT} on every CPU, {:.1} s\n", took.as_secs_f64())?;
    write!(out, "{}", table.render(Style::detect(false)))?;
    if report.faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    Err(Failure::Failed(format!(
        "self-test: {}; do not trust answers of this machine, and report this",
        faults.join("; ")
    )))
}

/// Checks a file and, on request, the answers to its example.
fn verify_model(path: &Path, selftest: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let fail = |error: horq::Error| Failure::file(path, error);
    let model = model::open(path)?;
    let (nodes, (major, minor)) = (model.graph().nodes.len(), model.version());
    writeln!(out, "structure  ok  {nodes} layers, {} bytes, format {major}.{minor}", model.file_len())?;
    model.verify_digest().map_err(fail)?;
    writeln!(out, "digest     ok  {}", model.digest())?;
    if !selftest {
        return Ok(());
    }
    let Some(golden) = model.golden() else {
        return Err(Failure::file(
            path,
            "the file holds no example to test with; export the model with one (`horq.export` stores the example it is given)",
        ));
    };
    // Fails where HORQ_ISA or HORQ_REQUIRE_ISA demands what this CPU lacks.
    isa::used()?;
    let results: Vec<(Isa, Vec<Vec<f32>>)> = Isa::available()
        .map(|isa| answers(&model, &golden, isa).map(|answer| (isa, answer)).map_err(fail))
        .collect::<Result<_, _>>()?;
    let mut table = Table::new(&["instruction set", ">largest difference", ">relative", "result"]);
    let mut failures = Vec::new();
    for (isa, answers) in &results {
        let (difference, relative) = difference(&golden, answers);
        let same = answers.iter().flatten().zip(results[0].1.iter().flatten()).all(|(a, b)| a.to_bits() == b.to_bits());
        let verdict = match (relative <= TOLERANCE, same) {
            (true, true) => "ok",
            (true, false) => "differs from the other instruction sets",
            (false, _) => "differs from the stored answer",
        };
        if verdict != "ok" {
            failures.push(format!("{isa} {verdict}"));
        }
        let show = |value: f64| if value == 0.0 { "0".into() } else { format!("{value:.1e}") };
        table.row([isa.name().into(), show(difference), show(relative), verdict.into()]);
    }
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    let samples = golden.samples;
    writeln!(out, "selftest   {verdict}  {samples} stored samples, allowed relative difference {TOLERANCE:.0e}\n")?;
    write!(out, "{}", table.render(Style::detect(false)))?;
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::file(
        path,
        format_args!("self-test: {}; do not use this model on this machine, and report this", failures.join("; ")),
    ))
}

/// The answers to the stored samples at full order, of each output.
fn answers(model: &Model, golden: &Golden<'_>, isa: Isa) -> Result<Vec<Vec<f32>>, horq::Error> {
    let mut session = Session::new(model, SessionOptions::new().isa(isa))?;
    let mut answers: Vec<Vec<f32>> = golden.outputs.iter().map(|output| vec![0.0; output.len()]).collect();
    let lens = [session.input_lens().to_vec(), session.output_lens().to_vec()];
    for sample in 0..golden.samples {
        let inputs =
            golden.inputs.iter().zip(&lens[0]).map(|(values, len)| Values::F32(&values[sample * len..][..*len]));
        let inputs: Vec<Values<'_>> = inputs.collect();
        let cut = answers.iter_mut().zip(&lens[1]).map(|(answer, len)| &mut answer[sample * len..][..*len]);
        session.run_many(&inputs, &mut cut.collect::<Vec<_>>())?;
    }
    Ok(answers)
}

/// The largest difference, absolute and relative to the largest stored value of the same output and sample.
fn difference(golden: &Golden<'_>, answers: &[Vec<f32>]) -> (f64, f64) {
    let mut worst = (0.0f64, 0.0f64);
    for (stored, answer) in golden.outputs.iter().zip(answers) {
        let len = stored.len() / golden.samples;
        for (stored, found) in stored.chunks_exact(len).zip(answer.chunks_exact(len)) {
            let [largest, relative] = apart(stored, found);
            worst = (worst.0.max(largest), worst.1.max(relative));
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_another_number_fails() {
        let mut report = selftest::run().unwrap();
        let shown = |report: &selftest::Report| {
            let mut out = Vec::new();
            let done = show(report, Duration::from_millis(1500), &mut out);
            (done, String::from_utf8(out).unwrap())
        };
        let (done, text) = shown(&report);
        assert!(done.is_ok() && text.contains("selftest   ok") && !text.contains("DIFFERS"), "{text}");
        report.numbers[0].1 = "0123456789abcdef".into();
        report.faults.push(selftest::Fault::new(Isa::Portable, "0123456789abcdef", None));
        let (done, text) = shown(&report);
        let Err(Failure::Failed(message)) = done else { panic!("{done:?}") };
        assert!(message.contains("portable gives 0123456789abcdef") && message.contains(FINGERPRINT), "{message}");
        assert!(text.contains("FAILED") && text.contains("DIFFERS"), "{text}");
    }
}
