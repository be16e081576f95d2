"""What a training loop does with the layers of a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from .functional import check_order
from .layers import HorqConv2d, HorqLinear
from .norm import AffineByOrder, SwitchableBatchNorm
from .packed import BinaryWeight


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
