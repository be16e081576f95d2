"""The folder of a run: what training writes and everything later reads.

OUT/NAME/config.json      the fields of the run
OUT/NAME/log.csv          a row an epoch
OUT/NAME/checkpoint.pt    everything to go on with, until the run is finished
OUT/NAME/final.pt         the parameters of the finished network
OUT/NAME/result.json      when it ran, how long, its figures, and the digests of its network and of the runs that it was
                          made from
OUT/NAME/.lock            held while a process trains it

What measures a run writes further figures beside them. The figures of a run can be kept without its networks: tables
and pictures are made from them, but no other run can start from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._core import write_file
from ..nn import convert, horq_layers, switch_norms_
from . import users
from .config import GIVEN, Config, ConfigError, restored
from .data import CLASSES, SHAPES
from .networks import build

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]


def write_whole(path: Path, content: Any) -> None:
    """Writes a file whole or not at all: a string as it is, JSON for a name in .json, else what `torch.save` takes.

    Raises `horq.FileError` where it cannot be written; what was there stays.
    """
    if isinstance(content, str):
        data = content.encode()
    elif path.suffix == ".json":
        data = (json.dumps(content, indent=1) + "\n").encode()
    else:
        file = io.BytesIO()
        torch.save(content, file)
        data = file.getvalue()
    write_file(data, path)


def write_finished(folder: Path, config: Config, net: nn.Module, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Writes what makes a run a finished one: its fields, its network, and `result.json`, whose content it returns."""
    write_whole(folder / "config.json", plain(config))
    write_whole(folder / "final.pt", net.state_dict())
    made_by = {"torch": torch.__version__, "finished": time.strftime("%Y-%m-%d", time.gmtime())}
    result = {"name": config.name, "network": digest(folder), **figures, **made_by}
    write_whole(folder / "result.json", result)
    return result


def plain(config: Config) -> dict[str, Any]:
    """The fields of a run as JSON and a checkpoint hold them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def made(config: Config) -> nn.Module:
    """The untrained network of a run, its method in it.

    Raises `NetworkError` for a network of the user's that cannot be trained on the run's data.
    """
    if config.network == GIVEN:
        raise ConfigError(
            f"the network of {config.name} was given to horq.train.fit, which alone can make it; take its parameters "
            "from final.pt: net.load_state_dict(torch.load('final.pt'))"
        )
    torch.manual_seed(config.seed)
    net = build(config.network, config.width)
    if config.is_foreign:
        pixels = torch.zeros(2, *SHAPES[config.data])
        users.tried(net, config.network, pixels, f"the images of {config.data}", CLASSES)
    return adapted(net, config)


def adapted(net: nn.Module, config: Config) -> nn.Module:
    """A copy of a float network with the method of a run in it; of a network with layers of its own the network."""
    if config.method == "own":
        highest = max((layer.max_order for layer in horq_layers(net)), default=0)
        if config.order != highest:
            raise ConfigError(
                f"the layers of {config.name}'s network have orders up to {highest}, where its options say "
                f"{config.order}; set options.order to {highest}"
            )
    else:
        net = convert(net, config.method, **config.options)
    return switch_norms_(net, config.order) if config.own_norms else net


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that `plain` made, perhaps when a run had fewer of them, with the defaults of the others."""
    least = Config(**{name: fields[name] for name in ("name", "network", "data", "epochs")})
    return {**plain(least), **fields}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder of a run and holds its lock; raises `ConfigError` if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another process trains {folder}; wait for it, or give --out another folder"
                ) from None
        yield


def digest(folder: Path) -> str:
    """The SHA-256 of the finished network of the run in `folder`: what tells whether a figure belongs to it.

    Of the network itself where the folder holds it, else as training wrote it down.
    """
    network = folder / "final.pt"
    if network.exists():
        return hashlib.sha256(network.read_bytes()).hexdigest()
    fields = json.loads((folder / "result.json").read_text())
    if "network" not in fields:
        raise ConfigError(f"{folder} has neither its network nor a note of it; train the run anew")
    return fields["network"]


def result(folder: Path) -> dict[str, Any]:
    """What `result.json` of the finished run in `folder` holds, the digest of its network under ``network``.

    Raises `ConfigError` if it is of another network than the one that is there.
    """
    fields, network = json.loads((folder / "result.json").read_text()), digest(folder)
    if fields.setdefault("network", network) != network:
        raise ConfigError(f"{folder}/result.json is of another network than final.pt; remove the folder to train anew")
    return fields


def sources(config: Config, out: Path) -> dict[str, str]:
    """The digests of the finished runs in `out` that the run starts from or follows, by name."""
    named = {name for name in (config.init, config.teacher) if name is not None}
    return {name: digest(out / name) for name in sorted(named) if has_figures(out / name)}


def finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end and its network is there."""
    return (folder / "result.json").exists() and (folder / "final.pt").exists()


def has_figures(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end, its network there or not."""
    return (folder / "result.json").exists()


def load_config(folder: Path) -> Config:
    """The fields of the run in `folder`; raises `ConfigError` if they are damaged."""
    file = folder / "config.json"
    try:
        return restored(str(file), json.loads(file.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is damaged; train the run anew: {error}") from error


def load(folder: Path) -> tuple[nn.Module, Config]:
    """The network of a finished run, in eval mode, and its fields.

    Raises `FileNotFoundError` if the run in `folder` has not come to its end, and `ConfigError` if its network is
    damaged or another one than its fields say.
    """
    if not finished(folder):
        raise FileNotFoundError(
            f"{folder} holds no finished run; train it first: python -m horq.train RECIPE {folder.name}"
        )
    config = load_config(folder)
    net = made(config)
    fill(net, folder)
    return net.eval(), config


def fill(net: nn.Module, folder: Path) -> None:
    """Gives `net` the parameters of the finished run in `folder`; raises `ConfigError` if they are damaged."""
    try:
        net.load_state_dict(torch.load(folder / "final.pt", weights_only=True))
    except Exception as error:  # torch raises whatever the bytes lead it to
        raise ConfigError(f"{folder}/final.pt is damaged or not of config.json; train the run anew: {error}") from error
