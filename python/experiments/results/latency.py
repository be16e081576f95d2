"""One-thread latency of single images, measured in turns between networks and orders."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from horq._core import Model, Session
from horq.exporting.fields import channels_last
from horq.train import runs

from .evaluate import file_of, read_figures, write_figures
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
class Timed:
    """A session on one thread, what it is given, and the seconds of its runs."""

    session: Session
    inputs: np.ndarray
    seconds: list[float] = field(default_factory=list)

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

    def quantiles(self) -> dict[str, float]:
        """The number of runs, and p10, p50 and p90 of their seconds."""
        p10, p50, p90 = np.quantile(self.seconds, (0.1, 0.5, 0.9))
        return {"runs": len(self.seconds), "p10": float(p10), "p50": float(p50), "p90": float(p90)}


def check_rounds(rounds: int) -> None:
    """Raises `ValueError` for too few turns."""
    if rounds * REPEATS < 50:
        raise ValueError(f"rounds must be at least {-(-50 // REPEATS)}, so that 50 runs are measured, not {rounds}")


def in_turns(entries: Sequence[Timed], rounds: int = ROUNDS) -> dict[str, Any]:
    """Times all entries in turns, a few single images each; what disturbs the machine for a while so falls on all.

    Returns what they were timed on: cpu, isa, load (the system's load average before and after).
    """
    check_rounds(rounds)
    before = os.getloadavg()[0]
    for _ in range(rounds):
        for entry in entries:
            entry.turn()
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    return {"cpu": cpu_name(), "isa": entries[0].session.isa if entries else "", "load": load}


def measure(folders: list[Path], rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measures the evaluated runs in `folders` in turns and writes `latency.json` of each.

    Each order of each network gets a session of its own on one thread. Returns what the files hold: name, trained, cpu,
    isa, load, and for each order runs, p10, p50 and p90 in seconds; under the order ``int8`` those of the 8-bit file,
    if there is one.

    Raises `FileNotFoundError` for a run that was not evaluated.
    """
    check_rounds(rounds)
    timed: dict[Path, dict[str, Timed]] = {}
    for folder in folders:
        if not file_of(folder).exists():
            raise FileNotFoundError(f"{file_of(folder)} is missing; evaluate the run first")
        config = runs.load_config(folder)
        model = Model(file_of(folder))
        inputs = channels_last(doodles(config.data, 8))
        sessions = {str(order): model.session(order=order or None) for order in config.orders}
        if evaluation8(folder) is not None:
            sessions["int8"] = Model(int8_file(folder)).session()
        timed[folder] = {key: Timed(session, inputs) for key, session in sessions.items()}
    machine = in_turns([entry for own in timed.values() for entry in own.values()], rounds)
    orders = {folder: {key: entry.quantiles() for key, entry in own.items()} for folder, own in timed.items()}
    return [write_figures(folder, LATENCY, **machine, orders=own) for folder, own in orders.items()]


def timed_on(figures: Mapping[str, Any]) -> str:
    """What figures of latency say of their machine."""
    return f"{figures['cpu']} ({figures['isa']}), load {' to '.join(map(str, figures['load']))}"


def is_timed(folder: Path) -> bool:
    """Whether all that the folder holds has been measured."""
    found = latency(folder)
    return found is not None and (evaluation8(folder) is None or "int8" in found["orders"])


def latency(folder: Path) -> dict[str, Any] | None:
    """What `measure` has found for the run in `folder`; None if it is missing or of an earlier training."""
    return read_figures(folder, LATENCY)
