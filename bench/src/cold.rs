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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub order: usize,
    pub batch: usize,
    pub threads: usize,
    /// The backend by its name.
    #[serde(with = "isa_name")]
    pub isa: Isa,
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

/// Starts so many processes one after another and gives the one of median time.
///
/// # Errors
/// A message if a process cannot be started or fails.
pub(crate) fn measure(file: &Path, setup: Setup, times: usize) -> Result<Start, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))?;
    let setup = serde_json::to_string(&setup).expect("a setup is plain data");
    let mut starts = Vec::new();
    for _ in 0..times.max(1) {
        let mut command = Command::new(&program);
        command.arg(CHILD).arg(file).arg(&setup).arg(now().to_string());
        let output = command.output().map_err(|error| format!("cannot start {}: {error}", escaped(&program)))?;
        if !output.status.success() {
            return Err(format!("the cold process failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let start: Start = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the cold process wrote no result: {error}"))?;
        starts.push(start);
    }
    starts.sort_by_key(|start| start.answered);
    Ok(starts[starts.len() / 2])
}

/// The cold process: the model's file, the setup and the time of the start stand behind [`CHILD`].
///
/// # Errors
/// A message if the file is no model or the session cannot run.
pub(crate) fn child(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let started = now();
    let mut next = || arguments.next().ok_or("an argument of the cold process is missing");
    let (file, setup, origin) = (next()?, next()?, next()?);
    let readable = |error: &dyn std::fmt::Display| error.to_string();
    let setup: Setup = serde_json::from_str(&setup.to_string_lossy()).map_err(|error| readable(&error))?;
    let origin: u64 = origin.to_string_lossy().parse().map_err(|error| readable(&error))?;

    // SAFETY: the file is a temporary one of the process that started this one, which leaves it as it is.
    let model = unsafe { Model::map(Path::new(&file)) }.map_err(|error| readable(&error))?;
    let opened = now();
    let threads = if setup.threads == 1 { Threads::Inline } else { Threads::Own(setup.threads) };
    let options = SessionOptions::new()
        .order(Order::new(setup.order).map_err(|error| error.to_string())?)
        .isa(setup.isa)
        .batch(setup.batch)
        .threads(threads);
    let mut session = Session::new(&model, options).map_err(|error| readable(&error))?;
    let prepared = now();
    let input: Vec<f32> = (0..setup.batch * session.input_len()).map(|i| (i % 255) as f32 / 127.0 - 1.0).collect();
    let mut output = vec![0.0; setup.batch * session.output_len()];
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

/// The same; where there is no such clock, the time of day has to do.
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

mod isa_name {
    use horq::Isa;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(isa: &Isa, serializer: S) -> Result<S::Ok, S::Error> {
        isa.name().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Isa, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
