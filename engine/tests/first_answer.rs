//! The resident memory of a process that answers once: this program writes VGG-small and runs itself again to answer from it.
//!
//! `cargo test --release --test first_answer` prints the figures.

mod common;

use common::{Net, random};
use horq::graph::Shape;
use horq::ops::{Basis, BinaryConv2d, Conv2d, Flatten, MaxPool};
use horq::{Model, ScaleMode, Session, SessionOptions, Threads, Window};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The file for the child to map, and its number of threads.
const CHILD: &str = "HORQ_FIRST_ANSWER_CHILD";
/// What a process may take beyond its file and its session's own memory: the program's pages and those of the C library.
/// A program that is not optimised is larger: its pages alone are some 4.5 MiB.
const BEYOND: usize = if cfg!(debug_assertions) { 6 << 20 } else { 4 << 20 };

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS; // test runners ask for the names of tests; there are none to choose from
    }
    if let Ok(child) = std::env::var(CHILD) {
        let (threads, file) = child.split_once(' ').expect("threads and a file");
        answer(Path::new(file), threads.parse().expect("a number of threads"));
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_os = "linux") {
        eprintln!("first_answer SKIPPED, NOTHING WAS CHECKED: resident memory is read from /proc");
        return ExitCode::SUCCESS;
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), vgg_small().bytes()).expect("the model is written");
    let mut code = ExitCode::SUCCESS;
    for threads in [1, 2] {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"));
        let output = child.env(CHILD, format!("{threads} {}", file.path().display())).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<usize> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [resident, own] = numbers[..] else {
            eprintln!("first_answer FAILED: the child wrote {text:?}, {}", String::from_utf8_lossy(&output.stderr));
            return ExitCode::FAILURE;
        };
        let beyond = resident.saturating_sub(own) >> 10;
        println!(
            "{threads} threads: {} KiB resident, {beyond} beyond the file and the session's memory",
            resident >> 10
        );
        if resident > own + BEYOND {
            eprintln!("first_answer FAILED: {beyond} KiB are more than {}", BEYOND >> 10);
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Answers once and writes the resident bytes, and how many of them are the file's and the session's.
fn answer(file: &Path, threads: usize) {
    // SAFETY: the file is a temporary one of the process that started this one, which leaves it as it is.
    let model = unsafe { Model::map(file) }.expect("a model");
    let threads = if threads == 1 { Threads::Inline } else { Threads::Own(threads) };
    let mut session = Session::new(&model, SessionOptions::new().threads(threads)).expect("a session");
    let input: Vec<f32> = (0..session.input_len()).map(|i| (i % 255) as f32 / 127.0 - 1.0).collect();
    let mut output = vec![0.0; session.output_len()];
    session.run(&input, &mut output).expect("an answer");
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells what is resident");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    let resident = line.trim().trim_end_matches(" kB").parse::<usize>().expect("KiB") << 10;
    println!("{resident} {}", model.file_len() + session.arena_bytes() + session.scratch_bytes());
}

/// VGG-small for CIFAR-10: 128-128-M-256-256-M-512-512-M-10, float ends, binary between.
fn vgg_small() -> Net {
    let rng = &mut random::rng(1);
    let window = Window::square(3).with_padding(1);
    let mut net = Net::new(Shape::Image { height: 32, width: 32, channels: 3 });
    let mut channels = 3;
    let names = ["a", "b", "c", "d", "e", "f"];
    let norms = ["a.norm", "b.norm", "c.norm", "d.norm", "e.norm", "f.norm"];
    let activations = ["a.prelu", "b.prelu", "c.prelu", "d.prelu", "e.prelu", "f.prelu"];
    for (i, filters) in [128, 128, 256, 256, 512, 512].into_iter().enumerate() {
        let weight = random::values(rng, filters * 9 * channels);
        let layer: common::PlainOp = if i == 0 {
            Conv2d::new(window, filters, common::keep(weight)).into()
        } else {
            let alpha = common::keep(vec![0.01; filters]);
            let base = Basis::new(common::keep(weight), alpha);
            BinaryConv2d::new(window, filters, random::quantize(rng, ScaleMode::Fixed, 2), common::keep(vec![base]))
                .into()
        };
        net = net.then(names[i], layer).then(norms[i], random::affine(rng, filters));
        net = net.then(activations[i], random::prelu(rng, filters));
        if i % 2 == 1 {
            let pool = ["", "b.pool", "", "d.pool", "", "f.pool"][i];
            net = net.then(pool, MaxPool::new(Window::square(2).with_stride(2)));
        }
        channels = filters;
    }
    net.then("flat", Flatten).then("y", random::dense(rng, 512 * 16, 10))
}
