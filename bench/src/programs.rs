//! Two programs that take turns: runs of both in blocks, in an order drawn at random (`report/compare.rs` says why).

use crate::data::Numbers;
use crate::output::complain;
use crate::report::compare::{Block, Comparison, blocks, shuffled};
use crate::report::record::{self, Record};
use horq::escaped;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the old program and the new one with these arguments, a block after the other, until every case is decided or none can be.
/// Gives the blocks, and how many were planned.
///
/// # Errors
/// A message if a program cannot be run, fails, or leaves no results.
pub(crate) fn take_turns(
    programs: [&Path; 2],
    arguments: &[OsString],
    runs: usize,
) -> Result<(Vec<Block>, usize), String> {
    let programs = [program(programs[0])?, program(programs[1])?];
    let (mut done, mut planned): (Vec<Block>, Option<usize>) = Default::default();
    let mut numbers = Numbers::new(RandomState::new().build_hasher().finish());
    loop {
        let order = shuffled(runs, &mut numbers);
        let letters: String = order.iter().map(|&side| ["A", "B"][side]).collect();
        let of = planned.map_or(String::new(), |planned| format!(" of {planned} at most"));
        complain(&format!("block {}{of}: {letters} (A is the old program)", done.len() + 1));
        let mut block = Block::default();
        for side in order {
            block[side].push(run(&programs[side], arguments)?);
        }
        done.push(block);
        // The first block tells how many cases there are.
        let cases = Comparison::new(&done, 1).cases();
        if cases == 0 {
            return Err("the two programs have no case of ours in common".into());
        }
        let enough = *planned.get_or_insert_with(|| blocks(runs, cases));
        if done.len() >= enough || !Comparison::new(&done, enough).is_open() {
            return Ok((done, enough));
        }
    }
}

/// A program as the system starts it: a file where there is one, else a name to look for.
fn program(name: &Path) -> Result<PathBuf, String> {
    if !name.is_file() {
        return Ok(name.to_owned());
    }
    std::path::absolute(name).map_err(|error| format!("{}: {error}", escaped(name)))
}

/// One run: its results.
fn run(program: &Path, arguments: &[OsString]) -> Result<Vec<Record>, String> {
    let name = escaped(program);
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--out").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.lines().find(|line| !line.is_empty() && !line.starts_with("measuring ")).unwrap_or_default();
        return Err(format!("{name} failed ({}): {}", output.status, escaped(reason)));
    }
    record::read(&folder.path().join("results.csv")).map_err(|_| format!("{name} left no results: is it a horq-bench?"))
}
