//! Inputs made from others: bytes changed at random, and changes that go by the structure and put digests and lengths right again, so that
//! what they change is reached.

mod bytes;
mod graph;
mod onnx;
mod seal;

pub use seal::{assemble, data_end, reseal};

use bytes::scramble;
use graph::Parts;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};

/// Makes an input.
pub type Mutate = fn(&Corpus, &mut SmallRng) -> Vec<u8>;

/// What inputs are made from.
pub struct Corpus {
    files: Vec<Vec<u8>>,
    /// Those of the files that are models, taken apart.
    parts: Vec<Parts>,
}

impl Corpus {
    /// From files with their names.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(files: Vec<(String, Vec<u8>)>) -> Self {
        assert!(!files.is_empty(), "a corpus has at least one file");
        let files: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
        let parts = files.iter().filter_map(|file| Parts::open(file)).collect();
        Self { files, parts }
    }

    fn file(&self, rng: &mut SmallRng) -> &[u8] {
        &self.files[rng.random_range(0..self.files.len())]
    }
}

/// The text of a header: one of a model, changed in its bytes or its structure.
pub fn header(corpus: &Corpus, rng: &mut SmallRng) -> Vec<u8> {
    if rng.random_ratio(1, 2)
        && let Some(parts) = changed(corpus, rng)
    {
        return parts.header().into_bytes();
    }
    let file = corpus.file(rng);
    let end = seal::data_start(file).clamp(8.min(file.len()), file.len());
    let mut text = file[8.min(file.len())..end].to_vec();
    scramble(&mut text, rng);
    text
}

/// A whole model, changed in its bytes or its structure; most with a right digest.
pub fn file(corpus: &Corpus, rng: &mut SmallRng) -> Vec<u8> {
    if rng.random_ratio(3, 4)
        && let Some(parts) = changed(corpus, rng)
    {
        return parts.seal();
    }
    let mut file = corpus.file(rng).to_vec();
    let (start, len) = (seal::data_start(&file), file.len());
    scramble(&mut file, rng);
    if rng.random_ratio(3, 4) {
        // What is left or added before the data is the header's, whose length says so.
        let start = (start + file.len()).saturating_sub(len);
        if let Some(length) = file.first_chunk_mut::<8>() {
            *length = (start.saturating_sub(8) as u64).to_le_bytes();
        }
    }
    if rng.random_ratio(7, 8) {
        reseal(&mut file);
    }
    file
}

fn changed(corpus: &Corpus, rng: &mut SmallRng) -> Option<Parts> {
    if corpus.parts.is_empty() {
        return None;
    }
    let pick = |rng: &mut SmallRng| &corpus.parts[rng.random_range(0..corpus.parts.len())];
    let (mut parts, other) = (pick(rng).clone(), pick(rng));
    for _ in 0..rng.random_range(1..=3) {
        parts.change(other, rng);
    }
    Some(parts)
}

/// A program of the builder: bytes that mean choices, so that any will do.
pub fn program(corpus: &Corpus, rng: &mut SmallRng) -> Vec<u8> {
    let mut program = corpus.file(rng).to_vec();
    if rng.random_ratio(1, 2) {
        program = vec![0; rng.random_range(1..160)];
        rng.fill_bytes(&mut program);
    }
    scramble(&mut program, rng);
    program
}

/// A file of inputs.
pub fn input(corpus: &Corpus, rng: &mut SmallRng) -> Vec<u8> {
    let mut file = corpus.file(rng).to_vec();
    for _ in 0..rng.random_range(1..=3) {
        scramble(&mut file, rng);
    }
    if rng.random_ratio(3, 4) {
        seal::reseal_png(&mut file);
    }
    file
}

/// An ONNX file.
pub fn onnx(corpus: &Corpus, rng: &mut SmallRng) -> Vec<u8> {
    let mut file = corpus.file(rng).to_vec();
    if rng.random_ratio(1, 4) {
        scramble(&mut file, rng);
        return file;
    }
    onnx::change(&file, corpus.file(rng), rng).unwrap_or(file)
}
