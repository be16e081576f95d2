//! One answer on every instruction set, with threads and in a batch.

use super::{Net, assert_same_bits, isas, options, random, run};
use horq::{Isa, Session, Threads};

/// Some samples and their answers, which have the same bits everywhere.
pub struct Answers {
    pub input: Vec<f32>,
    pub output: Vec<f32>,
}

/// Runs `net` on three random samples.
pub fn everywhere(net: &Net, seed: u64) -> Answers {
    everywhere_on(net, random::values(&mut random::rng(seed), 3 * net.input.len()))
}

/// Runs `net` on these samples.
pub fn everywhere_on(net: &Net, input: Vec<f32>) -> Answers {
    let model = net.model();
    let samples = input.len() / net.input.len();
    let mut one = Session::new(&model, options(1, Isa::Portable)).unwrap();
    let output: Vec<f32> = input.chunks(net.input.len()).flat_map(|sample| run(&mut one, sample)).collect();
    for isa in isas() {
        for threads in [Threads::Inline, Threads::Own(2)] {
            let what = format!("{isa}, {threads:?}");
            let mut session = Session::new(&model, options(samples, isa).threads(threads)).unwrap();
            assert_same_bits(&run(&mut session, &input), &output, &what);
            // Scratch and arena hold what the run before left there.
            assert_same_bits(&run(&mut session, &input), &output, &format!("{what}, again"));
        }
    }
    Answers { input, output }
}
