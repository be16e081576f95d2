"""Jobs in a process of their own, so that one that dies is one row of a table."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
"""From here Python finds `experiments`."""


class Worker:
    """A process that answers one job a line; a new one is started where it died or was too slow."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.process: subprocess.Popen[str] | None = None
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 it lives as long as the worker

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer, or `{"died": text}`."""
        if self.process is None:
            command = [sys.executable, "-m", "experiments.roads", "worker"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=HERE
            )
        assert self.process.stdin
        assert self.process.stdout
        self.log.seek(0)
        self.log.truncate()
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while selector.select(self.seconds):
                line = self.process.stdout.readline()
                if not line:
                    break
                if line.startswith("{"):
                    return json.loads(line)
        slow = self.process.poll() is None and bool(self.process.stdout)
        self.close()
        self.log.seek(0)
        tail = self.log.read()[-600:].strip()
        return {"died": f"no answer in {self.seconds:.0f} s" if slow and not tail else tail or "the process ended"}

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def serve(answer: Any) -> None:
    """Answers jobs from standard input until it ends; what a job prints goes to standard error."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        lines.write(json.dumps(answer(json.loads(line))) + "\n")
        lines.flush()
