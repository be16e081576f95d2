"""One-thread latency of single images, measured in turns between networks and orders."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._core import Model, Session
from ..fields import channels_last
from ..train import runs
from .evaluate import file_of, read_json
from .int8 import evaluation8, int8_file
from .subjects import doodles

LATENCY = "latency.json"
ROUNDS = 20
REPEATS = 5
"""Measured runs of one turn; with `ROUNDS` turns, 100 of each network and order."""
WARM_UP = 0.005
"""Seconds of runs before a turn's measured ones: the clock of a core follows the work of some milliseconds."""


def cpu_name() -> str:
    """The name of this CPU, with family and model where Linux tells them: cloud names alone say little."""
    fields: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    return f"{fields['model name']}, family {fields.get('cpu family')}, model {fields.get('model')}"


@dataclass
class _Entry:
    """A network at an order, and the seconds of its runs."""

    folder: Path
    key: str
    """The order, or int8 for the 8-bit file beside a float run's own."""
    session: Session
    inputs: np.ndarray
    seconds: list[float]

    def turn(self) -> None:
        """Warms up, then measures a few runs."""
        images = [self.inputs[at : at + 1] for at in range(len(self.inputs))]
        until = time.perf_counter() + WARM_UP
        while time.perf_counter() < until:
            self.session.run(images[0])
        for at in range(REPEATS):
            image = images[(len(self.seconds) + at) % len(images)]
            started = time.perf_counter()
            self.session.run(image)
            self.seconds.append(time.perf_counter() - started)


def measure(folders: list[Path], rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measures the evaluated runs in `folders` in turns and writes `latency.json` of each.

    Each order of each network gets a session of its own on one thread. A turn gives each a few runs on single made-up
    images; what disturbs the machine for a while so falls on all of them. Returns what the files hold: name, trained,
    cpu, isa, load (the system's load average before and after), and for each order runs, p10, p50 and p90 in seconds;
    under the order ``int8`` those of the 8-bit file, if there is one.

    Raises `FileNotFoundError` for a run that was not evaluated.
    """
    if rounds * REPEATS < 50:
        raise ValueError(f"rounds must be at least {-(-50 // REPEATS)}, so that 50 runs are measured, not {rounds}")
    entries: list[_Entry] = []
    for folder in folders:
        if not file_of(folder).exists():
            raise FileNotFoundError(f"{file_of(folder)} is missing; evaluate the run first")
        config = runs.load_config(folder)
        model = Model(file_of(folder))
        inputs = channels_last(doodles(config.data, 8))
        sessions = {str(order): model.session(order=order or None) for order in config.orders}
        if evaluation8(folder) is not None:
            sessions["int8"] = Model(int8_file(folder)).session()
        entries += [_Entry(folder, key, session, inputs, []) for key, session in sessions.items()]
    before = os.getloadavg()[0]
    for _ in range(rounds):
        for entry in entries:
            entry.turn()
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    found = []
    for folder in folders:
        own = [entry for entry in entries if entry.folder == folder]
        figures = {
            "name": folder.name,
            "trained": runs.digest(folder),
            "cpu": cpu_name(),
            "isa": own[0].session.isa,
            "load": load,
            "orders": {entry.key: _quantiles(entry.seconds) for entry in own},
        }
        runs.write_whole(folder / LATENCY, figures)
        found.append(figures)
    return found


def _quantiles(seconds: list[float]) -> dict[str, float]:
    p10, p50, p90 = np.quantile(seconds, (0.1, 0.5, 0.9))
    return {"runs": len(seconds), "p10": float(p10), "p50": float(p50), "p90": float(p90)}


def is_timed(folder: Path) -> bool:
    """Whether all that the folder holds has been measured."""
    found = latency(folder)
    return found is not None and (evaluation8(folder) is None or "int8" in found["orders"])


def latency(folder: Path) -> dict[str, Any] | None:
    """What `measure` has found for the run in `folder`; None if it is missing or of an earlier training."""
    return read_json(folder / LATENCY, folder)
