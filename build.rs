//! Refuses targets on which horq would be wrong, and records what it is built from and with.

use std::path::Path;
use std::process::Command;

fn main() {
    refuse_targets();
    println!("cargo::rustc-env=HORQ_RUSTC={}", output(&var("RUSTC"), &["--version"]).unwrap_or("unknown".into()));
    println!("cargo::rustc-env=HORQ_TARGET={}", var("TARGET"));
    println!("cargo::rustc-env=HORQ_COMMIT={}", commit().unwrap_or("unknown".into()));
}

/// Model files are little-endian and mapped as they are; sizes of buffers are checked as 64-bit numbers.
fn refuse_targets() {
    if var("CARGO_CFG_TARGET_ENDIAN") == "big" {
        println!(
            "cargo::error=horq maps little-endian model files without conversion, so it cannot run on big-endian {}",
            var("TARGET")
        );
    }
    if var("CARGO_CFG_TARGET_POINTER_WIDTH") != "64" {
        println!("cargo::error=horq needs 64-bit sizes, so it cannot run on {}", var("TARGET"));
    }
}

/// The commit, marked where tracked files differ from it: of a packaged crate as cargo recorded it, else of this checkout.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(recorded) = std::fs::read_to_string(".cargo_vcs_info.json") {
        let (_, rest) = recorded.split_once("\"sha1\": \"")?;
        let dirty = if recorded.contains("\"dirty\": true") { "-dirty" } else { "" };
        return Some(format!("{}{dirty}", rest.get(..12)?));
    }
    // Without this, a copy of the sources inside some other repository would claim that repository's commit.
    if !Path::new(".git").exists() {
        return None;
    }
    for sources in ["engine", "kernels"] {
        println!("cargo::rerun-if-changed={sources}");
    }
    // Grows with each commit, checkout and rebase, wherever a worktree keeps it.
    println!("cargo::rerun-if-changed={}", output("git", &["rev-parse", "--git-path", "logs/HEAD"])?);
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { commit + "-dirty" })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
