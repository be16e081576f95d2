//! What comes from outside and is odd: hostile records, names that are too long, files that are none, outputs that take nothing.

use horq::escaped;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_horq-bench"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Every line shows only what prints.
fn assert_harmless(output: &Output) {
    for line in text(&output.stdout).lines().chain(text(&output.stderr).lines()) {
        assert_eq!(escaped(line).to_string(), line);
        assert!(!line.contains("all is well") || !line.starts_with("0 slower"), "{line}");
    }
}

/// A record of one case that took so many cycles, all of whose text is `evil`.
fn record(path: &Path, evil: &str, cycles: f64) {
    let quoted = format!("\"{}\"", evil.replace('"', "\"\""));
    let header = "suite,case,engine,unit,order,mode,isa,threads,cycles,ns,macs,spread,cpu,commit,rustc,clock,date";
    let row = |suite: &str, engine: &str, unit: &str, cpu: &str| {
        format!(
            "{suite},{quoted},{engine},{unit},1,{quoted},{quoted},1,{cycles},{cycles},1000,0.02,{cpu},{quoted},{quoted},{quoted},{quoted}"
        )
    };
    let cpu = format!("\"{cycles} {}\"", evil.replace('"', "\"\""));
    let rows = [
        row("gemm", "horq", "bit", &cpu),
        row("network", "horq", "mixed", &cpu),
        row("peers", "horq", "bit", &cpu),
        row("peers", &quoted, "int8", &cpu),
    ];
    fs::write(path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
}

#[test]
fn nothing_of_a_record_reaches_the_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "e\u{1b}[2J\n0 slower, all is well\u{202e}\u{9b}|<b>ü漢";
    let name = "r\u{1b}[2J\n.csv";
    record(&folder.path().join(name), evil, 1000.0);
    record(&folder.path().join("new.csv"), evil, 9000.0);
    let output = bench(folder.path(), &["compare", name, "new.csv"]).output().unwrap();
    assert!(output.status.success());
    assert_harmless(&output);
    assert!(text(&output.stdout).contains(r"e\u{1b}[2J\n0 slower") && text(&output.stdout).contains("ü漢"));
    // A document keeps its lines and cells.
    fs::write(folder.path().join("T.md"), "<!-- bench:gemm -->\n<!-- bench:end -->\n").unwrap();
    let output = bench(folder.path(), &["tables", "new.csv", "--document", "T.md"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written = fs::read_to_string(folder.path().join("T.md")).unwrap();
    assert!(
        written.lines().all(|line| escaped(line).to_string() == line && !line.starts_with("0 slower")),
        "{written}"
    );
    assert!(written.contains(r"\u{9b}\|<b>ü漢 |"), "{written}");
    // So does a figure, which is XML.
    let arguments = ["curve", "order", "--budget", "1", "--out", "out", "--peers", name];
    let output = bench(folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_harmless(&output);
    let drawn = fs::read_to_string(folder.path().join("out/peers-1.svg")).unwrap();
    assert!(drawn.contains(r"e\u{1b}[2J\n0 slower") && !drawn.contains('\u{202e}'), "{drawn}");
    for arguments in [
        &["compare", "none\u{1b}[2J\n", "new.csv"][..],
        &["compare", name, "T.md"],
        &["compare", "T.md", name],
        &["tables", name, "--document", "no\u{202e}\n"],
        &["network", "--network", "no\u{1b}[2J\n"],
        &["gemm", "--shape", "no\u{1b}[2J\nx1x1"],
        &["--no\u{1b}[2J\n"],
        &["peak", "--json", "no\u{9b}/\nx"],
        &["peak", "--out", "T.md/\u{9b}"],
    ] {
        let output = bench(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_harmless(&output);
    }
}

#[test]
fn nothing_of_a_model_reaches_the_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let name = "net\u{1b}[2J\n\u{202e}";
    let mut builder = horq::Builder::new("x", horq::graph::Shape::Flat(2));
    let layer = horq::ops::Dense::new(2, &[1.0, 2.0, 3.0, 4.0]);
    builder.add("ü\u{202e}\u{200b}", &["x"], layer).unwrap();
    builder.write("ü\u{202e}\u{200b}", folder.path().join(format!("{name}.horq"))).unwrap();
    let file = format!("{name}.horq");
    let arguments = ["network", "--network", &file, "--runs", "10", "--budget", "1", "--save", "kept", "--json", "-"];
    let output = bench(folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_harmless(&output);
    assert!(text(&output.stderr).contains(r"ü\u{202e}\u{200b}"), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let cases: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["case"].as_str().unwrap().to_owned())
        .collect();
    assert!(cases.contains(&format!("{name}/ü\u{202e}\u{200b}")), "{cases:?}");
    assert!(folder.path().join("kept").join(format!("{name}-mixed-1.horq")).is_file());
}

#[test]
fn names_of_any_length_fit() {
    let folder = tempfile::tempdir().unwrap();
    for (file, cycles) in [("old.csv", 1000.0), ("new.csv", 9000.0)] {
        record(&folder.path().join(file), &"n".repeat(70_000), cycles);
    }
    let output = bench(folder.path(), &["compare", "old.csv", "new.csv"]).env("COLUMNS", "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("nnn...") && output.stdout.len() < 10_000, "{}", output.stdout.len());
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    record(&folder.path().join("r.csv"), "a", 1000.0);
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let gemm = ["gemm", "--shape", "5x33x70", "--isa", "portable", "--budget", "1"];
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["help", "peers"],
        &["compare", "r.csv", "r.csv"],
        &gemm,
        &[&gemm[..], &["--json", "-"]].concat(),
        &[&gemm[..], &["--json", "/dev/full"]].concat(),
    ] {
        let output = bench(folder.path(), arguments).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        let said = text(&output.stderr);
        assert!(said.contains("cannot write") && said.contains("No space left"), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    // Where errors cannot be read, the exit code tells.
    for (arguments, code) in [(&["frobnicate"][..], 2), (&["compare", "none", "r.csv"], 2), (&gemm, 0)] {
        let status = bench(folder.path(), arguments).stdout(Stdio::null()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    record(&folder.path().join("r.csv"), "a", 1000.0);
    let gemm = ["gemm", "--shape", "5x33x70", "--isa", "portable", "--budget", "1"];
    for arguments in [&["--help"][..], &["compare", "r.csv", "r.csv"], &gemm, &[&gemm[..], &["--json", "-"]].concat()] {
        let mut child = bench(folder.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked") && !text(&output.stderr).contains("horq-bench: "));
    }
}

#[cfg(unix)]
#[test]
fn results_replace_no_device_and_lines_go_straight_to_one() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let gemm = ["gemm", "--shape", "5x33x70", "--isa", "portable", "--budget", "1"];
    fs::create_dir(folder.path().join("out")).unwrap();
    symlink("/dev/null", folder.path().join("out/results.csv")).unwrap();
    let output = bench(folder.path(), &[&gemm[..], &["--out", "out"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("results.csv`: it is a device"), "{}", text(&output.stderr));
    // A stream of lines may go to a device.
    let output = bench(folder.path(), &[&gemm[..], &["--json", "/dev/null"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    // A document is replaced through its link.
    record(&folder.path().join("r.csv"), "a", 1000.0);
    fs::write(folder.path().join("T.md"), "<!-- bench:gemm -->\n<!-- bench:end -->\n").unwrap();
    symlink("T.md", folder.path().join("link.md")).unwrap();
    let output = bench(folder.path(), &["tables", "r.csv", "--document", "link.md"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read_to_string(folder.path().join("T.md")).unwrap().contains("| M x N x K |"));
    assert!(fs::symlink_metadata(folder.path().join("link.md")).unwrap().is_symlink());
}

/// A file of `--json` is the old one until all of the new one is there, whatever ends the run.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_lines_is_whole_or_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.jsonl");
    let gemm = ["gemm", "--shape", "5x33x70", "--isa", "portable", "--budget", "1", "--json"];
    let names = || -> Vec<_> { fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    let stays = || {
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(), ["lines.jsonl"]);
    };
    fs::write(&path, "old").unwrap();
    // A reader that leaves ends the run in its midst.
    let mut child = bench(folder.path(), &[&gemm[..], &["lines.jsonl"]].concat());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    stays();
    // So does a signal.
    let long = ["gemm", "--budget", "100000", "--json", "lines.jsonl"];
    let mut child = bench(folder.path(), &long).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it would measure for minutes");
    child.kill().unwrap();
    child.wait().unwrap();
    stays();
    // A disk without room.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -f 0; exec "$0" "$@""#, env!("CARGO_BIN_EXE_horq-bench")]).args(gemm);
    let output = shell.arg("lines.jsonl").current_dir(folder.path()).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("lines.jsonl") && said.contains("too large"), "{said}");
    stays();
    // What cannot be written is found before anything is measured.
    for (wrong, reason) in [("missing/lines.jsonl", "No such file"), (".", "directory")] {
        let output = bench(folder.path(), &[&gemm[..], &[wrong]].concat()).output().unwrap();
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && output.stdout.is_empty() && said.contains(reason),
            "{wrong}: {said}"
        );
    }
    stays();
    let output = bench(folder.path(), &[&gemm[..], &["lines.jsonl"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = fs::read_to_string(&path).unwrap();
    assert!(
        lines.lines().count() >= 2 && lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    assert_eq!(names(), ["lines.jsonl"]);
}
