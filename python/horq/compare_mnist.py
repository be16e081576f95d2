"""Runs the MNIST test images through the Rust engine and through PyTorch and compares every answer.

    python -m horq.compare_mnist runs/lenet5-2.pt runs/mlp-any.pt

For each trained network it exports the file, runs all images at each order the network serves, and prints the
accuracy, on how many images the engine's prediction equals PyTorch's (of the plain module in eval mode, and of
`horq.fold` of it), and the largest difference of logits relative to the largest logit of the image. It ends with
status 1 if a prediction differs or a difference passes 1e-4. Runs of `horq.train` are compared by
`python -m horq.results evaluate`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import mnist
from ._core import Model
from .exporter import export
from .folding import fold
from .nn import set_order
from .results.subjects import doodles
from .train_mnist import DIAL

TOLERANCE = 1e-4


@dataclass
class Row:
    """One network at one order."""

    net: str
    trained: str
    order: int
    accuracy: float
    same_plain: int
    same_folded: int
    images: int
    difference: float
    """The larger of those from the plain and the folded module."""
    seconds: float
    """Of the engine, all images."""

    @property
    def equal(self) -> bool:
        """Whether the engine answers as PyTorch does."""
        return self.same_plain == self.same_folded == self.images and self.difference <= TOLERANCE


def load_run(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A finished network of `horq.train_mnist` in eval mode, and what was saved with it."""
    saved = torch.load(path, weights_only=True)
    given = saved["arguments"]
    order = DIAL if given["order"] == "any" else int(given["order"])
    net = mnist.build(given["net"], order, given["scale_mode"], given["gradient"])
    net.load_state_dict(saved["parameters"])
    return net.eval(), saved


@torch.no_grad()
def logits(module: nn.Module, images: Tensor, batch: int = 500) -> Tensor:
    """The answers of `module` to all images."""
    return torch.cat([module(images[at : at + batch]) for at in range(0, len(images), batch)])


def compare(net: nn.Module, saved: dict[str, Any], file: Path, images: Tensor, labels: Tensor) -> list[Row]:
    """Runs every order that the network serves through its file, the folded and the plain module."""
    given = saved["arguments"]
    orders = list(range(1, DIAL + 1)) if given["order"] == "any" else [int(given["order"])]
    inputs = mnist.shaped(given["net"], images.float())
    array = inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs
    array = np.ascontiguousarray(array.numpy())
    model, folded, rows = Model(file), fold(net), []
    for order in orders:
        if order:
            set_order(net, order)
            set_order(folded, order)
        started = time.perf_counter()
        answers = torch.from_numpy(model.run(array, order=order or None))
        seconds = time.perf_counter() - started
        predictions = answers.argmax(1)
        same, difference = [], 0.0
        for module in (net, folded):
            expected = logits(module, inputs)
            same.append(int((expected.argmax(1) == predictions).sum()))
            relative = (answers - expected).abs().amax(1) / expected.abs().amax(1)
            difference = max(difference, relative.max().item())
        accuracy = (predictions == labels).double().mean().item()
        rows.append(
            Row(given["net"], given["order"], order, accuracy, same[0], same[1], len(labels), difference, seconds)
        )
    return rows


def main() -> None:
    """Compares, prints a table, and exits with 1 if an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help=".pt files of horq.train_mnist")
    parser.add_argument("--data", help="folder of the gzipped IDX files; default $HORQ_DATA/mnist")
    parser.add_argument("--json", type=Path, help="also write the rows as JSON lines")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images, labels = mnist.load(mnist.data_folder(args.data), "test")
    print("| net | trained at | order | accuracy | same as plain | same as folded | largest difference | engine, s |")
    print("|---|---|---|---|---|---|---|---|")
    failed, lines = False, []
    for run in args.runs:
        net, saved = load_run(run)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "net.horq"
            export(net, mnist.shaped(saved["arguments"]["net"], doodles("mnist", 4)), file)
            rows = compare(net, saved, file, images, labels)
        for row in rows:
            cells = [row.net, row.trained, row.order or "float", f"{100 * row.accuracy:.2f} %"]
            cells += [row.same_plain, row.same_folded, f"{row.difference:.1e}", f"{row.seconds:.2f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            failed |= not row.equal
            lines.append(json.dumps({**vars(row), "equal": row.equal}))
    if args.json:
        args.json.write_text("\n".join(lines) + "\n")
    if failed:
        sys.exit("the engine and PyTorch disagree")


if __name__ == "__main__":
    main()
