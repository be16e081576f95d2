"""A run's folder from the model that was made of it, so that training can go on where no checkpoint is left."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from .._core import Model
from ..nn import set_order, take_statistics_
from ..restoring import restore
from ..train import Config, ConfigError, data, runs
from ..train.loop import CALIBRATION, EVAL_BATCH, WATCHED, accuracy


def config_of(model: Model, file: Path) -> Config:
    """The fields of the run that the model in `file` was made of."""
    note = model.notes.get("training")
    try:
        fields = json.loads(note or "")
        return runs.config_from(fields)
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise ConfigError(
            f"{file} does not say how it was trained (its note `training`: {error}); build its module yourself and use "
            "horq.restore"
        ) from error


def restore_run(file: Path, out: Path, root: Path) -> Path:
    """Makes the folder of the finished run in `out` that the model in `file` was made of, and returns it.

    Other runs can start from it (`init`) and follow it (`teacher`). What a file does not hold comes back as
    `horq.restore` says; batch norms get the statistics of training images. `root` is the folder above the data sets'
    own.

    Raises `ConfigError` if `out` holds a run of that name, or if the file does not say how it was trained.
    """
    model = Model(file)
    config = config_of(model, file)
    folder = out / config.name
    present = [name for name in ("result.json", "checkpoint.pt") if (folder / name).exists()]
    if present:
        raise ConfigError(f"{folder} is a run already; give another folder with --out")
    net = restore(runs.made(config), file)
    train = data.load(config.data, root, "train", config.held_out)
    generator = torch.Generator().manual_seed(config.seed)
    chosen = train.images[torch.randperm(len(train), generator=generator)[:CALIBRATION]]
    parts = [data.augmented(config.data, part, config.augment, generator) for part in chosen.split(EVAL_BATCH)]
    if any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in net.modules()):
        take_statistics_(net, parts, [order for order in config.orders if order])
    watched = data.load(config.data, root, "held-out", config.held_out) if config.held_out else train
    watched = data.Part(watched.images[: config.held_out or WATCHED], watched.labels[: config.held_out or WATCHED])
    figures = {}
    for order in config.orders:
        if order:
            set_order(net, order)
        figures[str(order)] = accuracy(net, watched)
    with runs.locked(folder):
        runs.write_whole(folder / "config.json", runs.plain(config))
        runs.write_whole(folder / "final.pt", net.state_dict())
        result = {
            "name": config.name,
            "network": runs.digest(folder),
            "accuracy": figures,
            "on": f"{len(watched)} images " + ("held out" if config.held_out else "of the training set"),
            "restored": model.digest,
            "epochs": config.epochs,
            "torch": torch.__version__,
            "finished": time.strftime("%Y-%m-%d", time.gmtime()),
            "sources": {},
        }
        runs.write_whole(folder / "result.json", result)
    return folder
