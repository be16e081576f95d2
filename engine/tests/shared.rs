//! Models in shared memory: nobody can change them, other processes use the same pages, and what is not sealed is refused.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use horq::error::{FileError, TensorError};
use horq::graph::Shape;
use horq::ops::Dense;
use horq::{Builder, Error, Limits, Model, Session, SessionOptions};

/// The descriptor and the digest that a child is given.
const CHILD: &str = "HORQ_SHARED_CHILD";
const SEALS: libc::c_int = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// A matrix of that many rows and columns, each row with a value of its own.
fn model(features: usize) -> Vec<u8> {
    let weight: Vec<f32> = (0..features * features).map(|i| (i / features + 1) as f32).collect();
    let mut builder = Builder::new("x", Shape::Flat(features));
    builder.add("y", &["x"], Dense::new(features, &weight)).unwrap();
    builder.to_bytes("y").unwrap()
}

fn answer(model: &Model) -> Result<Vec<f32>, Error> {
    let mut session = Session::new(model, SessionOptions::new())?;
    let mut output = vec![0.0; session.output_len()];
    session.run(&vec![1.0; session.input_len()], &mut output)?;
    Ok(output)
}

/// A memfd that holds `bytes`, with those seals.
fn memfd(bytes: &[u8], seals: libc::c_int) -> OwnedFd {
    let flags = libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC;
    // SAFETY: the name ends with a zero, and the descriptor is new.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), flags);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.write_all(bytes).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file.into()
}

/// Whatever becomes of the file, the model stays as it was read.
#[test]
fn a_shared_model_does_not_hang_on_its_file() {
    let (bytes, other) = (model(64), model(48));
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change<'_>; 6] = [
        ("overwritten in place", &|path| {
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0xff; 8192], 4096).unwrap();
        }),
        ("cut", &|path| OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap()),
        ("removed", &|path| fs::remove_file(path).unwrap()),
        ("replaced by renaming", &|path| horq::replace_file(path, &other).unwrap()),
        ("written anew", &|path| fs::write(path, &other).unwrap()),
        ("made longer", &|path| OpenOptions::new().append(true).open(path).unwrap().write_all(&[1; 99]).unwrap()),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.horq");
        fs::write(&path, &bytes).unwrap();
        let shared = Model::open_shared(&path).unwrap();
        let before = answer(&shared).unwrap();
        change(&path);
        assert_eq!(answer(&shared).unwrap(), before, "{what}");
        assert_eq!(answer(&Model::from_shared_fd(shared.shared_fd().unwrap()).unwrap()).unwrap(), before, "{what}");
        shared.verify_digest().unwrap();
        assert!(shared.file() == bytes);
    }
    assert!(Model::from_bytes(&bytes).unwrap().shared_fd().is_none());
}

/// Each call that could change the memory is refused by the system.
#[test]
fn nobody_can_change_what_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    let bytes = model(64);
    fs::write(&path, &bytes).unwrap();
    let shared = Model::open_shared(&path).unwrap();
    let mut file = File::from(shared.shared_fd().unwrap().try_clone_to_owned().unwrap());
    let len = bytes.len() as i64;
    let refused = |what: &str, done: std::io::Result<()>| {
        let error = done.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    };
    file.rewind().unwrap();
    refused("write", file.write_all(b"x"));
    refused("pwrite", file.write_all_at(b"x", 4096));
    refused("append", file.write_all_at(b"x", bytes.len() as u64));
    refused("shrink", file.set_len(10));
    refused("grow", file.set_len(bytes.len() as u64 + 1));
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let done = |code: libc::c_int| if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: the descriptor is open.
    refused("punch a hole", done(unsafe { libc::fallocate(file.as_raw_fd(), hole, 0, len) }));
    // SAFETY: the descriptor is open.
    refused("seal", done(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) }));
    // SAFETY: no address is asked for.
    let mapping =
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_eq!(mapping, libc::MAP_FAILED);
    // Another way to the same memory opens it for writing, but may not write either.
    let other = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    refused("write by another way", other.and_then(|mut file| file.write_all(b"x")));
    assert!(shared.file() == bytes);
}

#[test]
fn memory_that_could_change_is_refused() {
    let bytes = model(16);
    let refused = |fd: BorrowedFd<'_>, words: &str| {
        let error = Model::from_shared_fd(fd).expect_err("refused");
        let text = error.to_string();
        assert!(matches!(error, Error::File(FileError::SharedMemory { .. })) && text.contains(words), "{text}");
        assert!(text.contains("Model::shared_fd"), "{text}");
    };
    for seals in [0, SEALS & !libc::F_SEAL_WRITE, SEALS & !libc::F_SEAL_SHRINK, SEALS & !libc::F_SEAL_GROW] {
        refused(memfd(&bytes, seals).as_fd(), "not sealed");
    }
    // What is written through mappings that are there already is not held by this one.
    refused(memfd(&bytes, SEALS & !libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE).as_fd(), "not sealed");
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(&bytes).unwrap();
    refused(file.as_fd(), "no shared memory");
    refused(std::io::pipe().unwrap().0.as_fd(), "no shared memory");
    assert_eq!(answer(&Model::from_shared_fd(memfd(&bytes, SEALS)).unwrap()).unwrap().len(), 16);
}

/// A process that hands memory over may be an attacker: its bytes are judged as those of a file.
#[test]
fn what_is_handed_over_is_validated() {
    let bytes = model(16);
    for (bytes, words) in [(&b""[..], "empty"), (b"<html>", "web page"), (&bytes[..bytes.len() - 64], "ended early")] {
        let error = Model::from_shared_fd(memfd(bytes, SEALS)).unwrap_err();
        assert!(matches!(error, Error::File(_)) && error.to_string().contains(words), "{error}");
    }
    let limit = Limits::new().file_bytes(100);
    let error = Model::from_shared_fd_with(memfd(&bytes, SEALS), &limit).unwrap_err();
    assert!(matches!(error, Error::File(FileError::FileTooLong { .. })), "{error}");
    let mut wrong = bytes.clone();
    let end = wrong.len();
    wrong[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = Model::from_shared_fd(memfd(&wrong, SEALS)).unwrap();
    let error = answer(&model).unwrap_err();
    assert!(matches!(error, Error::Tensor(TensorError::NotFinite { .. })), "{error}");
    assert_eq!(error.to_string(), Model::from_bytes(&wrong).unwrap_err().to_string());
}

/// Bytes of this process's mappings of the shared memory: resident ones, and this process's share of them.
fn resident() -> [usize; 2] {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut sums = [0; 2];
    for line in maps.lines() {
        let number = |name: &str| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok();
        if line.as_bytes()[0].is_ascii_digit() || line.as_bytes()[0].is_ascii_lowercase() {
            ours = line.contains("memfd:horq-model");
        } else if ours {
            sums[0] += number("Rss:").unwrap_or(0) << 10;
            sums[1] += number("Pss:").unwrap_or(0) << 10;
        }
    }
    sums
}

/// Two processes hold one copy: each counts half of it as its own.
#[cfg(target_arch = "x86_64")] // where the tests run in an emulator, they cannot start themselves
#[test]
fn another_process_uses_the_same_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    fs::write(&path, model(1024)).unwrap();
    let shared = Model::open_shared(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let expected = answer(&shared).unwrap();
    let [alone, own] = resident();
    assert!(alone >= shared.file_len() && own == alone, "{alone} bytes, {own} of them this process's");
    // A duplicate is not closed when the child starts.
    // SAFETY: the descriptor is open, and the duplicate new.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::dup(shared.shared_fd().unwrap().as_raw_fd())) };
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_with_the_memory", "--ignored", "--nocapture"]);
    let output = child.env(CHILD, format!("{} {}", fd.as_raw_fd(), shared.digest())).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.split_once("child: ")).expect("the child's line").1;
    let numbers: Vec<f32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let (all, share, sum) = (numbers[0] as usize, numbers[1] as usize, numbers[2]);
    assert_eq!(sum, expected.iter().sum::<f32>());
    assert!(all >= shared.file_len(), "{all} of {}", shared.file_len());
    assert!(share <= all / 2 + 4096, "{share} of {all} bytes are the child's: there are two copies");
}

#[test]
#[ignore = "the child of another test, which gives it shared memory"]
fn child_with_the_memory() {
    let child = std::env::var(CHILD).expect("run by another test");
    let (fd, digest) = child.split_once(' ').unwrap();
    // SAFETY: the parent left this descriptor open for this process.
    let model = Model::from_shared_fd(unsafe { BorrowedFd::borrow_raw(fd.parse().unwrap()) }).unwrap();
    assert_eq!(model.digest(), digest);
    let sum: f32 = answer(&model).unwrap().iter().sum();
    let [all, share] = resident();
    println!("child: {all} {share} {sum}");
}

/// A mapped model is not checked when it is opened, and never used unchecked.
#[test]
fn values_of_a_mapped_model_are_checked_before_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    let bytes = model(32);
    for (value, words) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for place in [1, 500, 1024] {
            let mut wrong = bytes.clone();
            let at = wrong.len() - 4 * place;
            wrong[at..at + 4].copy_from_slice(&value.to_le_bytes());
            horq::replace_file(&path, &wrong).unwrap();
            let expected = Model::open(&path).unwrap_err().to_string();
            assert!(expected.contains(words), "{expected}");
            assert_eq!(Model::open_shared(&path).unwrap_err().to_string(), expected);
            // SAFETY: the file is only replaced by renaming.
            let mapped = unsafe { Model::map(&path) }.unwrap();
            // Also the second time, and by every way.
            for _ in 0..2 {
                assert_eq!(answer(&mapped).unwrap_err().to_string(), expected);
                assert_eq!(mapped.check().unwrap_err().to_string(), expected);
                assert_eq!(mapped.resized(&[Shape::Flat(32)]).unwrap_err().to_string(), expected);
            }
        }
    }
    horq::replace_file(&path, &bytes).unwrap();
    // SAFETY: as above.
    let mapped = unsafe { Model::map(&path) }.unwrap();
    mapped.check().unwrap();
    assert_eq!(answer(&mapped).unwrap(), answer(&Model::open(&path).unwrap()).unwrap());
}
