"""Tiny data sets in the files' own formats, of made-up images, and tiny runs on them."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np


def write_idx(path: Path, values: np.ndarray) -> None:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


def patterns(random: np.random.Generator, n: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, C, H, W] of ten blocky patterns with noise, and which pattern each is."""
    coarse = np.random.default_rng(7).integers(0, 2, (10, shape[0], shape[1] // 4, shape[2] // 4))
    labels = random.integers(0, 10, n)
    images = np.kron(coarse, np.ones((1, 1, 4, 4)))[labels] * 180 + random.normal(30, 25, (n, *shape))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def write_mnist(root: Path, train: int = 200, test: int = 60) -> None:
    folder, random = root / "mnist", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for prefix, n in (("train", train), ("t10k", test)):
        images, labels = patterns(random, n, (1, 28, 28))
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images[:, 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


RECIPE = """
network = "lenet5"
width = 0.25
data = "mnist"
epochs = 2
batch = 20
lr = 3e-3
augment = 0.0
precision = "f32"
compile = false
method = "horq"

[runs.net-float]
method = "float"
seeds = [1, 2]

[runs.net-dial]
options = { order = 2 }
dial = true

[runs.net-order1]
options = { order = 1, scale_mode = "window" }

[runs.net-order2]
options = { order = 2 }
epochs = 1

[runs.net-dqc]
method = "dqc"
options = { bits = 3 }
"""


def call(monkeypatch, module, *arguments):
    """Runs the command line of a module."""
    monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
    module.main()
