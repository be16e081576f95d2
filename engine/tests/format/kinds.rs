//! What a path may lead to: other kinds of files than `.horq`, files that are none, files too large for the memory there is.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;

use horq::error::{FileError, ResourceError, TensorError};
use horq::{Error, Model};

use crate::forge::{Forge, assemble, reseal};
use crate::memory::{MEGABYTE, peak};
use crate::zoo::small;

/// Opens and maps, which refuse alike.
fn refused(path: &Path) -> (Error, String) {
    let error = Model::open(path).expect_err("no model");
    // SAFETY: nobody changes the file while the test runs.
    let mapping = unsafe { Model::map(path) }.expect_err("no model");
    assert_eq!(error.to_string(), mapping.to_string());
    let text = error.to_string();
    (error, text)
}

/// A sparse file takes no disk, and its length no memory, until its header is known to be good.
#[test]
fn a_header_is_judged_before_memory_is_taken_for_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.horq");
    let length = 60_u64 << 30;
    let sparse = |head: &[u8]| {
        let mut file = File::create(&path).unwrap();
        file.write_all(head).unwrap();
        file.set_len(length).unwrap();
        let (found, held) = peak(|| refused(&path));
        assert!(held < MEGABYTE, "{held} bytes for `{}`", found.1);
        found
    };
    let (error, text) = sparse(&[]);
    assert!(matches!(error, Error::File(FileError::OtherFormat { .. })) && text.contains("zeros"), "{text}");
    let (error, text) = sparse(&[255; 20]);
    assert!(matches!(error, Error::File(FileError::NotSafetensors { .. })), "{text}");
    let (error, text) = sparse(b"PK\x03\x04");
    assert!(matches!(error, Error::File(FileError::OtherFormat { .. })), "{text}");
    let (error, text) = sparse(&[&(2_u64 << 20).to_le_bytes()[..], b"{"].concat());
    assert!(matches!(error, Error::File(FileError::HeaderTooLong { .. })), "{text}");
    let (error, text) = sparse(&small().to_bytes("logits").unwrap());
    assert!(matches!(error, Error::File(FileError::DataLength { .. })), "{text}");
    // Tensors that fill the file, but are none of the graph's.
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.tensors.clear();
    let empty = forge.seal();
    let start = crate::forge::data_start(&empty);
    let header = std::str::from_utf8(&empty[8..start]).unwrap().trim_end().strip_suffix('}').unwrap().to_owned();
    let bytes = length - 2048;
    let tensor =
        format!(r#",{:>pad$}"w":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#, "", pad = 0);
    let head = header + &tensor;
    let mut file = assemble(&format!("{head}{:pad$}", "", pad = 2040 - head.len()), 64, &[]);
    reseal(&mut file);
    let (error, text) = sparse(&file);
    assert!(matches!(error, Error::Tensor(TensorError::TensorMissing { .. })), "{text}");
}

/// A right model of 6.7 GB, every weight 0, which takes no disk.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn large(path: &Path) {
    const FEATURES: usize = 40_960;
    let bytes = FEATURES * FEATURES * 4;
    let graph = format!(
        r#"{{"input":{{"name":"x","shape":[{FEATURES}]}},"output":"y","nodes":[{{"name":"y","inputs":["x"],"op":"dense","filters":{FEATURES},"weight":"w"}}]}}"#
    );
    let metadata = serde_json::json!({
        "format": "horq", "format_version": "1.0", "producer": "test", "graph": graph,
        "header_sha256": "0".repeat(64), "data_sha256": "0".repeat(64)
    });
    let header = serde_json::json!({
        "__metadata__": metadata,
        "w": { "dtype": "F32", "shape": [FEATURES / 16, FEATURES, 16], "data_offsets": [0, bytes] }
    });
    let mut head = assemble(&header.to_string(), 64, &[]);
    reseal(&mut head);
    let mut file = File::create(path).unwrap();
    file.write_all(&head).unwrap();
    file.set_len((head.len() + bytes) as u64).unwrap();
}

/// Runs one test of this program by itself in a child, started by a shell after a command of its own.
#[cfg(all(unix, target_arch = "x86_64"))] // where the tests run in an emulator, they cannot start themselves
fn in_child(test: &str, before: &str, path: &Path) {
    let script = format!("{before} exec \"$0\" --exact kinds::{test} --ignored --nocapture");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env("HORQ_TEST_PATH", path);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn child_path() -> PathBuf {
    std::env::var_os("HORQ_TEST_PATH").expect("run by another test").into()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_file_too_large_for_the_memory_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.horq");
    large(&path);
    in_child("child_without_memory", "ulimit -v 3000000;", &path);
}

/// How long a mapping of gigabytes takes, and what of it is in memory then: the pages of its header, no weight.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_file_of_gigabytes_is_mapped_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.horq");
    large(&path);
    let start = std::time::Instant::now();
    // SAFETY: nobody changes the file while the test runs.
    let (model, held) = peak(|| unsafe { Model::map(&path) }.unwrap());
    let elapsed = start.elapsed();
    println!("{} bytes are mapped in {elapsed:?}", model.file_len());
    assert!(model.file_len() > 6 << 30 && held < MEGABYTE, "{held} bytes are held");
    // Reading every value takes seconds, the header far less than a millisecond; the rest is for busy machines.
    assert!(elapsed.as_millis() < 500, "{elapsed:?}");
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the file is mapped");
    let resident: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 4096, "{resident} kB of the file are in memory");
}

/// The check that a first session makes, of every value of 6.7 GB.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
#[ignore = "reads 6.7 GB"]
fn a_file_of_gigabytes_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.horq");
    large(&path);
    // SAFETY: nobody changes the file while the test runs.
    let model = unsafe { Model::map(&path) }.unwrap();
    let start = std::time::Instant::now();
    model.check().unwrap();
    println!("{} bytes are checked in {:?}", model.file_len(), start.elapsed());
}

#[test]
#[ignore = "the child of another test, which limits its memory"]
fn child_without_memory() {
    let path = child_path();
    let error = Model::open(&path).unwrap_err();
    assert!(matches!(error, Error::Resource(ResourceError::FileMemory { bytes }) if bytes > 6 << 30), "{error}");
    assert!(error.to_string().contains("map it"), "{error}");
    // SAFETY: nobody changes the file while the test runs.
    let error = unsafe { Model::map(&path) }.unwrap_err();
    assert!(matches!(error, Error::File(FileError::Io { action: "map", .. })), "{error}");
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn a_file_behind_the_standard_input_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    small().write("logits", &path).unwrap();
    in_child("child_with_a_file_as_input", "exec < \"$HORQ_TEST_PATH\";", &path);
    in_child("child_with_a_pipe_as_input", "cat \"$HORQ_TEST_PATH\" |", &path);
}

#[test]
#[ignore = "the child of another test, which gives it a file as its input"]
fn child_with_a_file_as_input() {
    assert_eq!(Model::open("/dev/stdin").unwrap().digest(), Model::open(child_path()).unwrap().digest());
}

#[test]
#[ignore = "the child of another test, which gives it a pipe as its input"]
fn child_with_a_pipe_as_input() {
    let (error, text) = refused(Path::new("/dev/stdin"));
    assert!(
        matches!(error, Error::File(FileError::Io { .. })) && text.contains("is a pipe") && text.contains("from_bytes"),
        "{text}"
    );
}

/// None is waited for, none is read.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, what, advice) in [
        (folder.path().to_owned(), "a directory", "name the .horq file in it"),
        (pipe, "a pipe", "from_bytes"),
        (socket, "a socket", "from_bytes"),
        ("/dev/zero".into(), "a device", "from_bytes"),
        ("/dev/null".into(), "a device", "from_bytes"),
    ] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let opened = path.clone();
        std::thread::spawn(move || sender.send(refused(&opened)).is_ok());
        let found = receiver.recv_timeout(std::time::Duration::from_secs(20));
        let (error, text) = found.unwrap_or_else(|_| panic!("{} is waited for", path.display()));
        assert!(matches!(error, Error::File(FileError::Io { action: "open", .. })), "{text}");
        for part in [what, advice, path.to_str().unwrap()] {
            assert!(text.contains(part), "`{text}` does not name `{part}`");
        }
    }
}

/// A link is what it leads to.
#[cfg(unix)]
#[test]
fn links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (model, link, astray) = (folder.path().join("model"), folder.path().join("link"), folder.path().join("astray"));
    small().write("logits", &model).unwrap();
    std::os::unix::fs::symlink(&model, &link).unwrap();
    std::os::unix::fs::symlink("nowhere", &astray).unwrap();
    Model::open(&link).unwrap();
    assert!(matches!(refused(&astray).0, Error::File(FileError::Io { action: "open", .. })));
}
