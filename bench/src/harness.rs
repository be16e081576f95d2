//! What every suite works with: the clock, the limits, threads, and where results go.

use crate::arguments::{positive, up_to};
use crate::output::{Output, complain, save};
use crate::report::record::Record;
use crate::rounds::{Point, Rounds};
use crate::text;
use crate::workers::Workers;
use clap::Args;
use horq::{escaped, provenance};
use horq_kernels::{Isa, Parallel};
use horq_probe::clock::{Clock, ClockChoice, Repeats, Timing};
use horq_probe::load::Load;
use horq_probe::machine;
use horq_probe::peak::{Peaks, Unit};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How things are measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Write one JSON object a line and result, suite by suite; `-` is standard output, tables then go to standard error
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Backends to measure [default: the best of this CPU, or the one that HORQ_ISA names; gemm: avx2 beside it]
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    pub isa: Vec<Isa>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = up_to(1024, "threads are"), global = true)]
    pub threads: usize,
    /// Milliseconds spent on each measurement, over all its rounds
    #[arg(long, value_name = "MS", default_value = "60", value_parser = budget, global = true)]
    pub budget: Duration,
    /// Rounds in which all points of a table take turns
    #[arg(long, default_value_t = 5, value_parser = up_to(1000, "rounds are"), global = true)]
    pub rounds: usize,
    /// Where cycles come from
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub clock: ClockChoice,
}

impl Options {
    /// Whether standard output is for lines of JSON.
    pub(crate) fn json_to_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }
}

fn budget(text: &str) -> Result<Duration, String> {
    let ms = positive(text).ok().filter(|&ms| ms <= 600_000).ok_or("milliseconds are 1 to 600000")?;
    Ok(Duration::from_millis(ms as u64))
}

/// The clock, the limits, the workers, and the results so far.
pub(crate) struct Harness {
    clock: Clock,
    /// The limits.
    pub peaks: Peaks,
    /// What a measurement may take in each round.
    pub budget: Duration,
    /// Rounds in which the points of a table take turns.
    pub rounds: usize,
    /// The backends to measure; the first is the main one.
    pub isas: Vec<Isa>,
    /// Whether `--isa` chose them.
    isas_chosen: bool,
    /// Who runs the work.
    pub workers: Workers,
    /// A record of which only the provenance is filled in.
    provenance: Record,
    /// All results so far.
    pub records: Vec<Record>,
    json: Json,
    output: Rc<Output>,
    progress: Progress,
    load: Option<Load>,
}

/// Points that take longer than so many budgets have no turn in later rounds than these.
const LONG: (u32, usize) = (8, 3);
/// Noise beyond this part is worth a warning; so is that part of a core.
const CALM: f64 = 0.05;

/// Where lines of JSON go.
enum Json {
    Nowhere,
    Output,
    /// A device or a FIFO, whose reader sees each line as it comes.
    Stream(PathBuf, File),
    /// A file, which gets all lines at the end, so that it is never half of a run.
    File(PathBuf),
}

impl Json {
    /// Finds out what is at a path. What cannot be written is refused here, before a minute of measuring and not after it.
    fn to(path: &Path) -> Result<Self, String> {
        let fail = |error| unwritten(path, &error);
        match fs::metadata(path) {
            Ok(there) if there.is_file() => {
                OpenOptions::new().append(true).open(path).map_err(fail)?;
                Ok(Self::File(path.into()))
            }
            Ok(_) => Ok(Self::Stream(path.into(), OpenOptions::new().write(true).open(path).map_err(fail)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                fs::read_dir(folder).map_err(fail)?;
                Ok(Self::File(path.into()))
            }
            Err(error) => Err(fail(error)),
        }
    }
}

impl Harness {
    /// Opens the clock and measures the limits.
    ///
    /// # Errors
    /// A message if an option cannot be met.
    pub(crate) fn new(options: &Options, output: Rc<Output>) -> Result<Self, String> {
        let default_isa = Isa::from_env().map_err(|error| error.to_string())?;
        let isas = if options.isa.is_empty() { vec![default_isa] } else { options.isa.clone() };
        if let Some(missing) = isas.iter().find(|isa| !isa.is_available()) {
            let available: Vec<&str> = Isa::available().map(Isa::name).collect();
            return Err(format!("--isa {missing}: this CPU has only {}", available.join(", ")));
        }
        let json = match &options.json {
            None => Json::Nowhere,
            Some(_) if options.json_to_stdout() => Json::Output,
            Some(path) => Json::to(path)?,
        };
        let workers = Workers::new(options.threads)?;
        let mut clock = Clock::open(options.clock, options.threads)?;
        let provenance = Record {
            cpu: machine::cpu(),
            commit: provenance::COMMIT.into(),
            rustc: provenance::RUSTC.into(),
            clock: clock.source().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            ..Record::default()
        };
        let progress = Progress::new();
        progress.suite("the limits of this machine");
        let (rounds, isas_chosen) = (options.rounds, !options.isa.is_empty());
        let (load, budget) = (Load::start(), options.budget / rounds as u32);
        let peaks = Peaks::measure(&mut clock, rounds, budget, |name| progress.step(name));
        let harness = Self {
            clock,
            peaks,
            budget,
            rounds,
            isas,
            isas_chosen,
            workers,
            provenance,
            records: vec![],
            json,
            output,
            progress,
            load,
        };
        let Record { cpu, commit, rustc, clock, date, .. } = &harness.provenance;
        harness
            .say(&format!("{cpu}\n{rustc}, commit {commit}, {date}, clock: {clock}, {} thread(s)", harness.threads()));
        Ok(harness)
    }

    /// The lines below a figure.
    pub(crate) fn caption(&self) -> Vec<String> {
        let Record { cpu, commit, clock, date, .. } = &self.provenance;
        let rustc = self.provenance.compiler();
        let (isa, threads, rounds) = (self.isas[0], self.threads(), self.rounds);
        let mut lines = vec![
            format!(
                "Points: the fastest of {rounds} rounds in which all points took turns. Bars: from the fastest to the slowest round."
            ),
            format!("{cpu}; {isa}; {threads} thread(s); clock: {clock}."),
            format!("horq {} at commit {commit}, {rustc}, {date}.", env!("CARGO_PKG_VERSION")),
        ];
        lines.extend(self.loaded());
        lines
    }

    /// A warning if this machine was not calm while it measured, and how that was seen.
    pub(crate) fn loaded(&self) -> Option<String> {
        let mut seen = Vec::new();
        if let Some((busy, cores)) = self.load.and_then(|load| load.of_others()).filter(|&(busy, _)| busy > CALM) {
            seen.push(format!("other programs kept {busy:.1} of {cores} cores busy"));
        }
        if let Some(part) = self.clock.disturbed().filter(|&part| part > CALM) {
            seen.push(format!("{} of the samples were interrupted", text::percent(Some(part))));
        }
        if let Some((name, part)) = self.peaks.moved().filter(|&(_, part)| part > CALM) {
            let part = text::percent(Some(part));
            seen.push(format!("a loop in registers took up to {part} more cycles in some rounds ({name})"));
        }
        let seen = (!seen.is_empty()).then(|| seen.join("; "));
        seen.map(|seen| format!("This machine was loaded: {seen}."))
    }

    /// The backends to measure with each of `extra` beside them, where the choice was left to us and this CPU has it.
    pub(crate) fn isas_and(&self, extra: &[Isa]) -> Vec<Isa> {
        let mut isas = self.isas.clone();
        for &isa in extra {
            if !self.isas_chosen && isa.is_available() && !isas.contains(&isa) {
                isas.push(isa);
            }
        }
        isas
    }

    /// How many threads run it.
    pub(crate) fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// Says which suite runs now.
    pub(crate) fn suite(&self, name: &str) {
        self.progress.suite(name);
    }

    /// Says what of the suite is being measured.
    pub(crate) fn step(&self, what: &str) {
        self.progress.step(what);
    }

    /// Prints for people; what comes from outside has been escaped.
    pub(crate) fn say(&self, text: &str) {
        self.progress.bar.suspend(|| self.output.say(text));
    }

    /// Prints a table, as [`text::table`] makes it.
    pub(crate) fn table(&self, title: &str, header: &str, rows: Vec<Vec<String>>) {
        self.say(&text::table(title, header, rows));
    }

    /// Keeps a result and writes its line.
    ///
    /// # Errors
    /// A message if the line, or something before it, cannot be written.
    pub(crate) fn emit(&mut self, record: Record) -> Result<(), String> {
        let Record { cpu, commit, rustc, clock, date, .. } = self.provenance.clone();
        let record = Record { cpu, commit, rustc, clock, date, ..record };
        match &mut self.json {
            Json::Nowhere | Json::File(_) => {}
            Json::Output => self.output.line(&record.json()),
            Json::Stream(path, file) => writeln!(file, "{}", record.json()).map_err(|error| unwritten(path, &error))?,
        }
        self.records.push(record);
        self.output.check()
    }

    /// Puts all lines into the file of `--json`, if it is one, in place of what it held.
    ///
    /// # Errors
    /// A message if it cannot be written.
    pub(crate) fn save_json(&self) -> Result<(), String> {
        match &self.json {
            Json::File(path) => save(path, self.lines()),
            _ => Ok(()),
        }
    }

    /// All results so far, one JSON object a line.
    pub(crate) fn lines(&self) -> String {
        self.records.iter().map(|record| record.json() + "\n").collect()
    }

    /// Gives every point a turn in each round, so that what the machine does meanwhile meets them all.
    pub(crate) fn take_turns(&mut self, suite: &str, points: &mut [Point<'_>]) {
        for round in 1..=self.rounds {
            for point in &mut *points {
                self.progress.step(&format!("{suite}, round {round} of {}: {}", self.rounds, point.label));
                self.turn(point, round);
            }
        }
    }

    fn turn(&mut self, point: &mut Point<'_>, round: usize) {
        let long = |taken: Duration| taken > self.budget * LONG.0;
        if round > LONG.1 && point.longest.is_some_and(long) {
            return;
        }
        let start = Instant::now();
        let bound = point.unit.and_then(|unit| self.bound(unit, point.isa, point.tables));
        let (clock, workers, work) = (&mut self.clock, &self.workers, &mut point.work);
        let timing = self.peaks.turn(clock, self.budget, bound, &mut point.repeats, &mut || work(workers, None));
        point.longest = point.longest.max(Some(start.elapsed()));
        point.rounds.add(timing);
    }

    /// The name of the limit of these products on a backend, or on the machine if none is named; of byte tables of that order if
    /// one is given.
    fn bound(&self, unit: Unit, isa: Option<Isa>, tables: Option<usize>) -> Option<&'static str> {
        let peaks = &self.peaks;
        let peak = match (isa, tables) {
            (Some(isa), Some(order)) => peaks.of_tables(isa, order),
            (Some(isa), None) => peaks.bound(unit, isa),
            (None, _) => peaks.best(unit),
        };
        peak.map(|peak| peak.limit.name)
    }

    /// The part of their limit that so many products reach; on several threads the limit is that of one times their number.
    pub(crate) fn fraction(&self, unit: Unit, isa: Option<Isa>, macs: f64, rounds: &Rounds) -> Option<f64> {
        self.part_of(self.bound(unit, isa, None)?, macs, rounds)
    }

    /// The part of the limit of byte tables that so many products of `order` planes reach.
    pub(crate) fn fraction_of_tables(&self, isa: Isa, order: usize, macs: f64, rounds: &Rounds) -> Option<f64> {
        // A lookup answers for all planes.
        self.part_of(self.bound(Unit::Table, Some(isa), Some(order))?, macs / order as f64, rounds)
    }

    fn part_of(&self, bound: &str, macs: f64, rounds: &Rounds) -> Option<f64> {
        let peak = self.peaks.iter().find(|peak| peak.limit.name == bound)?;
        Some(peak.fraction(macs / self.threads() as f64, rounds.best()))
    }

    /// One turn of `work` without a limit beside it.
    pub(crate) fn turn_plain(&mut self, repeats: &mut Repeats, work: &mut dyn FnMut()) -> Timing {
        self.clock.turn(self.budget, repeats, work)
    }

    /// Where a record of these results is kept: below `folder`, by the CPU's name and the date, with the suite's name behind it
    /// where it has a record of its own.
    pub(crate) fn record_path(&self, folder: &Path, suite: Option<&str>) -> PathBuf {
        let cpu = self.provenance.cpu.to_ascii_lowercase();
        let words: Vec<&str> =
            cpu.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let suite = suite.map_or(String::new(), |suite| format!("-{suite}"));
        folder.join(words.join("-")).join(format!("{}{suite}.csv", self.provenance.date))
    }
}

/// What is being measured: a line that changes where people look at it, elsewhere a line a suite.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}").expect("a valid template"));
        Self { bar }
    }

    fn suite(&self, name: &str) {
        if self.bar.is_hidden() {
            complain(&format!("measuring {}", escaped(name)));
        } else {
            self.step(name);
        }
    }

    fn step(&self, what: &str) {
        self.bar.set_message(format!("measuring {}", escaped(what)));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", escaped(path))
}
