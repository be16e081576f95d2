//! One number on every backend, with 1 to 8 threads, in every floating-point mode of the calling thread.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

mod common;

use common::float_mode::{MODES, within};
use common::isas;
use horq::Threads;
use horq::rayon::ThreadPoolBuilder;
use horq::selftest::{FINGERPRINT, Fingerprint, run};
use std::sync::Arc;

fn number(isa: horq::Isa, threads: Threads) -> String {
    Fingerprint::of(isa, threads).unwrap().number()
}

#[test]
fn it_is_the_same_on_every_backend_with_any_threads() {
    let report = run().unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(report.numbers.iter().map(|(isa, _)| *isa).collect::<Vec<_>>(), isas());
    let best = isas()[isas().len() - 1];
    for threads in 1..=8 {
        assert_eq!(number(best, Threads::Own(threads)), FINGERPRINT, "{best}, {threads} threads");
    }
    for isa in isas() {
        assert_eq!(number(isa, Threads::Own(3)), FINGERPRINT, "{isa}, 3 threads");
    }
    let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(number(best, Threads::Pool(Arc::new(pool))), FINGERPRINT, "a pool of 3");
}

#[test]
fn it_does_not_depend_on_the_mode_of_the_callers_thread() {
    for mode in MODES {
        let report = within(mode, run).unwrap();
        assert!(report.faults.is_empty(), "mode {}: {:?}", mode.0, report.faults);
    }
}
