"""Figures without networks: some kilobytes a run that stay when its folder, far larger, is gone."""

from __future__ import annotations

from pathlib import Path

from horq.train import ConfigError, runs

from .energy import ENERGY
from .evaluate import EVALUATION, read_figures
from .int8 import INT8
from .latency import LATENCY

MEASURED = (EVALUATION, INT8, LATENCY, ENERGY)


def keep(folder: Path, to: Path) -> Path:
    """Copies the figures of the finished run in `folder` to a folder of its name in `to`, and returns that.

    `experiments.reproduce --no-train --no-measure --out TO` makes tables and pictures from such folders. Figures of an
    earlier training are left out, and go from an older copy. `result.json`, without which a folder does not count, is
    written last.

    Raises `FileNotFoundError` if the run has not come to its end, and `ConfigError` if its figures are another
    network's or `to` holds a run of that name with its network.
    """
    _, config = runs.load(folder)  # whether it is finished, and its network the one of its fields
    kept = to / folder.resolve().name
    held = [name for name in ("final.pt", "checkpoint.pt") if (kept / name).exists()]
    if held:
        raise ConfigError(f"{kept} is a run with a {held[0]} of its own; give another folder with --to")
    result, log = runs.result(folder), folder / "log.csv"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "result.json").unlink(missing_ok=True)
    runs.write_whole(kept / "config.json", runs.plain(config))
    if log.exists():  # a run that was restored from its model has none
        runs.write_whole(kept / "log.csv", log.read_text())
    else:
        (kept / "log.csv").unlink(missing_ok=True)
    for name in MEASURED:
        figures = read_figures(folder, name)
        if figures is None:
            (kept / name).unlink(missing_ok=True)
        else:
            runs.write_whole(kept / name, figures)
    runs.write_whole(kept / "result.json", result)
    return kept
