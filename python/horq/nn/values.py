"""What is known of a value in a network: bounds, and means and variances by channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Interval = tuple[float, float]
Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel."""

BOTH = frozenset({(-math.inf, math.inf)})
"""Both signs, without bounds."""


@dataclass(frozen=True)
class Values:
    """What is known of a value; `ranges` is None where nothing is."""

    ranges: frozenset[Interval] | None
    source: str
    """The operation or input that bounds it, in words."""
    moments: Moments | None = None

    @property
    def one_sided(self) -> bool:
        """Whether a part of it has no values below 0, or none above."""
        return any(low >= 0 or high <= 0 for low, high in self.ranges or ())

    def bounds(self) -> str:
        """The bounds in words: ``both signs``, ``0 and above``, ``0 to 6``, ``not known``."""
        if self.ranges is None:
            return "not known"
        return "; ".join(sorted({_words(*interval) for interval in self.ranges}))


def _words(low: float, high: float) -> str:
    if low < 0 < high:
        return "both signs"
    if math.isinf(low):
        return f"{high:g} and below"
    return f"{low:g} and above" if math.isinf(high) else f"{low:g} to {high:g}"


def constant(value: Any, source: str) -> Values:
    """What is known of a tensor or a number, which `source` names."""
    if isinstance(value, Tensor) and value.numel() and not value.is_complex():
        return Values(frozenset({(value.min().item(), value.max().item())}), source)
    return Values(frozenset({(float(value),) * 2}) if isinstance(value, int | float) else None, source)
