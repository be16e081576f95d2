//! A file is whole or absent, whatever system call fails and wherever the writer is killed: this program writes a file in a child
//! under `strace`, which makes each of the child's calls fail, or kills it there, one call a child.
//!
//! Without `strace` the test is skipped with a loud line, or fails if `HORQ_REQUIRE_STRACE` is `1`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

const CHILD: &str = "HORQ_WRITERS_CHILD";
const BEGIN: &str = "horq-writer-begins";
const END: &str = "horq-writer-ends";

/// What strace does to a call: errors as they come of full and failing disks and of signals; and kills, before the call is done
/// (then strace makes it fail) and after.
const FAULTS: [(&str, bool); 5] = [
    ("error=ENOSPC", false),
    ("error=EIO", false),
    ("error=EINTR", false),
    ("error=EIO:signal=SIGKILL", true),
    ("signal=SIGKILL", true),
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS; // test runners ask for the names of tests; there are none to choose from
    }
    if let Some(path) = std::env::var_os(CHILD) {
        return child(Path::new(&path));
    }
    match calls(&["-o", "/dev/null"], None) {
        Ok(_) => {}
        Err(reason) if std::env::var("HORQ_REQUIRE_STRACE").as_deref() == Ok("1") => {
            eprintln!("writers FAILED: HORQ_REQUIRE_STRACE=1, but {reason}");
            return ExitCode::FAILURE;
        }
        Err(reason) => {
            eprintln!("writers SKIPPED, NOTHING WAS CHECKED: {reason}; install strace");
            return ExitCode::SUCCESS;
        }
    }
    for old in [None, Some(&b"what was there before"[..])] {
        every_call(old);
    }
    ExitCode::SUCCESS
}

fn new() -> Vec<u8> {
    (0..300_000).map(|i| (i % 251) as u8).collect()
}

fn child(path: &Path) -> ExitCode {
    let bytes = new();
    let mark = |text: &str| std::io::stderr().write_all(text.as_bytes()).unwrap();
    mark(BEGIN);
    let written = horq::replace_file(path, &bytes);
    mark(END);
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.len() > 20, "{text}");
            ExitCode::from(1)
        }
    }
}

/// Runs a child under strace in a new folder, where `old` lies at the path. How it ended, and what is there then, by name.
fn calls(options: &[&str], old: Option<&[u8]>) -> Result<(ExitStatus, BTreeMap<String, Vec<u8>>), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let path = folder.path().join("model.horq");
    if let Some(old) = old {
        std::fs::write(&path, old).map_err(|error| error.to_string())?;
    }
    let program = std::env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    let mut strace = Command::new("strace");
    let output = strace.arg("-f").args(options).arg(program).env(CHILD, &path).output();
    let output = output.map_err(|error| format!("strace cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !said.contains(BEGIN) {
        return Err(format!("strace failed: {said}"));
    }
    let entries = std::fs::read_dir(folder.path()).map_err(|error| error.to_string())?;
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    });
    Ok((output.status, files.collect()))
}

/// The calls of the writer: each by its name and which of that name in the process it is, from 1.
fn traced(old: Option<&[u8]>) -> Vec<(String, usize)> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let (status, files) = calls(&["-o", trace.path().to_str().unwrap()], old).unwrap();
    assert!(status.success() && files["model.horq"] == new(), "{status}");
    let text = std::fs::read_to_string(trace.path()).unwrap();
    let (mut counts, mut found, mut inside) = (BTreeMap::new(), Vec::new(), false);
    for line in text.lines() {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let Some((name, rest)) = call.split_once('(') else { continue };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        inside &= !rest.contains(END);
        if inside {
            found.push((name.to_owned(), *count));
        }
        inside |= rest.contains(BEGIN);
    }
    assert!(
        ["write", "fsync", "linkat"].iter().all(|wanted| found.iter().any(|(name, _)| name == wanted)),
        "{found:?}"
    );
    found
}

fn every_call(old: Option<&[u8]>) {
    let (calls_of_writer, new) = (traced(old), new());
    let (mut errors, mut kills, mut left) = (0, 0, 0);
    for (name, number) in &calls_of_writer {
        for (fault, is_kill) in FAULTS {
            let what =
                format!("{name} {number}, {fault}, {}", if old.is_some() { "a file there" } else { "no file there" });
            let inject = format!("inject={name}:{fault}:when={number}");
            let (status, files) = calls(&["-o", "/dev/null", "-e", &inject], old).unwrap();
            let content = files.get("model.horq").map(Vec::as_slice);
            assert!(content == old || content == Some(&new), "{what}: a mix of {:?} bytes", content.map(<[u8]>::len));
            let others = files.keys().filter(|name| *name != "model.horq").count();
            if is_kill {
                assert!(!status.success(), "{what}: {status}");
                // The new file has a name of its own between the last two steps alone.
                let between = old.is_some() && (name == "linkat" || name.starts_with("rename"));
                assert!(others == 0 || between, "{what}: {:?}", files.keys());
                kills += 1;
                left += others;
                continue;
            }
            assert!(matches!(status.code(), Some(0 | 1)), "{what}: {status}");
            assert!(status.code() == Some(1) || content == Some(&new), "{what}: it says that it wrote, but did not");
            assert!(others == 0, "{what}: it leaves {:?}", files.keys());
            errors += usize::from(status.code() == Some(1));
        }
    }
    println!(
        "{} calls of a writer, {}: {errors} errors reported, {kills} kills, after {left} of which a temporary file was left",
        calls_of_writer.len(),
        if old.is_some() { "a file there" } else { "no file there" }
    );
    assert!(errors >= 5 && left <= 2);
}
