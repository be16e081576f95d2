//! `horq-bench`: the kernels beside the limits of this machine and the fastest float engines (`docs/measuring.md`).

mod allocations;
mod chart;
mod cli;
mod cold;
mod compare;
mod conv;
mod crossover;
mod curve;
mod data;
mod float;
mod forms;
mod gemm;
mod lab;
mod machine;
mod network;
mod networks;
mod peers;
mod record;
mod suites;
mod tables;
mod text;
mod weights;

use clap::Parser;
use horq_bench::{clock, peak};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the command line, whose parsing is no part of a cold start.
    let mut arguments = std::env::args_os().skip(1);
    let result = match arguments.next() {
        Some(first) if first == cold::CHILD => cold::child(arguments).map(|()| ExitCode::SUCCESS),
        _ => suites::run(&cli::Cli::parse()),
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            eprintln!("horq-bench: {message}");
            ExitCode::from(2)
        }
    }
}
