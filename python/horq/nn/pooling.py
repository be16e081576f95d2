"""Max pooling in a form that compiles well."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` over 2x2 places, under torch.compile as the largest of four strided slices.

    The gradient of torch's own form scatters one value at a time where it is compiled for CPUs. Of equal values this
    form lets several share the gradient, where torch's own gives it to the first. An odd last row or column is left
    out, as in torch's own.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(input)
        height, width = input.shape[-2] // 2 * 2, input.shape[-1] // 2 * 2
        top, bottom = input[..., 0:height:2, :], input[..., 1:height:2, :]
        higher = torch.maximum(top[..., 0:width:2], top[..., 1:width:2])
        return torch.maximum(higher, torch.maximum(bottom[..., 0:width:2], bottom[..., 1:width:2]))

    def extra_repr(self) -> str:
        return ""
