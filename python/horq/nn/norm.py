"""Batch norms that are an affine map in eval mode, bit for bit as the engine computes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
