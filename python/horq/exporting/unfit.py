"""Why a module's answers cannot be had: where values stop being finite, and norms that hang on the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from .lines import kind_of

NO_STATISTICS = (
    "the batch norm keeps no running statistics, or stays in training mode, so that an answer hangs on the other "
    "samples of the batch; set track_running_stats and train it so"
)


def batch_statistics(module: nn.Module) -> str | None:
    """The first batch norm of a module in eval mode that takes its statistics of the batch, and what to do."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.running_mean is None or layer.training):
            return f"cannot export `{name}` ({kind_of(layer)}): {NO_STATISTICS}"
    return None


def not_finite(module: nn.Module, run: Callable[[], Any]) -> str:
    """Where NaN or infinity comes from when `run` calls the module, and what to do."""
    found: list[tuple[str, nn.Module]] = []
    handles = []

    def looked(name: str) -> Callable[..., None]:
        def look(layer: nn.Module, given: Any, answer: Any) -> None:
            if not found and _finite(given) and not _finite(answer):
                found.append((name, layer))

        return look

    for name, layer in module.named_modules():
        handles.append(layer.register_forward_hook(looked(name)))
    try:
        run()
    except Exception:  # it ran before, without these hooks
        found.clear()
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        found = [(name, layer) for name, layer in module.named_modules() if _held(layer)][:1]
    if not found:
        return "check its weights, and that the example is prepared as its inputs are"
    name, layer = found[0]
    what = f"`{name}` ({kind_of(layer)})" if name else f"the {kind_of(layer)}"
    return f"the first such value comes of {what}, {_cause(layer)}"


def _cause(layer: nn.Module) -> str:
    held = _held(layer)
    if held:
        return (
            f"whose {held} holds NaN or infinity: the training diverged there; train with a lower rate, or start again"
        )
    if isinstance(layer, _BatchNorm) and layer.running_var is not None:
        small = (layer.running_var.double() + layer.eps <= 0).nonzero().flatten().tolist()
        if small:
            channel = small[0]
            return (
                f"whose channel {channel} has the running variance {layer.running_var[channel].item()} and eps "
                f"{layer.eps}, and divides by the root of their sum; give it a larger eps, or train it on values that "
                "vary"
            )
    eps = getattr(layer, "eps", None)
    if eps == 0:
        return "which divides by 0, since its eps is 0; give it a larger eps"
    return "whose sums are too large for float32, or which divides by 0; scale its weights or what it reads"


def _held(layer: nn.Module) -> str:
    """The name of a parameter or buffer of the layer's own that is not finite."""
    own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    return next((name for name, tensor in own if not _finite(tensor)), "")


def _finite(values: Any) -> bool:
    leaves = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)
