//! Cold starts: from the start of a process of its own to its first answer, with page faults and resident memory.
//!
//! The process is this same program, called with [`CHILD`] as its first argument. It maps the model's file, prepares a session,
//! runs it once and writes one line of JSON.

use horq::{Isa, Model, Order, Session, SessionOptions, Threads, escaped};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The first argument of the process that starts cold; not for people.
pub(crate) const CHILD: &str = "cold-start-of-a-child";

/// How a session of a cold process is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub isa: Isa,
    pub order: usize,
    pub batch: usize,
    pub threads: usize,
}

/// One cold start. Times are nanoseconds since the process was started, each up to the end of its phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The program's own code runs: the kernel and the linker have done their part.
    pub started: u64,
    /// The file is mapped and validated.
    pub opened: u64,
    /// The session is ready.
    pub prepared: u64,
    /// The first answer is there.
    pub answered: u64,
    /// Page faults up to the answer that needed no disk; none where nobody counts them.
    pub minor_faults: Option<usize>,
    /// Page faults up to the answer that did.
    pub major_faults: Option<usize>,
    /// Bytes that the session allocated.
    pub arena: usize,
    /// Resident bytes after the answer; none where there is no /proc.
    pub rss: Option<usize>,
    /// The most there ever were.
    pub peak_rss: Option<usize>,
}

impl Start {
    /// The phases, and what each took: the program's own start, opening the file, making the session, the first run.
    pub(crate) fn phases(&self) -> [(&'static str, u64); 4] {
        let Self { started, opened, prepared, answered, .. } = *self;
        [("start", started), ("open", opened - started), ("session", prepared - opened), ("run", answered - prepared)]
    }
}

/// Starts so many processes, one after another.
///
/// # Errors
/// A message if a process cannot be started or fails.
pub(crate) fn starts(file: &Path, setup: Setup, times: usize) -> Result<Vec<Start>, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))?;
    let Setup { isa, order, batch, threads } = setup;
    let numbers = [order, batch, threads].map(|number| number.to_string());
    let mut starts = Vec::new();
    for _ in 0..times.max(1) {
        let mut command = Command::new(&program);
        command.arg(CHILD).arg(file).arg(isa.name()).args(&numbers).arg(now().to_string());
        let output = command.output().map_err(|error| format!("cannot start {}: {error}", escaped(&program)))?;
        if !output.status.success() {
            return Err(format!("the cold process failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let start = serde_json::from_slice(&output.stdout);
        starts.push(start.map_err(|error| format!("the cold process wrote no result: {error}"))?);
    }
    Ok(starts)
}

/// The cold process: the model's file, the setup and the time of the start stand behind [`CHILD`].
///
/// # Errors
/// A message if the file is no model or the session cannot run.
pub(crate) fn child(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let started = now();
    let readable = |error: &dyn std::fmt::Display| error.to_string();
    let mut next = || arguments.next().ok_or("an argument of the cold process is missing");
    let (file, isa) = (next()?, next()?);
    let isa: Isa = isa.to_string_lossy().parse().map_err(|error| readable(&error))?;
    let mut number = || next()?.to_string_lossy().parse::<u64>().map_err(|error| readable(&error));
    let [order, batch, threads] = [number()? as usize, number()? as usize, number()? as usize];
    let origin = number()?;

    // SAFETY: the file is a temporary one of the process that started this one, which leaves it as it is.
    let model = unsafe { Model::map(Path::new(&file)) }.map_err(|error| readable(&error))?;
    let opened = now();
    let threads = if threads == 1 { Threads::Inline } else { Threads::Own(threads) };
    let options = SessionOptions::new()
        .order(Order::new(order).map_err(|error| readable(&error))?)
        .isa(isa)
        .batch(batch)
        .threads(threads);
    let mut session = Session::new(&model, options).map_err(|error| readable(&error))?;
    let prepared = now();
    let input: Vec<f32> = (0..batch * session.input_len()).map(|i| (i % 255) as f32 / 127.0 - 1.0).collect();
    let mut output = vec![0.0; batch * session.output_len()];
    session.run(&input, &mut output).map_err(|error| readable(&error))?;
    let answered = now();

    let [minor_faults, major_faults] = page_faults().map_or([None; 2], |faults| faults.map(Some));
    let [rss, peak_rss] = ["VmRSS:", "VmHWM:"].map(resident);
    let arena = session.arena_bytes() + session.scratch_bytes();
    let [started, opened, prepared, answered] = [started, opened, prepared, answered].map(|at| at - origin);
    let start = Start { started, opened, prepared, answered, minor_faults, major_faults, arena, rss, peak_rss };
    let line = serde_json::to_string(&start).expect("a start is plain data");
    writeln!(std::io::stdout(), "{line}").map_err(|error| readable(&error))
}

/// Nanoseconds of a clock that all processes of the machine share.
#[cfg(unix)]
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of the time of day, where no clock is shared by all processes of the machine.
#[cfg(not(unix))]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Page faults of this process so far, without and with the disk.
#[cfg(unix)]
fn page_faults() -> Option<[usize; 2]> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills the structure that it is given; zeros, which it held before, are valid values of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    Some([usage.ru_minflt as usize, usage.ru_majflt as usize])
}

#[cfg(not(unix))]
fn page_faults() -> Option<[usize; 2]> {
    None
}

/// A value of /proc/self/status in bytes.
fn resident(key: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib * 1024)
}
