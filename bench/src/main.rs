//! `horq-bench`: the kernels beside the limits of this machine and the fastest float engines (`docs/measuring.md`).

mod chart;
mod cli;
mod conv;
mod curve;
mod data;
mod float;
mod gemm;
mod lab;
mod machine;
mod network;
mod networks;
mod record;
mod suites;
mod text;

use clap::Parser;
use horq_bench::{clock, peak};
use std::process::ExitCode;

fn main() -> ExitCode {
    match suites::run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("horq-bench: {message}");
            ExitCode::from(2)
        }
    }
}
