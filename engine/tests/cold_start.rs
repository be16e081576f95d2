//! What a model takes from its mapping to its first answer: resident memory and page faults.
#![cfg(target_os = "linux")]

use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Quantizer};
use horq::{Builder, Model, Order, ScaleMode, Session, SessionOptions};

/// Resident bytes of this process.
fn resident() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).expect("the kernel tells what is resident");
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Page faults of this process so far that needed no disk.
fn faults() -> usize {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Weights lie in memory once, as the file's pages, and a session takes little beyond its arena.
#[test]
fn a_first_answer_takes_the_file_the_arena_and_little_else() {
    const FEATURES: usize = 4096;
    let signs: Vec<f32> = (0..FEATURES * FEATURES).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
    let base = Basis::new(&signs, &[0.01; FEATURES]);
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let mut builder = Builder::new("x", Shape::Flat(FEATURES));
    let (mut from, names) = ("x", ["a", "b", "c", "y"]);
    for name in names {
        let layer = BinaryDense::new(FEATURES, quantize.clone(), [base.clone()]);
        builder.add(name, &[from], layer).unwrap();
        from = name;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.horq");
    builder.write(from, &path).unwrap();
    drop((builder, signs));

    let (input, mut output) = (vec![0.5; FEATURES], vec![0.0; FEATURES]);
    let (memory, before) = (resident(), faults());
    // SAFETY: nobody touches the file while the test runs.
    let model = unsafe { Model::map(&path) }.unwrap();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    session.run(&input, &mut output).unwrap();
    let (memory, walked) = (resident().saturating_sub(memory), faults() - before);
    let expected = model.file_len() + session.arena_bytes() + session.scratch_bytes();
    assert!(model.file_len() > 8 << 20, "the file is too small to tell");
    assert!(memory < expected + (1 << 20), "{memory} resident bytes, expected about {expected}");

    // The same once more with all pages fetched before the first run: it then meets none that is missing.
    drop((session, model));
    // SAFETY: as above.
    let model = unsafe { Model::map(&path) }.unwrap();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    model.prefault();
    let before = faults();
    session.run(&input, &mut output).unwrap();
    let fetched = faults() - before;
    assert!(fetched * 8 < walked.max(8), "{fetched} page faults in a run after prefault, {walked} in all without it");
}
