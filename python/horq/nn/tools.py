"""What a training loop does with the layers of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .functional import check_order
from .layers import HorqConv2d, HorqLinear
from .norm import AffineByOrder, SwitchableBatchNorm, affine_of
from .packed import BinaryWeight
from .running import Sums, inputs_seen, modes_kept


def horq_layers(module: nn.Module) -> Iterator[HorqConv2d | HorqLinear]:
    """The binary layers of `module`, in the order of `module.modules()`."""
    return (layer for layer in module.modules() if isinstance(layer, HorqConv2d | HorqLinear))


def set_order(module: nn.Module, order: int) -> None:
    """Turns the dial of all binary layers and switchable batch norms to `order`, or to their highest where that is
    lower."""
    check_order(order)
    for layer in module.modules():
        if isinstance(layer, HorqConv2d | HorqLinear | SwitchableBatchNorm | AffineByOrder):
            layer.order = min(order, layer.max_order)


@torch.no_grad()
def clip_weights_(module: nn.Module, bound: float = 1.0) -> None:
    """Clips the real-valued weights of every layer with binary weights to [-bound, bound], and keeps its ``fixed``
    scales positive.

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
