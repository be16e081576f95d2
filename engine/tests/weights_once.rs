//! The weights of a model are in memory once, however many sessions there are: this program counts its own pages.

mod common;

use common::random;
use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Dense, Quantizer};
use horq::{Builder, Model, Order, ScaleMode, SessionOptions, SessionPool};
use std::process::ExitCode;

const SESSIONS: usize = 8;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS; // test runners ask for the names of tests; there are none to choose from
    }
    if !cfg!(target_os = "linux") {
        eprintln!("weights_once SKIPPED, NOTHING WAS CHECKED: memory is read from /proc");
        return ExitCode::SUCCESS;
    }
    // 32 MiB of float weights and 4 MiB of binary ones.
    let (features, filters) = (8192, 4096);
    let weight = random::values(&mut random::rng(2), features * filters);
    let mut builder = Builder::new("x", Shape::Flat(features));
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let base = Basis::new(&weight, vec![1.0 / features as f32; filters]);
    builder.add("binary", &["x"], BinaryDense::new(filters, quantize, [base])).unwrap();
    builder.add("float", &["binary"], Dense::new(2048, &weight[..filters * 2048])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.horq");
    builder.write("float", &path).unwrap();
    drop((builder, weight));

    let file = std::fs::metadata(&path).unwrap().len() as usize;
    assert!(file > 36 << 20, "{file} bytes of weights are too few to be seen");
    let mut code = ExitCode::SUCCESS;
    for (name, mapped) in [("mapped", true), ("opened", false)] {
        let before = proportional();
        // SAFETY: the file is this program's own and stays as it is.
        let model = if mapped { unsafe { Model::map(&path) } } else { Model::open(&path) }.unwrap();
        let pool = SessionPool::new(&model, SessionOptions::new(), SESSIONS).unwrap();
        let mut sessions: Vec<_> = (0..SESSIONS).map(|_| pool.get().unwrap()).collect();
        let input = random::values(&mut random::rng(3), model.input_shape().len());
        let mut answers = sessions.iter_mut().map(|session| common::run(session, &input));
        let first = answers.next().unwrap();
        assert!(answers.all(|answer| answer == first));
        let own: usize = sessions.iter().map(|session| session.memory_bytes()).sum();
        let taken = proportional() - before;
        println!(
            "{name}: {SESSIONS} sessions take {} KiB: a file of {} KiB, and {} KiB of sessions' own",
            taken >> 10,
            file >> 10,
            own >> 10
        );
        // Once, and all of it: a twentieth is for what else was allocated, or was given back by what came before.
        let room = file / 20;
        if !(file - room..=file + own + room).contains(&taken) {
            eprintln!("weights_once FAILED: {name}: {taken} bytes for a file of {file} and sessions of {own}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Bytes of this process's pages, those that it shares with others in proportion: Pss.
fn proportional() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel tells of a process's memory");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss is in it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of KiB") << 10
}
