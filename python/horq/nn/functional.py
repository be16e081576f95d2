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
* ``none``: nothing, every b_k is 1.

Everything is written in plain operations, so that `torch.compile` fuses a quantizer into one loop.

The scales of ``window`` and ``image`` are constants to the backward pass; those of ``fixed`` receive their gradient,
db_k = sum g H_k, padded places that stand for +1 among them. Three straight-through rules give dx from
g = d(sum_k b_k H_k):

* ``clip``: g 1[|x| <= 1];
* ``per-order``: g sum_k b_k 1[|R_{k-1}| <= 1];
* ``recursion``: g (1 - prod_k (1 - b_k 1[|R_{k-1}| <= 1])).

``fixed`` and ``per-order`` are the defaults: they measured best (docs/results.md, scale modes and gradient rules).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

ScaleMode = Literal["window", "image", "fixed", "none"]
GradientRule = Literal["clip", "per-order", "recursion"]
Padding = Literal["valid-taps", "one"]
WeightScale = Literal["mean", "none"]

MAX_ORDER = 8
"""The highest order of residual quantization."""

GAUSSIAN_SCALES = (0.798, 0.482, 0.270, 0.186, 0.131, 0.094, 0.069, 0.050)
"""b_1..b_8 of normally distributed values of unit variance: where ``fixed`` scales start."""


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
    dims: Sequence[int] = (),
    rule: GradientRule = "per-order",
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Quantizes x to sum_k b_k H_k with the straight-through gradient of `rule`.

    `scales` (at least `order` values) are b_1..b_K; without them b_k is the mean of |R_{k-1}| over `dims`, over the
    places where `valid` (broadcast to x, 0 or 1) is 1 if it is given. Returns the quantized values, of x's shape, and
    sum_k b_k, broadcastable to it, which is what a +1 in every plane stands for.
    """
    check_order(order)
    check_choice("rule", rule, GradientRule)
    if scales is None and not dims:
        raise ValueError("residual_quantize needs either scales or the dims over which to take their means")
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
    return value + gate * (x - data), total  # x - data is 0 and carries the gradient
