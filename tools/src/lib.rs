//! The command `horq`: run, inspect, verify and profile `.horq` models.
//!
//! Answers go to standard output, errors to standard error; the exit code is 0 when done, 1 when a file, a check, the run or
//! the output failed, and 2 for wrong arguments. A reader that leaves, as `head` does, ends the command quietly with 0.

mod answer;
mod cli;
mod demo;
mod digits;
mod failure;
mod import;
mod input;
mod inspect;
mod isa;
mod model;
mod profile;
mod run;
mod table;
mod terminal;
mod tune;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use horq_probe::display::usage;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version, too.
        Err(error) => return usage(error).map_or_else(|error| Failure::from(error).report(), ExitCode::from),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let done = execute(&cli.command, &mut out);
    // What was said before a failure still counts, and stands before it.
    let flushed = out.flush().map_err(Failure::from);
    match done.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Reads a file of inputs from memory, as `horq run` reads it from a path: the size of each axis. For the fuzzer.
///
/// # Errors
/// What is wrong with the file, in words.
#[doc(hidden)]
pub fn read_input(bytes: &[u8]) -> Result<Vec<usize>, String> {
    input::decode(&mut &bytes[..], true).map(|array| array.dims)
}

fn execute(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Inspect(args) => inspect::inspect(args, out),
        Command::Run(args) => run::run(args, out),
        Command::Verify(args) => verify::verify(args, out),
        Command::Profile(args) => profile::profile(args, out),
        Command::Tune(args) => tune::tune(args, out),
        Command::Demo(args) => demo::demo(args, out),
        Command::Import(args) => import::import(args, out),
        Command::Isa(args) => isa::isa(args, out),
    }
}
