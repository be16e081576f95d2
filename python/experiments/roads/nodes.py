"""Every node case of ONNX's own tests against the importer: passed, refused by name, wrong, panicked."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

import horq

from . import folders
from .cases import Attempt, attempts
from .engine import from_onnx
from .workers import Worker


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One case: the outcome of the first form that the importer takes, else the last refusal."""
    folder = Path(job["folder"])
    inputs, answers = folders.tensors(folder, "input"), folders.tensors(folder, "output")
    refusals: list[str] = []
    for attempt in attempts(folder, inputs, answers):
        found = one(attempt, job["rtol"], job["atol"])
        if found["outcome"] != "refused":
            return found | {"form": attempt.form}
        refusals.append(found["text"])
    return {"outcome": "refused", "text": most_telling(refusals), "form": ""}


def most_telling(refusals: list[str]) -> str:
    """The refusal that is not about the batch or an input being computed, where there is one."""
    for text in refusals:
        if "batch" not in text and "known when" not in text:
            return text
    return refusals[-1]


def one(attempt: Attempt, rtol: float, atol: float) -> dict[str, Any]:
    """Imports and runs one form."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            imported = from_onnx(attempt.model.SerializeToString(), Path(scratch) / "case.horq")
            ours = imported.run(imported.read(dict(zip(attempt.names, attempt.inputs, strict=True))))
        except (horq.Error, OSError) as error:
            return {"outcome": "refused", "text": str(error)}
        except BaseException as error:
            return {
                "outcome": "panic" if "Panic" in type(error).__name__ else "crash",
                "text": f"{type(error).__name__}: {error}",
            }
    if len(ours) != len(attempt.answers):
        return {"outcome": "unchecked", "text": "an input or an answer of the case is no tensor"}
    for place, (mine, its) in enumerate(zip(ours, attempt.answers, strict=True)):
        if mine.shape != its.shape:
            return {"outcome": "wrong", "text": f"answer {place} has shape {mine.shape}, not {its.shape}"}
        close = np.isclose(mine, its.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)
        if not close.all():
            worst = np.abs(mine - its.astype(np.float64))[~close].max()
            return {"outcome": "wrong", "text": f"answer {place}: {(~close).sum()} values differ, by up to {worst:.3g}"}
    return {"outcome": "passed", "text": ""}


def measure(root: Path, out: Path | None, only: str = "") -> dict[str, dict[str, Any]]:
    """All cases; `out` receives the outcomes as JSON."""
    index = json.loads((root / "index.json").read_text())
    root, worker, found = root.resolve(), Worker(60), {}
    for name in sorted(name for name in index if only in name):
        entry = index[name]
        answer = worker.ask({"kind": "node", "folder": str(root / name), "rtol": entry["rtol"], "atol": entry["atol"]})
        if "died" in answer:
            answer = {"outcome": "panic", "text": answer["died"], "form": ""}
        found[name] = answer | {"ops": entry["ops"]}
    worker.close()
    if out:
        out.write_text(json.dumps(found, indent=0))
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """By operation: a case counts for the operation that it is named for, the rarest that it holds."""
    often: dict[str, int] = defaultdict(int)
    for entry in found.values():
        for op in entry["ops"]:
            often[op] += 1
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, entry in found.items():
        rows[min(entry["ops"], key=lambda op: often[op])][entry["outcome"]].append(name)
    kinds = ("passed", "refused", "unchecked", "wrong", "panic", "crash")
    claimed = [op for op, outcome in rows.items() if outcome["passed"]]
    totals = {kind: sum(len(outcome[kind]) for outcome in rows.values()) for kind in kinds}
    lines = [
        f"{len(found)} cases: " + ", ".join(f"{totals[kind]} {kind}" for kind in kinds),
        f"operations with a case that passes: {len(claimed)} of {len(rows)}",
        "",
        "| operation | cases | " + " | ".join(kinds) + " |",
        "|---|" + "---:|" * (len(kinds) + 1),
    ]
    for op in sorted(rows):
        counts = [len(rows[op][kind]) for kind in kinds]
        lines.append(f"| {op} | {sum(counts)} | " + " | ".join(str(count or "") for count in counts) + " |")
    lines += ["", "Refused, wrong or panicked, with text:", ""]
    for name in sorted(found):
        if found[name]["outcome"] != "passed":
            text = " ".join(found[name]["text"].split())
            lines.append(f"- {found[name]['outcome']} {name} ({', '.join(found[name]['ops'][:4])}): {text[:400]}")
    return "\n".join(lines) + "\n"
