//! The command line.

use crate::input::Arrangement;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const ENVIRONMENT: &str = "\
Environment:
  HORQ_ISA=NAME          use this instruction set instead of the best one (names: `horq isa`)
  HORQ_REQUIRE_ISA=LIST  fail if one of these (separated by commas) is missing
  NO_COLOR=1             no colours

Exit codes: 0 done, or the reader of the output has left (as `head` does); 1 a file, a check, the run or the output
failed; 2 wrong arguments.
Names and notes of files are shown with what does not print escaped (\\n, \\u{1b}); JSON holds them exactly.";

/// Runs, inspects, verifies and profiles .horq models: binary networks of high order on the CPU.
#[derive(Debug, Parser)]
#[command(name = "horq", version, after_help = ENVIRONMENT, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a model holds: graph, shapes, orders, bytes, multiply-accumulates, compression.
    Inspect(Inspect),
    /// Run a model on npy arrays, PNG images, IDX data sets or CIFAR-10 batches.
    Run(Run),
    /// Check a model: structure, digest and, on request, its stored example on every instruction set. Or check this machine.
    Verify(Verify),
    /// Time each layer: stages, share, binary operations a second, part of this machine's limit.
    Profile(Profile),
    /// Find the mixtures of orders that are worth their time on this machine, and write them into the file as operating points.
    Tune(Tune),
    /// Let bundled networks read digits that the program draws, or name the pictures of a CIFAR-10 batch.
    Demo(Demo),
    /// Make a .horq file of an ONNX or QONNX file, and show what became of each layer.
    Import(Import),
    /// Show which instruction sets this machine has, which is used and why.
    Isa(Isa),
}

/// `horq inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The .horq file.
    pub(crate) model: PathBuf,
    /// Write one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `horq import`
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The .onnx file.
    #[arg(required_unless_present = "operations")]
    pub(crate) file: Option<PathBuf>,
    /// The .horq file to write.
    #[arg(short, long, value_name = "FILE.horq", required_unless_present = "operations")]
    pub(crate) output: Option<PathBuf>,
    /// List the operations that may stand in a file, and do nothing else.
    #[arg(long)]
    pub(crate) operations: bool,
    /// The shape of an input whose sizes the file leaves open, with a batch of 1; may be given several times.
    #[arg(long, value_name = "NAME=1x3x224x224", value_parser = input_shape)]
    pub(crate) input: Vec<(String, Vec<usize>)>,
    /// Keep inputs and outputs in ONNX's order of axes; otherwise images have their channels last.
    #[arg(long)]
    pub(crate) same_layout: bool,
    /// Let the original and the new file answer N random inputs, and compare; needs Python with onnxruntime, or qonnx for QONNX.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) check: usize,
    /// Take the inputs of the check from .npy files, one for each input of the network, in its order.
    #[arg(long, value_name = "FILE.npy", requires = "check")]
    pub(crate) samples: Vec<PathBuf>,
    /// The Python that runs the original.
    #[arg(long, default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Write one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The dial: at which order each binary layer runs.
#[derive(Debug, Args)]
pub(crate) struct Orders {
    /// Run at this operating point of the model; `default` is its default one, and `horq inspect` shows them all.
    #[arg(long, value_name = "NAME", conflicts_with = "order")]
    pub(crate) point: Option<String>,
    /// Run every binary layer at this order, or at its own highest if that is lower.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) order: Option<u8>,
    /// Run one layer at this order; may be given several times.
    #[arg(long, value_name = "NAME=K", value_parser = layer_order)]
    pub(crate) layer_order: Vec<(String, usize)>,
}

/// `horq run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The .horq file.
    pub(crate) model: PathBuf,
    /// npy arrays (float32 or uint8), PNG images, IDX files or CIFAR-10 batches (data_batch_1.bin), also gzipped.
    #[arg(required_unless_present = "input")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The files of one input of a model with several; may be given several times, also for one input.
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, conflicts_with = "inputs")]
    pub(crate) input: Vec<(String, PathBuf)>,
    #[command(flatten)]
    pub(crate) orders: Orders,
    /// Show the N highest outputs of each sample.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    pub(crate) top: usize,
    /// Compare with these labels (an IDX file, one byte a sample, or a CIFAR-10 batch) and report the accuracy over all samples;
    /// of a model with several outputs, by the first.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Run up to N samples at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// Use N threads, at most 1024.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// How the axes of arrays stand.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layout: Arrangement,
    /// Multiply each input value by this.
    #[arg(long, value_name = "S", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) scale: f32,
    /// Then add this to it: `--scale 0.00784314 --shift -1` maps bytes to -1..1.
    #[arg(long, value_name = "B", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) shift: f32,
    /// Write JSON: one object a line for each sample, or one with the accuracy.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `horq verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The .horq file; without one, --selftest checks the engine on this machine.
    #[arg(required_unless_present = "selftest")]
    pub(crate) model: Option<PathBuf>,
    /// Also run the example stored in the file on every instruction set and compare with the stored answer. Without a file: run the
    /// bundled models and networks of every operation on every instruction set, and compare the fingerprint of all bits of their
    /// answers with the one that every CPU must give.
    #[arg(long)]
    pub(crate) selftest: bool,
}

/// `horq profile`
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The .horq file.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) orders: Orders,
    /// Samples a run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// Use N threads, at most 1024.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Runs to measure; by default as many as fit into about two seconds.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) runs: Option<usize>,
    /// Also write the spans of ten runs to this file, for https://ui.perfetto.dev or chrome://tracing: runs, layers, stages, threads.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,
    /// Write one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `horq tune`
#[derive(Debug, Args)]
pub(crate) struct Tune {
    /// The .horq file.
    pub(crate) model: PathBuf,
    /// Calibration data, as `horq run` reads it: npy arrays, IDX files or CIFAR-10 batches, which hold their labels. Not the data that accuracy
    /// will be reported on, and best none that the network was trained on.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Labels of the data (an IDX file, or a CIFAR-10 batch), one file for each of --data. Without labels the outputs of the highest
    /// orders count as right.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) labels: Vec<PathBuf>,
    /// Use only the last N samples of the data.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) samples: Option<usize>,
    /// Add the best point that answers within this time, and make it the default: 250us, 1.5ms.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) latency: Option<Duration>,
    /// Add the fastest point that loses at most this: percentage points of accuracy, without labels nats of divergence.
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true)]
    pub(crate) loss: Option<f64>,
    /// The most points of the file.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=64))]
    pub(crate) points: u8,
    /// Measure so many mixtures along the front as whole networks.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    pub(crate) candidates: usize,
    /// Judge each layer at each order on the first N samples; candidates are judged on all.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) table_samples: usize,
    /// Take times for so long, three times.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Use N threads, as the service will; at most 1024.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// How the axes of arrays stand.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layout: Arrangement,
    /// Multiply each input value by this.
    #[arg(long, value_name = "S", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) scale: f32,
    /// Then add this to it.
    #[arg(long, value_name = "B", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) shift: f32,
    /// The file to write; it may be the model's own. Without it nothing is written.
    #[arg(short, long, value_name = "FILE.horq")]
    pub(crate) output: Option<PathBuf>,
    /// Also write all mixtures to this file.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) csv: Option<PathBuf>,
    /// Write one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `horq demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Name the pictures of this CIFAR-10 batch (test_batch.bin) instead of reading digits.
    #[arg(value_name = "BATCH")]
    pub(crate) batch: Option<PathBuf>,
    /// The network that reads digits [default: lenet5].
    #[arg(long, value_enum, value_name = "NET")]
    pub(crate) net: Option<DigitNet>,
    /// Only this order; by default 1 to 4.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) order: Option<u8>,
    /// Another hand, or other pictures, for another number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Plain ASCII, no Unicode blocks.
    #[arg(long)]
    pub(crate) ascii: bool,
}

/// The bundled networks for digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DigitNet {
    /// LeNet-5.
    Lenet5,
    /// Three hidden layers of 1024.
    Mlp,
}

/// `horq isa`
#[derive(Debug, Args)]
pub(crate) struct Isa {
    /// Write one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "a whole number of at least 1 is wanted".into())
}

/// `250us`, `1.5ms`, `5s`
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time above 0 such as 250us, 1.5ms or 5s");
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE is wanted, for example left=left.npy")?;
    Ok((name.to_owned(), file.into()))
}

fn layer_order(text: &str) -> Result<(String, usize), String> {
    let (name, order) = text.rsplit_once('=').ok_or("NAME=K is wanted, for example conv2=1")?;
    let order = order.parse().ok().filter(|order| (1..=8).contains(order)).ok_or("an order is a number from 1 to 8")?;
    Ok((name.to_owned(), order))
}

/// `NAME=1x3x224x224`
fn input_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let wrong = || format!("{text:?} is no NAME=SIZExSIZE..., such as input=1x3x224x224");
    let (name, sizes) = text.rsplit_once('=').ok_or_else(wrong)?;
    let sizes: Result<Vec<usize>, _> = sizes.split('x').map(str::parse).collect();
    Ok((name.to_owned(), sizes.map_err(|_| wrong())?))
}
