//! What every suite works with: the clock, the limits, threads, and where results go.

use crate::arguments::{positive, up_to};
use crate::output::{Output, complain};
use crate::report::record::Record;
use crate::text;
use clap::Args;
use horq::{Threads, escaped, provenance};
use horq_kernels::{Inline, Isa, Parallel};
use horq_probe::clock::{Clock, ClockChoice, Timing};
use horq_probe::machine;
use horq_probe::peak::{Peaks, Unit};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How things are measured.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Write one JSON object a line and result, as they come; `-` is standard output, tables then go to standard error
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Backends to measure [default: the best of this CPU, or the one that HORQ_ISA names; gemm: avx2 beside it]
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    pub isa: Vec<Isa>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = up_to(1024, "threads are"), global = true)]
    pub threads: usize,
    /// Milliseconds spent on each measurement
    #[arg(long, value_name = "MS", default_value = "60", value_parser = budget, global = true)]
    pub budget: Duration,
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
    /// What a measurement may take.
    pub budget: Duration,
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
}

/// Where lines of JSON go.
enum Json {
    Nowhere,
    Output,
    File(PathBuf, File),
}

/// Who runs the work: the caller's thread, or a pool of its own.
pub(crate) struct Workers(Option<Arc<rayon::ThreadPool>>);

impl Workers {
    /// These workers as a session of the engine takes them.
    pub(crate) fn for_session(&self) -> Threads {
        self.0.clone().map_or(Threads::Inline, Threads::Pool)
    }

    /// Runs `work` on a thread of the pool, so that rayon inside it means this pool.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

// SAFETY: a loop over the numbers, or a parallel iterator over them, which waits for its last call.
unsafe impl Parallel for Workers {
    fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match &self.0 {
            Some(pool) => pool.install(|| (0..tasks).into_par_iter().for_each(task)),
            None => Inline.run(tasks, task),
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
            // Line by line as they come, so a device or a FIFO will do.
            Some(path) => Json::File(path.clone(), File::create(path).map_err(|error| unwritten(path, &error))?),
        };
        let workers = match options.threads {
            1 => Workers(None),
            threads => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Workers(Some(Arc::new(pool.map_err(|error| format!("cannot start {threads} threads: {error}"))?)))
            }
        };
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
        let peaks = Peaks::measure(&mut clock, options.budget, |name| progress.step(name));
        let (budget, isas_chosen) = (options.budget, !options.isa.is_empty());
        let records = vec![];
        let harness =
            Self { clock, peaks, budget, isas, isas_chosen, workers, provenance, records, json, output, progress };
        let Record { cpu, commit, rustc, clock, date, .. } = &harness.provenance;
        harness
            .say(&format!("{cpu}\n{rustc}, commit {commit}, {date}, clock: {clock}, {} thread(s)", harness.threads()));
        Ok(harness)
    }

    /// The lines below a figure.
    pub(crate) fn caption(&self) -> Vec<String> {
        let Record { cpu, commit, clock, date, .. } = &self.provenance;
        let rustc = self.provenance.compiler();
        vec![
            format!("{cpu}; {}; {} thread(s); clock: {clock}.", self.isas[0], self.threads()),
            format!("horq {} at commit {commit}, {rustc}, {date}.", env!("CARGO_PKG_VERSION")),
        ]
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
            Json::Nowhere => {}
            Json::Output => self.output.line(&record.json()),
            Json::File(path, file) => writeln!(file, "{}", record.json()).map_err(|error| unwritten(path, &error))?,
        }
        self.records.push(record);
        self.output.check()
    }

    /// Times `work` of so many products of a kind beside their limit on a backend, or on the machine if none is named; on several
    /// threads the limit is that of one times their number.
    pub(crate) fn time_products(
        &mut self,
        unit: Unit,
        isa: Option<Isa>,
        macs: f64,
        work: &mut dyn FnMut(&Workers),
    ) -> (Timing, Option<f64>) {
        let peaks = &self.peaks;
        let bound = isa.map_or_else(|| peaks.best(unit), |isa| peaks.bound(unit, isa)).map(|peak| peak.limit.name);
        let share = macs / self.threads() as f64;
        let (peaks, workers) = (&mut self.peaks, &self.workers);
        peaks.fraction(&mut self.clock, self.budget, bound, share, &mut || work(workers))
    }

    /// Times `work` without a limit beside it.
    pub(crate) fn time_plain(&mut self, work: &mut dyn FnMut()) -> Timing {
        self.clock.best(self.budget, work)
    }

    /// Times the scalar loop, which is slow, so that three samples of a part of the work have to do.
    pub(crate) fn time_scalar(&mut self, work: &mut dyn FnMut()) -> Timing {
        self.clock.best(self.budget / 3, work)
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
