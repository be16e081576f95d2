//! The command line: each suite owns its arguments.

use crate::arguments::positive;
use crate::harness::Options;
use crate::suites::curve::Curve;
use crate::suites::{conv, gemm, network, peers};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Without a subcommand: all suites, in less than a minute, with figures in ./horq-bench-out.

Keys of a result (--json, results.jsonl, results.csv; one that means nothing for a suite is null or empty):
  suite           peak, gemm, conv, weights, curve-kernel, curve-channels, curve-order,
                  curve-pixels, network, cold, peers
  case            the shape, layer or instruction sequence
  engine          what was timed: limit, horq, horq-packed, horq-popcount, horq-f32, horq-int8,
                  horq-code5, -code4, -code3, horq-sign, gemm, im2col+gemm, scalar, a peer
  unit            what macs counts: bit, sign (f32 by binary weights), code (f32 by a codebook's), float, int8,
                  load (bytes), mixed (a network)
  m, n, k         rows (output pixels), columns (output channels), products that one output sums
  order, mode     planes of the activations; scale mode of the quantizer
  isa, threads    backend; threads
  cycles, ns      core cycles and nanoseconds of one run, in the fastest round; cycles are null where no clock gives them
  macs            multiply-accumulates of one run: order x m x n x k for bits, m x n x k for floats
  limit_fraction  the part of the limit that `peak` measures for this unit and backend
  speedup_scalar  times faster than the scalar float loop on the same case
  speedup_float   times faster than the fastest float engine at hand on the same case
  spread          how much longer the slowest round took (where `rounds` is null, the median sample), as a part of it
  rounds          rounds in which this took turns with all others of its table
  batch           samples of one run of a network
  p50, p90, p99, p999, max   latency of a run in ns, by the wall clock; null where too few runs were taken
  throughput, allocations    samples a second; calls of the allocator a run
  quantize, bits, epilogue, float   ns of a layer by stage
  file, arena, rss, peak_rss        bytes: the model, the session's own, resident after a cold start, the most ever
  minor_faults, major_faults        page faults of a cold start
  cpu, commit, rustc, clock, date   on what, with what, by which clock (perf, cpu-time or time), when (UTC)

Exit codes: 0 done, or the reader of the output has left (as `head` does); 1 --fail-on-regression found something; 2 an
argument, a file, the run or the output failed.

How all this is measured, and why: docs/measuring.md.";

/// Measures horq beside the limits of the machine and the fastest float engines.
#[derive(Debug, Parser)]
#[command(name = "horq-bench", version, after_long_help = AFTER_HELP, after_help = "More with --help: the keys of a result.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub reports: Reports,
}

/// What becomes of results.
#[derive(Args, Debug)]
pub(crate) struct Reports {
    /// Write results.jsonl, results.csv and the figures here [default without subcommand and for curve: horq-bench-out]
    #[arg(long, value_name = "DIR", global = true)]
    pub out: Option<PathBuf>,
    /// Also write DIR/CPU/DATE.csv, to keep
    #[arg(long, value_name = "DIR", global = true)]
    pub record: Option<PathBuf>,
    /// Rewrite the marked tables of this file from the kept record (with --record, or for `tables`); may be repeated
    #[arg(long = "document", value_name = "FILE.md", global = true)]
    pub documents: Vec<PathBuf>,
    /// Print how the results differ from this record. One run gives no verdicts; `compare` does
    #[arg(long, value_name = "RECORD.csv", global = true)]
    pub compare: Option<PathBuf>,
    /// Exit with status 1 if `compare` shows something slower
    #[arg(long, global = true)]
    pub fail_on_regression: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The limits of this machine's instructions
    Peak,
    /// The bare bit product beside the float product
    Gemm(gemm::Arguments),
    /// Whole binary convolutions, f32 in and out, beside float convolutions
    Conv(conv::Arguments),
    /// Layers with weights of 32, 8, 5, 4, 3 bits and 1 bit
    Weights,
    /// The papers' curves: speed-up against kernel size, channels and order, with figures
    Curve {
        /// Which [default: all]
        #[arg(value_enum)]
        curves: Vec<Curve>,
        #[command(flatten)]
        beside: Beside,
    },
    /// Whole networks: latency, memory, cold start, and the time of each layer
    Network(network::Arguments),
    /// Other engines on the same cases, in turns with ours
    Peers(peers::Arguments),
    /// All suites at length, in two minutes: more backends, modes and orders; what bench/record/ holds
    All(Beside),
    /// Compare two programs, which run in turns: `compare OLD NEW -- conv --isa avx2`; or kept records
    Compare {
        /// The program to compare with; without a suite a record, or a folder of records of several runs
        old: PathBuf,
        /// The one in question
        new: PathBuf,
        /// Runs of each program in a block; blocks follow until every case is decided, mostly two to four
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = runs)]
        runs: usize,
        /// Also list what stayed the same
        #[arg(long)]
        all: bool,
        /// What both programs run: a suite and its options
        #[arg(last = true, value_name = "SUITE")]
        suite: Vec<OsString>,
    },
    /// Rewrite the marked tables of each --document from a record
    Tables {
        /// A kept record
        record: PathBuf,
    },
}

/// Fewer than three runs in a block decide nothing before there are many blocks.
fn runs(text: &str) -> Result<usize, String> {
    positive(text).ok().filter(|runs| (3..=20).contains(runs)).ok_or("runs of each program are 3 to 20".into())
}

/// What was measured elsewhere.
#[derive(Args, Clone, Debug)]
pub(crate) struct Beside {
    /// A kept record of `peers`: print and draw from which order on its engines win
    #[arg(long, value_name = "RECORD.csv")]
    pub peers: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
