//! Changes of bytes that know no structure but the words of it.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use std::ops::Range;

/// What stands in headers, and breaks them.
const WORDS: [&[u8]; 26] = [
    b"0",
    b"1",
    b"-1",
    b"31",
    b"32",
    b"64",
    b"255",
    b"65536",
    b"4294967296",
    b"9999999999999999999",
    b"1e9",
    b"null",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\"fixed\"",
    b"\"halving\"",
    b"[1,1,1]",
    b"F32",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
];

/// Changes some bytes: bits, bytes, ranges set, moved, doubled, taken out, words put in, the end cut off.
pub(super) fn scramble(file: &mut Vec<u8>, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..=4) {
        if file.is_empty() {
            return;
        }
        let place = rng.random_range(0..file.len());
        match rng.random_range(0..10) {
            0 | 1 => file[place] ^= 1 << rng.random_range(0..8),
            2 => file[place] = rng.random(),
            3 => {
                let range = range(file, rng);
                file[range].fill(rng.next_u32() as u8);
            }
            4 => drop(file.drain(range(file, rng))),
            5 => {
                let copy = file[range(file, rng)].to_vec();
                file.splice(place..place, copy);
            }
            6 => {
                let copy = file[range(file, rng)].to_vec();
                let end = (place + copy.len()).min(file.len());
                file[place..end].copy_from_slice(&copy[..end - place]);
            }
            7 => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                let end = (place + rng.random_range(0..4)).min(file.len());
                file.splice(place..end, word.iter().copied());
            }
            8 => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                let end = (place + word.len()).min(file.len());
                file[place..end].copy_from_slice(&word[..end - place]);
            }
            _ if rng.random_ratio(1, 8) => file.truncate(place),
            _ => file[place] = file[place].wrapping_add(1),
        }
    }
}

fn range(file: &[u8], rng: &mut SmallRng) -> Range<usize> {
    let start = rng.random_range(0..file.len());
    start..(start + rng.random_range(1..=64)).min(file.len())
}
