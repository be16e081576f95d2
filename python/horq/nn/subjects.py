"""What users give in place of a module that can be worked on, and what to do about each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_REMEDIES: dict[type, Callable[[Any], str]] = {
    WeightNorm: lambda hook: f"torch.nn.utils.remove_weight_norm(layer, {hook.name!r})",
    SpectralNorm: lambda hook: f"torch.nn.utils.remove_spectral_norm(layer, {hook.name!r})",
    BasePruningMethod: lambda hook: f"torch.nn.utils.prune.remove(layer, {hook._tensor_name!r})",
}
"""How to make a parameter that a hook computes before each call plain again."""

_INTEGERS = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized", "torchao.")
"""Where the modules live that torch.ao makes of float ones."""


def name_of(value: Any) -> str:
    """The full name of a class, or of an object's."""
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def instead_of(value: Any) -> str:
    """What to give in place of what is no module as it was written."""
    if isinstance(value, type):
        return f"that is the class; give an object of it, {value.__name__}(...)"
    if isinstance(value, Mapping):
        parts = [value, *(part for part in value.values() if isinstance(part, Mapping))]
        if any(isinstance(tensor, Tensor) for part in parts for tensor in part.values()):
            return "a state_dict holds no code; make the module of its class and give it these by load_state_dict"
        held = next((key for key, part in value.items() if isinstance(part, nn.Module)), None)
        if held is not None:
            return f"give the module in it, [{held!r}]"
    if isinstance(value, str | os.PathLike):
        return "that is a path; make the module of its class and give it what torch.load(path) holds by load_state_dict"
    if isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        return "give the object that was made from its class, before torch.jit"
    if isinstance(value, torch.export.ExportedProgram):
        return "give the object that was made from its class, before torch.export"
    if isinstance(value, torch.optim.Optimizer):
        return "that trains a module; give the module"
    if isinstance(value, Tensor):
        return "the module comes first, the example after it"
    if callable(value) and not isinstance(value, nn.Module):
        return "call it in the forward of a torch.nn.Module and give that"
    return "give the object that was made from its class"


def check_module(value: Any, what: str = "model") -> None:
    """Raises `TypeError` for what is no module."""
    if not isinstance(value, nn.Module):
        raise TypeError(f"{what} must be a torch.nn.Module, not {name_of(value)}; {instead_of(value)}")


def unready(module: nn.Module) -> str | None:
    """Why a module cannot be worked on yet, or any more, and what to do; nothing for one that can."""
    for name, layer in module.named_modules():
        what = f"`{name}` ({name_of(layer)})" if name else f"the {name_of(layer)}"
        if name_of(layer).startswith(_INTEGERS):
            return (
                f"{what}: it computes with integers that torch.ao made of floats; give the float module from before "
                "that, and quantize it with horq.convert or horq.nn.Int8"
            )
        for own, held in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if isinstance(held, nn.parameter.UninitializedTensorMixin):
                return f"{what}: it has no weights yet; call the module with the example first"
            if held.is_meta:
                return (
                    f"{what}: its {own} is on the device meta, which holds no values; load them with "
                    "load_state_dict(..., assign=True), or make the module on the CPU"
                )
    return None


def computed(layer: nn.Module) -> tuple[str, str] | None:
    """By what a parameter of a layer is computed anew at each call, and how to make it plain; nothing if none is."""
    for hook in layer._forward_pre_hooks.values():
        for kind, remedy in _REMEDIES.items():
            if isinstance(hook, kind):
                return kind.__name__, remedy(hook)
    if parametrize.is_parametrized(layer):
        for name, steps in layer.parametrizations.items():
            by = ", ".join(type(step).__name__.lstrip("_") for step in steps)
            return by, f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
    return None
