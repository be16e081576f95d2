"""Means and planes bit for bit as the engine takes them, for layers in eval mode.

A mean of n magnitudes is summed over sixteen lanes, lane i taking the elements j = i mod 16 in increasing j, then the
lanes are added in a tree (8, 4, 2, 1 apart), then one division by n. Every operation is rounded to f32 on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .functional import sign

LANES = 16


def lane_rows(values: Tensor) -> Tensor:
    """Cuts the last axis into rows of sixteen, padded with zeros: [..., n] to [..., ceil(n / 16), 16]."""
    return torch.nn.functional.pad(values, (0, -values.shape[-1] % LANES)).unflatten(-1, (-1, LANES))


def lane_sums(values: Tensor) -> Tensor:
    """Sums the last axis into sixteen lanes: [..., n] to [..., 16]."""
    return running_sum(lane_rows(values), -2)


def running_sum(values: Tensor, axis: int) -> Tensor:
    """Sums along `axis` in increasing index, one rounded addition after another."""
    parts = values.unbind(axis)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def tree(lanes: Tensor) -> Tensor:
    """Adds sixteen lanes: [..., 16] to [...]."""
    width = LANES
    while width > 1:
        width //= 2
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
    return lanes[..., 0]


def image_mean(magnitudes: Tensor) -> Tensor:
    """The mean over one sample: [N, H, W, C] to [N]. Lanes run over each image row and are then added row by row."""
    n, height, width, channels = magnitudes.shape
    rows = lane_sums(magnitudes.reshape(n, height, width * channels))
    return tree(running_sum(rows, 1)) / (height * width * channels)


def window_mean(magnitudes: Tensor, count: Tensor) -> Tensor:
    """The mean over the taps of a window: [..., taps, C] to [...]. Lanes run over each tap and are then added tap by
    tap; `count` is the number of elements that are not padding, which must be 0 here."""
    return tree(running_sum(lane_sums(magnitudes), -2)) / count.clamp(min=1)


def weighted_sum(terms: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of factor times value over the terms in their order, each product and sum rounded on its own."""
    total = None
    for factor, value in terms:
        total = factor * value if total is None else total + factor * value
    assert total is not None
    return total


def whole_sum(products: Iterable[Tensor]) -> Tensor:
    """S = sum_k 2^(K-k) D_k of whole numbers D_1..D_K in floats, rounded once to their type, as scales that halve have
    it."""
    total, dtype = None, torch.float32
    for product in products:
        dtype = product.dtype
        total = product.double() if total is None else 2 * total + product.double()
    assert total is not None
    return total.to(dtype)


def planes(
    x: Tensor, order: int, scales: Tensor | None, mean: Callable[[Tensor], Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """The planes H_k and scales b_k of x; `mean` maps |R_{k-1}| to b_k, broadcastable to x, where `scales` is None.

    The recursion runs on magnitudes: m_0 = |x|, m_k = |m_{k-1} - b_k|, and plane k + 1 is plane k flipped where
    m_{k-1} < b_k.
    """
    magnitudes, h, out = x.abs(), sign(x), []
    for k in range(order):
        b = mean(magnitudes) if scales is None else scales[k]
        out.append((h, b))
        h = torch.where(magnitudes < b, -h, h)
        magnitudes = (magnitudes - b).abs()
    return out
