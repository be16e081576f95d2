"""Nonlinearities with a parameter a channel, in forms that compile well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .functional import check_count


def _by_channel(vector: Tensor, x: Tensor) -> Tensor:
    """A vector as it is broadcast along axis 1 of x."""
    return vector.view(-1, *[1] * (x.dim() - 2)) if x.dim() > 1 else vector


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` as a choice between two values, made for torch.compile, which fuses it with its neighbours.

    On CPUs torch's own kernels are slow to go back in bf16 and channels_last. Without torch.compile this one is slower
    still. Under autocast it computes in the slope's type and returns the input's.
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.where(input > 0, input, _by_channel(self.weight, input) * input).to(input.dtype)


class Shift(nn.Module):
    """y = x + shift, a parameter a channel (axis 1): a learned threshold before a quantizer's signs.

    Source: RSign of ReActNet, Liu, Shen, Savvides and Cheng, ECCV 2020, arXiv 2003.03488, section 4.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(check_count("channels", channels)))

    def forward(self, x: Tensor) -> Tensor:
        return (x + _by_channel(self.shift, x)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.shift)}"


class RPReLU(PReLU):
    """y = PReLU(x + before) + after with three parameters a channel (axis 1): `before`, `weight` (the slope), `after`.

    Source: ReActNet, arXiv 2003.03488, section 4.2; its gamma is -before and its zeta after.
    """

    def __init__(self, channels: int, init: float = 0.25) -> None:
        super().__init__(check_count("channels", channels), init)
        self.before = nn.Parameter(torch.zeros(channels))
        self.after = nn.Parameter(torch.zeros(channels))

    def forward(self, input: Tensor) -> Tensor:
        shifted = input + _by_channel(self.before, input)
        return (super().forward(shifted) + _by_channel(self.after, input)).to(input.dtype)
