//! Damaged files: every truncation, every bit of the header, 100,000 random changes, with and without the digest put right
//! again. Each is refused or opens as a model that runs; none panics, hangs, or takes memory beyond the file's size and a
//! megabyte.

use std::time::{Duration, Instant};

use horq::error::FileError;
use horq::ops::{Dense, Relu};
use horq::{Error, Limits, Model};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::forge;
use crate::memory::{MEGABYTE, peak};
use crate::zoo::{self, answers};

/// Values that a mutant may have, so that running it takes neither the test's time nor its memory.
const LIMITS: Limits = Limits::new()
    .file_bytes(1 << 30)
    .header_bytes(horq::MAX_HEADER_BYTES)
    .nodes(horq::MAX_NODES)
    .value_elements(1 << 14)
    .session_bytes(1 << 24);

/// How many random mutations: as many as the documented claim, unless HORQ_TEST_CASES says otherwise (emulators are slow).
fn cases() -> u64 {
    std::env::var("HORQ_TEST_CASES").map_or(100_000, |n| n.parse().expect("HORQ_TEST_CASES is a number"))
}

/// Opens bytes and checks memory and time.
fn open(bytes: &[u8], what: &dyn Fn() -> String) -> Result<Model, Error> {
    let start = Instant::now();
    let (opened, held) = peak(|| Model::from_bytes_with(bytes, &LIMITS));
    // Room that is asked for and given back counts here, too.
    assert!(held <= bytes.len() + 2 * MEGABYTE, "{}: held {held} bytes for a file of {}", what(), bytes.len());
    assert!(start.elapsed() < Duration::from_secs(5), "{}: took {:?}", what(), start.elapsed());
    opened
}

/// The small model with the answer to its golden input.
fn small() -> Vec<u8> {
    let mut builder = zoo::small();
    let model = Model::from_bytes(&builder.to_bytes("logits").unwrap()).unwrap();
    builder.golden(&zoo::small_input(), &answers(&model, 8, &zoo::small_input()).unwrap());
    builder.to_bytes("logits").unwrap()
}

/// Whether a model gives its golden answer. A mutant may refuse to run; it must not panic, nor answer with NaN.
fn gives_its_golden_answer(model: &Model) -> bool {
    let golden = model.golden();
    let input = match &golden {
        Some(golden) => golden.input().to_vec(),
        None => zoo::noise(7, model.input_shape().len()),
    };
    let Ok(answer) = answers(model, 8, &input) else { return false };
    assert!(answer.iter().all(|y| y.is_finite()), "{answer:?}");
    golden.is_some_and(|golden| golden.output() == answer)
}

#[test]
fn every_truncation_is_refused() {
    let file = small();
    for length in 0..file.len() {
        let error = open(&file[..length], &|| format!("{length} bytes")).expect_err("a part is not the whole");
        let empty = matches!(error, Error::File(FileError::OtherFormat { found: "empty", .. }));
        assert!(
            matches!(error, Error::File(FileError::Truncated { .. }) | Error::File(FileError::DataLength { .. }))
                || empty && length == 0,
            "{length}: {error}"
        );
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_noticed() {
    let mut file = small();
    for bit in 0..forge::data_start(&file) * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        let opened = open(&file, &|| format!("bit {bit}"));
        assert!(opened.is_err(), "bit {bit} changes the file unnoticed");
        file[bit / 8] ^= 1 << (bit % 8);
    }
}

/// The same with the digest put right again: the validator alone stands between the bytes and a session.
#[test]
fn every_flipped_bit_of_a_resealed_header_is_refused_or_runs() {
    let file = small();
    let mut opened = 0;
    for bit in 0..forge::data_start(&file) * 8 {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        forge::reseal(&mut file);
        if let Ok(mutant) = open(&file, &|| format!("bit {bit}")) {
            gives_its_golden_answer(&mutant);
            opened += 1;
        }
    }
    // Letters of names and notes, numbers that are as good as others: the validator has been reached.
    assert!(opened > 100, "{opened}");
}

/// Changes some bytes: bits, bytes, ranges set, moved, doubled, taken out, swapped, numbers put into the JSON.
fn mutate(rng: &mut StdRng, file: &mut Vec<u8>, region: usize) {
    const WORDS: [&[u8]; 17] = [
        b"0",
        b"-1",
        b"9999999999999999999",
        b"4294967296",
        b"1e9",
        b"null",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"\\",
        b",",
        b"\"fixed\"",
        b"\"halving\"",
        b"[1,1,1]",
        b"\xff",
    ];
    let at = |rng: &mut StdRng, file: &Vec<u8>| rng.random_range(0..region.clamp(1, file.len()));
    let range = |rng: &mut StdRng, file: &Vec<u8>| {
        let start = at(rng, file);
        start..(start + rng.random_range(1..=64)).min(file.len())
    };
    if file.is_empty() {
        return;
    }
    match rng.random_range(0..8) {
        0 => {
            let place = at(rng, file);
            file[place] ^= 1 << rng.random_range(0..8);
        }
        1 => {
            let place = at(rng, file);
            file[place] = rng.random();
        }
        2 => {
            let (range, value) = (range(rng, file), rng.random());
            file[range].fill(value);
        }
        3 => drop(file.drain(range(rng, file))),
        4 => {
            let (copy, place) = (file[range(rng, file)].to_vec(), at(rng, file));
            file.splice(place..place, copy);
        }
        5 => {
            let (copy, place) = (file[range(rng, file)].to_vec(), at(rng, file));
            let end = (place + copy.len()).min(file.len());
            file[place..end].copy_from_slice(&copy[..end - place]);
        }
        6 => {
            let (word, place) = (WORDS[rng.random_range(0..WORDS.len())], at(rng, file));
            let end = (place + rng.random_range(0..4)).min(file.len());
            file.splice(place..end, word.iter().copied());
        }
        _ => {
            let (word, place) = (WORDS[rng.random_range(0..WORDS.len())], at(rng, file));
            let end = (place + word.len()).min(file.len());
            file[place..end].copy_from_slice(&word[..end - place]);
        }
    }
}

/// Gives the header's length field the length that the header has now, so that mutations of the JSON are not all refused
/// for the eight bytes before it.
fn fix_length(file: &mut [u8], original: &[u8], data: usize) {
    let start = file.len().saturating_sub(original.len() - data);
    if let Some(length) = file.first_chunk_mut::<8>() {
        *length = (start.saturating_sub(8) as u64).to_le_bytes();
    }
}

#[test]
fn a_hundred_thousand_random_changes_are_refused_or_noticed_or_give_the_right_answer() {
    let original = small();
    let model = Model::from_bytes(&original).unwrap();
    let data = forge::data_start(&original);
    let mut opened = 0u64;
    for seed in 0..cases() {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut file = original.clone();
        for _ in 0..rng.random_range(1..=3) {
            let region = if rng.random_bool(0.5) { file.len() } else { data };
            mutate(&mut rng, &mut file, region);
        }
        let Ok(mutant) = open(&file, &|| format!("seed {seed}")) else { continue };
        opened += 1;
        assert_eq!(mutant.digest(), model.digest(), "seed {seed}: the header changed unnoticed");
        assert_eq!(mutant.graph(), model.graph(), "seed {seed}");
        let same = file[data..] == original[data..];
        assert_eq!(mutant.verify_digest().is_ok(), same, "seed {seed}");
        assert!(gives_its_golden_answer(&mutant) || !same, "seed {seed}");
    }
    assert!(opened > cases() / 100, "{opened}");
}

#[test]
fn a_hundred_thousand_resealed_changes_are_refused_or_run() {
    let originals = [small(), zoo::packed().to_bytes("logits").unwrap()];
    let mut opened = [0u64; 2];
    for seed in 0..cases() {
        let original = &originals[seed as usize % 2];
        let data = forge::data_start(original);
        let mut rng = StdRng::seed_from_u64(1 << 32 | seed);
        let mut file = original.clone();
        for _ in 0..rng.random_range(1..=3) {
            let region = if rng.random_bool(0.2) { file.len() } else { data };
            mutate(&mut rng, &mut file, region);
        }
        if rng.random_bool(0.8) {
            fix_length(&mut file, original, data);
        }
        forge::reseal(&mut file);
        if let Ok(mutant) = open(&file, &|| format!("seed {seed}")) {
            gives_its_golden_answer(&mutant);
            opened[seed as usize % 2] += 1;
        }
    }
    assert!(opened.iter().all(|&opened| opened > cases() / 400), "{opened:?}");
}

/// As many nodes as the deepest networks have: opening one keeps to the bound as well.
#[test]
fn a_deep_model_opens_within_the_bound() {
    let mut builder = horq::Builder::new("x", horq::graph::Shape::Flat(32));
    let mut last = "x".to_owned();
    for layer in 0..350 {
        let (name, relu) = (format!("stage.{layer}.dense"), format!("stage.{layer}.relu"));
        let (filters, weight, bias) = (32, &zoo::noise(layer, 1024)[..], Some(&[0.5; 32][..]));
        builder.add(&name, &[&last], Dense::new(filters, weight).maybe_bias(bias)).unwrap();
        builder.add(&relu, &[&name], Relu).unwrap();
        last = relu;
    }
    let file = builder.to_bytes(&last).unwrap();
    assert!(forge::data_start(&file) > 100_000);
    open(&file, &|| "700 nodes".into()).unwrap();
}
