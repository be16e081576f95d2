"""Values of one sign before a binary layer: what puts them around 0, and what data show of the signs.

A ReLU leaves values of 0 and more, whose signs are all +1: at order 1 a binary layer behind it answers a constant, and
at higher orders its first plane is lost. XNOR-Net (arXiv 1603.05279, section 3.2) therefore has a batch norm before
each quantizer, and ReActNet (arXiv 2003.03488, section 4.2) a learned shift.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import exact
from .activations import Shift
from .layers import HorqConv2d, HorqLinear
from .norm import BatchNorm1d, BatchNorm2d
from .ranges import read_by
from .running import Sums, inputs_seen, modes_kept, statistics_averaged
from .tools import horq_layers, set_order
from .values import Moments, Values

Centre = Literal["norm", "shift", "none"]

HALF_NORMAL = (math.sqrt(1 / (2 * math.pi)), 0.5 - 1 / (2 * math.pi))
"""Mean and variance of max(x, 0) for x of mean 0 and variance 1."""


class Centred(nn.Module):
    """A binary layer, `layer`, and before it what puts its values around 0, `before`: a `BatchNorm1d` or `BatchNorm2d`,
    or a `Shift`. `horq.nn.convert` puts it where a layer would see one sign only; a file holds the two as nodes."""

    def __init__(self, before: nn.Module, layer: HorqConv2d | HorqLinear) -> None:
        super().__init__()
        self.before = before
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.before(x))


def centred(layer: HorqConv2d | HorqLinear, values: Values, how: Centre) -> Centred:
    """`layer` behind a batch norm or a shift that starts from what is known of the `values` that it reads.

    Raises `ValueError` for a shift where nothing tells their mean.
    """
    dense = isinstance(layer, HorqLinear)
    channels = layer.in_features if dense else layer.in_channels
    moments = _by_channel(values.moments, channels)
    if how == "shift":
        if moments is None:
            raise ValueError(
                "no batch norm tells the mean of what it reads, from which a shift starts; pass data, or centre='norm'"
            )
        before: nn.Module = Shift(channels)
        with torch.no_grad():
            before.shift.copy_(-moments[0])
    else:
        before = BatchNorm1d(channels) if dense else BatchNorm2d(channels)
        mean, variance = moments or _guessed(values)
        before.running_mean.copy_(torch.as_tensor(mean))
        before.running_var.copy_(torch.as_tensor(variance))
        with torch.no_grad():
            # It starts as a shift: the weights behind it were trained for values of this spread.
            before.weight.copy_(torch.as_tensor(variance + before.eps).sqrt())
    before.to(layer.weight.device, layer.weight.dtype)
    return Centred(before, layer).train(layer.training)


def _by_channel(moments: Moments | None, channels: int) -> Moments | None:
    """Moments of an image as those of a vector that it was flattened to."""
    if moments is None or channels % len(moments[0]):
        return None
    mean, variance = (vector.repeat_interleave(channels // len(vector)) for vector in moments)
    return mean, variance


def _guessed(values: Values) -> tuple[float, float]:
    """Between two bounds the middle, else a half normal distribution from the bound on."""
    low, high = next((own for own in values.ranges or () if own[0] >= 0 or own[1] <= 0), (0.0, math.inf))
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return (low + high) / 2, (high - low) ** 2 / 12
    mean, variance = HALF_NORMAL
    return (low + mean if math.isfinite(low) else high - mean), variance


# ---- what data show


def batches_of(data: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The batches of an argument `data`; raises `ValueError` if there are none or too small ones."""
    batches = [data] if isinstance(data, Tensor) else list(data)
    if not batches or any(not isinstance(batch, Tensor) or batch.dim() < 2 or len(batch) < 2 for batch in batches):
        raise ValueError("data must be a batch of at least two samples, as the model takes it, or several such batches")
    return batches


@contextlib.contextmanager
def _in_eval(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, without gradients; its binary layers in training mode, which takes one product for all
    planes."""
    with modes_kept(model), torch.no_grad():
        model.eval()
        for layer in horq_layers(model):
            layer.train()
        yield


def seen_by(model: nn.Module, layers: Iterable[nn.Module], batches: list[Tensor]) -> dict[nn.Module, Values]:
    """What each of `layers` reads when the model runs on the batches in eval mode: bounds, and moments by channel."""
    sums = Sums()
    bounds: dict[nn.Module, tuple[float, float]] = {}

    def look(layer: nn.Module, x: Tensor) -> None:
        sums.add(layer, x)
        low, high = bounds.get(layer, (math.inf, -math.inf))
        bounds[layer] = min(low, x.min().item()), max(high, x.max().item())

    _run(model, layers, look, batches)
    return {
        layer: Values(frozenset({bounds[layer]}), "as data show", (mean.cpu(), variance.cpu()))
        for layer, (mean, variance) in sums.moments().items()
    }


def _run(
    model: nn.Module, layers: Iterable[nn.Module], look: Callable[[nn.Module, Tensor], None], batches: list[Tensor]
) -> None:
    with _in_eval(model), inputs_seen(layers, look):
        for batch in batches:
            model(batch)


def constant_signs(model: nn.Module, batches: list[Tensor]) -> dict[nn.Module, Tensor]:
    """Which channels of each plane have one sign in all samples and places, at an order of the dial that uses the
    plane: [planes, channels] (bool) for every binary layer that runs. Scales of mode ``window`` count as ``image``."""
    layers = list(horq_layers(model))
    orders = {part: part.order for part in model.modules() if hasattr(part, "max_order")}
    constant: dict[nn.Module, Tensor] = {}
    try:
        for order in range(1, max((layer.max_order for layer in layers), default=0) + 1):
            set_order(model, order)
            signs: dict[nn.Module, list[Tensor]] = {}

            def look(layer: nn.Module, x: Tensor, signs: dict = signs) -> None:
                planes = torch.stack([h.transpose(0, 1).flatten(1) for h in _planes(layer, x)])
                found = [planes.amin(2), planes.amax(2)]
                if layer in signs:
                    found = [torch.minimum(signs[layer][0], found[0]), torch.maximum(signs[layer][1], found[1])]
                signs[layer] = found

            _run(model, layers, look, batches)
            for layer, (low, high) in signs.items():
                same = low == high
                if layer in constant:
                    same[: len(constant[layer])] |= constant[layer]
                constant[layer] = same
    finally:
        for part, order in orders.items():
            part.order = order
    return constant


def _planes(layer: HorqConv2d | HorqLinear, x: Tensor) -> list[Tensor]:
    dims = tuple(range(1, x.dim()))
    constants = layer._constants()
    planes = exact.planes(x, layer.order, constants, lambda magnitudes: magnitudes.mean(dims, keepdim=True))
    return [h for h, _ in planes]


def settle(model: nn.Module, batches: list[Tensor]) -> None:
    """Gives all batch norms the statistics of the batches as training mode has them, each behind those before it."""
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    with _in_eval(model), statistics_averaged(norms):
        for batch in batches:
            model(batch)


# ---- the report


@dataclass(frozen=True)
class Row:
    """A binary layer in a `Report`."""

    layer: str
    reads: str
    """The bounds of the values that the layer reads, and what sets them."""
    centred: str
    """The module that puts those values around 0."""
    constant: tuple[int, ...] | None
    """How many channels of each plane have one sign over all data; None without data."""
    channels: int


class Report(list[Row]):
    """The rows of `explain`; printed, a table."""

    def __str__(self) -> str:
        head = ("layer", "reads", "centred by", "constant signs, by plane")
        lines = [head, *((row.layer, row.reads, row.centred, _constant(row)) for row in self)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )


def _constant(row: Row) -> str:
    if row.constant is None:
        return "give data"
    return f"{', '.join(map(str, row.constant))} of {row.channels} channels" if row.constant else "it did not run"


def explain(model: nn.Module, data: Tensor | Iterable[Tensor] | None = None) -> Report:
    """What the binary layers of `model` read: a row for each, which prints as a table.

    A row names the layer, what bounds the values before it (as its code tells, traced by torch.fx, else as `data` do),
    and whether a batch norm or shift that `convert` put there centres them. With `data`, a batch as the model takes it
    or several, it also counts the channels whose signs are the same in all samples and places of eval mode, for each
    plane: a plane without any other channel says nothing.

    Raises `ValueError` for data without two samples.
    """
    batches = None if data is None else batches_of(data)
    wrapped = {part.layer: part for part in model.modules() if isinstance(part, Centred)}
    layers = list(horq_layers(model))
    outer = [wrapped.get(layer, layer) for layer in layers]
    values = read_by(model, outer)
    names = {layer: name for name, layer in model.named_modules()}
    constant = {}
    if batches is not None:
        values = {**values, **unless_known(values, seen_by(model, outer, batches))}
        constant = constant_signs(model, batches)
    rows = Report()
    for layer, own in zip(layers, outer, strict=True):
        counts = None
        if batches is not None:
            counts = tuple(plane.sum().item() for plane in constant.get(layer, ()))
        before = type(own.before).__name__ if isinstance(own, Centred) else "-"
        channels = layer.in_features if isinstance(layer, HorqLinear) else layer.in_channels
        reads = f"{values[own].bounds()}: {values[own].source}"
        rows.append(Row(names[own] or type(own).__name__, reads, before, counts, channels))
    return rows


def unless_known(values: dict[nn.Module, Values], seen: dict[nn.Module, Values]) -> dict[nn.Module, Values]:
    """What was seen of the layers of which nothing is known."""
    return {layer: own for layer, own in seen.items() if values[layer].ranges is None}
