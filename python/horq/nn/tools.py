"""What a training loop does with the layers of a network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .functional import GAUSSIAN_HALVING, check_order
from .layers import HorqConv2d, HorqLinear
from .norm import AffineByOrder, SwitchableBatchNorm, affine_of
from .packed import BinaryWeight
from .running import Sums, inputs_seen, modes_kept
from .subjects import check_module


def horq_layers(module: nn.Module) -> Iterator[HorqConv2d | HorqLinear]:
    """The binary layers of `module`, in the order of `module.modules()`."""
    return (layer for layer in module.modules() if isinstance(layer, HorqConv2d | HorqLinear))


def set_order(module: nn.Module, order: int) -> None:
    """Turns the dial of all binary layers and switchable batch norms to `order`, or to their highest where that is
    lower."""
    check_order(order)
    check_module(module, "module")
    for layer in module.modules():
        if isinstance(layer, HorqConv2d | HorqLinear | SwitchableBatchNorm | AffineByOrder):
            layer.order = min(order, layer.max_order)


@torch.no_grad()
def clip_weights_(module: nn.Module, bound: float = 1.0) -> None:
    """Clips the real-valued weights of every layer with binary weights to [-bound, bound], and keeps its scales
    (modes ``fixed`` and ``halving``) positive.

    Call it after each optimizer step.
    """
    if bound <= 0:
        raise ValueError(f"bound must be positive, not {bound}")
    for layer in horq_layers(module):
        layer.weight.clamp_(-bound, bound)
        if layer.scales is not None:
            layer.scales.clamp_(min=1e-3)
    for layer in module.modules():
        if isinstance(layer, BinaryWeight):
            layer.layer.weight.clamp_(-bound, bound)


@torch.no_grad()
def start_scales_(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Starts the b of every layer of scale mode ``halving`` from what it reads when a copy of `module` runs on
    `batches` in training mode: the mean magnitude times b / b_1 of a normal distribution, which leaves such values the
    least squared error (`horq.nn.functional.GAUSSIAN_HALVING`).

    LSQ starts from the mean magnitude as well, with b = mean|x| 2^(K-1) / sqrt(2^K - 1): the same at order 1, 8 % less
    at order 2, 3 % more at order 3, 23 % more at order 4. Layers behind others read what those answer with the b that
    they were given. Layers that do not run, read zeros only, or have a frozen b (`image8`) stay as they are.

    Raises `ValueError` without batches.
    """
    kept = list(batches)
    if not kept:
        raise ValueError("no batches to start scales from; an iterator gives its batches only once")
    twin = copy.deepcopy(module).train()
    started = [layer for layer in horq_layers(twin) if layer.scale_mode == "halving" and layer.scales.requires_grad]
    if not started:
        return
    sums: dict[nn.Module, tuple[Tensor, int]] = {}

    def start(layer: nn.Module, x: Tensor) -> None:
        total, count = sums.get(layer, (x.new_zeros((), dtype=torch.float64), 0))
        sums[layer] = total, count = total + x.abs().sum(dtype=torch.float64), count + x.numel()
        ratios = layer.scales.new_tensor(GAUSSIAN_HALVING[: layer.max_order]) / GAUSSIAN_HALVING[0]
        found = (total / count).to(layer.scales.dtype)
        if found > 0:
            layer.scales.copy_(found * ratios[-len(layer.scales) :])

    with inputs_seen(started, start):
        for batch in kept:
            twin(batch)
    for layer, own in zip(horq_layers(module), horq_layers(twin), strict=True):
        if layer.scale_mode == "halving":
            layer.scales.copy_(own.scales)


@torch.no_grad()
def take_statistics_(module: nn.Module, batches: Iterable[Tensor], orders: Iterable[int] = ()) -> None:
    """Gives every batch norm of `module` the mean and variance of what it reads when the module runs on `batches` in
    eval mode, and such gains and offsets that in eval mode it answers as before, up to rounding.

    Training mode divides by the statistics of a batch, so a module whose norms hold others (`horq.restore` leaves
    mean 0 and variance 1) would change with its first step. With `orders` the module runs at each of them, and the
    highest is left set; a norm that they share takes the statistics of all, one of an order's own those of its own.
    Norms that do not run stay as they are.

    Raises `ValueError` without batches, for an order that no layer can have, and for a norm without running statistics
    or without gains and offsets.
    """
    turns, kept = sorted(check_order(order) for order in orders), list(batches)
    if not kept:
        raise ValueError("no batches to take statistics of; an iterator gives its batches only once")
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    maps = {norm: affine_of(norm) for norm in norms}
    if any(norm.weight is None for norm in norms):
        raise ValueError("a batch norm has no gain and offset that could be changed; build it with affine=True")
    sums = Sums()
    with modes_kept(module), inputs_seen(norms, sums.add):
        module.eval()
        for order in turns or [None]:
            if order is not None:
                set_order(module, order)
            for batch in kept:
                module(batch)
    for norm, (mean, variance) in sums.moments().items():
        scale, shift = (value.double() for value in maps[norm])
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (norm.running_var.double() + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * norm.running_mean.double())
