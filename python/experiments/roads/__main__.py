"""Measures the importer against networks of others: python -m experiments.roads nodes|onnx|torch FOLDER.

`nodes` takes a folder of ONNX's node cases (with index.json), the others a folder of networks; see `folders`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import networks, nodes, workers


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """A worker's answer."""
    return nodes.run(job) if job["kind"] == "node" else networks.run(job)


def main() -> int:
    """The command."""
    if sys.argv[1:] == ["worker"]:
        workers.serve(answer)
        return 0
    parser = argparse.ArgumentParser(prog="python -m experiments.roads", description=__doc__)
    parser.add_argument("road", choices=["nodes", "onnx", "torch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="only what has TEXT in its name")
    parser.add_argument("--samples", type=int, default=1000, help="at most so many samples a network")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of timing a network")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    given = parser.parse_args()
    if given.road == "nodes":
        print(nodes.table(nodes.measure(given.folder, given.json, given.only)))
        return 0
    print(networks.HEAD)
    found = networks.measure(given.folder, given.road, given.samples, given.seconds, given.only)
    if given.json:
        given.json.write_text(json.dumps(found, indent=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
