//! The command line.

use crate::networks::Network;
use clap::{Args, Parser, Subcommand, ValueEnum};
use horq::escaped;
use horq_kernels::{Geometry, Isa, MAX_ORDER, ScaleMode, Window};
use horq_probe::clock::ClockChoice;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AFTER_HELP: &str = "\
Without a subcommand: all suites, in less than a minute, with figures in ./horq-bench-out.

Keys of a result (--json, results.jsonl, results.csv; one that means nothing for a suite is null or empty):
  suite           peak, gemm, conv, weights, curve-kernel, curve-channels, curve-order,
                  curve-pixels, network, cold, peers
  case            the shape, layer or instruction sequence
  engine          what was timed: limit, horq, horq-packed, horq-f32, horq-int8, horq-code5, -code4,
                  -code3, horq-sign, gemm, im2col+gemm, scalar, a peer
  unit            what macs counts: bit, sign (f32 by binary weights), code (f32 by a codebook's), float, int8,
                  load (bytes), mixed (a network)
  m, n, k         rows (output pixels), columns (output channels), products that one output sums
  order, mode     planes of the activations; scale mode of the quantizer
  isa, threads    backend; threads
  cycles, ns      core cycles and nanoseconds of one run; cycles are null where no clock gives them
  macs            multiply-accumulates of one run: order x m x n x k for bits, m x n x k for floats
  limit_fraction  the part of the limit that `peak` measures for this unit and backend
  speedup_scalar  times faster than the scalar float loop on the same case
  speedup_float   times faster than the fastest float engine at hand on the same case
  spread          how much longer than that the median sample took, as a part of it
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

/// Measures horq beside the limits of this machine and the fastest float engines.
#[derive(Debug, Parser)]
#[command(name = "horq-bench", version, after_long_help = AFTER_HELP, after_help = "More with --help: the keys of a result.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub common: Common,
}

/// What every suite takes.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Write one JSON object a line and result, as they come; `-` is standard output, tables then go to standard error
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Write results.jsonl, results.csv and the figures here [default without subcommand and for curve: horq-bench-out]
    #[arg(long, value_name = "DIR", global = true)]
    pub out: Option<PathBuf>,
    /// Also write DIR/<cpu>/<date>.csv, to keep
    #[arg(long, value_name = "DIR", global = true)]
    pub record: Option<PathBuf>,
    /// Backends to measure [default: the best of this CPU, or the one that HORQ_ISA names; gemm: avx2 beside it]
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    pub isa: Vec<Isa>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = threads, global = true)]
    pub threads: usize,
    /// Milliseconds spent on each measurement
    #[arg(long, value_name = "MS", default_value = "60", value_parser = budget, global = true)]
    pub budget: Duration,
    /// Where cycles come from
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub clock: ClockChoice,
    /// Compare the results with this record: faster, slower, or the same within noise
    #[arg(long, value_name = "RECORD.csv", global = true)]
    pub compare: Option<PathBuf>,
    /// Exit with status 1 if a comparison shows something slower
    #[arg(long, global = true)]
    pub fail_on_regression: bool,
    /// Rewrite the marked tables of this file from the kept record (with --record, or for `tables`)
    #[arg(long, value_name = "FILE.md", global = true)]
    pub readme: Option<PathBuf>,
}

impl Common {
    /// Whether standard output is for lines of JSON.
    pub(crate) fn json_to_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The limits of this machine's instructions
    Peak,
    /// The bare bit product beside the float product
    Gemm {
        /// Rows x columns x bits, for example 192x256x2304; may be repeated
        #[arg(long = "shape", value_name = "MxNxK", value_parser = product_shape)]
        shapes: Vec<[usize; 3]>,
        /// Planes of the activations
        #[arg(long, default_value_t = 1, value_parser = order)]
        order: usize,
    },
    /// Whole binary convolutions, f32 in and out, beside float convolutions
    Conv {
        /// Height x width x channels x filters, for example 14x14x256x256; may be repeated
        #[arg(long = "shape", value_name = "HxWxCxN", value_parser = conv_shape)]
        shapes: Vec<[usize; 4]>,
        /// Taps in each direction; padded so that stride 1 keeps the size
        #[arg(long, default_value_t = 3, value_parser = positive)]
        kernel: usize,
        /// Pixels between windows
        #[arg(long, default_value_t = 1, value_parser = positive)]
        stride: usize,
        /// Planes of the activations [default: 1 and 2]
        #[arg(long, value_delimiter = ',', value_parser = order)]
        order: Vec<usize>,
        /// Scale modes [default: window and image]
        #[arg(long, value_enum, value_delimiter = ',')]
        mode: Vec<Mode>,
    },
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
    Network(Networks),
    /// Other engines on the same cases, in turns with ours
    Peers(crate::suites::peers::PeersArgs),
    /// All suites at length, in two minutes: more backends, modes and orders; what bench/record/ holds
    All(Beside),
    /// Compare two records
    Compare {
        /// The one to compare with
        old: PathBuf,
        /// The one in question
        new: PathBuf,
        /// Also list what stayed the same
        #[arg(long)]
        all: bool,
    },
    /// Rewrite the marked tables of --readme from a record
    Tables {
        /// A kept record
        record: PathBuf,
    },
}

/// What was measured elsewhere.
#[derive(Args, Clone, Debug)]
pub(crate) struct Beside {
    /// A kept record of `peers`: print and draw from which order on its engines win
    #[arg(long, value_name = "RECORD.csv")]
    pub peers: Option<PathBuf>,
}

/// Which networks run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Networks {
    /// A network with random weights or a .horq file; may be repeated [names: lenet5, vgg-small, vgg-small-int8, bireal18,
    /// bireal18-int8, react18, quicknet-small] [default: lenet5, vgg-small and bireal18]
    #[arg(long = "network", value_name = "NAME|FILE", value_parser = source)]
    pub networks: Vec<Source>,
    /// Planes of the activations [default: 1 to 4, or to a file's highest]
    #[arg(long, value_delimiter = ',', value_parser = order)]
    pub order: Vec<usize>,
    /// Scale modes; a file has its own [default: fixed]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub mode: Vec<Mode>,
    /// Samples of one run
    #[arg(long, default_value_t = 1, value_parser = batch)]
    pub batch: usize,
    /// Runs whose latency is taken; 1000 give all percentiles [default: as many as fit into 16 budgets]
    #[arg(long, value_parser = runs)]
    pub runs: Option<usize>,
    /// Also write each network as DIR/<network>-<mode>-<order>.horq
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
}

/// Where a network comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// This program makes it.
    Made(Network),
    /// A `.horq` file.
    File(PathBuf),
}

/// A scale mode, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One scale a receptive field: the paper's
    Window,
    /// One scale an image
    Image,
    /// Constants
    Fixed,
    /// No scale
    None,
}

impl From<Mode> for ScaleMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Window => Self::Window,
            Mode::Image => Self::Image,
            Mode::Fixed => Self::Fixed,
            Mode::None => Self::None,
        }
    }
}

/// What a curve runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Curve {
    /// 1x1 to 11x11
    Kernel,
    /// 3 to 512 input channels
    Channels,
    /// 1 to 8 planes
    Order,
    /// Images of 4x4 to 56x56
    Pixels,
}

impl Curve {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Kernel, Self::Channels, Self::Order, Self::Pixels];
}

/// The geometry of a convolution that keeps the image's size at stride 1.
pub(crate) fn geometry([height, width, channels, filters]: [usize; 4], kernel: usize, stride: usize) -> Geometry {
    let window = Window::square(kernel).with_stride(stride).with_padding(kernel / 2);
    Geometry { height, width, channels, filters, groups: 1, window }
}

fn product_shape(text: &str) -> Result<[usize; 3], String> {
    let shape = sizes(text, "MxNxK, for example 192x256x2304")?;
    Geometry::dense(shape[2], shape[1]).validate().map_err(|error| error.to_string())?;
    fits(shape[0], shape[1].max(shape[2]))?;
    Ok(shape)
}

fn conv_shape(text: &str) -> Result<[usize; 4], String> {
    sizes(text, "HxWxCxN, for example 14x14x256x256")
}

/// Positive numbers with an `x` between.
fn sizes<const N: usize>(text: &str, form: &str) -> Result<[usize; N], String> {
    let numbers: Result<Vec<usize>, String> = text.split(['x', 'X']).map(positive).collect();
    let numbers = numbers.map_err(|error| format!("{error}; a shape is {form}"))?;
    numbers
        .try_into()
        .map_err(|numbers: Vec<usize>| format!("{} sizes where {N} are needed: a shape is {form}", numbers.len()))
}

/// Float operands are made for every shape, so it has to fit into memory: 2^28 values, a gigabyte.
pub(crate) fn fits(rows: usize, columns: usize) -> Result<(), String> {
    match rows.checked_mul(columns) {
        Some(values) if values <= 1 << 28 => Ok(()),
        _ => Err(format!("{rows} x {columns} values pass the {} that a benchmark may hold", 1 << 28)),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("a size must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{}` is no number", escaped(text))),
    }
}

fn order(text: &str) -> Result<usize, String> {
    positive(text).ok().filter(|&order| order <= MAX_ORDER).ok_or(format!("an order is 1 to {MAX_ORDER}"))
}

fn batch(text: &str) -> Result<usize, String> {
    positive(text).ok().filter(|&batch| batch <= 4096).ok_or("a batch is 1 to 4096 samples".into())
}

fn runs(text: &str) -> Result<usize, String> {
    positive(text).ok().filter(|&runs| runs <= 10_000_000).ok_or("runs are 1 to 10000000".into())
}

fn source(text: &str) -> Result<Source, String> {
    if let Ok(network) = Network::from_str(text, false) {
        return Ok(Source::Made(network));
    }
    let path = PathBuf::from(text);
    if path.is_file() {
        return Ok(Source::File(path));
    }
    let names: Vec<String> = Network::value_variants().iter().map(|network| network.name()).collect();
    Err(format!("`{}` is neither a file nor one of {}", escaped(text), names.join(", ")))
}

fn threads(text: &str) -> Result<usize, String> {
    positive(text).ok().filter(|&threads| threads <= 1024).ok_or("threads are 1 to 1024".into())
}

fn budget(text: &str) -> Result<Duration, String> {
    let ms = positive(text).ok().filter(|&ms| ms <= 600_000).ok_or("milliseconds are 1 to 600000")?;
    Ok(Duration::from_millis(ms as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shapes_are_checked() {
        assert_eq!(product_shape("192x256x2304"), Ok([192, 256, 2304]));
        for bad in ["", "1x2", "1x2x3x4", "0x1x1", "ax1x1", "1x1x99999999", "99999999x99999999x32"] {
            assert!(product_shape(bad).is_err(), "{bad}");
        }
        assert_eq!(conv_shape("14x14x3x8"), Ok([14, 14, 3, 8]));
        assert!(order("0").is_err() && order("9").is_err() && order("8") == Ok(8));
        assert!(batch("0").is_err() && batch("4097").is_err() && batch("8") == Ok(8));
        assert!(matches!(source("vgg-small"), Ok(Source::Made(Network::VggSmall))));
        assert!(source("vgg-large").unwrap_err().contains("quicknet-small"));
    }
}
