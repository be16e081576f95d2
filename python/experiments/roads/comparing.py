"""Answers beside those of another runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SAME = 1e-4
"""Answers of the same network differ by no more of the largest magnitude; another sign moves them farther."""


@dataclass
class Comparison:
    """Some samples of one network."""

    samples: int
    largest: float
    """The largest difference, of the largest magnitude in that sample's answer, among samples within `SAME`."""
    beyond: list[int]
    """The samples that differ by more than `SAME`."""
    farthest: float
    """The largest difference of all samples."""
    classes: int
    """In how many samples the largest value of the first answer stands at the same place."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, of the largest magnitude."""
    if ours.shape != theirs.shape:
        raise ValueError(f"the answer has shape {list(ours.shape)} where the network gives {list(theirs.shape)}")
    theirs = theirs.astype(np.float64)
    scale = float(np.abs(theirs).max(initial=0)) or 1.0
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) / scale


def compare(ours: list[list[np.ndarray]], theirs: list[list[np.ndarray]]) -> Comparison:
    """For each sample a list of answers."""
    differences = [
        max(difference(one, other) for one, other in zip(mine, its, strict=True))
        for mine, its in zip(ours, theirs, strict=True)
    ]
    classes = sum(int(mine[0].argmax() == its[0].argmax()) for mine, its in zip(ours, theirs, strict=True))
    beyond = [place for place, value in enumerate(differences) if not value <= SAME]
    within = [value for value in differences if value <= SAME]
    return Comparison(len(differences), max(within, default=0.0), beyond, max(differences, default=0.0), classes)
