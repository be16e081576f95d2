"""Running a module to see what its layers read; its modes and hooks are afterwards as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Leaves every part of the modules in training or eval mode as it was."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def inputs_seen(layers: Iterable[nn.Module], look: Callable[[nn.Module, Tensor], object]) -> Iterator[None]:
    """Calls `look(layer, input)` each time before one of `layers` runs."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor]) -> None:
        look(layer, *inputs, *keywords.values())

    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def statistics_averaged(norms: list[_BatchNorm]) -> Iterator[None]:
    """Takes the running statistics of batch norms anew: in training mode, averaged over the batches that are run."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class Sums:
    """Sums over the inputs of layers, channel by channel (axis 1), in f64."""

    def __init__(self) -> None:
        self.of: dict[nn.Module, Tensor] = {}

    def add(self, layer: nn.Module, input: Tensor) -> None:
        """Adds what a layer reads."""
        x = input.detach().double().transpose(0, 1).flatten(1)
        found = torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1)])
        self.of[layer] = self.of[layer] + found if layer in self.of else found

    def moments(self) -> dict[nn.Module, tuple[Tensor, Tensor]]:
        """Mean and variance of each channel that each layer has read."""
        means = {layer: (total / count, squares / count) for layer, (count, total, squares) in self.of.items()}
        return {layer: (mean, (square - mean.square()).clamp(min=0)) for layer, (mean, square) in means.items()}
