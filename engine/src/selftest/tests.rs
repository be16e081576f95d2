use super::cases::{Case, cases};
use super::locate::{Subject, first_difference};
use super::*;
use crate::graph::{Op, Shape};
use crate::ops::{Affine, Basis, BinaryDense, Quantizer, Relu};
use crate::{Builder, Model, Order, ScaleMode};
use std::collections::BTreeSet;

/// `cargo test -p horq --lib -- --ignored write_the_fingerprint`: after a change that answers otherwise on purpose, or another case.
#[test]
#[ignore = "it writes a file of the repository"]
fn write_the_fingerprint() {
    let number = Fingerprint::of(Isa::Portable, Threads::Inline).unwrap().number();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/selftest/fingerprint.txt"), number + "\n").unwrap();
}

#[test]
fn every_operation_is_asked() {
    let cases = cases().unwrap();
    let asked: BTreeSet<&str> =
        cases.iter().flat_map(|case| &case.model.graph().nodes).map(|node| node.op.kind()).collect();
    assert_eq!(asked, BTreeSet::from_iter(Op::KINDS.iter().copied()));
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "a network's name is its own");
    // Answers that are all the same would tell nothing.
    for case in &cases {
        let mut session = case.session(&case.model, Isa::Portable, &Threads::Inline).unwrap();
        let answers = case.answers(&mut session, case.orders()).unwrap().concat();
        let values: BTreeSet<u32> = answers.iter().map(|value| value.to_bits()).collect();
        let expected = answers.len().div_ceil(16).clamp(2, 20);
        assert!(values.len() >= expected, "{}: only {} values of {}", case.name, values.len(), answers.len());
    }
}

/// A network of three layers, the second of which has another weight in each row where `wrong`.
fn case(wrong: bool) -> Case {
    let mut weight = vec![1.0; 8 * 8];
    (0..weight.len()).step_by(3).for_each(|i| weight[i] = -1.0);
    let mut builder = Builder::new("x", Shape::Flat(8));
    let quantizer = || Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    builder.add("one", &["x"], BinaryDense::new(8, quantizer(), [Basis::new(&weight, &[0.5; 8])])).unwrap();
    builder.add("one.norm", &["one"], Affine::new(&[1.0; 8], &[0.25; 8])).unwrap();
    if wrong {
        weight.iter_mut().skip(4).step_by(8).for_each(|weight| *weight = -*weight);
    }
    builder.add("two", &["one.norm"], BinaryDense::new(8, quantizer(), [Basis::new(&weight, &[0.5; 8])])).unwrap();
    builder.add("two.act", &["two"], Relu).unwrap();
    builder
        .add("three", &["two.act"], BinaryDense::new(3, quantizer(), [Basis::new(&weight[..24], &[0.5; 3])]))
        .unwrap();
    let model = Model::from_bytes(&builder.to_bytes("three").unwrap()).unwrap();
    let input = vec![0.5, -1.0, 2.0, 0.25, -0.75, 1.5, -2.0, 1.0];
    Case { name: "made up".into(), model, samples: 1, inputs: vec![input] }
}

#[test]
fn the_first_layer_that_differs_is_found() {
    let (right, wrong) = (case(false), case(true));
    let subjects = |models: [&Model; 2]| {
        first_difference(&right, models.map(|model| Subject { model, isa: Isa::Portable })).unwrap()
    };
    assert_eq!(subjects([&right.model, &wrong.model]), Some((1, Some("two.act".into()))));
    assert_eq!(subjects([&right.model, &right.model]), None);
}

#[test]
fn a_backend_with_another_number_is_a_fault() {
    let cases = [case(false)];
    let best = Isa::available().last().expect("the portable backend is always available");
    let print = |isa, digest| Fingerprint { isa, digests: vec![digest] };
    let right = print(Isa::Portable, cases[0].digest(Isa::Portable, &Threads::Inline).unwrap());
    let wrong = print(best, [7; 32]);
    let number = right.number();
    let report = judge(&cases, std::slice::from_ref(&right), &number).unwrap();
    assert!(report.faults.is_empty());
    assert_eq!(report.numbers, [(Isa::Portable, number.clone())]);
    let nobody = judge(&cases, &[right, wrong.clone()], "0123456789abcdef").unwrap();
    assert_eq!(nobody.faults.len(), 2);
    assert!(nobody.faults[1].to_string().contains("no backend of this CPU"), "{}", nobody.faults[1]);
    let report =
        judge(&cases, &[print(Isa::Portable, [1; 32]), wrong], &print(Isa::Portable, [1; 32]).number()).unwrap();
    assert_eq!(report.faults.len(), 1, "one of two is wrong");
    assert_eq!((report.faults[0].isa, &report.faults[0].number), (best, &report.numbers[1].1));
}

#[test]
fn a_fault_names_network_order_and_layer() {
    let place = |layer: Option<&str>| Place {
        network: "wide".into(),
        order: 2,
        layer: layer.map(Into::into),
        right: Isa::Portable,
    };
    let text = |layer| Fault { isa: Isa::Avx2, number: "00".into(), place: Some(place(layer)) }.to_string();
    for part in ["avx2", "00", FINGERPRINT, "`wide`", "order 2", "`conv`", "portable"] {
        assert!(text(Some("conv")).contains(part), "{part}: {}", text(Some("conv")));
    }
    assert!(text(None).contains("planes"), "{}", text(None));
}

/// Every backend, 1 to 8 threads; `tests/selftest.rs` has the modes of the caller's thread.
#[test]
fn the_fingerprint_is_the_one_of_the_repository() {
    for isa in Isa::available() {
        assert_eq!(Fingerprint::of(isa, Threads::Inline).unwrap().number(), FINGERPRINT, "{isa}");
    }
}
