//! `horq profile`: where a model's time goes on this machine, and how near its bit products come to the limit.

use crate::cli;
use crate::failure::Failure;
use crate::model;
use crate::table::{Table, amount, bytes, percent, time};
use crate::terminal::Style;
use horq::graph::Shape;
use horq::{
    BinaryKernel, BinaryProfile, LayerProfile, MAX_ORDER, Model, Order, Session, SessionOptions, Threads, Trace,
    Values, escaped,
};
use horq_kernels::{Isa, Stage};
use horq_probe::clock::{Clock, ClockChoice};
use horq_probe::display::printable;
use horq_probe::peak::Peak;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to measure where nobody says.
const BUDGET: Duration = Duration::from_millis(800);
/// How long to measure the limit, each time.
const LIMIT_BUDGET: Duration = Duration::from_millis(60);
/// Runs before measuring, to warm caches and clock and to learn how long one takes.
const WARM_UP: usize = 5;
/// Runs are taken together in parts of about this length, and each layer's fastest part counts: other programs disturb
/// some, hardly ever all. Longer than a run of a small model, so that the clock's grain does not show; shorter than the
/// slices of time that a busy system deals out.
const PART: Duration = Duration::from_millis(1);
/// Runs of a trace, at most.
const TRACED_RUNS: usize = 10;
/// Fewest runs where nobody says how many.
const FEWEST_RUNS: u128 = 10;

/// Runs the command.
pub(crate) fn profile(args: &cli::Profile, out: &mut dyn Write) -> Result<(), Failure> {
    let fail = |error: horq::Error| Failure::file(&args.model, error);
    let model = model::open(&args.model)?;
    let options = SessionOptions::new().batch(args.batch).threads(Threads::Own(args.threads.into()));
    let mut plain = model::session(&args.model, &model, options.clone(), &args.orders)?;
    let mut timed = session_like(&plain, &model, options.clone().profile(true)).map_err(fail)?;
    let inputs = inputs(&model, args.batch);
    let inputs: Vec<Values<'_>> = inputs.iter().map(|values| Values::F32(values)).collect();
    let mut outputs: Vec<Vec<f32>> = plain.output_lens().iter().map(|len| vec![0.0; args.batch * len]).collect();
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();

    let mut run = |session: &mut Session| -> Result<Duration, Failure> {
        let start = Instant::now();
        session.run_many(&inputs, &mut outputs).map_err(fail)?;
        Ok(start.elapsed())
    };
    let mut once = Duration::MAX;
    for _ in 0..WARM_UP {
        run(&mut plain)?;
        once = once.min(run(&mut timed)?);
    }
    let once = once.max(Duration::from_nanos(1));
    let runs = args.runs.unwrap_or((BUDGET.as_nanos() / once.as_nanos()).clamp(FEWEST_RUNS, 100_000) as usize);
    let part = (PART.as_nanos() / once.as_nanos()).clamp(1, runs as u128) as usize;
    // Measured before and after, since the core's frequency changes with load and temperature; the higher one counts.
    let mut limits = Limits::measure(plain.isa())?;
    let mut best: Vec<Layer> = Vec::new();
    let mut whole = f64::INFINITY;
    for start in (0..runs).step_by(part) {
        let count = part.min(runs - start);
        timed.reset_profile();
        let mut elapsed = Duration::ZERO;
        for _ in 0..count {
            run(&mut timed)?;
            elapsed += run(&mut plain)?;
        }
        whole = whole.min(elapsed.as_nanos() as f64 / count as f64);
        let layers = timed.profile().iter().map(Layer::new);
        if best.is_empty() {
            best = layers.collect();
        } else {
            best.iter_mut()
                .zip(layers)
                .filter(|(best, layer)| layer.wall < best.wall)
                .for_each(|(best, layer)| *best = layer);
        }
    }
    limits.raise(&Limits::measure(plain.isa())?);
    let trace = match &args.trace {
        Some(path) => {
            let trace = Arc::new(Trace::new());
            let mut traced = session_like(&timed, &model, options.observer(trace.clone())).map_err(fail)?;
            for _ in 0..args.runs.unwrap_or(TRACED_RUNS).min(TRACED_RUNS) {
                run(&mut traced)?;
            }
            horq::replace_file(path, trace.to_json().as_bytes()).map_err(|error| Failure::Failed(error.to_string()))?;
            Some((path, trace))
        }
        None => None,
    };
    let report = Report { args, session: &timed, layers: &best, whole, runs, limits };
    if args.json {
        return report.json(out);
    }
    report.table(out)?;
    if let Some((path, trace)) = trace {
        let (path, spans, dropped) = (escaped(path), trace.len(), trace.dropped());
        writeln!(out, "\nTrace: {spans} spans in {path}; open it in https://ui.perfetto.dev or chrome://tracing.")?;
        if dropped > 0 {
            writeln!(out, "The trace was full: {dropped} spans more were not kept.")?;
        }
    }
    Ok(())
}

/// The bit products that this core does in a nanosecond at most with an instruction set, measured in registers; none for
/// `portable`, which has no instructions of its own.
struct Limits {
    /// By counting bits.
    popcount: Option<f64>,
    /// From byte tables, whose lookups answer for all planes, at the orders from 1 on.
    tables: [Option<f64>; MAX_ORDER],
}

impl Limits {
    fn measure(isa: Isa) -> Result<Self, Failure> {
        let mut clock = Clock::open(ClockChoice::Time, 1).map_err(Failure::Failed)?;
        let popcount = Peak::of(isa, &mut clock, LIMIT_BUDGET).map(|peak| peak.per_ns());
        let tables = std::array::from_fn(|i| {
            let peak = Peak::of_tables(isa, i + 1, &mut clock, LIMIT_BUDGET)?;
            Some(peak.per_ns() * (i + 1) as f64)
        });
        Ok(Self { popcount, tables })
    }

    /// Takes what another measurement has seen to be faster.
    fn raise(&mut self, other: &Self) {
        let all = self.tables.iter_mut().zip(other.tables).chain([(&mut self.popcount, other.popcount)]);
        all.for_each(|(limit, other)| *limit = limit.iter().copied().chain(other).reduce(f64::max));
    }

    /// That of a binary layer.
    fn of(&self, binary: BinaryProfile) -> Option<f64> {
        match binary.kernel {
            BinaryKernel::Tables => self.tables[binary.order - 1],
            _ => self.popcount,
        }
    }
}

/// A session at the same point or orders as another.
fn session_like(other: &Session, model: &Model, options: SessionOptions) -> Result<Session, horq::Error> {
    let mut session = Session::new(model, options)?;
    if let Some(point) = other.point() {
        session.set_point(point)?;
        return Ok(session);
    }
    for layer in other.profile() {
        if let Some(order) = layer.order() {
            session.set_layer_order(&layer.name, Order::new(order)?)?;
        }
    }
    Ok(session)
}

/// The model's own example, over and over; without one, numbers between 0 and 1. The values of each input.
fn inputs(model: &Model, batch: usize) -> Vec<Vec<f32>> {
    let golden = model.golden();
    let values = |(number, (_, shape)): (usize, (&str, Shape))| {
        let len = batch * shape.len();
        match &golden {
            Some(golden) => golden.inputs[number].iter().copied().cycle().take(len).collect(),
            // Steps of the golden ratio fill the interval evenly and repeat late.
            None => (0..len).map(|i| ((i + 1) as f64 * 0.618_033_988_749_895).fract() as f32).collect(),
        }
    };
    model.inputs().enumerate().map(values).collect()
}

/// What one layer took, in nanoseconds a run.
struct Layer {
    wall: f64,
    stages: [f64; 4],
}

impl Layer {
    fn new(profile: &LayerProfile) -> Self {
        let each = |total: u64| total as f64 / profile.runs.max(1) as f64;
        Self { wall: each(profile.wall_nanoseconds), stages: profile.nanoseconds.map(each) }
    }

    fn bits(&self) -> f64 {
        self.stages[Stage::Bits as usize]
    }
}

struct Report<'a> {
    args: &'a cli::Profile,
    session: &'a Session,
    layers: &'a [Layer],
    /// Nanoseconds of a whole run without clocks inside.
    whole: f64,
    runs: usize,
    limits: Limits,
}

impl Report<'_> {
    /// Binary multiply-accumulates a nanosecond.
    fn rate(&self, profile: &LayerProfile, nanoseconds: f64) -> Option<f64> {
        (profile.macs.bit > 0 && nanoseconds > 0.0)
            .then(|| (profile.macs.bit * self.args.batch as u64) as f64 / nanoseconds)
    }

    /// The part that a rate is of the limit of the layer's kernel.
    fn of_limit(&self, profile: &LayerProfile, rate: Option<f64>) -> Option<f64> {
        Some(rate? / self.limits.of(profile.binary?)?)
    }

    fn table(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let session = self.session;
        writeln!(
            out,
            "{}: {} a run of {} sample{} ({} a sample), {}, {} thread{}, {} runs",
            escaped(&self.args.model),
            time(self.whole),
            self.args.batch,
            if self.args.batch == 1 { "" } else { "s" },
            time(self.whole / self.args.batch as f64),
            session.isa(),
            self.args.threads,
            if self.args.threads == 1 { "" } else { "s" },
            self.runs,
        )?;
        match self.limits.popcount {
            Some(limit) => writeln!(
                out,
                "limit of this core when it counts bits: {} binary operations a second\n",
                amount(limit * 1e9)
            )?,
            None => writeln!(out, "limit of this core: not known for {}\n", session.isa())?,
        }
        let mut table = Table::new(&[
            "layer",
            "operation",
            ">order",
            "scales",
            "kernel",
            ">us",
            ">share",
            ">quantize",
            ">bits",
            ">epilogue",
            ">float",
            ">bin. ops/s",
            ">of limit",
            ">whole layer",
            ">bytes",
        ]);
        let sum: f64 = self.layers.iter().map(|layer| layer.wall).sum();
        // One unit for all, so that the eye can compare.
        let us = |ns: f64| format!("{:.2}", ns / 1000.0);
        let nonzero = |ns: f64| if ns > 0.0 { us(ns) } else { String::new() };
        let mut stages = [0.0; 4];
        for (profile, layer) in session.profile().iter().zip(self.layers) {
            stages.iter_mut().zip(layer.stages).for_each(|(sum, ns)| *sum += ns);
            let [quantize, bits, epilogue, float] = layer.stages.map(nonzero);
            let rate = self.rate(profile, layer.bits());
            let of_limit = |rate| self.of_limit(profile, rate).map_or(String::new(), percent);
            table.row([
                profile.name.clone(),
                [profile.op]
                    .into_iter()
                    .chain(profile.fused.iter().map(String::as_str))
                    .chain(profile.packed.then_some("pack"))
                    .collect::<Vec<_>>()
                    .join(" + "),
                profile.order().map_or(String::new(), |order| order.to_string()),
                profile.binary.map_or(String::new(), |binary| binary.mode.name().into()),
                profile.binary.map_or(String::new(), |binary| binary.kernel.name().into()),
                us(layer.wall),
                percent(layer.wall / sum),
                quantize,
                bits,
                epilogue,
                float,
                rate.map_or(String::new(), |rate| amount(rate * 1e9)),
                of_limit(rate),
                of_limit(self.rate(profile, layer.wall)),
                bytes(profile.weight_bytes as u64),
            ]);
        }
        table.rule();
        let [quantize, bits, epilogue, float] = stages.map(nonzero);
        let weights: usize = session.profile().iter().map(|profile| profile.weight_bytes).sum();
        let blank = String::new;
        table.row([
            "total".into(),
            blank(),
            blank(),
            blank(),
            blank(),
            us(sum),
            percent(1.0),
            quantize,
            bits,
            epilogue,
            float,
            blank(),
            blank(),
            blank(),
            bytes(weights as u64),
        ]);
        write!(out, "{}", table.render(Style::detect(false)))?;
        writeln!(
            out,
            "\nTimes are microseconds a run; reading the clock between stages adds to them ({} in all, {} without). \
             \"of limit\" counts the bits stage alone, \"whole layer\" all of it, both beside the limit of the kernel. Memory beside the weights: {} for \
             values, {} to work in.",
            time(sum),
            time(self.whole),
            bytes(session.arena_bytes() as u64),
            bytes(session.scratch_bytes() as u64)
        )?;
        Ok(())
    }

    fn json(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let layers: Vec<_> = self
            .session
            .profile()
            .iter()
            .zip(self.layers)
            .map(|(profile, layer)| {
                let [quantize, bits, epilogue, float] = layer.stages;
                let rate = self.rate(profile, layer.bits());
                json!({
                    "name": profile.name, "op": profile.op, "fused": profile.fused, "packed": profile.packed, "order": profile.order(),
                    "scale_mode": profile.binary.map(|binary| binary.mode.name()),
                    "binary_kernel": profile.binary.map(|binary| binary.kernel.name()),
                    "ns": layer.wall, "quantize_ns": quantize, "bits_ns": bits, "epilogue_ns": epilogue, "float_ns": float,
                    "binary_macs": profile.macs.bit, "sign_macs": profile.macs.binary_weight, "code_macs": profile.macs.codebook,
                    "float_macs": profile.macs.float, "int8_macs": profile.macs.int8,
                    "binary_macs_per_second": rate.map(|rate| rate * 1e9), "limit_fraction": self.of_limit(profile, rate),
                    "layer_limit_fraction": self.of_limit(profile, self.rate(profile, layer.wall)),
                    "weight_bytes": profile.weight_bytes, "activation_bytes": profile.activation_bytes,
                })
            })
            .collect();
        let document = json!({
            "model": self.args.model.to_string_lossy(), "isa": self.session.isa().name(), "threads": self.args.threads,
            "point": self.session.point(), "batch": self.args.batch, "runs": self.runs, "ns": self.whole,
            "limit_binary_macs_per_second": self.limits.popcount.map(|limit| limit * 1e9),
            "arena_bytes": self.session.arena_bytes(), "scratch_bytes": self.session.scratch_bytes(), "layers": layers,
        });
        Ok(writeln!(out, "{}", printable(&format!("{document:#}")))?)
    }
}
