//! `horq run`: a model's answers to files, or its accuracy on labelled ones.

use crate::answer::{Confidence, top, top1};
use crate::cli;
use crate::failure::Failure;
use crate::input::{self, Arrangement, Array, Layout};
use crate::model;
use crate::table::{percent, time};
use horq::graph::Shape;
use horq::{Model, RunOptions, Session, SessionOptions, Threads, Values, escaped};
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
    fn read(path: &'a Path, shape: Shape, arrangement: Arrangement) -> Result<Self, Failure> {
        let array = input::read(path)?;
        let layout = Layout::fit(&array, shape, arrangement);
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
    let mut sources: Vec<Vec<Source<'_>>> = Vec::new();
    for ((_, shape), paths) in model.inputs().zip(files(args, &model)?) {
        let source = |path| Source::read(path, shape, args.layout);
        sources.push(paths.into_iter().map(source).collect::<Result<_, _>>()?);
    }
    let samples: Vec<Vec<Sample<'_>>> = sources.iter().map(|sources| samples(sources)).collect();
    let count = samples[0].len();
    for ((name, _), samples) in model.inputs().zip(&samples) {
        if samples.len() != count {
            let (first, found) = (escaped(&model.graph().input().name), samples.len());
            let text = "name files that belong together";
            return Err(Failure::Usage(format!(
                "the files of the input `{}` hold {found} samples, those of `{first}` hold {count}; {text}",
                escaped(name)
            )));
        }
    }
    let labels = args.labels.as_deref().map(|path| labels(path, count, &model)).transpose()?;

    let threads = if args.threads == 1 { Threads::Inline } else { Threads::Own(args.threads.into()) };
    let options = SessionOptions::new().batch(args.batch.min(count)).threads(threads);
    let session = model::session(&args.model, &model, options, &args.orders)?;
    let mut runner = Runner { args, model: &model, session, elapsed: Duration::ZERO };
    match labels {
        Some(labels) => runner.accuracy(&samples, &labels, out),
        None if model.outputs().len() > 1 => runner.many_answers(&samples, out),
        None => runner.answers(&samples, out),
    }
}

/// The samples of some files, one after another.
fn samples<'a>(sources: &'a [Source<'a>]) -> Vec<Sample<'a>> {
    let of = |source: &'a Source<'a>| (0..source.layout.samples).map(move |index| Sample { source, index });
    sources.iter().flat_map(of).collect()
}

/// The files of each input of the model.
fn files<'a>(args: &'a cli::Run, model: &Model) -> Result<Vec<Vec<&'a Path>>, Failure> {
    let names: Vec<&str> = model.inputs().map(|(name, _)| name).collect();
    let known = || names.iter().map(|name| escaped(name).to_string()).collect::<Vec<_>>().join(", ");
    if args.input.is_empty() {
        if names.len() > 1 {
            let text = "name the files of each: --input NAME=FILE";
            return Err(Failure::Usage(format!("the model has {} inputs: {}; {text}", names.len(), known())));
        }
        return Ok(vec![args.inputs.iter().map(|path| path.as_path()).collect()]);
    }
    if let Some((name, _)) = args.input.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        let name = escaped(name);
        return Err(Failure::Usage(format!("the model has no input `{name}`; its inputs are: {}", known())));
    }
    let of = |name: &&str| {
        let files: Vec<&Path> = args.input.iter().filter(|given| given.0 == **name).map(|given| &*given.1).collect();
        match files.is_empty() {
            true => {
                Err(Failure::Usage(format!("--input {}=FILE is missing; the inputs are: {}", escaped(name), known())))
            }
            false => Ok(files),
        }
    };
    names.iter().map(of).collect()
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
    /// Runs all samples, given by input, and gives each one's outputs to `take`.
    fn each<'a>(
        &mut self,
        samples: &[Vec<Sample<'a>>],
        mut take: impl FnMut(usize, Sample<'a>, &[&[f32]]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let batch = self.session.batch();
        let buffers = |lens: &[usize]| lens.iter().map(|len| vec![0.0; batch * len]).collect::<Vec<Vec<f32>>>();
        let (mut inputs, mut outputs) = (buffers(self.session.input_lens()), buffers(self.session.output_lens()));
        for first in (0..samples[0].len()).step_by(batch) {
            let chunk = first..samples[0].len().min(first + batch);
            for ((samples, values), len) in samples.iter().zip(&mut inputs).zip(self.session.input_lens()) {
                for (sample, values) in samples[chunk.clone()].iter().zip(values.chunks_exact_mut(*len)) {
                    let Source { path, array, layout } = sample.source;
                    layout.copy(array, sample.index, values);
                    values.iter_mut().for_each(|v| *v = *v * self.args.scale + self.args.shift);
                    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                        let what =
                            format!("value {i} of sample {} is {}, not a finite number", sample.index, values[i]);
                        return Err(Failure::file(path, what));
                    }
                }
            }
            let lens = self.session.input_lens().iter().map(|len| len * chunk.len());
            let given: Vec<Values<'_>> = inputs.iter().zip(lens).map(|(all, len)| Values::F32(&all[..len])).collect();
            let lens: Vec<usize> = self.session.output_lens().to_vec();
            let cut = outputs.iter_mut().zip(&lens).map(|(all, len)| &mut all[..len * chunk.len()]);
            let mut answers: Vec<&mut [f32]> = cut.collect();
            let start = Instant::now();
            let ran = self.session.run_many_with(&given, &mut answers, &RunOptions::new().first_sample(first));
            self.elapsed += start.elapsed();
            let names = &samples[0][chunk.clone()];
            ran.map_err(|error| {
                let (one, last) = (names[0].name(), names[names.len() - 1].name());
                let names = match error.sample() {
                    Some(sample) => names[sample - first].name(),
                    None if names.len() == 1 => one,
                    None => format!("{one} to {last}"),
                };
                Failure::Failed(format!("{}: running {names}: {error}", escaped(&self.args.model)))
            })?;
            for (i, sample) in names.iter().enumerate() {
                let outputs: Vec<&[f32]> =
                    outputs.iter().zip(&lens).map(|(all, len)| &all[i * len..][..*len]).collect();
                take(first + i, *sample, &outputs)?;
            }
        }
        Ok(())
    }

    /// The answers of a model with several outputs: the highest values of vectors, the range of images; as JSON all values.
    fn many_answers(&mut self, samples: &[Vec<Sample<'_>>], out: &mut dyn Write) -> Result<(), Failure> {
        let (n, json) = (self.args.top, self.args.json);
        let named: Vec<(String, Shape)> = self.model.outputs().map(|(name, shape)| (name.into(), shape)).collect();
        let longest = named.iter().map(|(name, _)| columns(&display::name(name))).max().unwrap_or(0);
        let width = samples[0].iter().map(|sample| columns(&sample.name())).max().unwrap_or(0);
        self.each(samples, |_, sample, outputs| {
            if json {
                let values = |((name, shape), values): (&(String, Shape), &&[f32])| {
                    json!({"name": name, "shape": Vec::<usize>::from(*shape), "values": values})
                };
                let outputs: Vec<_> = named.iter().zip(outputs).map(values).collect();
                let file = sample.source.path.to_string_lossy();
                let line = json!({"file": file, "sample": sample.index, "outputs": outputs});
                return Ok(writeln!(out, "{}", display::printable(&line.to_string()))?);
            }
            for ((name, shape), values) in named.iter().zip(outputs) {
                let (file, name) = (padded(&sample.name(), width), padded(&display::name(name), longest));
                write!(out, "{file}  {name}")?;
                match (shape, values) {
                    (_, [value]) => writeln!(out, "  {value}")?,
                    (Shape::Flat(_), _) => {
                        top(values, n).into_iter().try_for_each(|i| write!(out, "  {i}: {}", values[i]))?;
                        writeln!(out)?;
                    }
                    _ => {
                        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
                        writeln!(out, "  {shape}, values from {low} to {high}")?;
                    }
                }
            }
            Ok(())
        })
    }

    fn answers(&mut self, samples: &[Vec<Sample<'_>>], out: &mut dyn Write) -> Result<(), Failure> {
        let (n, json) = (self.args.top, self.args.json);
        let confidence = Confidence::of(self.model);
        let classes = model::classes(self.model);
        let named = |class: usize| classes.as_ref().map_or(class.to_string(), |names| display::name(names[class]));
        let longest = (0..self.model.output_shape().len()).map(|class| columns(&named(class))).max().unwrap_or(0);
        let width = samples[0].iter().map(|sample| columns(&sample.name())).max().unwrap_or(0);
        self.each(samples, |_, sample, outputs| {
            let outputs = outputs[0];
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

    fn accuracy(&mut self, samples: &[Vec<Sample<'_>>], labels: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
        let mut right = 0;
        self.each(samples, |i, _, outputs| {
            right += usize::from(top1(outputs[0]) == usize::from(labels[i]));
            Ok(())
        })?;
        let (all, share) = (samples[0].len(), right as f64 / samples[0].len() as f64);
        let ns = self.elapsed.as_nanos() as f64;
        let isa = self.session.isa();
        let orders: Vec<usize> = self.session.profile().iter().filter_map(|layer| layer.order()).collect();
        if self.args.json {
            let line = json!({
                "model": self.args.model.to_string_lossy(), "samples": all, "right": right, "top1": share,
                "point": self.session.point(), "orders": orders, "isa": isa.name(), "threads": self.args.threads, "batch": self.session.batch(),
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
        let order = match self.session.point() {
            Some(point) => format!("point {}, {order}", escaped(point)),
            None => order,
        };
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
