"""A float run in 8 bits without training: the row that every other method has to beat."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from horq._core import Model
from horq.nn import Int8
from horq.nn.running import inputs_seen
from horq.train import data, runs

from .evaluate import BATCH, compare, export_run, read_figures, write_figures

INT8 = "int8.json"
CALIBRATION = 500
"""Training images that the ranges are taken on."""


def int8_file(folder: Path) -> Path:
    """Where the 8-bit `.horq` file of the float run in `folder` lies."""
    return folder / f"{folder.name}.int8.horq"


@torch.no_grad()
def quantized8(net: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a float network, in eval mode, whose convolutions and dense layers are `Int8`.

    The range of each layer's input is what it takes on `images` [n, C, H, W] (uint8). Raises `ValueError` if the
    network has no such layer.
    """
    net = copy.deepcopy(net).eval()
    layers = {name: layer for name, layer in net.named_modules() if type(layer) in (nn.Conv2d, nn.Linear)}
    if not layers:
        raise ValueError(f"{type(net).__name__} has no Conv2d or Linear to quantize to 8 bits")
    ranges: dict[nn.Module, tuple[float, float]] = {}

    def watch(layer: nn.Module, input: Tensor) -> None:
        low, high = ranges.get(layer, (0.0, 0.0))
        ranges[layer] = (min(low, input.min().item()), max(high, input.max().item()))

    with inputs_seen(layers.values(), watch):
        for part in images.split(BATCH):
            net(part.float())
    for name, layer in layers.items():
        owner, _, last = name.rpartition(".")
        setattr(net.get_submodule(owner), last, Int8(layer, *ranges[layer]))
    return net


def evaluate8(folder: Path, root: Path, images: int | None = None) -> dict[str, Any]:
    """Makes 8 bits of the float run in `folder`, evaluates them as `evaluate` does, and writes `int8.json`.

    Raises `ValueError` for a run of another method.
    """
    net, config = runs.load(folder)
    if config.method != "float":
        raise ValueError(f"{config.name} is a run of {config.method}; only float runs are quantized to 8 bits")
    net = quantized8(net, data.load(config.data, root, "train").images[:CALIBRATION])
    file = int8_file(folder)
    export_run(net, config, file)
    model = Model(file)
    orders = {"0": compare(net, model, data.load(config.data, root, "test"), 0, images)}
    own = {"calibration": CALIBRATION, "digest": model.digest, "bytes": model.file_len}
    return write_figures(folder, INT8, **own, orders=orders)


def evaluation8(folder: Path) -> dict[str, Any] | None:
    """What `evaluate8` has found for the run in `folder`; None if it is missing or of an earlier training."""
    return read_figures(folder, INT8)
