"""Weights as sums of several binary bases: W ~ sum_l a_l B_l, a_l one number a filter.

Residual: B_1 = sign(W), a_1 = mean|W|, and the next basis from what is left, W - a_1 B_1; the same recursion as that of
HORQ's activations (and Network Sketching's direct approximation, Guo et al., CVPR 2017, arXiv 1706.02021, section 3).
Refined (section 4 there): each time a basis has come, all scales so far become those of least squares on the bits,
solve (B^T B) a = B^T w, and the residual is taken with them. At one basis both are BWN's, a = mean|W|.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .functional import MAX_ORDER, binarize_weight, sign

MAX_BASES = MAX_ORDER
"""The most weight bases of a layer."""


def check_bases(count: int) -> int:
    """Returns `count`; raises `ValueError` unless it is an integer from 1 to 8."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_BASES:
        raise ValueError(f"bases must be an integer from 1 to {MAX_BASES}, not {count!r}")
    return count


def weight_bases(weight: Tensor, count: int = 1, refined: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Splits `weight` (filters first, any rank) into `count` pairs of bits B_l, of its shape, and scales a_l [filters].

    Scales come from double arithmetic and are rounded once to the weight's type. Residual scales are not negative,
    refined ones can be. Nothing is differentiable here; see `sum_of_bases`.
    """
    check_bases(count)
    rows = weight.detach().double().flatten(1)
    residual, bits = rows, []
    scales = rows.new_zeros(len(rows), 0)
    for _ in range(count):
        bits.append(sign(residual))
        if refined and len(bits) > 1:
            scales = _least_squares(torch.stack(bits, 1), rows)
            residual = rows - torch.einsum("flj,fl->fj", torch.stack(bits, 1), scales)
        else:
            scale = residual.abs().mean(1, keepdim=True)
            scales = torch.cat([scales, scale], 1)
            residual = residual - scale * bits[-1]
    kind = weight.dtype
    pairs = zip(bits, scales.unbind(1), strict=True)
    return [(own.to(kind).view_as(weight), scale.to(kind)) for own, scale in pairs]


def _least_squares(bits: Tensor, rows: Tensor) -> Tensor:
    """The scales [filters, L] that bring `bits` [filters, L, n] nearest to `rows` [filters, n], the smallest such where
    bases coincide."""
    gram = bits @ bits.transpose(1, 2)
    return (torch.linalg.pinv(gram, hermitian=True) @ (bits @ rows[:, :, None]))[:, :, 0]


def binarized(weight: Tensor, count: int = 1, refined: bool = False) -> Tensor:
    """The weights of training mode with their scales in them, so that activations need no pass for those: one basis by
    the rule of `binarize_weight`, several by that of `sum_of_bases`."""
    if count > 1:
        return sum_of_bases(weight, count, refined)
    b, alpha = binarize_weight(weight)
    return b * alpha.view(-1, *[1] * (weight.dim() - 1))


def sum_of_bases(weight: Tensor, count: int, refined: bool = False) -> Tensor:
    """sum_l a_l B_l of `weight_bases`, with the gradient passed straight through where |W| <= 1."""
    total = torch.zeros_like(weight)
    for bits, scales in weight_bases(weight, count, refined):
        total = total + bits * scales.view(-1, *[1] * (weight.dim() - 1))
    data = weight.detach()
    return total + (weight - data) * (data.abs() <= 1)  # weight - data is 0 and carries the gradient
