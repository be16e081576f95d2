//! Commands that run models end at once with Ctrl-C, and leave nothing half done.

#![cfg(unix)]

mod common;

use common::{Files, command, npy};
use horq::graph::Shape;
use horq::ops::{AveragePool, GlobalAveragePool};
use horq_kernels::Window;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

const SIGINT: i32 = 2;

#[test]
fn ctrl_c_ends_long_runs_and_leaves_the_folder_as_it_was() {
    let files = Files::new();
    // A pool that takes hours.
    let mut builder = horq::Builder::new("x", Shape::Image { height: 4096, width: 4096, channels: 1 });
    builder.add("pool", &["x"], AveragePool::new(Window::square(2048))).unwrap();
    let file = builder.add("mean", &["pool"], GlobalAveragePool).unwrap().to_bytes("mean").unwrap();
    let model = files.write("slow.horq", &file);
    let input = files.write("input.npy", &npy("|u1", &[1, 4096, 4096, 1], &vec![1; 4096 * 4096]));
    let names = || {
        let entries = std::fs::read_dir(files.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for arguments in [
        &["run", &model, &input][..],
        &["run", &model, &input, "--threads", "2"],
        &["profile", &model],
        &["profile", &model, "--threads", "2"],
    ] {
        let mut child = command(arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} has ended by itself");
        let sent = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(SIGINT), "{arguments:?}: {status}");
        assert!(sent.elapsed() < Duration::from_secs(1), "{arguments:?}: {:?}", sent.elapsed());
        assert_eq!(names(), before, "{arguments:?}");
    }
}
