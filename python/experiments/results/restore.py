"""A run's folder from the model that was made of it, so that training can go on where no checkpoint is left."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from horq._core import Model
from horq.nn import take_statistics_
from horq.restoring import restore
from horq.train import Config, ConfigError, data, runs
from horq.train.accuracy import accuracies, images, watched_on
from horq.train.config import restored
from horq.train.data import EVAL_BATCH
from horq.train.feeds import CALIBRATION


def config_of(model: Model, file: Path) -> Config:
    """The fields of the run that the model in `file` was made of, from its note `training`.

    Raises `ConfigError` if it has none or they are those of no run.
    """
    where = f"{file}, note `training`"
    try:
        config = restored(where, json.loads(model.notes.get("training", "null")))
        runs.made(config)
    except (ValueError, TypeError, RuntimeError, RecursionError) as error:  # whatever odd options lead to
        raise ConfigError(
            f"{file} does not say how it was trained ({error}); build its module yourself and use horq.restore"
        ) from error
    return config


def restore_run(file: Path, out: Path, root: Path) -> Path:
    """Makes the folder of the finished run in `out` that the model in `file` was made of, and returns it.

    Other runs can start from it (`init`) and follow it (`teacher`). What a file does not hold comes back as
    `horq.restore` says; batch norms get the statistics of training images. `root` is the folder above the data sets'
    own.

    Raises `ConfigError` if `out` holds a run of that name, or if the file does not say how it was trained.
    """
    model = Model(file)
    config = config_of(model, file)
    train, watched = images(config, root)
    folder = out / config.name
    with runs.locked(folder):
        present = [name for name in ("result.json", "final.pt", "checkpoint.pt") if (folder / name).exists()]
        if present:
            raise ConfigError(f"{folder} is a run already; give another folder with --out")
        net = restore(runs.made(config), file)
        generator = torch.Generator().manual_seed(config.seed)
        chosen = train.images[torch.randperm(len(train), generator=generator)[:CALIBRATION]]
        parts = [data.augmented(config.data, part, config.augment, generator) for part in chosen.split(EVAL_BATCH)]
        take_statistics_(net, parts, [order for order in config.orders if order])
        own = {"accuracy": accuracies(net, watched, config.orders), "on": watched_on(config, watched)}
        own |= {"restored": model.digest, "epochs": config.epochs, "sources": {}}
        runs.write_finished(folder, config, net, own)
    return folder
