"""Where the batches of a run come from: images whole in memory, or a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .accuracy import EVAL_BATCH, WATCHED
from .config import ConfigError
from .data import Part

Batch = tuple[Tensor, Tensor]
"""Samples [n, ...] in float32 and their classes [n]."""
CALIBRATION = 5000
"""Training images over which the statistics of batch norms are taken anew."""


class Watched(Protocol):
    """What a network's accuracy is taken on."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Batch]:
        """All samples, the same each time."""

    def to(self, device: torch.device) -> Watched:
        """The same in the memory of `device`."""


class Feed(Protocol):
    """What a run trains on and is watched on."""

    per_epoch: int
    """The batches of an epoch."""
    watched: Watched

    def to(self, device: torch.device) -> None:
        """Lets batches come in the memory of `device` from now on."""

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in random order."""

    def some(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Batches of at least `count` training samples, or of all, as training sees them."""

    def plain(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` training samples, or all, as they are."""


class Images:
    """Samples whole in memory, shuffled anew each epoch; what is left over a whole number of batches waits.

    `change` makes a batch for training of samples as they lie in memory.
    """

    def __init__(
        self, train: Part, watched: Part, batch: int, change: Callable[[Tensor, torch.Generator], Tensor]
    ) -> None:
        if len(train) < batch:
            raise ConfigError(f"a batch of {batch} needs more than {len(train)} images")
        self.train, self.watched, self.batch, self.change = train, watched, batch, change
        self.per_epoch = len(train) // batch

    def to(self, device: torch.device) -> None:
        self.train, self.watched = self.train.to(device), self.watched.to(device)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        shuffled = self._shuffled(generator)
        for step in range(self.per_epoch):
            kept = shuffled[step * self.batch : (step + 1) * self.batch]
            yield self.change(self.train.images[kept], generator), self.train.labels[kept]

    def some(self, count: int, generator: torch.Generator) -> list[Tensor]:
        images = self.train.images[self._shuffled(generator)[:count]]
        return [self.change(part, generator) for part in images.split(EVAL_BATCH)]

    def plain(self, count: int, generator: torch.Generator) -> Tensor:
        return self.train.images[self._shuffled(generator)[:count]].float()

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        """The indices of all samples in random order."""
        return torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)


class Loaded:
    """The batches of a DataLoader, which shuffles and augments as its owner wants."""

    def __init__(self, loader: DataLoader[Any], watched: Watched | None, classes: int) -> None:
        self.loader, self.classes = loader, classes
        self.per_epoch = batches_in(loader)
        self.watched = LoadedPart(loader, classes, WATCHED) if watched is None else watched
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        self.device, self.watched = device, self.watched.to(device)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        _seed(self.loader, int(torch.randint(2**31, (), generator=generator)))
        return pairs(self.loader, self.device, self.classes)

    def some(self, count: int, generator: torch.Generator) -> list[Tensor]:
        kept: list[Tensor] = []
        for samples, _ in self.epoch(generator):
            kept.append(samples)
            if sum(map(len, kept)) >= count:
                break
        return kept

    def plain(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.cat(self.some(count, generator))[:count]


class LoadedPart:
    """The first samples of a DataLoader, whole batches of at least `count`; all without."""

    def __init__(
        self, loader: DataLoader[Any], classes: int, count: int | None = None, device: torch.device | None = None
    ) -> None:
        self.loader, self.classes, self.count = loader, classes, count
        self.device = device or torch.device("cpu")
        self.seen = 0

    def __len__(self) -> int:
        return self.seen or sum(len(labels) for _, labels in self.batches())

    def batches(self) -> Iterator[Batch]:
        seen = 0
        with torch.random.fork_rng(devices=[]):  # a pass takes nothing from the random numbers of training
            torch.manual_seed(0)
            _seed(self.loader, 0)
            for batch in pairs(self.loader, self.device, self.classes):
                seen += len(batch[1])
                yield batch
                if self.count is not None and seen >= self.count:
                    break
        self.seen = seen

    def to(self, device: torch.device) -> LoadedPart:
        return LoadedPart(self.loader, self.classes, self.count, device)


def _seed(loader: DataLoader[Any], seed: int) -> None:
    """Seeds the generators that a DataLoader was given. Without one it draws from torch's own."""
    for owner in (loader, loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if generator is not None:
            generator.manual_seed(seed)


def batches_in(loader: DataLoader[Any]) -> int:
    """How many batches a DataLoader has; raises `ConfigError` if it does not know or has none."""
    try:
        count = len(loader)
    except TypeError as error:
        raise ConfigError(
            "the DataLoader does not know how many batches it has; give its data set a __len__, since the learning "
            "rate follows the share of the batches that are done"
        ) from error
    if count < 1:
        raise ConfigError("the DataLoader has no batch; with drop_last it needs as many samples as a batch has")
    return count


def pairs(loader: DataLoader[Any], device: torch.device, classes: int | None = None) -> Iterator[Batch]:
    """The batches of a DataLoader on `device`; raises `ConfigError` for what is no pair of samples and classes."""
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(x, Tensor) for x in batch):
            kind = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else "")
            raise ConfigError(f"the DataLoader gives {kind}, where training needs pairs (samples, classes) of tensors")
        samples, labels = batch
        check_labels(labels, len(samples), classes)
        yield ready(samples.to(device)), labels.long().to(device)


def check_labels(labels: Tensor, count: int, classes: int | None = None) -> None:
    """Raises `ConfigError` unless `labels` are the classes of `count` samples, from 0 to below `classes`."""
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not whole or labels.shape != (count,):
        raise ConfigError(
            f"classes must be whole numbers, one for each of the {count} samples, not {labels.dtype} of shape "
            f"{list(labels.shape)}"
        )
    if count and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        bad = labels.min() if labels.min() < 0 else labels.max()
        most = f" to {classes - 1}, since the network answers {classes} logits" if classes is not None else ""
        raise ConfigError(f"class {bad} is among the labels; they must count from 0{most}")


def ready(samples: Tensor) -> Tensor:
    """Samples in float32, images in channels-last memory."""
    samples = samples.float()
    return samples.to(memory_format=torch.channels_last) if samples.dim() == 4 else samples


def first(watched: Watched, count: int) -> Tensor:
    """The first `count` samples that a run is watched on, or all."""
    kept: list[Tensor] = []
    for samples, _ in watched.batches():
        kept.append(samples)
        if sum(map(len, kept)) >= count:
            break
    return torch.cat(kept)[:count]
