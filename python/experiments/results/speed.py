"""How fast the networks of a table are on this machine, before anything is trained.

A run takes as long whatever the weights hold, so random ones will do: the column of latency, on a CPU of one's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from horq._core import Model
from horq.exporting.fields import channels_last
from horq.nn import freeze_
from horq.train import Config, runs

from .evaluate import export_run, float_bytes
from .int8 import quantized8
from .latency import ROUNDS, Timed, check_rounds, in_turns, timed_on
from .subjects import doodles
from .tables import first_seed, label, markdown, micro, network

IMAGES = 8


@dataclass(frozen=True)
class Speed:
    """An untrained network at an order: the figures of its row."""

    config: Config
    label: str
    order: int
    bytes: int
    float_bytes: int
    seconds: Mapping[str, float]


def untrained(config: Config) -> nn.Module:
    """The network of a run with random weights in the form that it is exported in, in eval mode."""
    net = runs.made(config).eval()
    if config.method == "inq":
        freeze_(net, 1.0)
    return net


def speed(configs: Mapping[str, Config], rounds: int = ROUNDS) -> tuple[list[Speed], dict[str, Any]]:
    """Times the untrained network of each run at each order, float ones also in 8 bits, in turns on one thread.

    Runs that repeat one with another seed are left out. Returns the rows, and what they were timed on.
    """
    check_rounds(rounds)
    rows: list[tuple[Config, str, int, Model, int]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for config in (config for name, config in configs.items() if first_seed(config, configs) == name):
            net, whole = untrained(config), float_bytes(config)
            forms = {label(config): net}
            if config.method == "float":
                forms["8 bits"] = quantized8(net, doodles(config.data, IMAGES))
            for name, form in forms.items():
                file = Path(scratch) / f"{config.name}-{len(rows)}.horq"
                export_run(form, config, file)
                model = Model(file)
                rows += [(config, name, order, model, whole) for order in config.orders]
        timed = [
            Timed(model.session(order=order or None), channels_last(doodles(config.data, IMAGES)))
            for config, _, order, model, _ in rows
        ]
        machine = in_turns(timed, rounds)
    found = [
        Speed(config, name, order, model.file_len, whole, entry.quantiles())
        for (config, name, order, model, whole), entry in zip(rows, timed, strict=True)
    ]
    return found, machine


def speed_table(rows: list[Speed], machine: Mapping[str, Any]) -> str:
    """The rows in Markdown, and what they were timed on."""
    header = ["network", "method", "order", "bytes", "f32 is", "us"]
    lines = []
    for row in rows:
        size = [f"{row.bytes:,}", f"{row.float_bytes / row.bytes:.1f} x"]
        lines.append([network(row.config), row.label, row.order or "", *size, micro(row.seconds)])
    below = f"Latency (us): untrained, one image, one thread, median (p10 to p90) on {timed_on(machine)}."
    return f"{markdown(header, lines)}\n\n{below}"
