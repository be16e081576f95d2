"""A user's module and example, made ready: in eval mode, float32, on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ...errors import ExportError
from ...nn import set_order
from ...nn.functional import MAX_ORDER


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
            f"example must be a tensor, a numpy array, or a tuple of them for several inputs, not "
            f"{type(given).__qualname__}"
        )
    counts = {len(tensor) if tensor.dim() else 0 for tensor in found.tensors}
    if len(counts) > 1 or 0 in counts:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in found.tensors)
        raise ExportError(f"each input of the example must have the same batch of N >= 1 first, not {shapes}")
    return found


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
    kind = module if isinstance(module, type) else type(module)
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            f"only a torch.nn.Module as it was written can be exported, not {kind.__module__}.{kind.__qualname__}; "
            "give the object that was made from its class, before torch.jit"
        )
    if any(isinstance(value, nn.parameter.UninitializedTensorMixin) for value in module.parameters()):
        raise ExportError(f"the {kind.__qualname__} has no weights yet; call the module with the example first")
    try:
        copied = copy.deepcopy(module).float().cpu().eval()
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
