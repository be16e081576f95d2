//! `horq inspect`, `verify`, `profile`, `demo`, `isa`, and how the command behaves as a program.

mod common;

use common::{Files, command, horq, network, network_builder, said};
use horq::graph::Shape;
use horq::ops::{BinaryWeightConv2d, CodebookDense, Dense, GlobalAveragePool};
use horq::selftest::FINGERPRINT;
use horq::{Builder, Model};
use horq_kernels::Window;
use std::process::Stdio;

#[test]
fn wrong_arguments_are_two_and_help_is_zero() {
    horq(&[]).fails(2, &["Usage"]);
    horq(&["frobnicate"]).fails(2, &["frobnicate"]);
    let help = horq(&["--help"]).ok();
    for word in ["inspect", "run", "verify", "profile", "demo", "isa", "HORQ_ISA", "HORQ_REQUIRE_ISA", "Exit codes"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(horq(&["--version"]).ok().starts_with("horq "));
}

#[test]
fn inspect_counts_exactly() {
    let files = Files::new();
    let json = horq(&["inspect", &files.network(), "--json"]).json();
    let layer =
        |name: &str| json["layers"].as_array().unwrap().iter().find(|layer| layer["name"] == name).unwrap().clone();
    let (conv1, conv2, fc1) = (layer("conv1"), layer("conv2"), layer("fc1"));
    assert_eq!(conv1["float_macs"], 8 * 8 * 8 * 27);
    assert_eq!(conv2["shape"], serde_json::json!([4, 4, 24]));
    assert_eq!(conv2["binary_macs"], 3 * 4 * 4 * 24 * 72);
    assert_eq!(conv2["float_bytes"], 4 * 24 * 72);
    // Two panels of 9 taps of one word of 16 lanes, and alpha padded to 32.
    assert_eq!(conv2["bytes"], 2 * 9 * 16 * 4 + 32 * 4);
    assert_eq!((&conv2["order"], &conv2["scale_mode"]), (&3.into(), &"window".into()));
    assert_eq!(fc1["binary_macs"], 2 * 2 * 40 * 384);
    assert_eq!((&fc1["bases"], &fc1["float_bytes"]), (&2.into(), &(4 * (40 * 384 + 40)).into()));
    assert_eq!(layer("norm1")["float_bytes"], 4 * 16);
    let sum =
        |key: &str| json["layers"].as_array().unwrap().iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
    for key in ["binary_macs", "float_macs", "bytes", "float_bytes"] {
        assert_eq!(json["total"][key], sum(key), "{key}");
    }
    assert_eq!(json["notes"]["source"], "noise");
    assert_eq!(json["golden_samples"], 2);
    assert_eq!(json["file_bytes"], network(true).len());
}

#[test]
fn inspect_shows_everything_as_text() {
    let files = Files::new();
    let text = horq(&["inspect", &files.network()]).ok();
    for word in [
        "image: 8x8x3",
        "fc2: 5",
        "horq tests",
        "source: noise",
        "binary_conv2d",
        "3x3, stride 2, padding 1",
        "window",
        "2 bases",
        "total",
        "times smaller",
    ] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    assert_eq!(text, horq(&["inspect", &files.path("network.horq")]).ok());
}

#[test]
fn verify_passes_a_good_file_on_every_instruction_set() {
    let files = Files::new();
    let text = horq(&["verify", &files.network(), "--selftest"]).ok();
    assert!(
        text.contains("structure  ok") && text.contains("digest     ok") && text.contains("selftest   ok"),
        "{text}"
    );
    for isa in horq_kernels::Isa::available() {
        assert!(text.lines().any(|line| line.starts_with(isa.name()) && line.ends_with("  ok")), "{isa}\n{text}");
    }
    assert!(!horq(&["verify", &files.brightest()]).ok().contains("selftest"));
}

#[test]
fn verify_without_a_file_checks_the_machine() {
    let text = horq(&["verify", "--selftest"]).ok();
    assert!(text.contains("selftest   ok") && text.contains(FINGERPRINT), "{text}");
    for isa in horq_kernels::Isa::available() {
        let line = text.lines().find(|line| line.starts_with(isa.name())).unwrap_or_else(|| panic!("{isa}\n{text}"));
        assert!(line.contains(FINGERPRINT) && line.ends_with("  ok"), "{line}");
    }
    horq(&["verify"]).fails(2, &["MODEL"]);
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    said(command(&["verify", "--selftest"]).env("HORQ_REQUIRE_ISA", foreign)).fails(1, &[foreign]);
    for isa in ["portable", "avx2", "neon"] {
        let said = said(command(&["isa"]).env("HORQ_ISA", isa));
        assert!(said.code != 0 || said.out.contains(&format!("{FINGERPRINT}, as on every CPU")), "{said:?}");
    }
}

#[test]
fn verify_finds_damage() {
    let files = Files::new();
    let whole = network(true);
    let mut flipped = whole.clone();
    // The last tensor of weights: a flipped low bit of a float stays valid but for the digest.
    let at = flipped.len() - 64 * 4;
    flipped[at] ^= 1;
    horq(&["verify", &files.write("flipped.horq", &flipped)]).fails(1, &["flipped.horq", "sha256", "changed"]);
    horq(&["verify", &files.write("cut.horq", &whole[..whole.len() - 64])]).fails(1, &["cut.horq"]);
    horq(&["verify", &files.brightest(), "--selftest"]).fails(1, &["no example"]);
    horq(&["verify", &files.path("absent.horq")]).fails(1, &["absent.horq"]);
}

#[test]
fn a_wrong_example_fails_the_self_test() {
    let files = Files::new();
    let mut builder = network_builder();
    builder.golden(&common::noise(192, 9), &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let path = files.write("wrong.horq", &builder.to_bytes("fc2").unwrap());
    let said = horq(&["verify", &path, "--selftest"]);
    assert!(said.out.contains("selftest   FAILED"), "{}", said.out);
    said.fails(1, &["wrong.horq", "differs from the stored answer"]);
}

#[test]
fn products_are_counted_by_what_their_weights_are() {
    let files = Files::new();
    let (weight, alpha, codebook) = (common::noise(64 * 12, 1), [0.5; 12], [-1.0, 0.25, 2.0]);
    let codes: Vec<u8> = (0..12 * 5).map(|i| (i % 3) as u8).collect();
    let window = Window::square(2);
    let mut builder = Builder::new("x", Shape::Image { height: 4, width: 4, channels: 3 });
    builder.add("signs", &["x"], BinaryWeightConv2d::new(window, 12, &weight[..12 * 4 * 3], &alpha)).unwrap();
    builder.add("mean", &["signs"], GlobalAveragePool).unwrap();
    builder.add("codes", &["mean"], CodebookDense::new(5, &codes, &codebook)).unwrap();
    builder.add("floats", &["codes"], Dense::new(7, &weight[..35])).unwrap();
    let path = files.write("mixed.horq", &builder.to_bytes("floats").unwrap());
    let expected = [("sign_macs", 9 * 12 * 12), ("code_macs", 12 * 5), ("float_macs", 5 * 7), ("binary_macs", 0)];
    let total = &horq(&["inspect", &path, "--json"]).json()["total"];
    let profile = horq(&["profile", &path, "--runs", "3", "--json"]).json();
    for (key, macs) in expected {
        let sum: u64 = profile["layers"].as_array().unwrap().iter().map(|layer| layer[key].as_u64().unwrap()).sum();
        assert_eq!((total[key].as_u64(), sum), (Some(macs), macs), "{key}");
    }
    let text = horq(&["inspect", &path]).ok();
    assert!(text.contains("by signs") && text.contains("by codes"), "{text}");
}

#[test]
fn profile_accounts_for_each_layer() {
    let files = Files::new();
    let model = files.network();
    let json = horq(&["profile", &model, "--runs", "30", "--batch", "2", "--order", "1", "--json"]).json();
    let layers = json["layers"].as_array().unwrap();
    let conv2 = layers.iter().find(|layer| layer["name"] == "conv2").unwrap();
    assert_eq!((&conv2["order"], &conv2["binary_macs"]), (&1.into(), &(4 * 4 * 24 * 72).into()));
    assert!(conv2["bits_ns"].as_f64().unwrap() > 0.0 && conv2["quantize_ns"].as_f64().unwrap() > 0.0);
    assert_eq!((&json["runs"], &json["batch"]), (&30.into(), &2.into()));
    let floats: u64 = layers.iter().map(|layer| layer["float_macs"].as_u64().unwrap()).sum();
    let inspected = horq(&["inspect", &model, "--json"]).json();
    assert_eq!(inspected["total"]["float_macs"], floats);
    let text = horq(&["profile", &model, "--runs", "10"]).ok();
    for word in ["conv2", "binary_dense", "of limit", "quantize", "epilogue", "total"] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    horq(&["profile", &model, "--layer-order", "nothing=1"]).fails(2, &["nothing"]);
}

#[test]
fn demo_reads_its_own_digits() {
    let text = horq(&["demo", "--ascii"]).ok();
    assert!(text.is_ascii(), "{text}");
    assert_eq!(text.matches("drawn: ").count(), 10);
    let model = Model::open(common::repository("models/lenet5.horq")).unwrap();
    let orders = model.graph().nodes.iter().filter_map(|node| Some(node.op.quantizer()?.order)).max().unwrap().min(4);
    for order in 1..=orders {
        let summary =
            text.lines().find(|line| line.starts_with(&format!("    {order}  "))).expect("a line for each order");
        let right: usize = summary.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(right >= 9, "{summary}");
    }
    let blocks = horq(&["demo", "--order", "2", "--seed", "7"]).ok();
    assert!(blocks.contains('█') && !blocks.contains('\x1b'));
    assert_eq!(blocks.lines().filter(|line| line.contains(" of 10")).count(), 1);
    let plain = said(command(&["demo"]).env("LC_ALL", "C")).ok();
    assert!(plain.is_ascii());
    horq(&["demo", "--order", "9"]).fails(2, &["9"]);
}

#[test]
fn demo_names_the_pictures_of_a_batch() {
    let files = Files::new();
    let picture = |label: u8, grey: u8| [vec![label], vec![grey; 3 * 32 * 32]].concat();
    let batch = files.write("batch.bin", &[picture(8, 200), picture(3, 90), picture(9, 20)].concat());
    let text = horq(&["demo", &batch, "--ascii", "--order", "2"]).ok();
    for name in ["labelled: ship", "labelled: cat", "labelled: truck", " of 3", "VGG-small"] {
        assert_eq!(text.matches(name).count(), 1, "`{name}` in\n{text}");
    }
    let second = horq(&["demo", &batch, "--ascii", "--seed", "2"]).ok();
    assert!(second.contains("labelled: ship"), "three pictures come round again\n{second}");
    horq(&["demo", &batch, "--net", "mlp"]).fails(2, &["--net", "CIFAR-10"]);
    horq(&["demo", &files.write("cut.bin", &picture(1, 1)[..99])]).fails(1, &["cut.bin", "CIFAR-10 batch"]);
    let digits = files.write("digits", &common::idx(&[1, 2, 2], &[0; 4]));
    horq(&["demo", &digits]).fails(1, &["is no CIFAR-10 batch"]);
}

#[test]
fn the_mlp_reads_digits_too() {
    let text = horq(&["demo", "--ascii", "--net", "mlp", "--order", "4"]).ok();
    assert!(text.matches("drawn: ").count() == 10 && text.contains("MLP"), "{text}");
}

#[test]
fn isa_shows_what_is_used_and_why() {
    let text = horq(&["isa"]).ok();
    for isa in horq_kernels::Isa::ALL {
        assert!(text.contains(isa.name()), "{isa}");
    }
    assert!(text.contains("the best that this CPU has"), "{text}");
    let json = said(command(&["isa", "--json"]).env("HORQ_ISA", "portable")).json();
    assert_eq!((&json["fingerprint"], &json["fingerprint_of_every_cpu"]), (&FINGERPRINT.into(), &FINGERPRINT.into()));
    assert_eq!((&json["used"], &json["horq_isa"]), (&"portable".into(), &"portable".into()));
    let forced = said(command(&["isa"]).env("HORQ_ISA", "portable").env("HORQ_REQUIRE_ISA", "portable")).ok();
    assert!(forced.contains("HORQ_ISA=portable") && forced.contains("all there"), "{forced}");
    said(command(&["isa"]).env("HORQ_ISA", "mmx")).fails(1, &["mmx", "avx2"]);
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    said(command(&["isa"]).env("HORQ_REQUIRE_ISA", foreign)).fails(1, &[foreign]);
    said(command(&["run", "m", "x"]).env("HORQ_ISA", "mmx")).fails(1, &[]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let files = Files::new();
    let model = files.network();
    for args in [&["inspect", &model][..], &["isa"], &["demo"], &["--help"], &["verify", &model, "--selftest"]] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}: {output:?}");
    }
}
