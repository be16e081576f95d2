#!/usr/bin/env python3
"""Checks that the table of promises is true of the repository: docs/promises.md.

Each row has a promise in the words of its page, that page, and the tests that hold it, as `path::name`. The words
must stand in the page (line breaks, emphasis and links apart), and each test must be one that runs: a Rust function
under `#[test]`, a Python function `test_...`, or `main` of a test without the harness.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = "docs/promises.md"
TEST = re.compile(r"#\[test\]((?:\s*#\[[^\]]*\]|\s*//[^\n]*)*)\s*fn\s+(\w+)\s*\(")


def words(text: str) -> str:
    """Text without what a page may change about it without saying something else: lines, emphasis, links."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text.replace("**", ""))
    return " ".join(re.sub(r"\n>\s", "\n", text).split())


def rows(table: str) -> list[tuple[str, str, list[str]]]:
    """(promise, page, tests) of each row; headings and rules left out."""
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|") or cells[0] == "promise" or set(line) <= set("|- "):
            continue
        promise, page, tests = cells if len(cells) == 3 else (line, "", "")
        found.append((promise, page, [test.strip() for test in tests.split(",") if test.strip()]))
    return found


def without_harness(path: Path) -> bool:
    """Whether a Rust test is a program of its own, which runs its `main`."""
    manifest = path.parent.parent / "Cargo.toml"
    tests = tomllib.loads(manifest.read_text()).get("test", []) if manifest.exists() else []
    return any(test["name"] == path.stem and test.get("harness") is False for test in tests)


def missing(root: Path, test: str) -> str | None:
    """Why a test is none that runs."""
    place, _, name = test.partition("::")
    path = root / place
    if not path.is_file():
        return f"{test}: there is no file {place}"
    text = path.read_text()
    if path.suffix == ".py":
        there = re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE) and name.startswith("test_")
    elif name == "main":
        there = without_harness(path)
    else:
        there = any(found[2] == name and "ignore" not in found[1] for found in TEST.finditer(text))
    return None if there else f"{test}: {place} has no such test"


def check(root: Path) -> list[str]:
    """What is wrong with the table, a line each."""
    faults = []
    promises = rows((root / TABLE).read_text())
    if not promises:
        faults.append(f"{TABLE} has no rows")
    for promise, page, tests in promises:
        if not page or not (root / page).is_file():
            faults.append(f"`{promise}`: there is no page {page!r}")
            continue
        if words(promise) not in words((root / page).read_text()):
            faults.append(f"`{promise}` does not stand in {page}")
        if not tests:
            faults.append(f"`{promise}` has no test")
        faults += filter(None, (missing(root, test) for test in tests))
    return faults


def main() -> int:
    """Checks the repository."""
    faults = check(ROOT)
    count = len(rows((ROOT / TABLE).read_text()))
    print("\n".join(faults) or f"{count} promises stand in their pages, and their tests are there")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
