"""The roads into the engine, and runs of what came in, in the shapes of the network."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import horq

WEIGHTED = ("conv2d", "dense")
"""How the names of operations with weights end."""


@dataclass
class Port:
    """How an input or an answer of the network lies in the engine's."""

    shape: list[int]
    order: list[int]
    engine_shape: list[int]
    engine_name: str

    def into(self, value: np.ndarray) -> np.ndarray:
        """The network's value as the engine takes it, samples first: a first size other than 1 counts samples."""
        samples = value.reshape([-1, *self.shape])
        turned = samples.transpose([0, *(axis + 1 for axis in self.order)])
        return np.ascontiguousarray(turned.reshape([-1, *self.engine_shape]), np.float32)

    def out(self, value: np.ndarray) -> np.ndarray:
        """The engine's samples as the network gives them."""
        turned = value.reshape([-1, *(self.shape[axis] for axis in self.order)])
        samples = turned.transpose([0, *(np.argsort(self.order) + 1)])
        return samples.reshape([-1, *self.shape[1:]]) if self.shape and self.shape[0] == 1 else samples[0]


class Imported:
    """An imported network."""

    def __init__(self, path: Path) -> None:
        self.model = horq.Model(path)
        self.session = self.model.session(threads=1)
        self.inputs, self.outputs = (self.ports(key) for key in ("onnx.inputs", "onnx.outputs"))

    def ports(self, key: str) -> list[Port] | None:
        """What the file says of its inputs or outputs; nothing where the exact road of export wrote it."""
        note = self.model.notes.get(key)
        if note is None:
            return None
        return [
            Port(port["shape"], port["order"], port["engine_shape"], port["engine_name"]) for port in json.loads(note)
        ]

    def read(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Of the network's inputs, by name, those that it reads: the file has no others."""
        return [inputs[port["name"]] for port in json.loads(self.model.notes["onnx.inputs"])]

    def given(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """One sample as the engine takes it."""
        ports = self.inputs or [
            plain(name, value, shape) for (name, shape), value in zip(self.model.inputs.items(), inputs, strict=True)
        ]
        return {port.engine_name: port.into(value) for port, value in zip(ports, inputs, strict=True)}

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One sample."""
        answers = self.session.run(self.given(inputs), as_dict=True)
        ports = self.outputs or [plain(name, value, value.shape[1:]) for name, value in answers.items()]
        return [port.out(answers[port.engine_name]) for port in ports]

    def seconds(self, inputs: Sequence[np.ndarray]) -> float:
        """How long one run takes."""
        given = self.given(inputs)
        start = time.perf_counter()
        self.session.run(given, as_dict=True)
        return time.perf_counter() - start

    def kinds(self) -> dict[str, int]:
        """How many layers with weights there are of each operation."""
        ops = (node["op"] for node in self.model.graph["nodes"])
        return dict(sorted(Counter(op for op in ops if op.endswith(WEIGHTED)).items()))


def plain(name: str, value: np.ndarray, engine_shape: Sequence[int]) -> Port:
    """A port of the exact road: images have their channels last in the engine."""
    order = [0, *range(2, value.ndim), 1] if value.ndim > 2 else list(range(value.ndim))
    return Port(list(value.shape), order, list(engine_shape), name)


def from_onnx(model: Path | bytes, out: Path) -> Imported:
    """By the ONNX road."""
    horq.from_onnx(model, out)
    return Imported(out)


def loader(folder: Path) -> Any:
    """The module `loader.py` of a folder, run from there as its author's code expects."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("loader", folder / "loader.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_torch(folder: Path, out: Path) -> Imported:
    """By the PyTorch road."""
    net, example = loader(folder).load()
    horq.export(net, example, out)
    return Imported(out)


def finite(values: Sequence[np.ndarray]) -> bool:
    """Whether all values are numbers."""
    return all(math.isfinite(float(np.abs(value).max(initial=0))) for value in values)
