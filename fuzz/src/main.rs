//! `campaign`: runs targets on inputs number 0, 1, 2 ... on a stable compiler, and says how many it ran, what failed, the slowest input and
//! the one that took the most memory. `campaign --target run --first N --runs 1` does input N again.

use clap::Parser;
use horq_fuzz::mutate::Corpus;
use horq_fuzz::{TARGETS, Target, folder, target};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The options.
#[derive(Debug, Parser)]
struct Cli {
    /// A target; may be given several times, and they are run one after another. All by default.
    #[arg(long, value_parser = |name: &str| target(name).map(|target| target.name).ok_or("no such target"))]
    target: Vec<&'static str>,
    /// Stop each target after so many inputs.
    #[arg(long, default_value_t = u64::MAX)]
    runs: u64,
    /// Stop each target after so many seconds.
    #[arg(long, default_value_t = u64::MAX)]
    seconds: u64,
    /// The number of the first input.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// An input that takes longer is a hang.
    #[arg(long, default_value_t = 20)]
    hang_seconds: u64,
    /// Where inputs that fail go, and how far each target has come.
    #[arg(long, default_value_os_t = folder().join("artifacts"))]
    out: PathBuf,
}

/// Counts the bytes that the present thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every call is the system's; only numbers are kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one target's campaign has come to.
#[derive(Default)]
struct Findings {
    accepted: u64,
    /// Inputs that failed, with what was said.
    failed: Vec<(u64, String)>,
    slowest: (Duration, u64),
    largest: (isize, u64),
}

/// Failures after which a target is given up.
const ENOUGH: usize = 20;

struct Campaign<'a> {
    cli: &'a Cli,
    target: &'static Target,
    corpus: Corpus,
    start: Instant,
    next: AtomicU64,
    /// For each job, its input's number and when it started, in milliseconds.
    jobs: Vec<[AtomicU64; 2]>,
    stop: AtomicBool,
    findings: Mutex<Findings>,
}

impl Campaign<'_> {
    /// The work of one thread.
    fn work(&self, job: usize) {
        const LOT: u64 = 64;
        let end = self.cli.first.saturating_add(self.cli.runs);
        while !self.stop.load(Relaxed) {
            let first = self.next.fetch_add(LOT, Relaxed);
            if first >= end || self.start.elapsed().as_secs() >= self.cli.seconds {
                break;
            }
            (first..end.min(first + LOT)).for_each(|number| self.one(job, number));
        }
        self.jobs[job][1].store(u64::MAX, Relaxed);
    }

    fn one(&self, job: usize, number: u64) {
        let input = self.target.input(&self.corpus, number);
        let start = Instant::now();
        self.jobs[job][0].store(number, Relaxed);
        self.jobs[job][1].store(self.start.elapsed().as_millis() as u64, Relaxed);
        let before = HELD.get();
        MOST.set(before);
        let done = catch_unwind(AssertUnwindSafe(|| (self.target.run)(&input)));
        let (took, most) = (start.elapsed(), MOST.get() - before);
        let mut findings = self.findings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        findings.accepted += u64::from(matches!(done, Ok(true)));
        findings.slowest = findings.slowest.max((took, number));
        findings.largest = findings.largest.max((most, number));
        if let Err(panic) = done {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default();
            println!("{} FAILED on input {number}: {text}", self.target.name);
            let path = self.cli.out.join(format!("{}-{number}", self.target.name));
            if let Err(error) = std::fs::write(&path, &input) {
                println!("{}: {error}", path.display());
            }
            findings.failed.push((number, text));
            self.stop.fetch_or(findings.failed.len() >= ENOUGH, Relaxed);
        }
    }

    /// Looks after the threads until they are done: notes how far they are, and ends the program where one hangs.
    fn watch(&self) {
        let progress = self.cli.out.join(format!("{}.progress", self.target.name));
        let mut told = 0;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let (now, jobs) =
                (self.start.elapsed(), self.jobs.iter().map(|job| job.each_ref().map(|value| value.load(Relaxed))));
            let jobs: Vec<[u64; 2]> = jobs.collect();
            if jobs.iter().all(|job| job[1] == u64::MAX) {
                return;
            }
            for [number, started] in jobs.iter().filter(|job| job[1] != u64::MAX) {
                if (now.as_millis() as u64).saturating_sub(*started) > self.cli.hang_seconds * 1000 {
                    println!("{} HANGS on input {number}", self.target.name);
                    let input = self.target.input(&self.corpus, *number);
                    let _ = std::fs::write(self.cli.out.join(format!("{}-{number}", self.target.name)), input);
                    std::process::exit(3);
                }
            }
            // Where the process dies of a signal, this says near which input.
            let least = jobs.iter().map(|job| job[0]).min().unwrap_or(0);
            let _ = std::fs::write(&progress, format!("{least}\n"));
            if now.as_secs() / 60 > told {
                told = now.as_secs() / 60;
                println!("{} {}", self.target.name, self.line());
            }
        }
    }

    fn line(&self) -> String {
        let findings = self.findings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let end = self.cli.first.saturating_add(self.cli.runs);
        let (runs, time) = (self.next.load(Relaxed).min(end) - self.cli.first, self.start.elapsed().as_secs_f64());
        let Findings { accepted, failed, slowest: (slowest, slow), largest: (largest, large) } = &*findings;
        format!(
            "{runs} inputs in {time:.0} s ({:.0}/s), {accepted} accepted, {} failed; slowest {:.1} ms (input {slow}), most memory {:.2} MiB \
             (input {large})",
            runs as f64 / time,
            failed.len(),
            slowest.as_secs_f64() * 1000.0,
            *largest as f64 / f64::from(1 << 20),
        )
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = std::fs::create_dir_all(&cli.out) {
        eprintln!("error: {}: {error}", cli.out.display());
        return ExitCode::FAILURE;
    }
    // What a panic says is told once, with its input.
    std::panic::set_hook(Box::new(|_| ()));
    let jobs = cli.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    let mut failed = false;
    for target in TARGETS.iter().filter(|target| cli.target.is_empty() || cli.target.contains(&target.name)) {
        let corpus = match target.corpus() {
            Ok(corpus) => Corpus::new(corpus),
            Err(error) => {
                eprintln!("error: the seeds of {}: {error}", target.name);
                return ExitCode::FAILURE;
            }
        };
        let campaign = Campaign {
            cli: &cli,
            target,
            corpus,
            start: Instant::now(),
            next: AtomicU64::new(cli.first),
            jobs: (0..jobs.max(1)).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
            stop: AtomicBool::new(false),
            findings: Mutex::default(),
        };
        std::thread::scope(|scope| {
            (0..campaign.jobs.len()).for_each(|job| {
                drop(scope.spawn({
                    let campaign = &campaign;
                    move || campaign.work(job)
                }))
            });
            campaign.watch();
        });
        println!("{} DONE: {}", target.name, campaign.line());
        failed |= campaign.findings.into_inner().map_or(true, |findings| !findings.failed.is_empty());
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
