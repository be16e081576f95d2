"""A user's module and example, made ready: in eval mode, float32, on the CPU."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from ... import nn as hn
from ...errors import ExportError
from ...nn import set_order
from ...nn.functional import MAX_ORDER
from ...nn.subjects import instead_of, name_of, unready


@dataclass(frozen=True)
class Example:
    """Arguments of a module, each with the batch first."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors in them, in the order in which a module's graph takes them."""
        return [leaf for leaf in pytree.tree_leaves((self.arguments, self.keywords)) if isinstance(leaf, Tensor)]

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return len(self.tensors[0])

    def part(self, start: int, stop: int) -> Example:
        """Some of the samples."""
        return self.changed(lambda value: value[start:stop])

    def changed(self, change: Any) -> Example:
        """The example with each tensor changed."""
        arguments, keywords = pytree.tree_map_only(Tensor, change, (self.arguments, self.keywords))
        return Example(arguments, keywords)


def example_of(given: Any) -> Example:
    """The arguments that an example stands for: a tensor or an array, a tuple of them for several inputs, a dict for
    arguments by name.

    Raises `ExportError` for what no file can take.
    """
    arguments = given if isinstance(given, tuple | list) else () if isinstance(given, Mapping) else (given,)
    keywords = dict(given) if isinstance(given, Mapping) else {}
    found = Example(*pytree.tree_map(_tensor, (tuple(arguments), keywords)))
    if not found.tensors:
        raise ExportError(
            "example must be a tensor, a numpy array, or a tuple of them for several inputs, not "
            f"{type(given).__qualname__}{_instead(given)}"
        )
    counts = {len(tensor) if tensor.dim() else 0 for tensor in found.tensors}
    if len(counts) > 1 or 0 in counts:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in found.tensors)
        raise ExportError(f"each input of the example must have the same batch of N >= 1 first, not {shapes}")
    return found


def _instead(given: Any) -> str:
    """What to give in place of what is no example."""
    if isinstance(given, tuple | list) and given and all(isinstance(size, int) for size in given):
        sizes = ", ".join(str(size) for size in given)
        return f"; if these are its sizes, give torch.rand({sizes}), or better real samples"
    if isinstance(given, tuple | list | Mapping) and not given:
        return " without any; give a batch as the module takes it"
    if isinstance(given, torch.utils.data.DataLoader | torch.utils.data.Dataset):
        return "; give a batch of its inputs, such as that of next(iter(loader)), without the labels"
    if isinstance(given, str | os.PathLike):
        return "; load what is at that path first"
    return ""


def _tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, Tensor):
        return value
    if value.layout != torch.strided or value.is_meta or value.is_complex():
        raise ExportError(f"example must be dense tensors of real numbers, not {value.type()} on {value.device}")
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.float()
        if not bool(value.isfinite().all()):
            raise ExportError("example must be finite, but holds NaN or infinity; check what prepares it")
    return value.contiguous()


_OWN = (hn.HorqConv2d, hn.HorqLinear)
"""Layers that are captured whole, and so must hold their weights as they are used."""


def _plain(layer: nn.Module) -> None:
    """Makes the parameters plain that a layer computes at each call (parametrizations), unless two calls differ.

    `remove_parametrizations` of PyTorch changes the class, which a copy has in common with its original.
    """
    if not parametrize.is_parametrized(layer):
        return
    with torch.no_grad():
        values = {name: getattr(layer, name).clone() for name in layer.parametrizations}
        if any(not torch.equal(value, getattr(layer, name)) for name, value in values.items()):
            return
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    for name, value in values.items():
        setattr(layer, name, nn.Parameter(value))


@contextmanager
def ready(module: nn.Module) -> Iterator[nn.Module]:
    """A float32 copy of `module` on the CPU in eval mode, its binary layers at their highest order; or the module
    itself for so long, if it cannot be copied.

    Raises `ExportError` for what is no module, or has no weights yet.
    """
    if isinstance(module, nn.Module) and hasattr(module, "_orig_mod"):  # what torch.compile was given
        module = module._orig_mod  # type: ignore[assignment]
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    kind = type(module)
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            f"only a torch.nn.Module as it was written can be exported, not {name_of(module)}; {instead_of(module)}"
        )
    if reason := unready(module):
        raise ExportError(f"cannot export {reason}")
    try:
        copied = copy.deepcopy(module).float().cpu().eval()
        for layer in copied.modules():
            if isinstance(layer, _OWN):
                _plain(layer)
    except Exception:  # what a user's module holds may refuse to be copied
        copied = None
    if copied is not None:
        set_order(copied, MAX_ORDER)
        yield copied
        return
    held = [*module.parameters(), *module.buffers()]
    if any(value.device.type != "cpu" or value.dtype in (torch.float16, torch.bfloat16) for value in held):
        raise ExportError(f"the {kind.__qualname__} cannot be copied; give it on the CPU and in float32")
    modes = [(layer, layer.training, vars(layer).get("order")) for layer in module.modules()]
    try:
        module.eval()
        set_order(module, MAX_ORDER)
        yield module
    finally:
        for layer, training, order in modes:
            layer.training = training
            if order is not None:
                layer.order = order  # type: ignore[assignment]
