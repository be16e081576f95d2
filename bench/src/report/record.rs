//! Results as lines: one object a result in JSON, one row in CSV, the same keys in both (`docs/measuring.md`).

use horq::escaped;
use horq_kernels::{Isa, ScaleMode};
use horq_probe::clock::Timing;
use horq_probe::display::printable;
use horq_probe::peak::Unit;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One result. A key without a meaning for a suite is null in JSON and empty in CSV.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// `peak`, `gemm`, `conv`, `curve-...`, `network` or `cold`.
    pub suite: &'static str,
    /// Shape, layer or instruction sequence.
    pub case: String,
    /// What was timed: `horq`, `gemm` (the crate), `im2col+gemm`, `scalar`, `horq-f32` or `limit`.
    pub engine: &'static str,
    /// What `macs` counts.
    pub unit: Unit,
    /// Rows: output pixels of a convolution.
    pub m: Option<usize>,
    /// Columns: output channels.
    pub n: Option<usize>,
    /// Products that one output sums.
    pub k: Option<usize>,
    /// Planes of the activations.
    pub order: Option<usize>,
    /// Scale mode of the quantizer; none for bare products.
    pub mode: Option<ScaleMode>,
    /// Backend.
    #[serde(serialize_with = "isa_name")]
    pub isa: Option<Isa>,
    /// Threads.
    pub threads: usize,
    /// Core cycles of one run.
    pub cycles: Option<f64>,
    /// Nanoseconds of one run.
    pub ns: f64,
    /// Multiply-accumulates of one run (order x m x n x k for bits); bytes for loads.
    pub macs: f64,
    /// The part of the limit that `peak` measured for this backend (for f32: of the fastest FMA), all threads together.
    pub limit_fraction: Option<f64>,
    /// Times faster than the scalar float loop on the same case.
    pub speedup_scalar: Option<f64>,
    /// Times faster than the fastest float engine at hand on the same case.
    pub speedup_float: Option<f64>,
    /// How much longer the median sample took than the one in `cycles` and `ns`, as a part of it.
    pub spread: Option<f64>,
    /// What only whole networks have.
    #[serde(skip)]
    pub run: Run,
}

/// What only whole networks and their layers have; times in nanoseconds, memory in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// Samples of one run.
    pub batch: Option<usize>,
    /// The latency of one run that half of them stay below, by the wall clock.
    pub p50: Option<f64>,
    /// That nine of ten stay below.
    pub p90: Option<f64>,
    /// That 99 of 100 stay below.
    pub p99: Option<f64>,
    /// That 999 of 1000 stay below.
    pub p999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// Samples a second, one run after another.
    pub throughput: Option<f64>,
    /// Calls of the allocator in one run.
    pub allocations: Option<f64>,
    /// Time of the quantizing in a layer.
    pub quantize: Option<f64>,
    /// Of the bit products.
    pub bits: Option<f64>,
    /// Of scales and fused steps.
    pub epilogue: Option<f64>,
    /// Of f32 work.
    pub float: Option<f64>,
    /// The model's file.
    pub file: Option<usize>,
    /// What the session allocated: activations and working memory.
    pub arena: Option<usize>,
    /// Resident memory of a process after its first answer.
    pub rss: Option<usize>,
    /// The most it ever was.
    pub peak_rss: Option<usize>,
    /// Page faults of that process that needed no disk.
    pub minor_faults: Option<usize>,
    /// Those that did.
    pub major_faults: Option<usize>,
}

impl Record {
    /// A record of `macs` in `timing` on one thread, everything else empty.
    pub(crate) fn new(
        suite: &'static str,
        case: String,
        engine: &'static str,
        unit: Unit,
        macs: f64,
        timing: Timing,
    ) -> Self {
        Self {
            suite,
            case,
            engine,
            unit,
            m: None,
            n: None,
            k: None,
            order: None,
            mode: None,
            isa: None,
            threads: 1,
            cycles: Some(rounded(timing.cycles)).filter(|cycles| cycles.is_finite()),
            ns: rounded(timing.ns),
            macs,
            limit_fraction: None,
            speedup_scalar: None,
            speedup_float: None,
            spread: Some((timing.spread * 1e4).round() / 1e4).filter(|spread| spread.is_finite()),
            run: Run::default(),
        }
    }

    /// What one run took.
    pub(crate) fn timing(&self) -> Timing {
        Timing { ns: self.ns, cycles: self.cycles.unwrap_or(f64::NAN), spread: self.spread.unwrap_or(f64::NAN) }
    }

    /// Multiply-accumulates a cycle.
    pub(crate) fn per_cycle(&self) -> Option<f64> {
        self.cycles.map(|cycles| self.macs / cycles)
    }
}

/// Two decimals: more are noise.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn isa_name<S: serde::Serializer>(isa: &Option<Isa>, serializer: S) -> Result<S::Ok, S::Error> {
    isa.map(Isa::name).serialize(serializer)
}

/// What all records of a run share.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Provenance {
    /// The CPU's own name.
    pub cpu: String,
    /// The commit of the binary.
    pub commit: &'static str,
    /// The compiler of the binary.
    pub rustc: &'static str,
    /// Where cycles come from.
    pub clock: String,
    /// UTC.
    pub date: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(flatten)]
    run: &'a Run,
    #[serde(flatten)]
    provenance: &'a Provenance,
}

/// One JSON object, without the line's end.
pub(crate) fn json(record: &Record, provenance: &Provenance) -> String {
    let line = serde_json::to_string(&Line { record, run: &record.run, provenance });
    printable(&line.expect("a record is plain data"))
}

/// All records as CSV with a header.
pub(crate) fn csv(records: &[Record], provenance: &Provenance) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.serialize((record, record.run, provenance)).expect("a record is plain data");
    }
    writer.into_inner().expect("memory takes every line")
}

/// A row of a kept record, as far as this program reads them again. Older records lack later keys.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Row {
    pub suite: String,
    pub case: String,
    pub engine: String,
    pub unit: String,
    pub order: Option<usize>,
    pub mode: Option<String>,
    pub isa: Option<String>,
    pub threads: usize,
    pub cycles: Option<f64>,
    pub ns: f64,
    pub macs: f64,
    pub limit_fraction: Option<f64>,
    pub speedup_float: Option<f64>,
    pub spread: Option<f64>,
    pub batch: Option<usize>,
    pub file: Option<usize>,
    pub rss: Option<usize>,
    pub minor_faults: Option<usize>,
    pub cpu: String,
    pub commit: String,
    pub rustc: String,
    pub clock: String,
    pub date: String,
}

/// Reads rows of CSV; `name` stands in errors.
///
/// # Errors
/// A message that names the source and the line that is no result.
pub(crate) fn parse(name: &str, csv: &[u8]) -> Result<Vec<Row>, String> {
    let rows: Result<Vec<Row>, _> = csv::Reader::from_reader(csv).into_deserialize().collect();
    let rows = rows.map_err(|error| format!("{name} is no record of this program: {error}"))?;
    if rows.is_empty() { Err(format!("{name} holds no results")) } else { Ok(rows) }
}

/// Reads a kept record.
///
/// # Errors
/// A message that names the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", escaped(path)))?;
    parse(&escaped(path).to_string(), &bytes)
}
