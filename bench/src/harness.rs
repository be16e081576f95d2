//! What every suite works with: the clock, the limits, threads, and where results go.

use crate::output::{Output, complain};
use crate::report::record::{self, Provenance, Record};
use crate::text;
use horq::{Threads, escaped};
use horq_kernels::{Inline, Isa, Parallel};
use horq_probe::clock::{Clock, Timing};
use horq_probe::peak::{Peaks, Unit};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The bench.
pub(crate) struct Lab {
    clock: Clock,
    peaks: Peaks,
    budget: Duration,
    isas: Vec<Isa>,
    /// Whether `--isa` chose them.
    isas_chosen: bool,
    workers: Workers,
    provenance: Provenance,
    records: Vec<Record>,
    json: Json,
    output: Rc<Output>,
    progress: ProgressBar,
}

/// Where lines of JSON go.
enum Json {
    Nowhere,
    Output,
    File(PathBuf, fs::File),
}

/// Who runs the work: the caller's thread, or a pool of its own.
pub(crate) struct Workers(Option<Arc<rayon::ThreadPool>>);

impl Workers {
    /// The same workers for a session of the engine.
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

impl Lab {
    /// Opens the clock and measures the limits.
    ///
    /// # Errors
    /// A message if an option cannot be met.
    pub(crate) fn new(common: &crate::cli::Common, output: Rc<Output>) -> Result<Self, String> {
        let default_isa = Isa::from_env().map_err(|error| error.to_string())?;
        let isas = if common.isa.is_empty() { vec![default_isa] } else { common.isa.clone() };
        if let Some(missing) = isas.iter().find(|isa| !isa.is_available()) {
            let available: Vec<&str> = Isa::available().map(Isa::name).collect();
            return Err(format!("--isa {missing}: this CPU has only {}", available.join(", ")));
        }
        let json = match &common.json {
            None => Json::Nowhere,
            Some(_) if common.json_to_stdout() => Json::Output,
            // Line by line as they come, so a device or a FIFO will do.
            Some(path) => Json::File(path.clone(), fs::File::create(path).map_err(|error| unwritten(path, &error))?),
        };
        let workers = match common.threads {
            1 => Workers(None),
            threads => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Workers(Some(Arc::new(pool.map_err(|error| format!("cannot start {threads} threads: {error}"))?)))
            }
        };
        let progress = ProgressBar::no_length();
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}").expect("a valid template");
        progress.set_style(style);
        let mut clock = Clock::open(common.clock, common.threads)?;
        let peaks = Peaks::measure(&mut clock, common.budget, |name| step(&progress, &format!("peak: {name}")));
        let provenance = Provenance {
            cpu: horq_probe::machine::cpu(),
            commit: horq::provenance::COMMIT,
            rustc: horq::provenance::RUSTC,
            clock: clock.source().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        };
        let budget = common.budget;
        let isas_chosen = !common.isa.is_empty();
        let lab = Self {
            clock,
            peaks,
            budget,
            isas,
            isas_chosen,
            workers,
            provenance,
            records: vec![],
            json,
            output,
            progress,
        };
        lab.say(&lab.heading());
        Ok(lab)
    }

    fn heading(&self) -> String {
        let Provenance { cpu, commit, rustc, clock, date } = &self.provenance;
        format!("{cpu}\n{rustc}, commit {commit}, {date}, clock: {clock}, {} thread(s)", self.threads())
    }

    /// The lines below a figure.
    pub(crate) fn caption(&self) -> Vec<String> {
        let Provenance { cpu, commit, rustc, clock, date } = &self.provenance;
        let rustc = rustc.split(" (").next().unwrap_or(rustc);
        vec![
            format!("{cpu}; {}; {} thread(s); clock: {clock}.", self.isas[0], self.threads()),
            format!("horq {} at commit {commit}, {rustc}, {date}.", env!("CARGO_PKG_VERSION")),
        ]
    }

    /// The backends to measure; the first is the main one.
    pub(crate) fn isas(&self) -> &[Isa] {
        &self.isas
    }

    /// The same with each of `extra` beside them where the choice was left to us and this CPU has it.
    pub(crate) fn isas_and(&self, extra: &[Isa]) -> Vec<Isa> {
        let mut isas = self.isas.clone();
        for &isa in extra {
            if !self.isas_chosen && isa.is_available() && !isas.contains(&isa) {
                isas.push(isa);
            }
        }
        isas
    }

    /// Measures these backends from now on.
    pub(crate) fn set_isas(&mut self, isas: Vec<Isa>) {
        self.isas = isas;
    }

    /// The limits.
    pub(crate) fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// Who runs the work.
    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How many threads run it.
    pub(crate) fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// What a measurement may take.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// All results so far.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Says what is being measured.
    pub(crate) fn step(&self, what: &str) {
        step(&self.progress, what);
    }

    /// Prints for people; what comes from outside has been escaped.
    pub(crate) fn say(&self, text: &str) {
        self.progress.suspend(|| self.output.say(text));
    }

    /// Prints a table: the first column to the left, numbers to the right.
    pub(crate) fn table(&self, title: &str, header: &[&str], rows: Vec<Vec<String>>) {
        self.say(&text::table(title, header, rows));
    }

    /// Keeps a result and writes its line.
    ///
    /// # Errors
    /// A message if the line, or something before it, cannot be written.
    pub(crate) fn emit(&mut self, record: Record) -> Result<(), String> {
        let line = record::json(&record, &self.provenance);
        match &mut self.json {
            Json::Nowhere => {}
            Json::Output => self.output.line(&line),
            Json::File(path, file) => writeln!(file, "{line}").map_err(|error| unwritten(path, &error))?,
        }
        self.records.push(record);
        self.output.check()
    }

    /// Times `work` of so many products of a kind beside their limit on a backend, or on the machine if none is named; on several threads the limit is the limit of
    /// one times their number.
    pub(crate) fn time_products(
        &mut self,
        unit: Unit,
        isa: Option<Isa>,
        macs: f64,
        work: &mut dyn FnMut(&Workers),
    ) -> (Timing, Option<f64>) {
        let peaks = &self.peaks;
        let bound =
            isa.map_or_else(|| peaks.best(unit), |isa| peaks.bound(unit, isa)).map(horq_probe::peak::Peak::name);
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

    /// All results as the CSV of a record.
    pub(crate) fn csv(&self) -> Vec<u8> {
        record::csv(&self.records, &self.provenance)
    }

    /// Writes all results into the output folder and, if asked, into the records, there as `<date>.csv` or
    /// `<date>-<suite>.csv`; gives the record's path.
    ///
    /// # Errors
    /// A message that names the file.
    pub(crate) fn write(
        &self,
        out: Option<&Path>,
        kept: Option<&Path>,
        suite: Option<&str>,
    ) -> Result<Option<PathBuf>, String> {
        let csv = self.csv();
        if let Some(out) = out {
            let lines: String = self.records.iter().map(|r| record::json(r, &self.provenance) + "\n").collect();
            save(&out.join("results.jsonl"), lines)?;
            save(&out.join("results.csv"), &csv)?;
        }
        let Some(kept) = kept else { return Ok(None) };
        let slug: String = self
            .provenance
            .cpu
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let words: Vec<&str> = slug.split('-').filter(|word| !word.is_empty()).collect();
        let folder = kept.join(words.join("-"));
        create_folder(&folder)?;
        let suite = suite.map_or(String::new(), |suite| format!("-{suite}"));
        let path = folder.join(format!("{}{suite}.csv", self.provenance.date));
        save(&path, &csv)?;
        self.say(&format!("record kept in {}", escaped(&path)));
        Ok(Some(path))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

/// Progress: a line that changes where people look at it, a line a step where it goes to a file.
fn step(progress: &ProgressBar, what: &str) {
    let message = format!("measuring {}", escaped(what));
    if progress.is_hidden() {
        complain(&message);
    } else {
        progress.set_message(message);
        progress.tick();
    }
}

/// Creates a folder and what it lies in.
///
/// # Errors
/// A message that names it.
pub(crate) fn create_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot create the folder {}: {error}", escaped(folder)))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// A message that names it.
pub(crate) fn save(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    horq::replace_file(path, bytes.as_ref()).map_err(|error| error.to_string())
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", escaped(path))
}
