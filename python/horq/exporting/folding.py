"""A trained module as the engine will compute it: traced, in eval mode, its batch norms folded."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from .. import nn as hn
from ..errors import ExportError
from ..nn.functional import MAX_ORDER
from ..nn.norm import affine_of
from ..nn.subjects import instead_of, name_of, unready
from .lines import line_above, line_of, refusal
from .unseen import check_unseen

OWN_LAYERS = (
    *(hn.HorqConv2d, hn.HorqLinear, hn.BinaryWeight, hn.Codebook, hn.Inq, hn.Int8, hn.PowerOfTwo),
    *(hn.Affine, hn.AffineByOrder, hn.BatchNorm1d, hn.BatchNorm2d, hn.SwitchableBatchNorm),
    *(hn.MaxPool2d, hn.PReLU, hn.RPReLU, hn.Shift),
)
"""The layers of horq.nn, which a trace leaves whole."""

_DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, hn.BatchNorm1d, hn.BatchNorm2d)
PARAMETER = "a file has parameters and constants in layers only; put it into one, such as horq.nn.Affine"
_WITH_WEIGHTS = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)
"""Layers whose subclasses a trace leaves whole, too, so that they are refused by name."""


class _Tracer(fx.Tracer):
    """Notes for each node the line of the user's code that it comes from."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OWN_LAYERS + _WITH_WEIGHTS) or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *arguments: Any, **keywords: Any) -> fx.Node:
        node = super().create_node(*arguments, **keywords)
        node.meta["line"] = line_above(trace.__code__)
        if torch.is_autocast_enabled("cpu"):
            raise refusal("it runs under torch.autocast, but a file computes float32; keep that out of forward", node)
        return node


def is_leaf(module: nn.Module) -> bool:
    """Whether a trace leaves the module itself whole, so that it is traced inside an `nn.Sequential`, as ``0``."""
    return _Tracer().is_leaf_module(module, "")


def fold(module: nn.Module) -> fx.GraphModule:
    """Returns a float32 copy of `module` in eval mode, traced by torch.fx, that computes what `horq.export` writes.

    Dropout and identities are gone. A `torch.nn.BatchNorm1d` or `BatchNorm2d` that alone reads a float convolution or
    dense layer is folded into its weights and bias; after anything else, and for the batch norms of `horq.nn`, it is
    an `Affine` (a `SwitchableBatchNorm` an `AffineByOrder`): x * scale + shift, rounded after each step, which the
    engine runs in the epilogue of the layer before. (Folding it into the scales of a binary layer would save nothing
    there and change the rounding.) Binary layers stand at their highest order.

    Raises `ExportError` if torch.fx cannot trace the module, or its trace would leave out what it computes.
    """
    return folded(trace(module))


def copied(module: nn.Module) -> nn.Module:
    """A float32 copy of `module` on the CPU in eval mode, binary layers at their highest order.

    Raises `ExportError` where a trace would not show all that it computes.
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
        compiled = isinstance(module, nn.Module) and hasattr(module, "_orig_mod")
        advice = "give the module from before torch.compile, its _orig_mod" if compiled else instead_of(module)
        raise ExportError(f"only a torch.nn.Module as it was written can be exported, not {name_of(module)}; {advice}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        kind = type(module).__qualname__
        raise ExportError(f"{kind} spreads a module over devices; give the module itself, its .module")
    if reason := unready(module):
        raise ExportError(f"cannot export {reason}")
    check_unseen(module, is_leaf)
    try:
        module = copy.deepcopy(module).float().cpu().eval()
    except Exception as error:  # what a user's module holds may refuse to be copied
        raise ExportError(
            f"the {type(module).__qualname__} cannot be copied: {error}; hold in it only parameters, buffers, modules "
            "and plain values"
        ) from error
    hn.set_order(module, MAX_ORDER)
    return module


def trace(module: nn.Module) -> fx.GraphModule:
    """The trace of a copy of `module`; see `copied`.

    Raises `ExportError` if torch.fx cannot trace the module.
    """
    module = copied(module)
    if is_leaf(module):
        module = nn.Sequential(module).eval()
    try:
        with torch.autocast("cpu", enabled=False):
            graph = _Tracer().trace(module)
    except ExportError:
        raise
    except Exception as error:  # the user's forward runs here
        control_flow = isinstance(error, fx.proxy.TraceError)
        remedy = (
            "keep Python control flow out of forward that depends on values"
            if control_flow
            else ("a trace runs forward on proxies, which stand for tensors of any value; write that line for them")
        )
        raise ExportError(
            f"torch.fx cannot trace {type(module).__name__}{line_of(error)}: {error}; {remedy}"
        ) from error
    return fx.GraphModule(module, graph)


def folded(traced: fx.GraphModule, pairs: list[tuple[str, str]] | None = None) -> fx.GraphModule:
    """Folds a trace, which is changed; see `fold`. The names of each layer and of the batch norm that went into it are
    appended to `pairs`."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    uses = [node.target for node in calls]
    _check_attributes(traced)
    for node in calls:
        layer = traced.get_submodule(node.target)
        if type(layer) in _DROPPED:
            node.replace_all_uses_with(node.all_input_nodes[0])
            traced.graph.erase_node(node)
        elif type(layer) in NORMS:
            before = node.all_input_nodes[0]
            if _foldable(traced, before, layer) and uses.count(before.target) == 1:
                _check_channels(node, layer, traced.get_submodule(before.target))
                _into_weights(traced.get_submodule(before.target), *_affine(node, layer))
                if pairs is not None:
                    pairs.append((str(before.target), str(node.target)))
                node.replace_all_uses_with(before)
                traced.graph.erase_node(node)
            else:
                _replace(traced, node.target, hn.Affine(*_affine(node, layer)))
        elif isinstance(layer, hn.SwitchableBatchNorm):
            _replace(traced, node.target, hn.AffineByOrder(hn.Affine(*_affine(node, norm)) for norm in layer.norms))
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced.eval().requires_grad_(False)


def _check_attributes(traced: fx.GraphModule) -> None:
    """Refuses code that reads a layer's parameter itself, which folding changes."""
    for node in traced.graph.nodes:
        owner, _, name = str(node.target).rpartition(".")
        if node.op == "get_attr" and owner and is_leaf(traced.get_submodule(owner)):
            raise refusal(f"it reads {name} of a layer beside calling the layer; {PARAMETER}", node)


def _affine(node: fx.Node, norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """`affine_of` a batch norm that `node` calls."""
    try:
        scale, shift = affine_of(norm)
    except ValueError as error:
        raise refusal(str(error), node) from error
    for channel, (a, b) in enumerate(zip(scale.tolist(), shift.tolist(), strict=True)):
        if not math.isfinite(a) or not math.isfinite(b):
            raise refusal(
                f"channel {channel} is scaled by {a} and shifted by {b}, and must stay finite: its running variance is "
                f"{norm.running_var[channel].item()} and eps {norm.eps}; give it a larger eps, or train it on values "
                "that vary",
                node,
            )
    return scale, shift


def _replace(traced: fx.GraphModule, target: str, layer: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(traced.get_submodule(parent), name, layer)


def _foldable(traced: fx.GraphModule, before: fx.Node, norm: nn.Module) -> bool:
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or before.op != "call_module" or len(before.users) != 1:
        return False
    return type(traced.get_submodule(before.target)) in (nn.Conv2d, nn.Linear)


def _check_channels(node: fx.Node, norm: nn.Module, layer: nn.Module) -> None:
    made, read = len(layer.weight), norm.num_features
    if made != read:
        raise refusal(
            f"it is made for {read} channels, but reads the {made} of a {type(layer).__name__}; make it "
            f"{type(norm).__name__}({made})",
            node,
        )


@torch.no_grad()
def _into_weights(layer: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> None:
    scale, shift = scale.double(), shift.double()
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.float())
    layer.bias = nn.Parameter(bias.float())
