//! Every subcommand, as `--help` lists them: readers that leave, interrupts, full disks, and files that are no models. A new
//! subcommand fails these tests until it has its line in `calls`.

#![cfg(unix)]

mod common;

use common::{Files, command, horq, npy_f32, repository};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Arguments with which each subcommand has something to say, and whether its first argument is a model.
fn calls(files: &Files) -> BTreeMap<String, (Vec<String>, bool)> {
    let model = files.network();
    let input = files.write("x.npy", &npy_f32(&[64, 8, 8, 3], &common::noise(64 * 192, 3)));
    let onnx = repository("fuzz/onnx/conv.onnx").to_str().unwrap().to_owned();
    let line = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let (made, tuned) = (files.path("made.horq"), files.path("tuned.horq"));
    let known = BTreeMap::from([
        ("inspect", (line(&["inspect", &model]), true)),
        ("run", (line(&["run", &model, &input]), true)),
        ("verify", (line(&["verify", &model, "--selftest"]), true)),
        ("profile", (line(&["profile", &model, "--runs", "2"]), true)),
        ("tune", (line(&["tune", &model, "--data", &input, "--time", "5ms", "--candidates", "2", "-o", &tuned]), true)),
        ("demo", (line(&["demo"]), false)),
        ("import", (line(&["import", &onnx, "-o", &made]), false)),
        ("isa", (line(&["isa"]), false)),
        ("help", (line(&["help"]), false)),
    ]);
    let help = horq(&["--help"]).ok();
    let listed = help.split("Commands:").nth(1).expect("a list of commands").split("\n\n").next().unwrap();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 9, "{names:?}");
    let call =
        |name: &str| (name.to_owned(), known.get(name).unwrap_or_else(|| panic!("`{name}` has no call")).clone());
    names.into_iter().map(call).collect()
}

#[test]
fn a_reader_that_leaves_ends_every_command_quietly() {
    let files = Files::new();
    for (name, (args, _)) in calls(&files) {
        for lines in [0, 1] {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            for _ in 0..lines {
                out.read_line(&mut String::new()).unwrap();
            }
            drop(out);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &*said), (Some(0), ""), "{name} after {lines} lines");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_an_error_of_every_command() {
    let files = Files::new();
    for (name, (args, _)) in calls(&files) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(&args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("No space left") && !said.contains("panicked"), "{name}: {said}");
    }
}

/// An interrupt ends the process by its signal, as a shell expects, without a word, and without a file half written.
#[test]
fn an_interrupt_ends_every_command_quietly() {
    let files = Files::new();
    for (name, (args, _)) in calls(&files) {
        for wait in [0, 3, 30] {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(wait));
            // It may be done by then.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let ended = output.status.signal() == Some(2) || output.status.code() == Some(0);
            assert!(ended && said.is_empty(), "{name} after {wait} ms: {:?} {said}", output.status);
        }
    }
    for name in ["made.horq", "tuned.horq"] {
        if let Ok(made) = std::fs::read(files.path(name)) {
            horq::Model::from_bytes(&made).expect("whole or absent");
        }
    }
    let folder = std::path::Path::new(&files.path("x.npy")).parent().unwrap().to_owned();
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".horq-")), "{left:?}");
}

/// What is given as a model and is none: each command that takes one says what it is, and what to do.
#[test]
fn every_command_says_what_a_file_is_that_is_no_model() {
    let files = Files::new();
    for (what, bytes, found, advice) in [
        ("page", &b"<!DOCTYPE html>"[..], "a web page", "download"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "git lfs pull"),
        ("pickle", b"\x80\x02\x8a\x0al\xfc\x9c", "a Python pickle", "export it with horq"),
        ("gzip", b"\x1f\x8b\x08\0", "gzip", "decompress"),
        ("empty", b"", "empty", "again"),
        ("json", b"{\"error\": 1}", "JSON", "look into it"),
    ] {
        let path = files.write(what, bytes);
        for (name, (mut args, takes_model)) in calls(&files) {
            if !takes_model {
                continue;
            }
            args[1].clone_from(&path);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let said = horq(&args);
            assert!(said.out.is_empty(), "{name}: {said:?}");
            said.fails(1, &[what, found, "not a .horq file", advice]);
        }
        let output = files.path("out.horq");
        horq(&["import", &path, "-o", &output]).fails(1, &[what, found, "not an ONNX model"]);
        assert!(!std::fs::exists(&output).unwrap());
    }
    let output = files.path("out.horq");
    horq(&["import", &files.network(), "-o", &output]).fails(1, &[".horq file", "needs no import"]);
}

/// What is given as an input or as labels and is none.
#[test]
fn inputs_of_other_kinds_are_told_what_they_are() {
    let files = Files::new();
    let model = files.network();
    for (what, bytes, found, advice) in [
        ("jpeg", &b"\xff\xd8\xff\xe0\0\x10JFIF"[..], "a JPEG picture", "save it as PNG"),
        ("gif", b"GIF89a\x01\0", "a GIF picture", "save it as PNG"),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture", "save it as PNG"),
        ("npz", b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0arr_0.npy", "npz", "numpy.save"),
        ("pt", b"\x80\x02\x8a\x0al\xfc\x9c", "a Python pickle", "name the model first"),
        ("zstd", b"\x28\xb5\x2f\xfd\0\0\0", "zstd", "decompress"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", "git lfs pull"),
        ("page", b"<html><body>", "web page", "download"),
        ("csv", b"1.0,2.0,3.0\n", "text", "convert it"),
        ("parquet", b"PAR1\x15\x04\x15", "Parquet", "convert it"),
    ] {
        let path = files.write(what, bytes);
        horq(&["run", &model, &path]).fails(1, &[what, found, "which is no input", advice]);
        let input = files.write("x.npy", &npy_f32(&[1, 8, 8, 3], &common::noise(192, 3)));
        horq(&["run", &model, &input, "--labels", &path]).fails(1, &[what, found, advice]);
    }
    horq(&["run", &model, &model]).fails(1, &[".horq file", "which is no input", "name the model first"]);
    // Arrays of numbers that are not those that can be read.
    for (descr, bytes) in [("<f8", 8), (">f4", 4), ("<f2", 2), ("<i8", 8), ("|O", 8), ("|b1", 1), ("<c8", 8)] {
        let path = files.write("other.npy", &common::npy(descr, &[1, 8, 8, 3], &vec![0; 192 * bytes]));
        horq(&["run", &model, &path]).fails(1, &["other.npy", descr, "float32", "astype(numpy.float32)"]);
    }
}
