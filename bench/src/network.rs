//! The suite `network`: whole networks through the engine. Latency as a service sees it, memory, cold start, and each layer's
//! time beside the limit.

mod latency;
mod layers;
mod tables;

use crate::cli::{Command, Networks, Source};
use crate::clock::Timing;
use crate::cold::{self, Setup, Start};
use crate::conv::mode_name;
use crate::data::Numbers;
use crate::lab::{Lab, create_folder, save};
use crate::networks::Network;
use crate::peak::Unit;
use crate::record::{Record, Run};
use horq::{Model, Order, ScaleMode, Session, SessionOptions, escaped};
use horq_kernels::Isa;
use latency::Latency;
use layers::Layers;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// As part of all suites, in seconds.
    Overview,
    /// For a record.
    Record,
    /// The suite alone, with each layer's table.
    Whole,
}

impl Depth {
    /// Budgets for the latencies of one network.
    const fn budgets(self) -> u32 {
        match self {
            Self::Overview => 4,
            Self::Record | Self::Whole => 16,
        }
    }

    /// Processes that start cold.
    const fn starts(self) -> usize {
        match self {
            Self::Overview => 5,
            Self::Record | Self::Whole => 15,
        }
    }
}

/// What runs beside the other suites.
pub(crate) fn few() -> Networks {
    let networks = [Network::Lenet5, Network::VggSmall, Network::Bireal18].map(Source::Made).to_vec();
    Networks { networks, order: vec![1, 2], mode: vec![], batch: 1, runs: None, save: None }
}

/// What a record keeps.
pub(crate) fn many() -> Networks {
    let networks = [
        Network::Lenet5,
        Network::VggSmall,
        Network::VggSmallInt8,
        Network::Bireal18,
        Network::Bireal18Int8,
        Network::QuicknetSmall,
    ];
    Networks { networks: networks.map(Source::Made).to_vec(), order: vec![1, 2, 3, 4], ..few() }
}

/// What one session was measured on.
struct Case {
    /// `vgg-small`, or a file's name.
    name: String,
    order: usize,
    /// None if the layers of a file have several.
    mode: Option<ScaleMode>,
    model: Model,
    /// The model's bytes in a file of our own, for cold processes to map.
    file: NamedTempFile,
}

/// What was measured, in runs of `batch` samples.
struct Measured {
    batch: usize,
    timing: Timing,
    latency: Latency,
    start: Start,
    layers: Layers,
}

/// What runs before anything is measured: files are opened, orders and modes compared with what they hold.
///
/// # Errors
/// A message that names the file.
pub(crate) fn check(command: Option<&Command>) -> Result<(), String> {
    let Some(Command::Network(networks)) = command else { return Ok(()) };
    networks.save.as_deref().map_or(Ok(()), create_folder)?;
    for source in &networks.networks {
        if let Source::File(path) = source {
            let highest = highest_order(&open(path)?);
            if !networks.mode.is_empty() {
                return Err(format!("{}: a file has its own scale modes; leave --mode out", escaped(path)));
            }
            if let Some(order) = networks.order.iter().find(|&&order| order > highest) {
                return Err(format!("{}: order {order} was asked for, but it holds {highest}", escaped(path)));
            }
        }
    }
    Ok(())
}

/// Runs the suite.
///
/// # Errors
/// A message if a network cannot be made or run, or a line cannot be written.
pub(crate) fn run(lab: &mut Lab, networks: &Networks, depth: Depth) -> Result<(), String> {
    let sources = match &networks.networks[..] {
        [] => few().networks,
        sources => sources.to_vec(),
    };
    let mut rows = tables::Rows::default();
    for isa in lab.isas().to_vec() {
        for source in &sources {
            for (order, mode) in choices(source, networks)? {
                let case = Case::new(source, order, mode)?;
                lab.step(&format!("network: {}", case.title()));
                if let Some(folder) = &networks.save {
                    case.save(folder)?;
                }
                let result = case.measure(lab, isa, networks, depth)?;
                case.records(lab, isa, &result).into_iter().try_for_each(|record| lab.emit(record))?;
                rows.add(&case, isa, &result);
                if depth == Depth::Whole {
                    tables::layers(lab, &case, isa, &result);
                }
            }
        }
    }
    rows.print(lab);
    Ok(())
}

/// The orders and modes in which a network runs.
fn choices(source: &Source, networks: &Networks) -> Result<Vec<(usize, Option<ScaleMode>)>, String> {
    let (modes, highest) = match source {
        Source::File(path) => (vec![None], highest_order(&open(path)?)),
        Source::Made(_) if networks.mode.is_empty() => (vec![Some(ScaleMode::Fixed)], 4),
        Source::Made(_) => (networks.mode.iter().map(|&mode| Some(mode.into())).collect(), 4),
    };
    let orders = if networks.order.is_empty() { (1..=highest).collect() } else { networks.order.clone() };
    Ok(modes.iter().flat_map(|&mode| orders.iter().map(move |&order| (order, mode))).collect())
}

fn open(path: &Path) -> Result<Model, String> {
    Model::open(path).map_err(|error| format!("{}: {error}", escaped(path)))
}

/// The highest order of any layer; 1 for a network without binary layers.
fn highest_order(model: &Model) -> usize {
    let orders = model.graph().nodes.iter().filter_map(|node| Some(node.op.quantizer()?.order));
    orders.max().unwrap_or(1)
}

impl Case {
    fn new(source: &Source, order: usize, mode: Option<ScaleMode>) -> Result<Self, String> {
        let (name, model) = match source {
            Source::File(path) => {
                let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                (name, open(path)?)
            }
            Source::Made(network) => {
                let readable = |error: horq::Error| format!("{}: {error}", network.name());
                let (builder, output) = network.build(order, mode.unwrap_or(ScaleMode::Fixed)).map_err(readable)?;
                let bytes = builder.to_bytes(&output).map_err(readable)?;
                (network.name(), Model::from_bytes(&bytes).map_err(readable)?)
            }
        };
        let mut modes = model.graph().nodes.iter().filter_map(|node| Some(node.op.quantizer()?.mode));
        let first = modes.next();
        let mode = first.filter(|&first| modes.all(|mode| mode == first));
        let file = temporary(model.file()).map_err(|error| format!("cannot write a temporary file: {error}"))?;
        Ok(Self { name, order, mode, model, file })
    }

    fn title(&self) -> String {
        let mode = self.mode.map_or("several modes", mode_name);
        format!("{}, order {}, {mode}", self.name, self.order)
    }

    fn save(&self, folder: &Path) -> Result<(), String> {
        let mode = self.mode.map_or("mixed", mode_name);
        let path = folder.join(format!("{}-{mode}-{}.horq", self.name, self.order));
        save(&path, self.model.file())
    }

    fn measure(&self, lab: &mut Lab, isa: Isa, networks: &Networks, depth: Depth) -> Result<Measured, String> {
        let readable = |error: horq::Error| format!("{}: {error}", self.title());
        let options = SessionOptions::new()
            .isa(isa)
            .order(Order::new(self.order).map_err(|error| error.to_string())?)
            .batch(networks.batch);
        let options = options.threads(lab.workers().for_session());
        let mut session = Session::new(&self.model, options.clone()).map_err(readable)?;
        let input = Numbers::new(3).floats(networks.batch * session.input_len());
        let mut output = vec![0.0; networks.batch * session.output_len()];
        session.run(&input, &mut output).map_err(readable)?;

        let mut run = || session.run(&input, &mut output).expect("the same run has succeeded");
        let latency = Latency::measure(networks.runs, lab.budget() * depth.budgets(), &mut run);
        let timing = lab.time_plain(&mut run);
        // Reading the clock between layers costs time, so the layers come from a session of their own.
        let session = Session::new(&self.model, options.profile(true)).map_err(readable)?;
        let layers = Layers::measure(session, lab.budget() * depth.budgets(), &input, &mut output).map_err(readable)?;
        let setup = Setup { order: self.order, batch: networks.batch, threads: lab.threads(), isa };
        let start = cold::measure(self.file.path(), setup, depth.starts())?;
        Ok(Measured { batch: networks.batch, timing, latency, start, layers })
    }

    /// The whole network's record, its layers' and its cold start's.
    fn records(&self, lab: &Lab, isa: Isa, result: &Measured) -> Vec<Record> {
        let &Measured { batch, timing, ref latency, ref start, ref layers } = result;
        let record = |suite, case, unit, macs: f64, timing| Record {
            order: Some(self.order),
            mode: self.mode,
            isa: Some(isa),
            threads: lab.threads(),
            run: Run { batch: Some(batch), ..Run::default() },
            ..Record::new(suite, case, "horq", unit, macs, timing)
        };
        let macs = (layers.macs() * batch as u64) as f64;
        let whole = record("network", self.name.clone(), Unit::Mixed, macs, timing);
        let run = Run {
            p50: latency.percentile(0.5),
            p90: latency.percentile(0.9),
            p99: latency.percentile(0.99),
            p999: latency.percentile(0.999),
            max: Some(latency.max()),
            throughput: Some(latency.throughput(batch)),
            allocations: Some(latency.allocations()),
            ..whole.run
        };
        let mut records = vec![Record { run, ..whole }];
        for layer in &layers.0 {
            let [quantize, bits, epilogue, float] = layers::stages(layer).map(Some);
            let (unit, macs) = layers::macs(layer, batch);
            let timing = Timing { ns: layers::nanoseconds(layer), cycles: f64::NAN, spread: f64::NAN };
            let case = format!("{}/{}", self.name, layer.name);
            let record = record("network", case, unit, macs, timing);
            records.push(Record {
                order: layer.order(),
                mode: layer.binary.map(|binary| binary.mode),
                limit_fraction: layers::fraction(lab, layer, batch, timing.ns),
                run: Run { quantize, bits, epilogue, float, ..record.run },
                ..record
            });
        }
        let phases = [
            ("", start.answered),
            ("/start", start.started),
            ("/open", start.opened - start.started),
            ("/session", start.prepared - start.opened),
            ("/run", start.answered - start.prepared),
        ];
        for (phase, ns) in phases {
            let timing = Timing { ns: ns as f64, cycles: f64::NAN, spread: f64::NAN };
            let record = record("cold", format!("{}{phase}", self.name), Unit::Mixed, macs, timing);
            let run = Run {
                file: Some(self.model.file_len()),
                arena: Some(start.arena),
                rss: start.rss,
                peak_rss: start.peak_rss,
                minor_faults: start.minor_faults,
                major_faults: start.major_faults,
                ..record.run
            };
            records.push(if phase.is_empty() { Record { run, ..record } } else { record });
        }
        records
    }
}

fn temporary(bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("horq-bench-").suffix(".horq").tempfile()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}
