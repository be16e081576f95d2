"""A trained module as the engine will compute it: traced, in eval mode, its batch norms folded."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from ._core import Error
from .nn import (
    Affine,
    AffineByOrder,
    BatchNorm1d,
    BatchNorm2d,
    BinaryWeight,
    Codebook,
    HorqConv2d,
    HorqLinear,
    Inq,
    Int8,
    MaxPool2d,
    PowerOfTwo,
    PReLU,
    RPReLU,
    Shift,
    SwitchableBatchNorm,
    set_order,
)
from .nn.functional import MAX_ORDER
from .nn.norm import affine_of

OWN_LAYERS = (
    *(HorqConv2d, HorqLinear, BinaryWeight, Codebook, Inq, Int8, PowerOfTwo),
    *(Affine, AffineByOrder, BatchNorm1d, BatchNorm2d, MaxPool2d, PReLU, RPReLU, Shift, SwitchableBatchNorm),
)
"""The layers of horq.nn, which a trace leaves whole."""

_DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm1d, BatchNorm2d)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OWN_LAYERS) or super().is_leaf_module(m, module_qualified_name)


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

    Raises `horq.Error` if torch.fx cannot trace the module.
    """
    _, traced = trace(module)
    return folded(traced)


def trace(module: nn.Module) -> tuple[nn.Module, fx.GraphModule]:
    """A float32 copy of `module` in eval mode, binary layers at their highest order, and its trace on the same layers.

    Raises `horq.Error` if torch.fx cannot trace the module.
    """
    module = copy.deepcopy(module).float().cpu().eval()
    set_order(module, MAX_ORDER)
    if is_leaf(module):
        module = nn.Sequential(module)
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # a trace runs the user's code, so anything may come out of it
        raise Error(
            f"torch.fx cannot trace {type(module).__name__}: {error}; "
            "write its forward without control flow that depends on values"
        ) from error
    return module, fx.GraphModule(module, graph)


def folded(traced: fx.GraphModule, pairs: list[tuple[str, str]] | None = None) -> fx.GraphModule:
    """Folds a trace, which is changed; see `fold`. The names of each layer and of the batch norm that went into it are
    appended to `pairs`."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    uses = [node.target for node in calls]
    for node in calls:
        layer = traced.get_submodule(node.target)
        if isinstance(layer, _DROPPED):
            node.replace_all_uses_with(node.all_input_nodes[0])
            traced.graph.erase_node(node)
        elif type(layer) in _NORMS:
            before = node.all_input_nodes[0]
            if _foldable(traced, before, layer) and uses.count(before.target) == 1:
                _into_weights(traced.get_submodule(before.target), layer)
                if pairs is not None:
                    pairs.append((str(before.target), str(node.target)))
                node.replace_all_uses_with(before)
                traced.graph.erase_node(node)
            else:
                _replace(traced, node.target, Affine(*affine_of(layer)))
        elif isinstance(layer, SwitchableBatchNorm):
            _replace(traced, node.target, AffineByOrder(Affine(*affine_of(norm)) for norm in layer.norms))
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced.eval().requires_grad_(False)


def _replace(traced: fx.GraphModule, target: str, layer: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(traced.get_submodule(parent), name, layer)


def _foldable(traced: fx.GraphModule, before: fx.Node, norm: nn.Module) -> bool:
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or before.op != "call_module" or len(before.users) != 1:
        return False
    return type(traced.get_submodule(before.target)) in (nn.Conv2d, nn.Linear)


@torch.no_grad()
def _into_weights(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    scale, shift = (value.double() for value in affine_of(norm))
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.float())
    layer.bias = nn.Parameter(bias.float())
