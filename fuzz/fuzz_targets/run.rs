//! `horq_fuzz::targets::run` under libFuzzer, with its mutations in turns with libFuzzer's own.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    horq_fuzz::targets::run(bytes);
});
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    horq_fuzz::libfuzzer_mutate("run", data, size, max_size, seed, fuzzer_mutate)
});
