"""Rebuilds a table of docs/results.md: python -m experiments.reproduce TABLE.

TABLE is the name of a recipe in experiments/recipes, of a table in results/tables.toml (`--list` names them all), or a
recipe's file. What is missing is trained (`python -m horq.train`), evaluated and timed, each run once; then the table
is printed in Markdown. Finished runs are left alone, so the command can be broken off and called again at any time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from horq._core import Error
from horq.train import Config, ConfigError, runs
from horq.train.config import positive
from horq.train.data import data_root

from .results import energy, tables
from .results.evaluate import evaluate, evaluation, is_complete
from .results.int8 import evaluate8, evaluation8
from .results.latency import is_timed, measure
from .results.plots import draw


def is_trained(config: Config, out: Path) -> bool:
    """Whether the run is finished and its network there, to be measured and started from."""
    return tables.is_current(config, out) and runs.finished(out / config.name)


def train(table: tables.Table, configs: Mapping[str, Config], out: Path, root: Path, device: str) -> None:
    """Trains the runs that are not finished, in a process of its own."""
    missing = [name for name, config in configs.items() if not is_trained(config, out)]
    if missing:
        command = [sys.executable, "-m", "horq.train", table.recipe, *missing]
        command += ["--out", str(out), "--data", str(root), "--device", device]
        command += ["--no-export"]  # evaluate makes the file
        if subprocess.run(command).returncode != 0:
            raise ConfigError(f"training broke off; go on with: python -m experiments.reproduce {table.name}")


def measure_missing(
    table: tables.Table, configs: Mapping[str, Config], out: Path, root: Path, images: int | None, again: bool
) -> None:
    """Evaluates and times the finished runs that were not yet; latency anew where `again` says so."""
    done = [config for config in configs.values() if is_trained(config, out)]
    if table.kind == "trials":
        return  # they are judged by what training itself writes down
    if table.kind == "energy":
        for config in done:
            if config.name == table.run and energy.energy(out / config.name) is None:
                energy.measure(out / config.name, root)
        return
    for config in done:
        if not is_complete(evaluation(out / config.name), images):
            print(f"evaluating {config.name}", file=sys.stderr, flush=True)
            evaluate(out / config.name, root, images)
        in8 = config.method == "float" and table.kind == "runs"
        if in8 and not is_complete(evaluation8(out / config.name), images):
            evaluate8(out / config.name, root, images)
    if table.kind != "runs":
        return
    figures_only = [name for name in configs if runs.has_figures(out / name) and not runs.finished(out / name)]
    if figures_only:
        why = f"no latency without networks: {out} holds only the figures of {', '.join(figures_only)}"
        if again:
            raise ConfigError(why)
        print(why, file=sys.stderr)
        return
    firsts = {tables.first_seed(config, configs): config for config in reversed(done)}
    folders = [out / config.name for config in reversed(firsts.values())]
    if folders and (again or not all(is_timed(folder) for folder in folders)):
        measure(folders)  # all of them in turns, so that rows can be compared


def updated(page: str, name: str, table: str) -> str:
    """The page with the table between ``<!-- table NAME -->`` and ``<!-- end NAME -->`` replaced.

    Raises `ConfigError` if the page has not both markers once.
    """
    begin, end = f"<!-- table {name} -->", f"<!-- end {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ConfigError(f"the page needs the lines {begin} and {end} once each, in this order, around the table")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", page)


def main() -> None:
    """Reads the command line, runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", metavar="TABLE")
    parser.add_argument("--list", action="store_true", help="only list the tables and how far their runs are")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs (default: runs)")
    parser.add_argument("--data", help="the folder above the data sets' own; default $HORQ_DATA")
    parser.add_argument("--device", default="cpu", help="to train on: cpu (the default), cuda, cuda:1, ...")
    parser.add_argument("--no-train", action="store_true", help="only use finished runs")
    parser.add_argument("--no-measure", action="store_true", help="and only figures already measured")
    parser.add_argument("--latency", action="store_true", help="time all runs of the table anew, in turns")
    parser.add_argument("--images", type=positive, help="that PyTorch takes, the first of the test set (default: all)")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch while evaluating (default: 1)")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw pictures into FOLDER, and show them in FILE")
    parser.add_argument("--update", type=Path, metavar="FILE", help="also replace the table between its markers there")
    args = parser.parse_args()
    try:
        if args.list:
            for table in tables.tables().values():
                configs = tables.wanted(table)
                done = sum(runs.has_figures(args.out / name) for name in configs)
                print(f"{table.name}: {done} of {len(configs)} runs finished")
            return
        if args.table is None:
            parser.error("name a TABLE, or --list them")
        table = tables.find(args.table)
        configs = tables.wanted(table)
        if args.update is not None:  # what can fail should before hours of training
            updated(args.update.read_text(), table.name, "")
        if args.plots is not None and importlib.util.find_spec("matplotlib") is None:
            raise ConfigError("--plots needs the package matplotlib; install it, or leave --plots out")
        if not args.no_measure:
            root = data_root(args.data)
            torch.set_num_threads(args.threads)
            if not args.no_train:
                train(table, configs, args.out, root, args.device)
            measure_missing(table, configs, args.out, root, args.images, args.latency)
        text = tables.render(table, args.out)
        print(text, flush=True)
        if args.plots is not None:
            for picture in draw(table, args.out, args.plots):
                path = Path(os.path.relpath(picture, args.update.parent if args.update else "."))
                text += f"\n\n![{picture.stem.replace('-', ' ')}]({path.as_posix()})"
        if args.update is not None:
            runs.write_whole(args.update, updated(args.update.read_text(), table.name, text))
    except (ConfigError, Error, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
