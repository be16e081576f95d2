"""Trains the runs of a recipe: python -m horq.train RECIPE [NAME...].

RECIPE is a TOML file (see `horq.train.config.read`). Without names all its runs are trained in turn. Finished runs are
left alone, unfinished ones go on from their last epoch, and the runs that one starts from or learns from (`init`,
`teacher`) are trained before it.

A network of your own: python -m horq.train --net FILE.py:NAME --set data=cifar-10 --set epochs=20 --set method=horq
trains what the function or class NAME gives. It reads pixels of 0 to 255, [N, channels, height, width], and answers ten
logits. With a recipe, --net and --set replace the fields of its runs.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch

from . import runs
from .config import Config, ConfigError, positive, read, without_recipe
from .data import data_root
from .loop import Trainer
from .users import is_reference, resolved


def keep_memory() -> None:
    """Tells glibc to keep freed memory: by default each large tensor is mapped, and its pages faulted in, anew.

    Other C libraries are left as they are.
    """
    trim_threshold, mmap_max = -1, -4  # of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(
        prog="python -m horq.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="RECIPE", nargs="?", help="a recipe, a TOML file")
    parser.add_argument("names", metavar="NAME", nargs="*", help="of the runs to train; all without")
    parser.add_argument("--net", metavar="FILE.py:NAME", help="a network of your own; or package.module:NAME")
    parser.add_argument(
        "--set",
        dest="changes",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a field of the run, such as epochs=20, lr=0.01, method=horq, options.order=3; may be given often",
    )
    parser.add_argument("--no-export", action="store_true", help="leave no .horq file of a finished run")
    parser.add_argument("--data", help="the folder above the data sets' own; default $HORQ_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs (default: runs)")
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, cuda:1, ...")
    parser.add_argument("--threads", type=positive, help="of PyTorch (default: its own choice)")
    parser.add_argument("--list", action="store_true", help="only list the runs and whether they are finished")
    parser.add_argument("--quiet", action="store_true", help="no progress bar (which needs a terminal and tqdm)")
    parser.add_argument("--tensorboard", action="store_true", help="also write logs for TensorBoard")
    args = parser.parse_args()
    try:
        configs = _configs(args)
        wanted = _wanted(configs, args.names, args.out)
        if args.list:
            for config in wanted:
                done = runs.finished(args.out / config.name)
                print(f"{config.name}: {config.network}, {config.method}, {config.epochs} epochs{', finished' * done}")
            return
        root = data_root(args.data)
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        keep_memory()
        check_device(args.device)
        progress = not args.quiet and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
        for config in wanted:
            if runs.finished(args.out / config.name):
                if runs.load_config(args.out / config.name) != config:
                    raise ConfigError(
                        f"{args.out / config.name} was trained with other settings; remove it to train anew, or give "
                        "--out another folder"
                    )
                continue
            torch.compiler.reset()
            torch._dynamo.config.recompile_limit = 64  # a dial has a graph for each order, before and after it settles
            own = (progress, args.tensorboard, args.device, not args.no_export)
            result = Trainer(config, root, args.out, *own).go()
            print(json.dumps(result), flush=True)
    except (ConfigError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _configs(args: argparse.Namespace) -> dict[str, Config]:
    """The runs that the command line tells: those of a recipe with its changes, or one without a recipe."""
    changes = _changes(args.changes)
    name = changes.pop("name", None)
    if args.net is not None:
        if not is_reference(args.net):
            raise ConfigError(f"--net {args.net} must be FILE.py:NAME or package.module:NAME")
        changes["network"] = args.net
    if isinstance(changes.get("network"), str):
        changes["network"] = resolved(changes["network"], Path.cwd())
    if args.config is not None:
        if name is not None:
            raise ConfigError("the runs of a recipe have names; leave --set name out")
        return read(args.config, changes)
    if "network" not in changes:
        raise ConfigError("give a RECIPE, or a network of your own by --net FILE.py:NAME")
    name = name if isinstance(name, str) else changes["network"].rpartition(":")[2]
    return {name: without_recipe(name, {"precision": "f32", "compile": False, **changes})}


def _changes(given: list[str]) -> dict[str, Any]:
    """Fields from `FIELD=VALUE`, the value as TOML has it, or a word without quotes."""
    changes: dict[str, Any] = {}
    for text in given:
        field, equals, value = text.partition("=")
        if not equals or not field:
            raise ConfigError(f"--set {text} must be FIELD=VALUE, such as epochs=20")
        try:
            read_value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            read_value = value
        outer, dot, inner = field.partition(".")
        if dot and outer == "options":
            changes.setdefault("options", {})[inner] = read_value
        else:
            changes[field] = read_value
    return changes


def check_device(name: str) -> None:
    """Raises `ValueError` unless PyTorch can compute on that device."""
    try:
        torch.zeros(1, device=name).add_(1).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--device {name}: this PyTorch cannot compute on it ({reason}); leave it out for the CPU"
        ) from error


def _wanted(configs: dict[str, Config], names: list[str], out: Path) -> list[Config]:
    """The runs of those names, each after the runs that it needs; what a finished one was made from is not needed."""
    for name in names:
        if name not in configs:
            raise ConfigError(f"the recipe has no run {name!r}; it has {', '.join(configs)}")
    ordered: dict[str, Config] = {}

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name in waiting:
            raise ConfigError(f"runs wait for each other: {' -> '.join((*waiting, name))}")
        config = configs[name]
        for needed in (config.init, config.teacher):
            if needed in configs and not runs.finished(out / name):
                add(needed, (*waiting, name))
        ordered.setdefault(name, config)

    for name in names or configs:
        add(name, ())
    return list(ordered.values())


if __name__ == "__main__":
    main()
