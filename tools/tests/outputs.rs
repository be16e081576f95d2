//! Files that the command writes: a trace is what viewers read and agrees with the profile, and a file that cannot be written
//! is refused with the old one left as it was.

mod common;

use common::{Files, horq, repository};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A span of a trace.
struct Span {
    kind: String,
    name: String,
    layer: Option<String>,
    begun: u64,
    end: u64,
}

impl Span {
    fn lies_in(&self, other: &Self) -> bool {
        other.begun <= self.begun && self.end <= other.end
    }

    fn nanoseconds(&self) -> u64 {
        self.end - self.begun
    }
}

fn spans(document: &Value) -> Vec<Span> {
    let nanoseconds = |value: &Value| (value.as_f64().expect("microseconds") * 1000.0).round() as u64;
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let events = document["traceEvents"].as_array().expect("a list of events");
    let complete = events.iter().filter(|event| event["ph"] == "X");
    let span = |event: &Value| Span {
        kind: text(&event["cat"]),
        name: text(&event["name"]),
        layer: event["args"]["layer"].as_str().map(str::to_owned),
        begun: nanoseconds(&event["ts"]),
        end: nanoseconds(&event["ts"]) + nanoseconds(&event["dur"]),
    };
    complete.map(span).collect()
}

/// The spans of one kind.
fn of<'a>(spans: &'a [Span], kind: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[test]
fn a_trace_nests_and_agrees_with_the_profile() {
    let files = Files::new();
    let (model, path) = (files.network(), files.path("trace.json"));
    for (runs, traced, batch, threads) in [("1", 1, "1", "1"), ("4", 4, "3", "1"), ("30", 10, "1", "2")] {
        let arguments = ["profile", &model, "--runs", runs, "--batch", batch, "--threads", threads];
        let profile = horq(&[&arguments[..], &["--json", "--trace", &path]].concat()).json();
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).expect("one JSON document");
        let spans = spans(&document);
        let [all, layers, stages] = ["run", "layer", "stage"].map(|kind| of(&spans, kind));
        assert_eq!((all.len(), all.len() + layers.len() + stages.len()), (traced, spans.len()), "ten runs at most");
        assert_eq!(document["otherData"]["dropped"], 0);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].begun), "runs follow each other");
        let names: Vec<&str> =
            profile["layers"].as_array().unwrap().iter().map(|x| x["name"].as_str().unwrap()).collect();
        assert!(names.len() >= 4, "{names:?}");
        for layer in &layers {
            assert_eq!(all.iter().filter(|run| layer.lies_in(run)).count(), 1, "{} lies in one run", layer.name);
        }
        for stage in &stages {
            let name = stage.layer.as_deref().expect("a stage names its layer");
            assert!(layers.iter().any(|layer| layer.name == name && stage.lies_in(layer)), "{} of {name}", stage.name);
        }
        for run in &all {
            let inside: Vec<&&Span> = layers.iter().filter(|layer| layer.lies_in(run)).collect();
            let mut order: Vec<&str> = inside.iter().map(|layer| layer.name.as_str()).collect();
            order.dedup();
            if threads == "1" {
                assert_eq!(order, names, "each layer of the profile, in its order");
                assert!(inside.iter().map(|layer| layer.nanoseconds()).sum::<u64>() <= run.nanoseconds());
            } else {
                assert!(names.iter().all(|name| order.contains(name)), "{order:?}");
            }
        }
        // Other runs than those of the profile, so only about as long: microseconds for nanoseconds would show.
        let fastest = all.iter().map(|run| run.nanoseconds()).min().unwrap() as f64;
        let profiled = profile["ns"].as_f64().unwrap();
        assert!(fastest > profiled / 50.0 && fastest < profiled * 200.0, "{fastest} ns beside {profiled} ns");
    }
}

#[test]
fn a_profile_for_people_says_where_its_trace_is() {
    let files = Files::new();
    let (model, path) = (files.network(), files.write("trace.json", b"what was there before"));
    let said = horq(&["profile", &model, "--runs", "2", "--trace", &path]).ok();
    let spans = spans(&serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()).len();
    assert!(said.contains(&format!("{spans} spans in {path}")), "{said}");
}

/// Commands that write a file, but for its path.
fn writers(files: &Files) -> [Vec<String>; 2] {
    let onnx = repository("fuzz/onnx/conv.onnx").to_str().unwrap().to_owned();
    [
        ["profile", &files.network(), "--runs", "1", "--trace"].map(str::to_owned).to_vec(),
        ["import", &onnx, "-o"].map(str::to_owned).to_vec(),
    ]
}

/// The names of what a folder holds.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_cannot_be_written_is_refused_and_the_old_one_stays() {
    let files = Files::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("read-only"), "old").unwrap();
    let mut permissions = fs::metadata(path("read-only")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path("read-only"), permissions).unwrap();
    let before = names(folder.path());
    for command in writers(&files) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let cases = [("missing/file", "No such file"), ("folder", "folder"), ("read-only", "read-only")];
        for (name, reason) in cases {
            let said = horq(&[&command[..], &[&path(name)]].concat());
            assert_eq!(said.out, "", "{command:?}");
            said.fails(1, &[name, reason]);
        }
        #[cfg(target_os = "linux")]
        horq(&[&command[..], &["/dev/full"]].concat()).fails(1, &["/dev/full", "device"]);
        assert_eq!(names(folder.path()), before, "{command:?}");
        assert_eq!(fs::read(path("read-only")).unwrap(), b"old");
    }
}

/// No room: a limit on the length of files, and, where one may be mounted, a file system of 4 KiB.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file() {
    use std::process::Command;
    let files = Files::new();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let shell = |program: &[&str], before: &str, after: &str, command: &[String]| {
        let script = format!(r#"{before} "$@" "$TARGET"; code=$?; {after} exit $code"#);
        let mut shell = Command::new(program[0]);
        shell.args(&program[1..]).args(["-c", &script, "sh", env!("CARGO_BIN_EXE_horq")]).args(command);
        shell.env("TARGET", &target).env("FOLDER", folder.path()).output().unwrap()
    };
    let mounts = r#"mount -t tmpfs -o size=4k none "$FOLDER" && printf old >"$TARGET" || exit 77;"#;
    for command in writers(&files) {
        fs::write(&target, "old").unwrap();
        let output = shell(&["sh"], "ulimit -f 0;", "", &command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("File too large"), "{command:?}: {said}");
        assert_eq!((names(folder.path()), fs::read(&target).unwrap()), (vec!["file".to_owned()], b"old".to_vec()));

        let output = shell(&["unshare", "-m", "sh"], mounts, r#"ls -A "$FOLDER"; cat "$TARGET";"#, &command);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || said.contains("unshare failed") {
            println!("!!! NO FILE SYSTEM CAN BE MOUNTED HERE: this was not tried !!!");
            continue;
        }
        assert!(output.status.code() == Some(1) && said.contains("No space left"), "{command:?}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "file\nold", "{command:?}");
    }
}
