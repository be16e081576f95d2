//! What is fuzzed: a function of bytes for each way into horq, and mutations that keep what the way in demands, such as digests.
//!
//! A target panics where a promise is broken; that it refuses its bytes is no fault. libFuzzer drives the targets by coverage
//! (`fuzz_targets/`, a nightly compiler), the program `campaign` by numbers on a stable one: input number n of a target is always the same.

pub mod mutate;
pub mod targets;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::path::{Path, PathBuf};

/// A way into horq.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, also that of its libFuzzer program.
    pub name: &'static str,
    /// The function; whether the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
    /// The folder of its first inputs, below `fuzz/`.
    pub seeds: &'static str,
    /// What makes an input from the seeds.
    pub mutate: mutate::Mutate,
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "header", run: targets::header, seeds: "seeds", mutate: mutate::header },
    Target { name: "open", run: targets::open, seeds: "seeds", mutate: mutate::file },
    Target { name: "run", run: targets::run, seeds: "seeds", mutate: mutate::file },
    Target { name: "builder", run: targets::builder, seeds: "builder", mutate: mutate::program },
    Target { name: "inputs", run: targets::inputs, seeds: "inputs", mutate: mutate::input },
    Target { name: "onnx", run: targets::onnx, seeds: "onnx", mutate: mutate::onnx },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The folder `fuzz/`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

impl Target {
    /// The seeds, and what once failed, by name.
    ///
    /// # Errors
    /// If a folder or a file cannot be read.
    pub fn corpus(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut corpus = Vec::new();
        for part in [folder().join(self.seeds), folder().join("regressions").join(self.name)] {
            if !part.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(part)? {
                let path = entry?.path();
                corpus
                    .push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), std::fs::read(&path)?));
            }
        }
        corpus.sort();
        Ok(corpus)
    }

    /// Input number `number`, made from `corpus`.
    pub fn input(&self, corpus: &mutate::Corpus, number: u64) -> Vec<u8> {
        let mut rng = SmallRng::seed_from_u64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.name.len() as u64);
        (self.mutate)(corpus, &mut rng)
    }
}

/// A mutation for libFuzzer: half of them ours, half its own. Ours go by the bytes that it hands over as the only seed.
pub fn libfuzzer_mutate(
    target: &str,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    own: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let Some(target) = self::target(target).filter(|_| seed.is_multiple_of(2) && size > 0) else {
        return own(data, size, max_size);
    };
    let corpus = mutate::Corpus::new(vec![("given".into(), data[..size].to_vec())]);
    let mutant = target.input(&corpus, seed.into());
    let len = mutant.len().min(max_size).min(data.len());
    data[..len].copy_from_slice(&mutant[..len]);
    len
}
