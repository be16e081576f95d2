"""The energy that residual quantization leaves, ||R_k||^2 / ||x||^2 by order: of distributions and trained layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from horq.nn import HorqConv2d, HorqLinear
from horq.nn.functional import MAX_ORDER
from horq.nn.running import inputs_seen
from horq.train import data, runs

from .evaluate import read_figures, write_figures

ENERGY = "energy.json"
BATCH = 20


def left(magnitudes: Tensor, weights: Tensor, order: int = MAX_ORDER) -> list[float]:
    """The share of energy left after orders 1 to `order` of a distribution, each scale being the mean.

    `magnitudes` [n] are points |x| and `weights` [n] their probabilities (any factor). The recursion is that of
    `horq.nn.functional` on magnitudes: b_k = mean m_{k-1}, m_k = |m_{k-1} - b_k|.
    """
    m, p = magnitudes.double(), weights.double() / weights.double().sum()
    whole, shares = (p * m * m).sum(), []
    for _ in range(order):
        m = (m - (p * m).sum()).abs()
        shares.append(((p * m * m).sum() / whole).item())
    return shares


def gaussian(order: int = MAX_ORDER) -> list[float]:
    """What orders 1 to `order` leave of a normally distributed value, by the midpoint rule up to 12 deviations."""
    step = 1e-5
    x = (torch.arange(round(12 / step), dtype=torch.float64) + 0.5) * step
    return left(x, (-0.5 * x * x).exp(), order)


class _Sums:
    """||x||^2 and ||R_k||^2, k = 1..order, over all images."""

    def __init__(self, order: int) -> None:
        self.whole = torch.zeros((), dtype=torch.float64)
        self.left = torch.zeros(order, dtype=torch.float64)

    def add(self, m: Tensor, dims: tuple[int, ...], scales: Tensor | None, valid: Tensor | None = None) -> None:
        """Adds magnitudes in groups over `dims`, where `valid` (all without) is 1; scales are means where not given."""
        valid = torch.ones_like(m) if valid is None else valid.expand_as(m)
        count = valid.sum(dims, keepdim=True)
        self.whole += (m * m * valid).sum()
        for k in range(len(self.left)):
            b = (m * valid).sum(dims, keepdim=True) / count if scales is None else scales[k]
            m = (m - b).abs()
            self.left[k] += (m * m * valid).sum()

    def shares(self) -> list[float]:
        """The share of the energy that each order leaves."""
        return (self.left / self.whole).tolist()


class _Watch:
    """Adds up the input of one layer, with the layer's scales and with means over each sample."""

    def __init__(self, layer: HorqConv2d | HorqLinear) -> None:
        self.layer = layer
        self.own, self.means = _Sums(layer.max_order), _Sums(layer.max_order)

    def add(self, input: Tensor) -> None:
        """Adds what the layer reads."""
        layer, x = self.layer, input.double()
        sample = tuple(range(1, x.dim()))
        self.means.add(x.abs(), sample, None)
        if layer.scale_mode == "window" and isinstance(layer, HorqConv2d):
            self.own.add(layer._columns(x, 0.0).abs(), (2, 3), None, layer._valid(x))
        else:  # `image`, and `window` of a dense layer: the scales are means over one sample
            constants = layer._constants()
            self.own.add(x.abs(), sample, None if constants is None else constants.double())


@torch.no_grad()
def measure(folder: Path, root: Path, images: int = 200) -> dict[str, Any]:
    """Measures what each order leaves in each binary layer of the run in `folder` and writes `energy.json`.

    On the first `images` test images, at the highest order. For each layer: `own`, with the layer's scales, which
    training has chosen for the answers and not for this; and `means`, with the mean over each sample, which shows how
    far the layer's input is from normally distributed.

    Raises `ValueError` for a network without binary activations.
    """
    net, config = runs.load(folder)
    layers = {n: layer for n, layer in net.named_modules() if isinstance(layer, HorqConv2d | HorqLinear)}
    if not layers:
        raise ValueError(f"{config.name} has no layer with binary activations (method {config.method})")
    watches = {name: _Watch(layer) for name, layer in layers.items()}
    watched = {watch.layer: watch for watch in watches.values()}
    test = data.load(config.data, root, "test").images[:images]
    with inputs_seen(watched, lambda layer, input: watched[layer].add(input)):
        for part in test.split(BATCH):
            net(part.float())
    found = {
        name: {"scale_mode": watch.layer.scale_mode, "own": watch.own.shares(), "means": watch.means.shares()}
        for name, watch in watches.items()
    }
    normal = gaussian(max(layer.max_order for layer in layers.values()))
    return write_figures(folder, ENERGY, images=len(test), gaussian=normal, layers=found)


def energy(folder: Path) -> dict[str, Any] | None:
    """What `measure` has found for the run in `folder`; None if it is missing or of an earlier training."""
    return read_figures(folder, ENERGY)
