"""Weights that are signed powers of two: dynamic and static quantization coding (DQC, SQC).

Source: Rao, Chen, Xu and Liu, Acta Automatica Sinica 45(10), 2019. With exponents n1 <= k <= n2 a weight becomes

* sign(w) 2^k where 3/4 2^k <= |w| < 3/2 2^k, and sign(w) 2^n2 above;
* below 3/4 2^n1: sign(w) 2^n1, or 0 in a codebook with zero, where 0 takes the place of the lowest exponent.

A codebook of b bits has 2^(b-1) exponents, or 2^(b-1) - 1 and zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .functional import sign
from .packed import apply, checked

_FRACTION = 23
"""Bits of an f32 after its exponent."""
_BIAS = 127
LOWEST = -110
"""The lowest n2: the powers of 16 exponents below it are still normal numbers of f32."""


def exponent(x: Tensor) -> Tensor:
    """floor(log2 |x|) of f32 values as int32, read from their bits: exact, which log2 is not; 0 gives -127."""
    return (x.abs().view(torch.int32) >> _FRACTION) - _BIAS


def nearest_exponent(x: Tensor) -> Tensor:
    """The k with 3/4 2^k <= |x| < 3/2 2^k of f32 values as int32: half a fraction more, then the exponent."""
    return ((x.abs().view(torch.int32) + (1 << (_FRACTION - 1))) >> _FRACTION) - _BIAS


def power(k: Tensor) -> Tensor:
    """2^k as f32, exactly, for int32 exponents from -126 to 127."""
    return ((k + _BIAS) << _FRACTION).view(torch.float32)


def powers_of_two(weight: Tensor, top: Tensor, count: int, zero_below: float = 0.0) -> Tensor:
    """The nearest of `count` signed powers of two up to 2^top, by the rule above, in f32 and without a gradient.

    Weights below `zero_below` times the lowest power become 0: 3/4 in DQC, 1/2 in INQ, 0 for a codebook without it.
    """
    weight = weight.detach().float()
    lowest = top - count + 1
    value = power(nearest_exponent(weight).clamp(lowest, top))
    value = torch.where(weight.abs() < zero_below * power(lowest), 0.0, value)
    return sign(weight) * value


def signed_powers(top: Tensor, count: int, zero: bool) -> Tensor:
    """The codebook itself: 2 count values, and 0 if it has one, in increasing order."""
    powers = power(top - torch.arange(count - 1, -1, -1, dtype=torch.int32, device=top.device))
    return torch.cat([-powers.flip(0), powers.new_zeros(int(zero)), powers])


def check_bits(bits: int) -> int:
    """Returns `bits`; raises `ValueError` unless it is an integer from 2 to 5, what a codebook of 32 values holds."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= 5:
        raise ValueError(f"bits must be an integer from 2 to 5, not {bits!r}")
    return bits


class PowerOfTwo(nn.Module):
    """A Conv2d or Linear whose weights are signed powers of two (DQC, SQC); `layer` holds the float weights.

    Arguments:
        bits: of a weight's code, 2 to 5; the paper has 3 to 5.
        zero: whether the codebook has a 0.
        dynamic: whether the highest exponent, n2 = floor(log2 max|W|), is taken from the weights at every forward pass
            (DQC) or from those at the start (SQC), where it is the buffer `top`.

    The gradient passes straight through to the float weights. (The published code multiplies it by |w^|, which never
    moves a weight out of 0.)
    """

    top: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear, bits: int, zero: bool = False, dynamic: bool = True) -> None:
        super().__init__()
        self.layer = checked(layer)
        self.bits = check_bits(bits)
        self.zero = zero
        self.dynamic = dynamic
        self.register_buffer("top", None if dynamic else self._highest())

    @property
    def count(self) -> int:
        """How many exponents the codebook has."""
        return 2 ** (self.bits - 1) - int(self.zero)

    def _highest(self) -> Tensor:
        """floor(log2 max|W|) of the present weights, an int32 scalar."""
        return exponent(self.layer.weight.detach().float().abs().max()).clamp(min=LOWEST)

    def highest(self) -> Tensor:
        """n2, the highest exponent of the codebook, an int32 scalar."""
        return self._highest() if self.top is None else self.top

    def quantized(self) -> Tensor:
        """The weights that the layer computes with, in its weight's shape and type; differentiable."""
        weight = self.layer.weight
        value = powers_of_two(weight, self.highest(), self.count, 0.75 if self.zero else 0.0)
        return value.to(weight.dtype) + (weight - weight.detach())  # exactly `value`, with the gradient of the weight

    def codebook(self) -> Tensor:
        """The values that a weight can have, in increasing order, f32."""
        return signed_powers(self.highest(), self.count, self.zero)

    def codes(self) -> Tensor:
        """Which value of `codebook` each weight is: uint8, in the weight's shape."""
        return torch.searchsorted(self.codebook(), self.quantized().detach().float()).to(torch.uint8)

    def forward(self, x: Tensor) -> Tensor:
        return apply(self.layer, x, self.quantized(), self.layer.bias)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, zero={self.zero}, dynamic={self.dynamic}"
