"""The papers' figures beside the rows of the tables."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

from horq.train import Config

_DEFAULTS = {"bits": {"dqc": 4, "sqc": 4, "inq": 5}, "zero": {"dqc": False, "sqc": False}}
"""Options of `horq.convert` that figures ask for, where a recipe leaves them out."""


@functools.cache
def _figures() -> list[dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / "papers.toml").read_text())["figure"]


def reported(config: Config, order: int) -> str:
    """The accuracy that a paper reports for this row and the paper's name, or nothing."""
    row: dict[str, Any] = {key: default.get(config.method) for key, default in _DEFAULTS.items()}
    row |= dict(config.options)
    row |= {"data": config.data, "network": config.network, "method": config.method, "order": order}
    for figure in _figures():
        asked = {key: value for key, value in figure.items() if key not in ("paper", "accuracy", "width")}
        same_width = config.width == figure.get("width", 1)
        if same_width and not config.dial and all(row.get(key) == value for key, value in asked.items()):
            return f"{figure['accuracy']} ({figure['paper']})"
    return ""
