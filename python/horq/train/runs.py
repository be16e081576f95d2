"""The folder of a run: what training writes and everything later reads.

OUT/NAME/config.json      the fields of the run
OUT/NAME/log.csv          a row an epoch
OUT/NAME/checkpoint.pt    everything to go on with, until the run is finished
OUT/NAME/final.pt         the parameters of the finished network
OUT/NAME/result.json      when it ran, how long, and its figures
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..nn import convert
from .config import Config
from .networks import build


def write_whole(path: Path, content: Any) -> None:
    """Writes a file whole or not at all: JSON for a name in .json, else what `torch.save` takes."""
    scratch = path.with_name(f".{path.name}.part")
    if path.suffix == ".json":
        scratch.write_text(json.dumps(content, indent=1) + "\n")
    else:
        torch.save(content, scratch)
    os.replace(scratch, path)


def plain(config: Config) -> dict[str, Any]:
    """The fields of a run as JSON and a checkpoint hold them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def made(config: Config) -> nn.Module:
    """The untrained network of a run, its method in it."""
    torch.manual_seed(config.seed)
    return convert(build(config.network, config.width), config.method, **config.options)


def finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end."""
    return (folder / "result.json").exists() and (folder / "final.pt").exists()


def load_config(folder: Path) -> Config:
    """The fields of the run in `folder`."""
    fields = json.loads((folder / "config.json").read_text())
    return Config(**{**fields, "shares": tuple(fields["shares"])})


def load(folder: Path) -> tuple[nn.Module, Config]:
    """The network of a finished run, in eval mode, and its fields.

    Raises `FileNotFoundError` if the run in `folder` has not come to its end.
    """
    if not finished(folder):
        raise FileNotFoundError(
            f"{folder} holds no finished run; train it first: python -m horq.train RECIPE {folder.name}"
        )
    config = load_config(folder)
    net = made(config)
    net.load_state_dict(torch.load(folder / "final.pt", weights_only=True))
    return net.eval(), config
