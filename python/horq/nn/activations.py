"""Nonlinearities with a parameter a channel, in forms that compile well."""

from __future__ import annotations

from torch import Tensor, nn, where


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` as a choice between two products, which torch.compile fuses with its neighbours.

    It is what to train with on a CPU: the backward pass of torch's own kernel is slow in bf16 and channels_last.
    Under autocast it computes in the slope's type and returns the input's.
    """

    def forward(self, input: Tensor) -> Tensor:
        slope = self.weight.view(-1, *[1] * (input.dim() - 2)) if input.dim() > 1 else self.weight
        return where(input > 0, input, slope * input).to(input.dtype)
