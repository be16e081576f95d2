"""The residual quantizer and the weight binarizer as differentiable functions.

Formulas, for one group of values x of length n and order K (HORQ, Li, Ni, Zhang, Yang and Gao, ICCV 2017,
arXiv 1708.08687, section 3)::

    R_0 = x;  H_k = sign(R_{k-1});  b_k = mean|R_{k-1}|;  R_k = R_{k-1} - b_k H_k;  x ~ sum_k b_k H_k

sign(0) = sign(-0.0) = +1. The recursion runs on magnitudes, m_k = |m_{k-1} - b_k| with m_0 = |x|, and H_{k+1} is H_k
flipped where m_{k-1} < b_k, so a residual of exactly 0 keeps the sign of the plane before it. Over what the mean runs
is the scale mode:

* ``window``: one receptive field, valid taps only (the paper);
* ``image``: the whole input of one sample;
* ``fixed``: nothing, b_1..b_K are parameters of the layer;
* ``none``: nothing, every b_k is 1;
* ``halving``: nothing, b_k = b 2^(1-k) with one parameter b.

Everything is written in plain operations, so that `torch.compile` fuses a quantizer into one loop.

The scales of ``window`` and ``image`` are constants to the backward pass; those of ``fixed`` receive their gradient,
db_k = sum g H_k, padded places that stand for +1 among them. Three straight-through rules give dx from
g = d(sum_k b_k H_k):

* ``clip``: g 1[|x| <= 1];
* ``per-order``: g sum_k b_k 1[|R_{k-1}| <= 1];
* ``recursion``: g (1 - prod_k (1 - b_k 1[|R_{k-1}| <= 1])).

With ``halving`` the value is y = b 2^(1-K) q, q odd and |q| <= 2^K - 1: a uniform quantizer without zero, whose step is
b 2^(2-K). Its b learns as the step of LSQ does (Esser, McKinstry, Bablani, Appuswamy and Modha, ICLR 2020,
arXiv 1902.08153, equation 3): the gradient goes through the rounding, so

    db = s sum g (y - x 1[|x| <= top]) / b,    top = b (2 - 2^(1-K)),    s = 1 / sqrt(n (2^K - 1))

with n values in a sample; a padded place that stands for +1 adds s g top / b. The rule for ``fixed`` differs: it leaves
out x, since no sign is differentiated by a scale, and has no factor s. (To Adam a factor means nothing.) dx is that of
the straight-through rules in both.

``fixed`` and ``per-order`` are the defaults: they measured best (docs/results.md, scale modes and gradient rules).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

ScaleMode = Literal["window", "image", "fixed", "none", "halving"]
GradientRule = Literal["clip", "per-order", "recursion"]
Padding = Literal["valid-taps", "one"]
WeightScale = Literal["mean", "none"]

MAX_ORDER = 8
"""The highest order of residual quantization."""

GAUSSIAN_SCALES = (0.798, 0.482, 0.270, 0.186, 0.131, 0.094, 0.069, 0.050)
"""b_1..b_8 of normally distributed values of unit variance: where ``fixed`` scales start."""

GAUSSIAN_HALVING = (0.798, 0.996, 1.172, 1.341, 1.505, 1.665, 1.820, 1.969)
"""The b of orders 1 to 8 that leaves normally distributed values of unit variance the least squared error in mode
``halving`` (the uniform quantizer of Max, IRE Transactions on Information Theory 6, 1960): where b starts."""


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raises `ValueError` unless `value` is one of the strings of the `Literal` `choices`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def check_order(order: int, highest: int = MAX_ORDER) -> int:
    """Returns `order`; raises `ValueError` unless it is an integer from 1 to `highest`."""
    if not isinstance(order, int) or isinstance(order, bool) or not 1 <= order <= highest:
        raise ValueError(f"order must be an integer from 1 to {highest}, not {order!r}")
    return order


def check_count(name: str, value: int, least: int = 1) -> int:
    """Returns `value`; raises `ValueError` unless it is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
    return value


def sign(x: Tensor) -> Tensor:
    """+1 where x >= 0 and -1 elsewhere, in x's type; unlike `torch.sign`, sign(0) = sign(-0.0) = +1."""
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.where(x < 0, -one, one)


def binarize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Splits `weight` (filters first, any rank) into B = sign(W) and alpha = mean|W| of each filter, W ~ alpha B.

    The gradient of B passes straight through where |W| <= 1; alpha is differentiated as it stands, which together is
    the rule of XNOR-Net (arXiv 1603.05279, section 3.1).
    """
    straight = weight - weight.detach()
    return sign(weight.detach()) + straight * (weight.detach().abs() <= 1), weight.abs().flatten(1).mean(1)


def residual_quantize(
    x: Tensor,
    order: int,
    *,
    scales: Tensor | None = None,
    halving: Tensor | None = None,
    dims: Sequence[int] = (),
    rule: GradientRule = "per-order",
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Quantizes x to sum_k b_k H_k with the straight-through gradient of `rule`.

    `scales` (at least `order` values) are b_1..b_K; `halving` (one value, above 0) is the b of b_k = b 2^(1-k), and its
    gradient that of LSQ, a sample of x being an entry of its first axis; without both b_k is the mean of |R_{k-1}| over
    `dims`, over the places where `valid` (broadcast to x, 0 or 1) is 1 if it is given. Returns the quantized values, of
    x's shape, and sum_k b_k, broadcastable to it, which is what a +1 in every plane stands for.
    """
    check_order(order)
    check_choice("rule", rule, GradientRule)
    if scales is not None and halving is not None:
        raise ValueError("residual_quantize takes either scales, one a plane, or halving, one for all planes")
    if halving is not None:
        if halving.numel() != 1:
            raise ValueError(f"halving must be one value, not {halving.numel()}; scales takes one a plane")
        first = halving.detach().reshape(())
        scales = torch.stack([first * 2.0**-k for k in range(order)])
    if scales is None and not dims:
        raise ValueError("residual_quantize needs either scales, halving or the dims over which to take their means")
    dims, data = tuple(d % x.dim() for d in dims), x.detach()
    count = None
    if valid is not None:
        sizes = [x.shape[d] if d in dims else -1 for d in range(x.dim())]
        count = valid.expand(sizes).sum(dims, keepdim=True).clamp(min=1)
    magnitudes, h = data.abs(), sign(data)
    value, total = torch.zeros_like(x), x.new_zeros(())
    gate = (magnitudes <= 1).to(x.dtype) if rule == "clip" else torch.zeros_like(x)
    for k in range(order):
        if scales is not None:
            b = scales[k].to(x.dtype)
        elif count is None:
            b = magnitudes.mean(dims, keepdim=True)
        else:
            b = (magnitudes * valid).sum(dims, keepdim=True) / count
        value, total = value + b * h, total + b
        b = b.detach()
        if rule != "clip":
            share = b * (magnitudes <= 1)
            gate = gate + (share if rule == "per-order" else share * (1 - gate))  # 1 - (1 - gate)(1 - share)
        if k + 1 < order:
            h = torch.where(magnitudes < b, -h, h)
            magnitudes = (magnitudes - b).abs()
    if halving is not None:
        first, share = first.to(x.dtype), 2 - 2.0 ** (1 - order)
        factor = (math.prod(x.shape[1:]) * (2**order - 1)) ** -0.5
        learned = (halving.reshape(()) - halving.detach().reshape(())).to(x.dtype) * factor  # 0, and carries db
        inside = (data.abs() <= share * first).to(x.dtype)
        value, total = value + (value - inside * data) / first * learned, total + share * learned
    return value + gate * (x - data), total  # x - data is 0 and carries the gradient
