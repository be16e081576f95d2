"""Figures without networks: some kilobytes a run that stay when its folder, far larger, is gone."""

from __future__ import annotations

from pathlib import Path

from ..train import runs
from .energy import ENERGY
from .evaluate import EVALUATION, read_json
from .int8 import INT8
from .latency import LATENCY

WRITTEN = ("config.json", "log.csv")
"""What training wrote beside `result.json`."""
MEASURED = (EVALUATION, INT8, LATENCY, ENERGY)


def keep(folder: Path, to: Path) -> Path:
    """Copies the figures of the finished run in `folder` to a folder of its name in `to`, and returns that.

    `horq.reproduce --no-measure --out TO` makes tables and pictures from such folders. Figures of an earlier training
    are left out, there and in an older copy; `result.json` names the network that the others belong to.

    Raises `FileNotFoundError` if the run has not come to its end.
    """
    runs.load(folder)  # whether it is finished, and its network the one of its fields
    kept = to / folder.resolve().name
    if kept.resolve() == folder.resolve():
        raise ValueError(f"{folder} would be copied onto itself; give another folder with --to")
    kept.mkdir(parents=True, exist_ok=True)
    result = runs.result(folder) | {"network": runs.digest(folder)}
    runs.write_whole(kept / "result.json", result)
    for name in WRITTEN:
        runs.write_whole(kept / name, (folder / name).read_text())
    for name in MEASURED:
        figures = read_json(folder / name, folder)
        if figures is None:
            (kept / name).unlink(missing_ok=True)
        else:
            runs.write_whole(kept / name, figures)
    return kept
