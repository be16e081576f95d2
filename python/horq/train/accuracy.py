"""What a run is watched on, and how right its network is there."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..nn import set_order
from ..nn.running import statistics_averaged
from . import data
from .config import Config
from .data import EVAL_BATCH

WATCHED = 2000
"""Images that the accuracy in the log is taken on where nothing is held out: of the training set, not augmented."""


def images(config: Config, root: Path) -> tuple[data.Part, data.Part]:
    """The images that a run trains on, and those that it is watched on."""
    train = data.load(config.data, root, "train", config.held_out)
    if config.subset is not None:
        train = data.Part(train.images[: config.subset], train.labels[: config.subset])
    if config.held_out:
        return train, data.load(config.data, root, "held-out", config.held_out)
    return train, data.Part(train.images[:WATCHED], train.labels[:WATCHED])


def watched_on(config: Config, watched: Sized) -> str:
    """The words for the images that a run is watched on, as `result.json` has them."""
    return f"{len(watched)} images " + ("held out" if config.held_out else "of the training set")


def norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms of `net`."""
    return [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]


@torch.no_grad()
def logits(net: nn.Module, images: Tensor, batch: int = EVAL_BATCH) -> Tensor:
    """The answers of `net`, in the mode it is in, to images [n, C, H, W] (uint8), `batch` at a time."""
    return torch.cat([net(part.float()).float() for part in images.split(batch)])


class Samples(Protocol):
    """What an accuracy is taken on."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples [n, ...] in float32 with their classes [n]."""


@torch.no_grad()
def accuracy(net: nn.Module, part: Samples) -> float:
    """The share of samples that `net`, set to eval mode, labels rightly."""
    net.eval()
    right = [net(samples).argmax(1) == labels for samples, labels in part.batches()]
    return torch.cat(right).double().mean().item()


def accuracies(net: nn.Module, part: Samples, orders: list[int]) -> dict[str, float]:
    """The accuracy at each order; the last of `orders` stays set."""
    found = {}
    for order in orders:
        dial(net, order)
        found[str(order)] = accuracy(net, part)
    return found


@torch.no_grad()
def recalibrate(net: nn.Module, batches: list[Tensor], orders: list[int]) -> None:
    """Takes the running statistics of every batch norm anew, averaged over batches and orders; all else as in eval."""
    net.eval()
    with statistics_averaged(norms(net)):
        for batch in batches:
            for order in orders:
                dial(net, order)
                net(batch)
    net.eval()


def dial(net: nn.Module, order: int) -> None:
    """Turns the dial of a network with binary activations; order 0 stands for a network without."""
    if order:
        set_order(net, order)
