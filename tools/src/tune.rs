//! `horq tune`: mixtures of orders that are worth their time on this machine.

use crate::cli;
use crate::failure::Failure;
use crate::input::{self, Layout};
use crate::model;
use crate::table::{Table, percent};
use crate::terminal::Style;
use horq::{Model, escaped};
use horq_probe::display::printable;
use horq_probe::machine;
use horq_tune::search::undominated;
use horq_tune::{Candidate, Data, Options, Report, Step};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Runs the command.
pub(crate) fn tune(args: &cli::Tune, out: &mut dyn Write) -> Result<(), Failure> {
    if !args.scale.is_finite() || !args.shift.is_finite() {
        return Err(Failure::Usage("--scale and --shift must be finite numbers".into()));
    }
    if !args.labels.is_empty() && args.labels.len() != args.data.len() {
        let (labels, data) = (args.labels.len(), args.data.len());
        return Err(Failure::Usage(format!("{labels} files of labels for {data} of data; name one for each, or none")));
    }
    let model = model::open(&args.model)?;
    let (mut inputs, mut labels) = read(args, &model)?;
    let sample = model.input_shape().len();
    if let Some(wanted) = args.samples {
        let all = inputs.len() / sample;
        if wanted > all {
            return Err(Failure::Usage(format!("--samples {wanted}, but the data has {all}")));
        }
        inputs.drain(..(all - wanted) * sample);
        labels.as_mut().map(|labels| labels.drain(..all - wanted));
    }
    let name = args.data.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy()).collect::<Vec<_>>();
    let name = printable(&name.join(", ")).to_string();
    let mut options = Options::default();
    options.threads = args.threads.into();
    options.points = args.points.into();
    (options.latency, options.loss) = (args.latency, args.loss);
    (options.table_samples, options.candidates, options.time) = (args.table_samples, args.candidates, args.time);
    options.cpu = machine::cpu().chars().take(200).collect();
    let data = Data { inputs: &inputs, labels: labels.as_deref(), name: &name };
    let shows = io::stderr().is_terminal();
    let mut progress = |step: Step| {
        if shows {
            let _ = write!(io::stderr(), "\r\x1b[K{} {}/{}", step.what, step.done, step.of);
        }
    };
    let found = horq_tune::tune(&model, data, &options, &mut progress);
    if shows {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let report = found.map_err(|error| Failure::file(&args.model, error))?;
    if let Some(path) = &args.csv {
        write_file(path, &csv(&report))?;
    }
    if let Some(path) = &args.output {
        let written = model.write_with_points(&report.points, path);
        written.map_err(|error| Failure::Failed(error.to_string()))?;
    }
    if args.json { show_json(args, &report, out) } else { show(args, &report, out) }
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    horq::replace_file(path, text.as_bytes()).map_err(|error| Failure::Failed(error.to_string()))
}

/// The samples of all files, prepared, and their labels if they have any.
fn read(args: &cli::Tune, model: &Model) -> Result<(Vec<f32>, Option<Vec<u8>>), Failure> {
    let (mut inputs, mut labels, mut labelled) = (Vec::new(), Vec::new(), 0);
    let len = model.input_shape().len();
    for (number, path) in args.data.iter().enumerate() {
        let array = input::read(path)?;
        let layout = Layout::fit(&array, model.input_shape(), args.layout);
        let layout = layout.map_err(|message| Failure::file(path, message))?;
        let mut values = vec![0.0; len];
        for sample in 0..layout.samples {
            layout.copy(&array, sample, &mut values);
            inputs.extend(values.iter().map(|value| value * args.scale + args.shift));
        }
        let of_file = match args.labels.get(number) {
            Some(path) => Some(input::read_labels(path)?),
            None => array.labels,
        };
        if let Some(of_file) = of_file {
            if of_file.len() != layout.samples {
                let (found, samples) = (of_file.len(), layout.samples);
                return Err(Failure::file(path, format_args!("has {samples} samples, but there are {found} labels")));
            }
            labelled += 1;
            labels.extend(of_file);
        }
    }
    if labelled > 0 && labelled < args.data.len() {
        let text = "some files of the data have labels and others have none; give --labels for each";
        return Err(Failure::Usage(text.into()));
    }
    Ok((inputs, (labelled > 0).then_some(labels)))
}

fn orders(one: &Candidate) -> String {
    one.orders.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

fn csv(report: &Report) -> String {
    let mut text = String::from("orders,us,predicted_us,accuracy,loss,front,uniform\n");
    for one in &report.candidates {
        let Candidate { microseconds, predicted, accuracy, loss, is_on_front, is_uniform, .. } = one;
        text +=
            &format!("{},{microseconds:.2},{predicted:.2},{accuracy},{loss},{is_on_front},{is_uniform}\n", orders(one));
    }
    text
}

fn show(args: &cli::Tune, report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let names: Vec<String> =
        report.layers.iter().map(|(name, most)| format!("{} (to {most})", escaped(name))).collect();
    writeln!(out, "{}: {} samples, layers {}", escaped(&args.model), report.samples, names.join(", "))?;
    let judged = if report.has_labels { "cross-entropy" } else { "divergence" };
    let right = if report.has_labels { ">accuracy" } else { ">as highest" };
    let mut table = Table::new(&[
        "orders",
        ">us",
        ">additive",
        right,
        if report.has_labels { ">cross-entropy" } else { ">divergence" },
        "",
        "",
    ]);
    for one in &report.candidates {
        table.row([
            orders(one),
            format!("{:.1}", one.microseconds),
            format!("{:+.1} %", 100.0 * (one.predicted / one.microseconds - 1.0)),
            format!("{:.2} %", 100.0 * one.accuracy),
            format!("{:.4}", one.loss),
            if one.is_on_front { "front" } else { "" }.into(),
            if one.is_uniform { "uniform" } else { "" }.into(),
        ]);
    }
    write!(out, "\n{}", table.render(Style::detect(false)))?;
    let [mean, most] = report.additive_error();
    writeln!(
        out,
        "\nThe front is by time and {judged}. The additive model errs by {} in the mean, {} at most.",
        percent(mean),
        percent(most)
    )?;
    // Of the cascades those that no other is better than; JSON has them all.
    let cascades = undominated(report.cascades.clone(), |cascade| [cascade.microseconds, -cascade.accuracy]);
    for cascade in &cascades {
        let (low, high) = (orders(&report.candidates[cascade.low]), orders(&report.candidates[cascade.high]));
        writeln!(
            out,
            "cascade {low} then {high} below {:.3}: {} again, {:.1} us, {:.2} %",
            cascade.margin,
            percent(cascade.share),
            cascade.microseconds,
            100.0 * cascade.accuracy
        )?;
    }
    for point in &report.points.all {
        let is_default = report.points.default.as_ref() == Some(&point.name);
        let figures = (
            point.latency.as_ref().map_or(0.0, |at| at.microseconds),
            point.loss.as_ref().map_or(0.0, |loss| loss.value),
        );
        let orders = point.orders.values().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mark = if is_default { " (default)" } else { "" };
        writeln!(
            out,
            "point {}{mark}: {:.1} us, loses {:.3}, orders by name {orders}",
            escaped(&point.name),
            figures.0,
            figures.1
        )?;
    }
    match &args.output {
        Some(path) => writeln!(out, "Written to {}.", escaped(path))?,
        None => writeln!(out, "Nothing was written; -o FILE writes the points into a file.")?,
    }
    Ok(())
}

fn show_json(args: &cli::Tune, report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let candidates: Vec<_> = report
        .candidates
        .iter()
        .map(|one| {
            json!({
                "orders": one.orders, "us": one.microseconds, "predicted_us": one.predicted, "accuracy": one.accuracy, "loss": one.loss,
                "front": one.is_on_front, "uniform": one.is_uniform,
            })
        })
        .collect();
    let cascades: Vec<_> = report
        .cascades
        .iter()
        .map(|one| {
            json!({
                "low": report.candidates[one.low].orders, "high": report.candidates[one.high].orders, "margin": one.margin,
                "share": one.share, "us": one.microseconds, "accuracy": one.accuracy,
            })
        })
        .collect();
    let [mean, most] = report.additive_error();
    let points: serde_json::Value = serde_json::from_str(&report.points.to_json()).unwrap_or_default();
    let layers: Vec<_> = report.layers.iter().map(|(name, most)| json!({ "name": name, "max_order": most })).collect();
    let document = json!({
        "model": args.model.to_string_lossy(), "samples": report.samples, "labels": report.has_labels, "layers": layers,
        "table": report.table, "candidates": candidates, "cascades": cascades,
        "additive_error": { "mean": mean, "largest": most }, "points": points,
    });
    Ok(writeln!(out, "{}", printable(&format!("{document:#}")))?)
}
