"""Training of a module that a program has, on data that it has."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from . import runs, users
from .accuracy import WATCHED
from .config import GIVEN, Config, ConfigError, restored
from .data import Part
from .feeds import Feed, Images, Loaded, LoadedPart, batches_in, check_labels, pairs, ready
from .loop import Given, Trainer

_NOT_HERE = ("name", "network", "data", "width", "init", "teacher", "augment", "held_out", "subset")
"""The fields of a run that the arguments of `fit` stand for, or that are of the trainer's own data sets."""


@dataclass(frozen=True)
class Fitted:
    """A trained network."""

    net: nn.Module
    """The network, in eval mode on the CPU, its dial at the highest order."""
    result: dict[str, Any]
    """What ``result.json`` holds: accuracy by order, epochs, seconds and more."""
    file: Path | None
    """The `.horq` file, if one was wanted."""


def fit(
    net: nn.Module,
    train: Any,
    folder: str | os.PathLike[str],
    *,
    epochs: int,
    watched: Any = None,
    teacher: nn.Module | None = None,
    export: bool = True,
    device: str = "cpu",
    progress: bool = False,
    tensorboard: bool = False,
    **settings: Any,
) -> Fitted:
    """Trains a copy of `net` to tell classes apart and returns it; `folder` gets all that a run of a recipe leaves.

    Arguments:
        net: a module that answers samples [N, ...] with logits [N, classes]. It is not changed.
        train: a DataLoader of pairs (samples, classes), or a pair of arrays or tensors, samples [n, ...] and classes
            [n] from 0 on. The network gets the samples in float32, as they are else.
        folder: where settings, log and checkpoints go. Called again, a training that was broken off goes on from its
            last epoch, and one that is finished is loaded.
        epochs: how many passes over the data. The learning rate rises at first, then falls to 0 along a cosine.
        watched: what the accuracy is taken on, in the forms of `train`; without, some of the training samples.
        teacher: a trained module whose logits are followed (``follow``, ``temperature``).
        export: whether `folder` gets the network as a `.horq` file. What stands in the way of one is found before the
            training.
        device: cpu, cuda, ...
        progress: whether to show a progress bar, which needs tqdm.
        tensorboard: whether to write logs for TensorBoard as well.
        settings: fields of `Config`: ``method`` and ``options`` say how `horq.convert` changes the network; without
            (``method="own"``) it is trained with the layers that it has. ``dial=True`` draws the order anew at each
            step. ``lr``, ``optimizer``, ``batch`` (of arrays), ``seed`` and so on. Products are taken in f32 and
            torch.compile is not used, unless ``precision`` and ``compile`` say so.

    The random numbers of PyTorch, Python and NumPy are seeded at the start of each epoch, so that a training that was
    broken off ends as if it were not.

    Raises `ConfigError` for settings and data, and `NetworkError` for a network, that cannot be used, saying why.
    """
    place = Path(folder)
    for name in settings:
        if name in _NOT_HERE or name not in {field.name for field in dataclasses.fields(Config)}:
            known = [field.name for field in dataclasses.fields(Config) if field.name not in (*_NOT_HERE, "epochs")]
            raise ConfigError(f"fit has no setting {name!r}; it has {', '.join(known)}")
    if isinstance(train, DataLoader) and "batch" in settings:
        raise ConfigError("the DataLoader makes the batches; set its batch_size instead of batch")
    values = {"method": "own", "precision": "f32", "compile": False, **settings}
    if isinstance(train, DataLoader):
        values["batch"] = train.batch_size or 1
    fields = {"name": place.resolve().name, "network": GIVEN, "data": GIVEN, "epochs": epochs, **values}
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    config = restored("fit", fields)
    feed = _feed(net, train, watched, config)
    given = Given(net, teacher, held_out=watched is not None)
    if runs.finished(place):
        if runs.load_config(place) != config:
            raise ConfigError(f"{place} was trained with other settings; remove it to train anew, or take another one")
        fitted = given.made(config)
        runs.fill(fitted, place)
        result = runs.result(place)
    else:
        trainer = Trainer(config, feed, place.resolve().parent, progress, tensorboard, device, export, given)
        result = trainer.go()
        fitted = trainer.net
    file = place / f"{config.name}.horq"
    return Fitted(fitted.eval(), result, file if file.exists() else None)


def _feed(net: nn.Module, train: Any, watched: Any, config: Config) -> Feed:
    """What the run trains on and is watched on, once the network has answered two samples."""
    at = next(net.parameters(), torch.zeros(())).device
    if isinstance(train, DataLoader):
        batches_in(train)
        with torch.random.fork_rng(devices=[]):
            samples, labels = next(pairs(train, torch.device("cpu")))
        classes = users.tried(net, type(net).__name__, samples[:2].to(at), "the samples", None)
        check_labels(labels, len(samples), classes)
        return Loaded(train, None if watched is None else _part(watched, classes, "watched"), classes)
    part = _part(train, None, "train")
    classes = users.tried(net, type(net).__name__, ready(part.images[:2]).to(at), "the samples", None)
    check_labels(part.labels, len(part), classes)
    seen = Part(part.images[:WATCHED], part.labels[:WATCHED]) if watched is None else _part(watched, classes, "watched")
    return Images(part, seen, config.batch, lambda samples, _: ready(samples))


def _part(given: Any, classes: int | None, name: str) -> Any:
    """Samples and classes of a pair of arrays, or of a DataLoader."""
    if isinstance(given, DataLoader):
        return LoadedPart(given, classes)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(
            f"{name} must be a DataLoader or a pair (samples, classes) of arrays, not a {type(given).__name__}"
        )
    samples, labels = (_tensor(value, name) for value in given)
    check_labels(labels, len(samples), classes)
    if len(samples) == 0:
        raise ConfigError(f"{name} has no samples")
    return Part(samples, labels.long())


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} must hold arrays of numbers: {error}") from error
