//! `horq-bench`: the kernels beside the limits of this machine and the fastest float engines (`docs/measuring.md`).

mod allocations;
mod arguments;
mod baselines;
mod cases;
mod chart;
mod cli;
mod cold;
mod data;
mod harness;
mod measure;
mod networks;
mod output;
mod programs;
mod report;
mod rounds;
mod run;
mod suites;
mod text;
mod variants;
mod workers;

use clap::Parser;
use horq::escaped;
use horq_probe::display;
use std::io::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the command line, whose parsing is no part of a cold start.
    let mut arguments = std::env::args_os().skip(1);
    let result = match arguments.next() {
        Some(first) if first == cold::CHILD => cold::child(arguments).map(|()| ExitCode::SUCCESS),
        _ => match cli::Cli::try_parse() {
            Ok(cli) => run::run(&cli),
            Err(error) => help(error),
        },
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            output::complain(&format!("horq-bench: {}", escaped(&message)));
            ExitCode::from(2)
        }
    }
}

/// Help and version, too.
fn help(error: clap::Error) -> Result<ExitCode, String> {
    match display::usage(error) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("cannot write to standard output: {error}")),
    }
}
