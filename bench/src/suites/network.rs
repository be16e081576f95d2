//! The suite `network`: whole networks through the engine. Latency as a service sees it, memory, cold start, and each layer's
//! time beside the limit.

mod latency;
mod layers;
mod tables;

use crate::arguments::{mode, order, up_to};
use crate::cold::{self, Setup, Start};
use crate::data::Numbers;
use crate::harness::Harness;
use crate::networks::Network;
use crate::output::{create_folder, save};
use crate::report::record::Record;
use crate::rounds::Rounds;
use clap::{Args, ValueEnum};
use horq::{Model, Order, ScaleMode, Session, SessionOptions, escaped};
use horq_kernels::{Aligned, Isa};
use horq_probe::clock::{Repeats, Timing};
use horq_probe::peak::Unit;
use latency::Latency;
use layers::Layers;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Which networks run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// A network with random weights or a .horq file; may be repeated [names: lenet5, vgg-small, vgg-small-int8, bireal18,
    /// bireal18-int8, react18, quicknet-small] [default: lenet5, vgg-small and bireal18]
    #[arg(long = "network", value_name = "NAME|FILE", value_parser = source)]
    networks: Vec<Source>,
    /// Planes of the activations [default: 1 to 4, or to a file's highest]
    #[arg(long, value_delimiter = ',', value_parser = order)]
    order: Vec<usize>,
    /// Scale modes: window, image, fixed, none, halving; a file has its own [default: fixed]
    #[arg(long, value_delimiter = ',', value_parser = mode)]
    mode: Vec<ScaleMode>,
    /// Samples of one run
    #[arg(long, default_value_t = 1, value_parser = up_to(4096, "a batch is"))]
    batch: usize,
    /// Runs whose latency is taken; 1000 give all percentiles [default: as many as fit into 16 budgets]
    #[arg(long, value_parser = up_to(10_000_000, "runs are"))]
    runs: Option<usize>,
    /// Also write each network as DIR/NETWORK-MODE-ORDER.horq
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

/// Where a network comes from.
#[derive(Clone, Debug)]
enum Source {
    /// This program makes it.
    Made(Network),
    /// A `.horq` file.
    File(PathBuf),
}

fn source(text: &str) -> Result<Source, String> {
    if let Ok(network) = Network::from_str(text, false) {
        return Ok(Source::Made(network));
    }
    let path = PathBuf::from(text);
    if path.is_file() {
        return Ok(Source::File(path));
    }
    let names: Vec<String> = Network::value_variants().iter().map(|network| network.name()).collect();
    Err(format!("`{}` is neither a file nor one of {}", escaped(text), names.join(", ")))
}

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
    /// Budgets for the latencies of one network, and processes that start cold.
    const fn repeats(self) -> (u32, usize) {
        if matches!(self, Self::Overview) { (4, 5) } else { (16, 15) }
    }
}

impl Arguments {
    fn made(networks: &[Network], order: &[usize]) -> Self {
        let networks = networks.iter().map(|&network| Source::Made(network)).collect();
        Self { networks, order: order.to_vec(), mode: vec![], batch: 1, runs: None, save: None }
    }

    /// What runs beside the other suites.
    pub(crate) fn few() -> Self {
        Self::made(&[Network::Lenet5, Network::VggSmall, Network::Bireal18], &[1, 2])
    }

    /// What a record keeps.
    pub(crate) fn many() -> Self {
        use Network::{Bireal18, Bireal18Int8, Lenet5, QuicknetSmall, VggSmall, VggSmallInt8};
        Self::made(&[Lenet5, VggSmall, VggSmallInt8, Bireal18, Bireal18Int8, QuicknetSmall], &[1, 2, 3, 4])
    }

    /// What runs before anything is measured: files are opened, orders and modes compared with what they hold.
    ///
    /// # Errors
    /// A message that names the file.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.save.as_deref().map_or(Ok(()), create_folder)?;
        for source in &self.networks {
            if let Source::File(path) = source {
                let highest = highest_order(&open(path)?);
                if !self.mode.is_empty() {
                    return Err(format!("{}: a file has its own scale modes; leave --mode out", escaped(path)));
                }
                if let Some(order) = self.order.iter().find(|&&order| order > highest) {
                    return Err(format!("{}: order {order} was asked for, but it holds {highest}", escaped(path)));
                }
            }
        }
        Ok(())
    }
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

/// A session that takes turns with others, and what was measured so far, in runs of `batch` samples.
struct Running {
    case: Case,
    isa: Isa,
    batch: usize,
    session: Session,
    /// Reading the clock between layers costs time, so the layers come from a session of their own.
    profiled: Session,
    input: Aligned<f32>,
    output: Vec<f32>,
    repeats: Repeats,
    rounds: Rounds,
    latency: Latency,
    starts: Vec<Start>,
    layers: Layers,
}

/// Runs the suite.
///
/// # Errors
/// A message if a network cannot be made or run, or a line cannot be written.
pub(crate) fn run(harness: &mut Harness, arguments: &Arguments, depth: Depth) -> Result<(), String> {
    harness.suite("network");
    let sources = if arguments.networks.is_empty() { Arguments::few().networks } else { arguments.networks.clone() };
    let mut all = Vec::new();
    for isa in harness.isas.clone() {
        for source in &sources {
            for (order, mode) in choices(source, arguments)? {
                let case = Case::new(source, order, mode)?;
                harness.step(&format!("network: {}", case.title()));
                if let Some(folder) = &arguments.save {
                    case.save(folder)?;
                }
                all.push(case.start(harness, isa, arguments.batch)?);
            }
        }
    }
    for round in 1..=harness.rounds {
        for running in &mut all {
            harness.step(&format!("network, round {round} of {}: {}", harness.rounds, running.case.title()));
            running.turn(harness, arguments, depth)?;
        }
    }
    let mut rows = tables::Rows::default();
    for running in &mut all {
        running.starts.sort_by_key(|start| start.answered);
        running.records(harness).into_iter().try_for_each(|record| harness.emit(record))?;
        rows.add(running);
        if depth == Depth::Whole {
            tables::layers(harness, running);
        }
    }
    rows.print(harness);
    Ok(())
}

/// The orders and modes in which a network runs; a file has its own mode.
fn choices(source: &Source, arguments: &Arguments) -> Result<Vec<(usize, Option<ScaleMode>)>, String> {
    let (modes, highest) = match source {
        Source::File(path) => (vec![None], highest_order(&open(path)?)),
        Source::Made(_) if arguments.mode.is_empty() => (vec![Some(ScaleMode::Fixed)], 4),
        Source::Made(_) => (arguments.mode.iter().copied().map(Some).collect(), 4),
    };
    let orders = if arguments.order.is_empty() { (1..=highest).collect() } else { arguments.order.clone() };
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
        let mode = self.mode.map_or("several modes", ScaleMode::name);
        format!("{}, order {}, {mode}", self.name, self.order)
    }

    fn save(&self, folder: &Path) -> Result<(), String> {
        let mode = self.mode.map_or("mixed", ScaleMode::name);
        let path = folder.join(format!("{}-{mode}-{}.horq", self.name, self.order));
        save(&path, self.model.file())
    }

    fn start(self, harness: &Harness, isa: Isa, batch: usize) -> Result<Running, String> {
        let readable = |error: horq::Error| format!("{}: {error}", self.title());
        let options = SessionOptions::new().isa(isa).order(Order::new(self.order).map_err(readable)?).batch(batch);
        let options = options.threads(harness.workers.for_session());
        let mut session = Session::new(&self.model, options.clone()).map_err(readable)?;
        let profiled = Session::new(&self.model, options.profile(true)).map_err(readable)?;
        let input = Numbers::new(3).floats(batch * session.input_len());
        let mut output = vec![0.0; batch * session.output_len()];
        session.run(&input, &mut output).map_err(readable)?;
        let (repeats, rounds, latency, starts, layers) = Default::default();
        let case = self;
        Ok(Running { case, isa, batch, session, profiled, input, output, repeats, rounds, latency, starts, layers })
    }
}

impl Running {
    fn turn(&mut self, harness: &mut Harness, arguments: &Arguments, depth: Depth) -> Result<(), String> {
        let Self { case, session, input, output, .. } = self;
        let (budgets, starts) = depth.repeats();
        let (budget, rounds) = (harness.budget * budgets, harness.rounds);
        let mut run = || session.run(input, output).expect("the same run has succeeded");
        self.latency.take(arguments.runs.map(|runs| runs.div_ceil(rounds)), budget, &mut run);
        self.rounds.add(harness.turn_plain(&mut self.repeats, &mut run));
        let layers = self.layers.take(&mut self.profiled, budget, input, output);
        layers.map_err(|error| format!("{}: {error}", case.title()))?;
        let setup = Setup { order: case.order, batch: self.batch, threads: harness.threads(), isa: self.isa };
        self.starts.extend(cold::starts(case.file.path(), setup, starts.div_ceil(rounds))?);
        Ok(())
    }

    /// The cold start of median time.
    fn cold(&self) -> &Start {
        &self.starts[self.starts.len() / 2]
    }

    /// The whole network's record, its layers' and its cold start's.
    fn records(&self, harness: &Harness) -> Vec<Record> {
        let Self { case, batch, latency, layers, .. } = self;
        let (batch, start, timing) = (*batch, self.cold(), self.rounds.best());
        let record = |suite: &str, part: &str, unit, macs: f64, timing| Record {
            threads: harness.threads(),
            batch: Some(batch),
            ..Record::new(suite, &format!("{}{part}", case.name), "horq", unit, macs, timing)
                .on(self.isa)
                .with_order(Some(case.order), case.mode)
        };
        let lone = |ns| Timing { ns, cycles: f64::NAN, spread: f64::NAN };
        let macs = (layers.macs() * batch as u64) as f64;
        let mut records = vec![Record {
            rounds: Some(self.rounds.count()),
            p50: latency.percentile(0.5),
            p90: latency.percentile(0.9),
            p99: latency.percentile(0.99),
            p999: latency.percentile(0.999),
            max: Some(latency.max()),
            throughput: Some(latency.throughput(batch)),
            allocations: Some(latency.allocations()),
            ..record("network", "", Unit::Mixed, macs, timing)
        }];
        for layer in &layers.0 {
            let [quantize, bits, epilogue, float] = layers::stages(layer).map(Some);
            let (unit, macs) = layers::macs(layer, batch);
            let ns = layers::nanoseconds(layer);
            let limit_fraction = layers::fraction(harness, layer, batch, ns);
            let record = record("network", &format!("/{}", layer.name), unit, macs, lone(ns));
            let record = record.with_order(layer.order(), layer.binary.map(|binary| binary.mode));
            records.push(Record { limit_fraction, quantize, bits, epilogue, float, ..record });
        }
        records.push(Record {
            file: Some(case.model.file_len()),
            arena: Some(start.arena),
            rss: start.rss,
            peak_rss: start.peak_rss,
            minor_faults: start.minor_faults,
            major_faults: start.major_faults,
            ..record("cold", "", Unit::Mixed, macs, lone(start.answered as f64))
        });
        records.extend(
            start.phases().map(|(phase, ns)| record("cold", &format!("/{phase}"), Unit::Mixed, macs, lone(ns as f64))),
        );
        records
    }
}

fn temporary(bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("horq-bench-").suffix(".horq").tempfile()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}
