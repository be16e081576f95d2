//! What comes from outside and is odd: names and notes that would move the cursor or forge a line, names that are too long,
//! paths that are no files, outputs that take nothing.

mod common;

use common::{Files, Said, command, horq, noise, npy_f32, said};
use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Concat, Dense, Quantizer, Relu};
use horq::{Builder, Order, ScaleMode, escaped};
#[cfg(unix)]
use std::{ffi::OsStr, process::Stdio};

/// What a file would say if it could.
const FORGED: &str = "top-1 accuracy 100.00 %: 2 of 2 right";

/// Every line shows only what prints, and none is the forged one.
fn assert_harmless(said: &Said) {
    for line in said.out.lines().chain(said.err.lines()) {
        assert_eq!(escaped(line).to_string(), line, "{said:?}");
        assert!(!line.trim_start().starts_with("top-1 accuracy 100"), "{said:?}");
    }
}

/// A model of two inputs and two classes all of whose text is hostile, as far as the format lets it; with its own answer as
/// an example.
fn hostile(classes: &str) -> Vec<u8> {
    let base = Basis::new(&[1.0, -1.0, -1.0, 1.0], &[1.0, 1.0]);
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let layer = BinaryDense::new(2, quantize, &[base]);
    let mut builder = Builder::new("in\u{feff}put", Shape::Flat(2));
    builder.add("la\u{202e}yer\u{200b}", &["in\u{feff}put"], layer).unwrap();
    builder.add("名前\u{2028}", &["la\u{202e}yer\u{200b}"], Relu).unwrap();
    builder.producer(&format!("\u{1b}[2J\u{1b}[H\n{FORGED}"));
    builder.note("key\u{9b}2J\n", &format!("two\nlines\r{FORGED}\u{7f}")).note("classes", classes);
    let mut session = horq::Session::new(
        &horq::Model::from_bytes(&builder.to_bytes("名前\u{2028}").unwrap()).unwrap(),
        horq::SessionOptions::new(),
    )
    .unwrap();
    let mut answer = [0.0; 2];
    session.run(&[3.0, 1.0], &mut answer).unwrap();
    builder.golden(&[3.0, 1.0], &answer).to_bytes("名前\u{2028}").unwrap()
}

#[test]
fn no_command_shows_text_of_a_file_as_it_is() {
    let files = Files::new();
    let name = "net\u{1b}[31m\n漢.horq";
    let model = files.write(name, &hostile(&format!("\u{1b}[31mcat\n{FORGED}, zürich")));
    let input = files.write("x\u{85}.npy", &npy_f32(&[2, 2], &[3.0, 1.0, 1.0, 3.0]));
    let labels = files.write("labels", &common::idx(&[2], &[1, 0]));
    for args in [
        &["inspect", &model][..],
        &["run", &model, &input],
        &["run", &model, &input, "--labels", &labels],
        &["run", &model, &input, "--order", "5"],
        &["verify", &model, "--selftest"],
        &["profile", &model, "--runs", "2"],
    ] {
        let said = horq(args);
        assert_eq!(said.code, 0, "{said:?}");
        assert_harmless(&said);
    }
    let text = horq(&["inspect", &model]).ok();
    for word in [r"net\u{1b}[31m\n漢.horq", r"la\u{202e}yer\u{200b}", r"名前\u{2028}", r"in\u{feff}put", r"\u{1b}[2J"]
    {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    assert!(text.contains(r"note      key\u{9b}2J\n: two\nlines\rtop-1"), "{text}");
    let text = horq(&["run", &model, &input]).ok();
    assert!(text.contains("zürich") && text.contains(r"\u{1b}[31mcat\ntop-1"), "{text}");

    // JSON says exactly what there is, and harms no terminal either.
    let said = horq(&["inspect", &model, "--json"]);
    assert_harmless(&said);
    let json = said.json();
    assert_eq!(json["producer"], format!("\u{1b}[2J\u{1b}[H\n{FORGED}"));
    assert_eq!(json["notes"]["key\u{9b}2J\n"], format!("two\nlines\r{FORGED}\u{7f}"));
    assert_eq!(
        (&json["layers"][0]["name"], &json["output"]["name"]),
        (&"la\u{202e}yer\u{200b}".into(), &"名前\u{2028}".into())
    );
    assert!(json["file"].as_str().unwrap().ends_with(name));
    for args in [&["run", &model, &input, "--json"][..], &["profile", &model, "--runs", "2", "--json"]] {
        assert_harmless(&horq(args));
    }
    let first = horq(&["run", &model, &input, "--json", "--top", "2"]).ok().lines().next().unwrap().to_owned();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let named = |class: usize| {
        let top = first["top"].as_array().unwrap();
        top.iter().find(|top| top["class"] == class).unwrap()["name"].clone()
    };
    assert_eq!((named(0), named(1)), (format!("\u{1b}[31mcat\n{FORGED}").into(), "zürich".into()));
}

#[test]
fn no_error_shows_text_from_outside_as_it_is() {
    let files = Files::new();
    let (model, input) = (files.write("m", &hostile("a")), files.write("x", &npy_f32(&[2], &[3.0, 1.0])));
    let odd = files.write("odd\u{1b}[2J\n", b"neither");
    let missing = files.path("\u{202e}missing\n");
    let evil = format!("x\u{1b}[2J\n{FORGED}");
    let header = npy_f32(&[2], &[0.0; 2]);
    let descr = header.windows(3).position(|bytes| bytes == b"<f4").unwrap();
    let mut npy = header.clone();
    npy[descr..descr + 3].copy_from_slice(b"\x1b[A");
    let npy = files.write("y", &npy);
    for (code, args) in [
        (1, &["inspect", &odd][..]),
        (1, &["inspect", &missing]),
        (1, &["verify", &odd]),
        (1, &["run", &model, &missing]),
        (1, &["run", &model, &odd]),
        (1, &["run", &model, &npy]),
        (1, &["run", &model, &input, "--labels", &missing]),
        (1, &["demo", &odd]),
        (2, &["run", &model, &input, "--layer-order", &format!("{evil}=1")]),
        (2, &["run", &model, &input, "--layer-order", "la\u{202e}yer\u{200b}=3"]),
        (2, &["run", &model, &input, "--order", &evil]),
        (2, &["run", &model, &input, &format!("--{evil}")]),
        (2, &[&evil]),
    ] {
        let said = horq(args);
        assert_harmless(&said);
        said.fails(code, &["error: "]);
    }
    let said = said(command(&["isa"]).env("HORQ_ISA", &evil));
    assert_harmless(&said);
    said.fails(1, &[r"x\u{1b}[2J\ntop-1"]);
}

#[test]
fn an_empty_instruction_set_is_none_and_one_that_is_no_text_an_error() {
    let json = said(command(&["isa", "--json"]).env("HORQ_ISA", " ").env("HORQ_REQUIRE_ISA", "")).json();
    assert_eq!((&json["horq_isa"], &json["horq_require_isa"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    #[cfg(unix)]
    for name in ["HORQ_ISA", "HORQ_REQUIRE_ISA"] {
        let value: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"portable\xff");
        said(command(&["isa"]).env(name, value)).fails(1, &["unknown instruction set `portable\u{fffd}`"]);
    }
}

#[test]
fn names_of_any_length_fit() {
    let files = Files::new();
    let mut builder = Builder::new("x", Shape::Flat(1));
    builder.add("wide", &["x"; 21_850], Concat).unwrap();
    let weight = noise(2 * 21_850, 1);
    builder.add("y", &["wide"], Dense::new(2, &weight)).unwrap();
    builder.note("classes", &format!("{},{}", "n".repeat(70_000), "漢".repeat(70_000)));
    let model = files.write("wide.horq", &builder.to_bytes("y").unwrap());
    let text = horq(&["inspect", &model]).ok();
    assert!(text.lines().any(|line| line.starts_with("wide ") && line.contains("x, x, ...")), "{text}");
    let json = horq(&["inspect", &model, "--json"]).json();
    assert_eq!(json["layers"][0]["inputs"].as_array().unwrap().len(), 21_850);
    let input = files.write("x.npy", &npy_f32(&[1], &[1.0]));
    let text = horq(&["run", &model, &input]).ok();
    assert!(text.len() < 1000 && text.contains("nnn...") && text.contains("漢..."), "{text}");
    horq(&["profile", &model, "--runs", "1"]).ok();
    // A terminal without columns, or with one.
    for columns in ["0", "1", "70000", "none"] {
        for args in [&["--help"][..], &["run", "--help"], &["inspect", &model], &["demo", "--order", "1"]] {
            said(command(args).env("COLUMNS", columns)).ok();
        }
    }
}

#[test]
fn thousands_of_layers_fit() {
    let files = Files::new();
    let mut builder = Builder::new("x", Shape::Flat(1));
    let names: Vec<String> = (0..4096).map(|i| format!("{i:0>60}")).collect();
    let mut last = "x";
    for name in &names {
        builder.add(name, &[last], Relu).unwrap();
        last = name;
    }
    let model = files.write("deep.horq", &builder.to_bytes(last).unwrap());
    assert!(horq(&["inspect", &model]).ok().lines().count() > 4096);
}

/// The command with standard output that takes nothing.
#[cfg(target_os = "linux")]
fn into_full(args: &[&str]) -> Said {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
    Said { code: output.status.code().unwrap(), out: String::new(), err: String::from_utf8(output.stderr).unwrap() }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_an_error() {
    let files = Files::new();
    let (model, input) = (files.network(), files.write("x.npy", &npy_f32(&[8, 8, 3], &noise(192, 1))));
    for args in [
        &["--help"][..],
        &["--version"],
        &["help"],
        &["help", "run"],
        &["run", "-h"],
        &["isa"],
        &["isa", "--json"],
        &["inspect", &model],
        &["inspect", &model, "--json"],
        &["verify", &model],
        &["verify", &model, "--selftest"],
        &["profile", &model, "--runs", "1"],
        &["run", &model, &input],
        &["run", &model, &input, "--json"],
        &["demo", "--order", "1"],
    ] {
        into_full(args).fails(1, &["error: cannot write to standard output: No space left"]);
    }
    // A wrong argument is one, whether its error can be read or not.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = command(&["frobnicate"]).stdout(Stdio::null()).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
    into_full(&["frobnicate"]).fails(2, &["frobnicate"]);
    into_full(&["inspect", &files.path("absent")]).fails(1, &["absent"]);
}

#[cfg(unix)]
#[test]
fn paths_that_are_no_files_are_named() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let (model, input) = (files.network(), files.write("x.npy", &npy_f32(&[8, 8, 3], &noise(192, 1))));
    let empty = files.write("empty", b"");
    let folder = files.path("");
    let socket = files.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, words) in [
        (folder.as_str(), &["is a directory", "name the"][..]),
        (&files.path("absent"), &["absent", "No such file"]),
        (&files.path("x.npy/inside"), &["x.npy/inside", "Not a directory"]),
        (&empty, &["empty", "again"]),
    ] {
        horq(&["run", &model, path]).fails(1, &[&[path], words].concat());
        horq(&["run", &model, &input, "--labels", path]).fails(1, &[&[path], words].concat());
        for command in ["inspect", "verify", "profile"] {
            horq(&[command, path]).fails(1, &[path]);
        }
        horq(&["demo", path]).fails(1, &[path]);
    }
    horq(&["inspect", ""]).fails(2, &["value is required"]);
    for device in ["/dev/null", "/dev/zero", &socket] {
        horq(&["run", &model, device]).fails(1, &[device, "is a device or socket", "name a file"]);
    }
    let path: &OsStr = OsStr::from_bytes(b"\xff\n.npy");
    said(command(&["run", &model]).arg(path)).fails(1, &[r"error: \xff\n.npy: cannot be opened"]);
    said(command(&["inspect"]).arg(path)).fails(1, &[r"`\xff\n.npy`"]);
    // Whoever may read everything can read this, too.
    std::fs::set_permissions(&input, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&input).is_err() {
        horq(&["run", &model, &input]).fails(1, &[&input, "Permission denied"]);
        horq(&["inspect", &input]).fails(1, &[&input, "Permission denied"]);
    }
}

/// What a shell's `<(...)` gives is read as a file is.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_an_input() {
    let files = Files::new();
    let (model, input) = (files.network(), files.write("x.npy", &npy_f32(&[8, 8, 3], &noise(192, 1))));
    let mut cat = std::process::Command::new("cat").arg(&input).stdout(Stdio::piped()).spawn().unwrap();
    let text = said(command(&["run", &model, "/dev/stdin"]).stdin(cat.stdout.take().unwrap())).ok();
    assert_eq!(text.replace("/dev/stdin", &input), horq(&["run", &model, &input]).ok());
    cat.wait().unwrap();
}
