//! A peer's process: requests and answers, one JSON object a line (`bench/peers/runner.py`).

use horq::escaped;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Converting a large network takes a peer some ten seconds; what takes this long does not end.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running peer. It ends with this value.
pub(super) struct Process {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The peer cannot do this; it lives on.
    Refused(String),
    /// The process is of no more use.
    Ended(String),
}

impl Failure {
    /// The reason, for people.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Ended(reason) => reason,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Refused { refused: String },
    Given(T),
}

impl Process {
    /// Starts `command`, whose standard error goes to the file `log`.
    ///
    /// # Errors
    /// A message that names what cannot be started or written.
    pub(super) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, String> {
        let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", escaped(log)))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped")
        };
        // A thread of its own reads, so that waiting for an answer can end.
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, requests, answers, log: log.to_owned() })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the peer's reason; [`Failure::Ended`] if it does not answer, or not as agreed.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, request: &impl Serialize) -> Result<T, Failure> {
        let mut line = serde_json::to_string(request).expect("a request is plain data");
        line.push('\n');
        if self.requests.write_all(line.as_bytes()).and_then(|()| self.requests.flush()).is_err() {
            // It may have said why before it ended.
            return Err(match self.answers.recv_timeout(PATIENCE).map(|line| parse::<T>(&line)) {
                Ok(Err(Failure::Refused(reason))) => Failure::Ended(reason),
                _ => self.ended(),
            });
        }
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => parse(&line),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                let seconds = PATIENCE.as_secs();
                Err(Failure::Ended(format!("{} gave no answer for {seconds} seconds and was ended", self.name)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> Failure {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::Ended(format!("the process of {} ended ({status}); {} may say why", self.name, escaped(&self.log)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<T, Failure> {
    match serde_json::from_str(line) {
        Ok(Answer::Given(answer)) => Ok(answer),
        Ok(Answer::Refused { refused }) => Err(Failure::Refused(refused)),
        Err(_) => Err(Failure::Ended(format!("an answer that is none of the protocol's: {line}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Answers as a runner does: echoes, refuses, answers nonsense, or ends, as it is asked.
    const FAKE: &str = r#"
import json, sys
print("noise", file=sys.stderr)
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "end":
        sys.exit(3)
    print({"echo": json.dumps(request), "refuse": '{"refused": "too hard"}', "babble": "no json"}[request["op"]], flush=True)
"#;

    fn fake(folder: &Path, script: &str) -> Process {
        let mut command = Command::new("python3");
        command.args(["-c", script]);
        Process::start("fake", command, &folder.join("log")).unwrap()
    }

    #[test]
    fn answers_refusals_and_ends_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = fake(folder.path(), FAKE);
        for number in 0..3 {
            let request = json!({"op": "echo", "number": number});
            assert_eq!(process.ask::<Value>(&request), Ok(request));
        }
        assert_eq!(process.ask::<Value>(&json!({"op": "refuse"})), Err(Failure::Refused("too hard".into())));
        let babble = process.ask::<Value>(&json!({"op": "babble"})).unwrap_err();
        assert!(matches!(&babble, Failure::Ended(reason) if reason.contains("no json")), "{babble:?}");
        let ended = process.ask::<Value>(&json!({"op": "end"})).unwrap_err();
        assert!(
            matches!(&ended, Failure::Ended(reason) if reason.contains('3') && reason.contains("log")),
            "{ended:?}"
        );
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap().trim(), "noise");
    }

    #[test]
    fn what_a_peer_says_before_it_ends_is_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = fake(folder.path(), r#"print('{"refused": "cannot be imported"}', flush=True)"#);
        let failure = process.ask::<Value>(&json!({"op": "hello"})).unwrap_err();
        assert_eq!(failure.reason(), "cannot be imported");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Process::start("x", Command::new("no-such-python"), &folder.path().join("log")).err().unwrap();
        assert!(error.contains("no-such-python"), "{error}");
    }
}
