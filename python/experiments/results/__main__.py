"""Measures and shows finished runs: python -m experiments.results COMMAND ...

FOLDER is the folder of a run, such as runs/vgg-half-order2; what is measured is written into it, whole or not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from horq._core import Error
from horq.train.config import positive
from horq.train.data import data_root

from . import energy, latency
from .cards import make
from .evaluate import evaluate
from .int8 import evaluate8
from .keep import keep
from .plots import draw
from .restore import restore_run
from .speed import speed, speed_table
from .tables import energy_table, find, wanted


def _evaluate(args: argparse.Namespace) -> None:
    root = data_root(args.data)
    for folder in args.folders:
        figures = (evaluate8 if args.int8 else evaluate)(folder, root, args.images)
        for order, found in figures["orders"].items():
            agreed = found["torch"]
            print(
                f"{folder.name}, order {order}: {100 * found['accuracy']:.2f} % of {found['images']} images; on "
                f"{agreed['images']} of them {100 * agreed['engine_accuracy']:.2f} % and PyTorch "
                f"{100 * agreed['accuracy']:.2f} %: {agreed['equal']} equal, {agreed['ties']} tied, "
                f"{agreed['different']} different, logits within {agreed['largest_difference']:.1e}",
                flush=True,
            )


def _latency(args: argparse.Namespace) -> None:
    for figures in latency.measure(args.folders, args.rounds):
        for order, found in figures["orders"].items():
            p10, p50, p90 = (1e6 * found[key] for key in ("p10", "p50", "p90"))
            print(f"{figures['name']}, order {order}: {p50:.1f} us ({p10:.1f} to {p90:.1f})")
        print(f"  {latency.timed_on(figures)}")


def _speed(args: argparse.Namespace) -> None:
    print(speed_table(*speed(wanted(find(args.table)), args.rounds)))


def _energy(args: argparse.Namespace) -> None:
    root = data_root(args.data)
    for folder in args.folders:
        print(energy_table(energy.measure(folder, root, args.images)))


def _keep(args: argparse.Namespace) -> None:
    for folder in args.folders:
        print(keep(folder, args.to))


def _restore(args: argparse.Namespace) -> None:
    root = data_root(args.data)
    for file in args.files:
        print(restore_run(file, args.out, root))


def _plots(args: argparse.Namespace) -> None:
    for path in draw(find(args.table), args.out, args.to, args.format):
        print(path)


def _card(args: argparse.Namespace) -> None:
    if args.name is not None and len(args.folders) > 1:
        raise ValueError("--name takes one FOLDER")
    for folder in args.folders:
        print(make(folder, args.to, args.name, args.tolerance))


def main() -> None:
    """Reads the command line and measures."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m experiments.results", description=__doc__, formatter_class=text)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], Any], text: str) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=text, description=text)
        own.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a finished run")
        own.set_defaults(run=run)
        return own

    def with_data(own: argparse.ArgumentParser) -> None:
        own.add_argument("--data", help="the folder above the data sets' own; default $HORQ_DATA")
        own.add_argument("--threads", type=positive, default=1, help="of PyTorch (default: 1)")

    own = command("evaluate", _evaluate, "test accuracy in the engine and in PyTorch, agreement, size")
    with_data(own)
    own.add_argument("--images", type=int, help="that PyTorch takes, the first of the test set (default: all)")
    own.add_argument("--int8", action="store_true", help="of float runs in 8 bits, calibrated and not trained")
    own = command("latency", _latency, "one-thread latency of single images, all runs and orders in turns")
    own.add_argument("--rounds", type=int, default=20, help="turns of 5 runs each (default: 20)")
    text = "latency and size of a table's networks on this machine, untrained"
    own = commands.add_parser("speed", help=text, description=text)
    own.add_argument("table", help="a table of experiments.reproduce, or a recipe's file")
    own.add_argument("--rounds", type=int, default=20, help="turns of 5 runs each (default: 20)")
    own.set_defaults(run=_speed)
    own = command("energy", _energy, "the share of energy that each order leaves in each binary layer")
    with_data(own)
    own.add_argument("--images", type=int, default=200, help="test images (default: 200)")
    own = command("card", _card, "the evaluated run as a model to hand out: NAME.horq and its card NAME.md")
    own.add_argument("--to", type=Path, default=Path("models"), help="the folder of the models (default: models)")
    own.add_argument("--name", help="of the model (default: the run's)")
    own.add_argument("--tolerance", type=float, default=1e-4, help="of logits beside PyTorch's (default: 1e-4)")
    own = command("keep", _keep, "the figures of a finished run without its networks: what tables and pictures need")
    own.add_argument("--to", type=Path, default=Path("docs/runs"), help="where they go (default: docs/runs)")
    text = "the folders of the runs that models were made of, for other runs to start from"
    own = commands.add_parser("restore", help=text, description=text)
    own.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a model that `card` made")
    own.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs (default: runs)")
    with_data(own)
    own.set_defaults(run=_restore)
    text = "pictures of what was measured of a table's runs: accuracy by order, latency and size, curves, energy"
    own = commands.add_parser("plots", help=text, description=text)
    own.add_argument("table", help="a table of experiments.reproduce")
    own.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs (default: runs)")
    own.add_argument("--to", type=Path, default=Path("docs/plots"), help="where they go (default: docs/plots)")
    own.add_argument("--format", choices=["svg", "png"], default="svg")
    own.set_defaults(run=_plots)
    args = parser.parse_args()
    if "threads" in args:
        torch.set_num_threads(args.threads)
    try:
        args.run(args)
    except (Error, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
