//! Results as lines: one object a result in JSON, one row in CSV, the same keys in both (`docs/measuring.md`).

use crate::rounds::{Quotient, Rounds};
use horq::{FileGroup, FileKind, escaped};
use horq_kernels::{Isa, ScaleMode};
use horq_probe::clock::Timing;
use horq_probe::display::printable;
use horq_probe::peak::Unit;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One result, of this run or of a kept record. A key without a meaning for a suite is null in JSON and empty in CSV; older
/// records lack later keys. `horq-bench --help` says what each is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub suite: String,
    pub case: String,
    pub engine: String,
    pub unit: Unit,
    pub m: Option<usize>,
    pub n: Option<usize>,
    pub k: Option<usize>,
    pub order: Option<usize>,
    pub mode: Option<String>,
    pub isa: Option<String>,
    pub threads: usize,
    pub cycles: Option<f64>,
    pub ns: f64,
    pub macs: f64,
    pub limit_fraction: Option<f64>,
    pub speedup_scalar: Option<f64>,
    pub speedup_float: Option<f64>,
    pub spread: Option<f64>,
    pub rounds: Option<usize>,
    // What only networks, their layers and binary layers have.
    pub batch: Option<usize>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
    pub throughput: Option<f64>,
    pub allocations: Option<f64>,
    pub quantize: Option<f64>,
    pub bits: Option<f64>,
    pub epilogue: Option<f64>,
    pub float: Option<f64>,
    pub file: Option<usize>,
    pub arena: Option<usize>,
    pub rss: Option<usize>,
    pub peak_rss: Option<usize>,
    pub minor_faults: Option<usize>,
    pub major_faults: Option<usize>,
    // On what and with what it was measured; [`Provenance`] of this run.
    pub cpu: String,
    pub commit: String,
    pub rustc: String,
    pub clock: String,
    pub date: String,
    /// The least and greatest speed-ups within a round, for figures of this run.
    #[serde(skip)]
    pub ranges: Ranges,
}

/// Ranges of speed-ups over the rounds of this run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ranges {
    pub scalar: Option<[f64; 2]>,
    pub float: Option<[f64; 2]>,
}

impl Record {
    /// A record of `macs` in `timing` on one thread, everything else empty.
    pub(crate) fn new(suite: &str, case: &str, engine: &str, unit: Unit, macs: f64, timing: Timing) -> Self {
        // Two decimals: more are noise.
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        Self {
            suite: suite.into(),
            case: case.into(),
            engine: engine.into(),
            unit,
            threads: 1,
            cycles: Some(rounded(timing.cycles)).filter(|cycles| cycles.is_finite()),
            ns: rounded(timing.ns),
            macs,
            spread: Some((timing.spread * 1e4).round() / 1e4).filter(|spread| spread.is_finite()),
            ..Self::default()
        }
    }

    /// A record of `macs` in the fastest of some rounds.
    pub(crate) fn of_rounds(suite: &str, case: &str, engine: &str, unit: Unit, macs: f64, rounds: &Rounds) -> Self {
        Self { rounds: Some(rounds.count()), ..Self::new(suite, case, engine, unit, macs, rounds.best()) }
    }

    /// This record with its speed-ups over the scalar loop and the fastest float, where they are known.
    pub(crate) fn faster_than(self, scalar: Option<Quotient>, float: Option<Quotient>) -> Self {
        let value = |quotient: Option<Quotient>| quotient.map(|quotient| quotient.value);
        let range = |quotient: Option<Quotient>| quotient.map(|quotient| quotient.range);
        let ranges = Ranges { scalar: range(scalar), float: range(float) };
        Self { speedup_scalar: value(scalar), speedup_float: value(float), ranges, ..self }
    }

    /// This record with rows, columns and depth of a product.
    pub(crate) fn of_product(self, [m, n, k]: [usize; 3]) -> Self {
        Self { m: Some(m), n: Some(n), k: Some(k), ..self }
    }

    /// This record with a backend.
    pub(crate) fn on(self, isa: Isa) -> Self {
        Self { isa: Some(isa.name().into()), ..self }
    }

    /// This record with an order and a scale mode, where there are any.
    pub(crate) fn with_order(self, order: Option<usize>, mode: Option<ScaleMode>) -> Self {
        Self { order, mode: mode.map(|mode| mode.name().into()), ..self }
    }

    /// What one run took.
    pub(crate) fn timing(&self) -> Timing {
        Timing { ns: self.ns, cycles: self.cycles.unwrap_or(f64::NAN), spread: self.spread.unwrap_or(f64::NAN) }
    }

    /// Multiply-accumulates a cycle.
    pub(crate) fn per_cycle(&self) -> Option<f64> {
        self.cycles.map(|cycles| self.macs / cycles)
    }

    /// Whether this is our own work, not a limit, a baseline or a peer.
    pub(crate) fn is_ours(&self) -> bool {
        self.engine.starts_with("horq")
    }

    /// The compiler without its commit and date.
    pub(crate) fn compiler(&self) -> &str {
        self.rustc.split(" (").next().unwrap_or(&self.rustc)
    }

    /// One JSON object, without the line's end.
    pub(crate) fn json(&self) -> String {
        printable(&serde_json::to_string(self).expect("a record is plain data"))
    }
}

/// The distinct values of a column in the order in which they come.
pub(crate) fn distinct<'a, T: PartialEq>(
    records: impl IntoIterator<Item = &'a Record>,
    value: impl Fn(&'a Record) -> Option<T>,
) -> Vec<T> {
    let mut values = Vec::new();
    for found in records.into_iter().filter_map(value) {
        if !values.contains(&found) {
            values.push(found);
        }
    }
    values
}

/// All records as CSV with a header.
pub(crate) fn csv(records: &[Record]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    records.iter().for_each(|record| writer.serialize(record).expect("a record is plain data"));
    writer.into_inner().expect("memory takes every line")
}

/// Reads a kept record.
///
/// # Errors
/// A message that names the file and the line that is no result.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, String> {
    let name = escaped(path);
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let records: Result<Vec<Record>, _> = csv::Reader::from_reader(&bytes[..]).into_deserialize().collect();
    let records = records.map_err(|error| match FileKind::of(&bytes) {
        Some(kind) if kind.group() != FileGroup::Text => {
            let advice = kind.remedy().unwrap_or("name a .csv file that this program wrote");
            format!("{name} is {kind}, no record of this program; {advice}")
        }
        _ => format!("{name} is no record of this program: {error}; name a .csv file that this program wrote"),
    })?;
    if records.is_empty() { Err(format!("{name} holds no results")) } else { Ok(records) }
}

/// Reads one kept record, or all those of a folder: runs.
///
/// # Errors
/// A message that names the file or the folder.
pub(crate) fn read_runs(path: &Path) -> Result<Vec<Vec<Record>>, String> {
    if !path.is_dir() {
        return Ok(vec![read(path)?]);
    }
    let unread = |error: std::io::Error| format!("cannot read {}: {error}", escaped(path));
    let files = path.read_dir().map_err(unread)?.map(|entry| Ok(entry?.path()));
    let files: Vec<PathBuf> = files.collect::<Result<_, _>>().map_err(unread)?;
    let records: Vec<_> = files.iter().filter(|file| file.extension().is_some_and(|csv| csv == "csv")).collect();
    if records.is_empty() {
        return Err(format!("{} holds no record", escaped(path)));
    }
    records.into_iter().map(|file| read(file)).collect()
}
