"""Batch norms that are an affine map in eval mode, bit for bit as the engine computes it; also one for each order."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .functional import check_order


def affine_of(norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel that the batch norm's running statistics amount to, from double arithmetic."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("the batch norm keeps no running statistics, so it is no affine map; set track_running_stats")
    mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
    gain = torch.ones_like(mean) if norm.weight is None else norm.weight.double()
    offset = torch.zeros_like(mean) if norm.bias is None else norm.bias.double()
    scale = gain / deviation
    return scale.to(norm.running_mean.dtype), (offset - mean * scale).to(norm.running_mean.dtype)


def _apply(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    return x * scale.view(shape) + shift.view(shape)


class Affine(nn.Module):
    """y = x * scale + shift by channel (axis 1), rounded after each step; both are parameters of [channels]."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.detach().clone())
        self.shift = nn.Parameter(shift.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return _apply(x, self.scale, self.shift)


class AffineByOrder(nn.Module):
    """An `Affine` for each order 1 to K of the dial: what a `SwitchableBatchNorm` amounts to in eval mode."""

    def __init__(self, rows: Iterable[Affine]) -> None:
        super().__init__()
        self.rows = nn.ModuleList(rows)
        self.max_order = check_order(len(self.rows))
        self.order = self.max_order

    def forward(self, x: Tensor) -> Tensor:
        return self.rows[check_order(self.order, self.max_order) - 1](x)


class _AffineInEval:
    """Replaces the eval forward of a batch norm by a product and a sum.

    Not under torch.compile, which would take the root and the quotient of doubles anew for every value of a loop that
    it fuses, and whose fused products and sums are not rounded step by step in any case.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training or torch.compiler.is_compiling():  # type: ignore[attr-defined]
            return super().forward(x)  # type: ignore[misc]
        return _apply(x, *affine_of(self))  # type: ignore[arg-type]


class BatchNorm1d(_AffineInEval, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` whose eval mode is x * scale + shift in two rounded steps, as the engine computes it.

    Before a quantizer a last bit can decide a sign, so `horq.export` keeps this layer as an affine step of its own,
    where it folds `torch.nn.BatchNorm1d` into the layer before it. Under torch.compile it is torch's own.
    """


class BatchNorm2d(_AffineInEval, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose eval mode is x * scale + shift in two rounded steps; see `BatchNorm1d`."""


class SwitchableBatchNorm(nn.Module):
    """A batch norm for each order 1 to K of the dial: the first K' planes of a quantizer are another distribution for
    every K', so one set of statistics, gains and offsets fits none of them well.

    Switchable batch norms are Yu et al.'s (Slimmable Neural Networks, ICLR 2019, section 3.2), there for widths.

    Arguments:
        norm: the `BatchNorm1d` or `BatchNorm2d` of `horq.nn` of which each order gets a copy.
        orders: K, 1 to 8.

    The attribute `order` says which one counts; `horq.nn.set_order` turns it with those of the layers. In a file the
    layer is an `affine_by_order`: see `horq.export` for whose order it follows there.
    """

    def __init__(self, norm: BatchNorm1d | BatchNorm2d, orders: int) -> None:
        super().__init__()
        if not isinstance(norm, BatchNorm1d | BatchNorm2d):
            raise TypeError(f"norm must be a BatchNorm1d or BatchNorm2d of horq.nn, not {type(norm).__qualname__}")
        self.max_order = check_order(orders)
        self.order = orders
        self.norms = nn.ModuleList(copy.deepcopy(norm) for _ in range(orders))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[check_order(self.order, self.max_order) - 1](x)

    def extra_repr(self) -> str:
        return f"order={self.order} of {self.max_order}"


def switch_norms_(module: nn.Module, orders: int) -> nn.Module:
    """Puts a `SwitchableBatchNorm` for orders 1 to `orders` in the place of every batch norm of `horq.nn` in `module`
    and returns it; all orders start from what the norm held. (A module that is such a norm itself stays as it is.)

    `orders` must be the order of the binary layers, by which a file's norms go; see `horq.export`.

    Raises `ValueError` where there is no such norm, or none any more.
    """
    check_order(orders)
    if isinstance(module, BatchNorm1d | BatchNorm2d):
        return SwitchableBatchNorm(module, orders)
    switched = [own for own in module.modules() if isinstance(own, SwitchableBatchNorm)]
    inside = {part for own in switched for part in own.modules()}
    made: dict[nn.Module, nn.Module] = {}
    for parent in [parent for parent in module.modules() if parent not in inside]:
        for name, child in parent._modules.items():  # named_children leaves out a layer's second name
            if isinstance(child, BatchNorm1d | BatchNorm2d):
                parent._modules[name] = made.setdefault(child, SwitchableBatchNorm(child, orders))
    if not made:
        why = "its batch norms are switched already" if switched else "it has no BatchNorm1d or BatchNorm2d of horq.nn"
        raise ValueError(f"nothing to switch in {type(module).__name__}: {why}")
    return module
