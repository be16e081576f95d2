//! A warm run makes no system call: this program runs itself under `strace` and reads what happened between its marks.
//!
//! Without `strace` the test is skipped with a loud line, or fails if `HORQ_REQUIRE_STRACE` is `1`.

mod common;

use common::lenet::{lenet, tuned};
use common::random;
use common::random::MODES;
use horq::graph::Shape;
use horq::ops::{Add, Relu};
use horq::{Builder, Model, Order, RunOptions, ScaleMode, Session, SessionOptions, Values};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

const CHILD: &str = "HORQ_NO_SYSCALLS_CHILD";
const RUNS: usize = 10_000;
const BEGIN: &str = "horq-loop-begins";
const END: &str = "horq-loop-ends";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS; // test runners ask for the names of tests; there are none to choose from
    }
    if std::env::var_os(CHILD).is_some() {
        child();
        return ExitCode::SUCCESS;
    }
    match trace() {
        Ok(trace) => judge(&trace),
        Err(reason) if std::env::var("HORQ_REQUIRE_STRACE").as_deref() == Ok("1") => {
            eprintln!("no_syscalls FAILED: HORQ_REQUIRE_STRACE=1, but {reason}");
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("no_syscalls SKIPPED, NOTHING WAS CHECKED: {reason}; install strace");
            ExitCode::SUCCESS
        }
    }
}

/// The loops that are watched, one a scale mode, one of several inputs and outputs and one within a deadline, and one that makes calls, to see that they
/// are seen.
fn child() {
    let mark = |text: &str| std::io::stderr().write_all(text.as_bytes()).unwrap();
    for mode in MODES {
        let mut session = Session::new(&lenet(mode, 2).model(), SessionOptions::new()).unwrap();
        let input = random::values(&mut random::rng(1), session.input_len());
        let mut output = vec![0.0; session.output_len()];
        session.run(&input, &mut output).unwrap();
        mark(BEGIN);
        for round in 0..RUNS {
            session.set_order(Order::new(1 + round % 2).unwrap());
            session.run(&input, &mut output).unwrap();
        }
        mark(END);
    }
    several(&mark);
    within(&mark);
    mark(BEGIN);
    std::hint::black_box(std::fs::metadata("/").unwrap());
    mark(END);
}

/// A loop of runs with two inputs, one of them bytes, and two outputs, one of them read by a layer.
fn several(mark: &dyn Fn(&str)) {
    let mut builder = Builder::new("x", Shape::Flat(100));
    builder.add_input("z", Shape::Flat(100)).unwrap();
    builder.add("act", &["x"], Relu).unwrap().add("sum", &["act", "z"], Add).unwrap();
    let model = Model::from_bytes(&builder.to_bytes_many(&["sum", "act"]).unwrap()).unwrap();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    let (bytes, floats) = ([9_u8; 100], [0.5; 100]);
    let (mut sum, mut act) = ([0.0; 100], [0.0; 100]);
    let mut run = || session.run_many(&[Values::U8(&bytes), Values::F32(&floats)], &mut [&mut sum, &mut act]).unwrap();
    run();
    mark(BEGIN);
    (0..RUNS).for_each(|_| run());
    mark(END);
}

/// A loop of runs within a deadline, which read the clock and nothing else, at points that alternate.
fn within(mark: &dyn Fn(&str)) {
    let mut session = Session::new(&tuned(ScaleMode::Image), SessionOptions::new()).unwrap();
    session.calibrate(Duration::from_millis(20)).unwrap();
    let input = random::values(&mut random::rng(1), session.input_len());
    let mut output = vec![0.0; session.output_len()];
    let options = RunOptions::new().timeout(Duration::from_secs(36_000));
    session.run_within(&input, &mut output, &options).unwrap();
    mark(BEGIN);
    for round in 0..RUNS {
        let options = if round % 2 == 0 { options.point("fast") } else { options };
        session.run_within(&input, &mut output, &options).unwrap();
    }
    mark(END);
}

fn trace() -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    let strace = Command::new("strace").args(["-f", "-o"]).arg(file.path()).arg(program).env(CHILD, "1").output();
    let strace = strace.map_err(|error| format!("strace cannot be started: {error}"))?;
    if !strace.status.success() {
        return Err(format!("strace failed: {}", String::from_utf8_lossy(&strace.stderr)));
    }
    std::fs::read_to_string(file.path()).map_err(|error| format!("the trace cannot be read: {error}"))
}

fn judge(trace: &str) -> ExitCode {
    let loops: Vec<Vec<&str>> = trace
        .split(BEGIN)
        .skip(1)
        .map(|rest| {
            let inside = rest.split(END).next().unwrap();
            // The rest of the first mark's line and the start of the second mark's are not inside.
            let lines: Vec<&str> = inside.lines().skip(1).collect();
            lines[..lines.len().saturating_sub(1)].to_vec()
        })
        .collect();
    assert_eq!(loops.len(), MODES.len() + 3, "the trace shows every loop");
    let (control, watched) = loops.split_last().unwrap();
    assert!(!control.is_empty(), "the trace shows the call of the control loop");
    let names = MODES
        .iter()
        .map(|mode| format!("mode {mode:?}"))
        .chain(["several inputs and outputs".into(), "within a deadline".into()]);
    for (name, calls) in names.zip(watched) {
        println!("no_syscalls: {} system calls in {RUNS} runs, {name}", calls.len());
        calls.iter().take(10).for_each(|call| println!("  {call}"));
    }
    if watched.iter().all(Vec::is_empty) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
