//! Where the peers live: a folder with a Python environment for each and the scripts that run them.

use super::process::Process;
use crate::output::{create_folder, save};
use horq::escaped;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine to compare with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// On the command line, in tables and records.
    pub name: &'static str,
    /// `peer_<module>.py`, and the folder of its environment.
    module: &'static str,
    /// What pip installs.
    packages: &'static [&'static str],
    /// Settings that it takes from the environment.
    environment: &'static [(&'static str, &'static str)],
    /// What it is timed at, as `runner.py` calls it.
    pub variants: &'static [&'static str],
}

impl Peer {
    /// A peer whose module has its name, with nothing in its environment.
    const fn new(name: &'static str, packages: &'static [&'static str], variants: &'static [&'static str]) -> Self {
        Self { name, module: name, packages, environment: &[], variants }
    }

    /// What its environment says, for the list of settings.
    pub(super) fn environment_settings(&self) -> Vec<String> {
        self.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

/// What OpenVINO needs.
const OPENVINO: &[&str] = &["openvino", "onnx", "numpy"];

/// Every order above 1 of OpenVINO is composed from its binary convolutions.
pub(super) const PEERS: [Peer; 6] = [
    Peer::new("openvino", OPENVINO, &["binary1", "binary2", "binary3", "binary4", "int8", "f32"]),
    Peer {
        module: "openvino",
        // What a CPU without matrix units runs: the fair neighbour of kernels that use vector units only.
        environment: &[("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")],
        ..Peer::new("openvino-vectors", OPENVINO, &["int8"])
    },
    Peer::new("onnxruntime", &["onnxruntime", "onnx", "numpy"], &["int8", "f32"]),
    Peer::new("litert", &["ai-edge-litert", "flatbuffers", "numpy"], &["int8", "f32"]),
    Peer::new("ncnn", &["ncnn", "numpy"], &["int8", "f32"]),
    Peer::new("larq", &["larq-compute-engine", "larq", "tensorflow-cpu==2.15.1"], &["binary1"]),
];

/// The scripts, so that the program needs no source tree.
const SCRIPTS: [(&str, &str); 9] = [
    ("runner.py", include_str!("../../../peers/runner.py")),
    ("nets.py", include_str!("../../../peers/nets.py")),
    ("onnx_model.py", include_str!("../../../peers/onnx_model.py")),
    ("tflite_model.py", include_str!("../../../peers/tflite_model.py")),
    ("peer_openvino.py", include_str!("../../../peers/peer_openvino.py")),
    ("peer_onnxruntime.py", include_str!("../../../peers/peer_onnxruntime.py")),
    ("peer_litert.py", include_str!("../../../peers/peer_litert.py")),
    ("peer_ncnn.py", include_str!("../../../peers/peer_ncnn.py")),
    ("peer_larq.py", include_str!("../../../peers/peer_larq.py")),
];

/// Lies in an environment that is complete.
const COMPLETE: &str = "horq-complete";

/// The folder of the peers.
pub(super) struct Installation(PathBuf);

impl Installation {
    /// Opens the folder and writes the scripts into it.
    ///
    /// # Errors
    /// A message that names what cannot be written, or, unless `create`, the folder that is not there.
    pub(super) fn open(folder: &Path, create: bool) -> Result<Self, String> {
        if !create && !folder.is_dir() {
            let folder = escaped(folder);
            return Err(format!(
                "there are no peers in {folder}: `--install` makes the folder and installs them (some 2 GB, by pip)"
            ));
        }
        let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", escaped(folder)))?;
        for part in ["scripts", "logs"] {
            create_folder(&folder.join(part))?;
        }
        for (name, text) in SCRIPTS {
            let path = folder.join("scripts").join(name);
            save(&path, text)?;
        }
        Ok(Self(folder))
    }

    fn environment(&self, peer: &Peer) -> PathBuf {
        self.0.join(peer.module)
    }

    fn python(&self, peer: &Peer) -> PathBuf {
        let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        self.environment(peer).join(program)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(name).with_extension("log")
    }

    /// Whether the peer is installed.
    pub(super) fn has(&self, peer: &Peer) -> bool {
        self.environment(peer).join(COMPLETE).is_file()
    }

    /// Makes the peer's environment with `python` and installs it there.
    ///
    /// # Errors
    /// A message with the last line that a failed step printed.
    pub(super) fn install(&self, peer: &Peer, python: &Path) -> Result<(), String> {
        let environment = self.environment(peer);
        let mut venv = Command::new(python);
        venv.args(["-m", "venv"]).arg(&environment);
        complete(venv, "making a Python environment")?;
        let mut pip = Command::new(self.python(peer));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(peer.packages);
        complete(pip, &format!("pip install {}", peer.packages.join(" ")))?;
        let mark = environment.join(COMPLETE);
        save(&mark, peer.packages.join("\n"))
    }

    /// Starts the peer.
    ///
    /// # Errors
    /// A message if it is not installed or does not start.
    pub(super) fn start(&self, peer: &Peer) -> Result<Process, String> {
        if !self.has(peer) {
            return Err("not installed: `--install` does that".into());
        }
        let mut command = Command::new(self.python(peer));
        command.arg(self.0.join("scripts/runner.py")).arg(peer.module);
        // Libraries that read it start no threads of their own.
        command.envs([("OMP_NUM_THREADS", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
        command.envs(peer.environment.iter().copied());
        Process::start(peer.name, command, &self.log(peer.name))
    }
}

/// Runs a command to its end.
fn complete(mut command: Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{what}: cannot start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    let last = printed.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it printed nothing");
    Err(format!("{what} failed ({}): {last}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_its_script() {
        for peer in &PEERS {
            let script = format!("peer_{}.py", peer.module);
            assert!(SCRIPTS.iter().any(|(name, _)| *name == script), "{script}");
            assert!(!peer.variants.is_empty() && !peer.packages.is_empty());
        }
    }

    #[test]
    fn peers_are_not_installed_by_surprise() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = Installation::open(&missing, false).err().unwrap();
        assert!(error.contains("--install") && !missing.exists(), "{error}");
        let installation = Installation::open(&missing, true).unwrap();
        assert!(missing.join("scripts/runner.py").is_file() && !installation.has(&PEERS[0]));
        assert!(installation.start(&PEERS[0]).err().unwrap().contains("--install"));
    }

    #[test]
    fn a_failed_installation_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let installation = Installation::open(folder.path(), true).unwrap();
        let error = installation.install(&PEERS[0], Path::new("no-such-python")).unwrap_err();
        assert!(error.contains("cannot start"), "{error}");
        let error = complete(
            {
                let mut command = Command::new("python3");
                command.args(["-c", "import sys; print('first'); sys.exit('the reason\\n')"]);
                command
            },
            "a step",
        );
        assert!(error.unwrap_err().ends_with("the reason"));
        assert!(!installation.has(&PEERS[0]));
    }
}
