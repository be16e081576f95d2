//! `horq run`: a model's answers to files, or its accuracy on labelled ones.

use crate::answer::{Confidence, top, top1};
use crate::cli;
use crate::failure::Failure;
use crate::input::{self, Arrangement, Array, Layout};
use crate::model;
use crate::table::{percent, time};
use horq::{Model, Session, SessionOptions, Threads, escaped};
use horq_probe::display::{self, columns, padded};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// One file of samples.
struct Source<'a> {
    path: &'a Path,
    array: Array,
    layout: Layout,
}

impl<'a> Source<'a> {
    fn read(path: &'a Path, model: &Model, arrangement: Arrangement) -> Result<Self, Failure> {
        let array = input::read(path)?;
        let layout = Layout::fit(&array, model.input_shape(), arrangement);
        let layout = layout.map_err(|message| Failure::file(path, message))?;
        Ok(Self { path, array, layout })
    }
}

/// One sample of one file.
#[derive(Clone, Copy)]
struct Sample<'a> {
    source: &'a Source<'a>,
    index: usize,
}

impl Sample<'_> {
    /// Its name for people: the file, and its place where the file holds more than one.
    fn name(self) -> String {
        let file = escaped(self.source.path);
        if self.source.layout.samples == 1 { file.to_string() } else { format!("{file}[{}]", self.index) }
    }
}

/// Runs the command.
pub(crate) fn run(args: &cli::Run, out: &mut dyn Write) -> Result<(), Failure> {
    if !args.scale.is_finite() || !args.shift.is_finite() {
        return Err(Failure::Usage("--scale and --shift must be finite numbers".into()));
    }
    let model = model::open(&args.model)?;
    let source = |path| Source::read(path, &model, args.layout);
    let sources: Vec<Source<'_>> = args.inputs.iter().map(|path| source(path)).collect::<Result<_, _>>()?;
    let samples: Vec<Sample<'_>> = sources
        .iter()
        .flat_map(|source| (0..source.layout.samples).map(move |index| Sample { source, index }))
        .collect();
    let labels = args.labels.as_deref().map(|path| labels(path, samples.len(), &model)).transpose()?;

    let threads = if args.threads == 1 { Threads::Inline } else { Threads::Own(args.threads.into()) };
    let options = SessionOptions::new().batch(args.batch.min(samples.len())).threads(threads);
    let session = model::session(&args.model, &model, options, &args.orders)?;
    let mut runner = Runner { args, model: &model, session, elapsed: Duration::ZERO };
    match labels {
        Some(labels) => runner.accuracy(&samples, &labels, out),
        None => runner.answers(&samples, out),
    }
}

/// Reads labels and holds them against the samples and the model.
fn labels(path: &Path, samples: usize, model: &Model) -> Result<Vec<u8>, Failure> {
    let labels = input::read_labels(path)?;
    if labels.len() != samples {
        return Err(Failure::file(
            path,
            format_args!(
                "holds {} labels, but the inputs hold {samples} samples; name the files that belong together",
                labels.len()
            ),
        ));
    }
    let classes = model.output_shape().len();
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        Some(i) => Err(Failure::file(
            path,
            format_args!("label {i} is {}, but the model has only {classes} outputs (0 to {})", labels[i], classes - 1),
        )),
        None => Ok(labels),
    }
}

struct Runner<'a> {
    args: &'a cli::Run,
    model: &'a Model,
    session: Session,
    /// Time inside the session.
    elapsed: Duration,
}

impl Runner<'_> {
    /// Runs all samples and gives each one's outputs to `take`.
    fn each<'a>(
        &mut self,
        samples: &[Sample<'a>],
        mut take: impl FnMut(usize, Sample<'a>, &[f32]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (input_len, output_len, batch) =
            (self.session.input_len(), self.session.output_len(), self.session.batch());
        let mut inputs = vec![0.0; batch * input_len];
        let mut outputs = vec![0.0; batch * output_len];
        for (chunk, first) in samples.chunks(batch).zip((0..).step_by(batch)) {
            let inputs = &mut inputs[..chunk.len() * input_len];
            let outputs = &mut outputs[..chunk.len() * output_len];
            for (sample, values) in chunk.iter().zip(inputs.chunks_exact_mut(input_len)) {
                let Source { path, array, layout } = sample.source;
                layout.copy(array, sample.index, values);
                values.iter_mut().for_each(|v| *v = *v * self.args.scale + self.args.shift);
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    let what = format!("value {i} of sample {} is {}, not a finite number", sample.index, values[i]);
                    return Err(Failure::file(path, what));
                }
            }
            let start = Instant::now();
            let ran = self.session.run(inputs, outputs);
            self.elapsed += start.elapsed();
            ran.map_err(|error| {
                let (first, last) = (chunk[0].name(), chunk[chunk.len() - 1].name());
                let names = if chunk.len() == 1 { first } else { format!("{first} to {last}") };
                Failure::Failed(format!("{}: running {names}: {error}", escaped(&self.args.model)))
            })?;
            for (i, outputs) in outputs.chunks_exact(output_len).enumerate() {
                take(first + i, chunk[i], outputs)?;
            }
        }
        Ok(())
    }

    fn answers(&mut self, samples: &[Sample<'_>], out: &mut dyn Write) -> Result<(), Failure> {
        let (n, json) = (self.args.top, self.args.json);
        let confidence = Confidence::of(self.model);
        let classes = model::classes(self.model);
        let named = |class: usize| classes.as_ref().map_or(class.to_string(), |names| display::name(names[class]));
        let longest = (0..self.model.output_shape().len()).map(|class| columns(&named(class))).max().unwrap_or(0);
        let width = samples.iter().map(|sample| columns(&sample.name())).max().unwrap_or(0);
        self.each(samples, |_, sample, outputs| {
            let probabilities = confidence.probabilities(outputs);
            let top = top(outputs, n);
            if json {
                let top: Vec<_> = top
                    .iter()
                    .map(|&class| {
                        let mut entry =
                            json!({"class": class, "output": outputs[class], "probability": probabilities[class]});
                        if let Some(names) = &classes {
                            entry["name"] = names[class].into();
                        }
                        entry
                    })
                    .collect();
                let file = sample.source.path.to_string_lossy();
                let line = json!({"file": file, "sample": sample.index, "top": top});
                writeln!(out, "{}", display::printable(&line.to_string()))?;
            } else if let [value] = outputs {
                writeln!(out, "{}  {value}", padded(&sample.name(), width))?;
            } else {
                write!(out, "{}", padded(&sample.name(), width))?;
                for class in top {
                    write!(out, "  {} {:>7}", padded(&named(class), longest), percent(probabilities[class]))?;
                }
                writeln!(out)?;
            }
            Ok(())
        })
    }

    fn accuracy(&mut self, samples: &[Sample<'_>], labels: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
        let mut right = 0;
        self.each(samples, |i, _, outputs| {
            right += usize::from(top1(outputs) == usize::from(labels[i]));
            Ok(())
        })?;
        let (all, share) = (samples.len(), right as f64 / samples.len() as f64);
        let ns = self.elapsed.as_nanos() as f64;
        let isa = self.session.isa();
        let orders: Vec<usize> = self.session.profile().iter().filter_map(|layer| layer.order()).collect();
        if self.args.json {
            let line = json!({
                "model": self.args.model.to_string_lossy(), "samples": all, "right": right, "top1": share,
                "orders": orders, "isa": isa.name(), "threads": self.args.threads, "batch": self.session.batch(),
                "ns_per_sample": ns / all as f64,
            });
            return Ok(writeln!(out, "{}", display::printable(&line.to_string()))?);
        }
        let order = match (orders.iter().min(), orders.iter().max()) {
            (Some(low), Some(high)) if low == high => format!("order {low}"),
            (Some(_), Some(_)) => {
                format!("orders {}", orders.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => "float".into(),
        };
        writeln!(out, "top-1 accuracy {:.2} %: {right} of {all} right, {} wrong", 100.0 * share, all - right)?;
        writeln!(
            out,
            "{order}, {isa}, {}, batch {}: {} a sample, {} in all",
            if self.args.threads == 1 { "1 thread".into() } else { format!("{} threads", self.args.threads) },
            self.session.batch(),
            time(ns / all as f64),
            time(ns)
        )?;
        Ok(())
    }
}
