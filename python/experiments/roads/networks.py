"""Whole networks: imported by either road, compared with their own runtime, timed beside it."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import horq

from . import folders
from .comparing import compare, difference
from .engine import Imported, finite, from_onnx, from_torch
from .reference import Reference, moved
from .workers import Worker

REACH = 2.0
"""A tie may move ours farther than it moved the original when that was tried, as many signs hang on the first."""


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One network by one road."""
    folder, road = Path(job["folder"]), job["road"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "network.horq"
        start = time.perf_counter()
        try:
            imported = from_onnx(folder / "model.onnx", path) if road == "onnx" else from_torch(folder, path)
        except (horq.Error, OSError) as error:
            return {"outcome": "refused", "text": str(error)}
        except BaseException as error:
            return {"outcome": "crash", "text": f"{type(error).__name__}: {error}"}
        found: dict[str, Any] = {"import_seconds": time.perf_counter() - start, "bytes": path.stat().st_size}
        found["kinds"] = imported.kinds()
        try:
            return found | checked(imported, folder, road, job["samples"], job["seconds"])
        except horq.Error as error:
            return found | {"outcome": "refused", "text": f"at a run: {error}"}
        except BaseException as error:
            return found | {"outcome": "crash", "text": f"{type(error).__name__}: {error}"}


def checked(imported: Imported, folder: Path, road: str, limit: int, seconds: float) -> dict[str, Any]:
    """Compares up to `limit` samples, counts ties among those that differ, then times both runtimes in turns."""
    inputs, answers = folders.samples(folder)
    count = min(limit, len(inputs[0]))
    samples = [[value[place] for value in inputs] for place in range(count)]
    theirs = [[value[place] for value in answers] for place in range(count)]
    ours = [imported.run(sample) for sample in samples]
    found: dict[str, Any] = compare(ours, theirs).as_dict()
    found["finite"] = all(finite(answer) for answer in ours)
    if found["beyond"] and (folder / "model.onnx").exists():
        try:
            reach = moved(folder, found["beyond"])
            gaps = [max(map(difference, ours[place], theirs[place])) for place in found["beyond"]]
            found["ties"] = sum(bool(gap <= REACH * far) for gap, far in zip(gaps, reach, strict=True))
        except RuntimeError as error:
            found["no_ties"] = str(error)
    found["outcome"] = "imported"
    found["milliseconds"], found["theirs_milliseconds"] = in_turns(imported, folder, samples[0], seconds)
    return found


def in_turns(imported: Imported, folder: Path, sample: list, seconds: float) -> tuple[float, float | None]:
    """Median milliseconds of a run of ours and of ONNX Runtime's, one after the other for about `seconds`."""
    try:
        reference = Reference(folder / "model.onnx") if (folder / "model.onnx").exists() else None
    except Exception:
        reference = None  # operations that ONNX Runtime has not, such as qonnx's
    mine, its = [], []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(mine) < 3:
        mine.append(imported.seconds(sample))
        if reference:
            start = time.perf_counter()
            reference.run(sample)
            its.append(time.perf_counter() - start)
    return statistics.median(mine) * 1e3, statistics.median(its) * 1e3 if its else None


def measure(root: Path, road: str, samples: int, seconds: float, only: str = "") -> dict[str, dict[str, Any]]:
    """All networks of a folder."""
    needed = "model.onnx" if road == "onnx" else "loader.py"
    worker, found = Worker(900), {}
    for folder in folders.networks(root):
        if only in folder.name and (folder / needed).exists():
            job = {
                "kind": "network",
                "folder": str(folder.resolve()),
                "road": road,
                "samples": samples,
                "seconds": seconds,
            }
            answer = worker.ask(job)
            worker.close()  # a network's modules may share names with another's
            found[folder.name] = {"outcome": "panic", "text": answer["died"]} if "died" in answer else answer
            print(line(folder.name, road, found[folder.name]), flush=True)
    return found


HEAD = (
    "| network | road | samples | largest difference | beyond 1e-4 | ties | classes equal | bytes | import s | ms "
    "| ONNX Runtime ms | layers |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)


def line(name: str, road: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    if found["outcome"] != "imported":
        return f"| {name} | {road} | {found['outcome']}: {' '.join(found['text'].split())} |"
    ties = found.get("ties", "" if not found["beyond"] else "?")
    theirs = found["theirs_milliseconds"]
    beside = "" if theirs is None else f"{theirs:.3f}"
    kinds = ", ".join(f"{count} {op}" for op, count in found["kinds"].items())
    return (
        f"| {name} | {road} | {found['samples']} | {found['largest']:.1e} | {len(found['beyond'])} "
        f"(up to {found['farthest']:.1e}) | {ties} | {found['classes']} | {found['bytes']} "
        f"| {found['import_seconds']:.2f} | {found['milliseconds']:.3f} | {beside} | {kinds} |"
    )
