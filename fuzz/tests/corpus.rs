//! Every target on every file of its corpus, what once failed among them, and on a thousand inputs made from those.

use horq_fuzz::TARGETS;
use horq_fuzz::mutate::Corpus;

/// How many inputs of each target, unless HORQ_TEST_CASES says otherwise (emulators are slow).
fn cases() -> u64 {
    std::env::var("HORQ_TEST_CASES").map_or(1000, |n| n.parse().expect("HORQ_TEST_CASES is a number"))
}

#[test]
fn the_corpus_does_no_harm() {
    for target in TARGETS {
        let corpus = target.corpus().unwrap();
        let mut accepted = 0;
        for (name, bytes) in &corpus {
            println!("{}: {name}", target.name);
            accepted += usize::from((target.run)(bytes));
        }
        // A file is no header's text.
        assert!(accepted > 0 || target.name == "header", "{}: no seed is accepted", target.name);
    }
}

#[test]
fn changed_inputs_do_no_harm_and_come_in() {
    for target in TARGETS {
        let corpus = Corpus::new(target.corpus().unwrap());
        let accepted = (0..cases()).filter(|&number| {
            println!("{}: input {number}", target.name);
            (target.run)(&target.input(&corpus, number))
        });
        // Changes that are all refused would test the first check alone.
        let accepted = accepted.count() as u64;
        println!("{}: {accepted} of {} accepted", target.name, cases());
        assert!(accepted >= cases() / 100, "{}: {accepted} of {}", target.name, cases());
    }
}

#[test]
fn an_input_has_its_number() {
    for target in TARGETS {
        let corpus = Corpus::new(target.corpus().unwrap());
        for number in [0, 7, 1 << 40] {
            assert_eq!(target.input(&corpus, number), target.input(&corpus, number), "{}", target.name);
        }
        assert_ne!(target.input(&corpus, 1), target.input(&corpus, 2), "{}", target.name);
    }
}
