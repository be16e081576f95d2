"""What a trace by torch.fx does not show: hooks, parametrizations, and forwards that were replaced."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.modules.module as torch_module
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ExportError
from ..nn.subjects import computed
from .lines import kind_of


def check_unseen(module: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
    """Raises `ExportError` where calling `module` does something that its trace does not show.

    A trace runs the hooks and the forward of a module that it goes into, so those are in it. It does not go into
    leaves, and it starts at the forward of the whole module's class.
    """
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise ExportError(
            "there is a hook on all modules (torch.nn.modules.module.register_module_forward_hook or _pre_hook), and "
            "a file holds no hooks; remove it with its handle's remove()"
        )
    for name, layer in module.named_modules():
        what = f"cannot export `{name}` ({kind_of(layer)})" if name else f"cannot export the {kind_of(layer)}"
        _check_parameters(what, layer)
        if name and not is_leaf(layer):
            continue
        for hooks, word in ((layer._forward_pre_hooks, "pre-hook"), (layer._forward_hooks, "hook")):
            for hook in hooks.values():
                called = getattr(hook, "__qualname__", type(hook).__qualname__)
                raise ExportError(
                    f"{what}: it has a forward {word}, `{called}`, and a file holds no hooks; remove it with its "
                    "handle's remove(), and put what it computes into a module's forward"
                )
        if "forward" in vars(layer):
            raise ExportError(
                f"{what}: its forward was replaced on the object, and a file holds what the layer's class computes; "
                "delete it (del layer.forward), and put what it computes into a module of its own"
            )


def _check_parameters(what: str, layer: nn.Module) -> None:
    """Refuses parameters that are computed anew at each call."""
    if isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params():
        raise ExportError(f"{what}: it has no weights yet; call the module with the example first")
    found = computed(layer)
    if found:
        by, remedy = found
        raise ExportError(
            f"{what}: a parameter of it is computed at each call ({by}); make it a plain one with {remedy}"
        )
