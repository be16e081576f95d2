"""What a `.horq` file holds, back in the PyTorch module that it was exported from."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import nn as hn
from ._core import Error, Model
from .errors import ExportError
from .exporting.converter import Converter, Value
from .exporting.folding import folded, is_leaf, trace
from .exporting.walk import walked
from .nn.inq import inq_layers
from .nn.subjects import check_module, unready

MAGNITUDE = 0.1
"""The magnitude of real-valued weights behind binary ones without a scale, of which a file holds the signs alone."""
_TENSORS = {"weight", "codes", "codebook", "bias", "alpha", "scale", "shift", "slope", "scales"}
"""The fields of a node that name tensors (docs/format.md, section 4)."""


class RestoreError(Error):
    """Why a file cannot be restored into a module, and what to do."""


@torch.no_grad()
def restore(module: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Puts the parameters of the file at `path` into `module`, whose structure it was exported from, and returns it.

    Exporting the module again gives the same tensors, which is checked, so training, or converting, can go on from a
    model whose own checkpoint is gone. A file does not hold all that a checkpoint does:

    - of binary weights it has signs and scales, so every real-valued weight comes back as +alpha or -alpha of its
      filter (+0.1 or -0.1 where weights have no scale, as BNN's), and those of power-of-two and INQ layers as the
      values of their codebook;
    - batch norms come back as the affine map that they are in eval mode: mean 0, variance 1. Before training goes on
      they need the statistics of what they read (`horq.nn.take_statistics_`), because training mode divides by those.

    Known are the layers that `horq.export` knows, but for `Codebook` and `Int8`, which are made from trained ones,
    layers with several weight bases, and batch norms without gains. `module` must hold what the file does: f32 or
    wider, and no parameters that several layers share where the file has them apart.

    Raises `RestoreError` if the file's graph is not what the module exports, naming the first node that differs, and
    `horq.Error` for a damaged file or a module that cannot be traced; the module is then as it was.
    """
    check_module(module, "module")
    if reason := unready(module):
        raise ExportError(f"cannot restore into {reason}")
    model = Model(path)
    model.verify_digest()
    pairing = _Pairing(module, model)
    target = copy.deepcopy(module)
    for step in pairing.steps(target):
        _RESTORERS[type(step.layer)](step)
    pairing.check(target)
    module.load_state_dict(target.state_dict())
    return module


@dataclass
class _Step:
    """A layer of the module and what the file has of it."""

    layer: nn.Module
    node: Mapping[str, Any]
    """The last node that the layer became."""
    read: Value
    """The value that the layer reads."""
    made: Value
    """The value that the layer makes."""
    norms: list[nn.Module]
    """The batch norms that were folded into it, in this order."""
    pairing: _Pairing

    def tensor(self, field: str) -> Tensor:
        return self.pairing.tensor(self.node[field])

    def before(self) -> _Step:
        """The step of the node before, where a layer became several nodes."""
        return _Step(self.layer, self.pairing.nodes[self.node["inputs"][0]], self.read, self.made, [], self.pairing)

    def arrange(self, parameter: Tensor, values: Tensor) -> None:
        """Sets a parameter of one value a channel, or of one for all."""
        if parameter.numel() == 1 and len(values) > 1:
            if bool((values != values[0]).any()):
                raise self.refuse("the module has one slope for all channels, the file one for each")
            values = values[:1]
        elif self.made.order is not None:
            values = torch.empty_like(values).index_copy_(0, self.made.order, values)
        parameter.copy_(values.view_as(parameter))

    def weight(self, values: Tensor) -> Tensor:
        """Weights [filters, rows, columns, channels] as the layer's own lie."""
        if not isinstance(_inner(self.layer), nn.Linear | hn.HorqLinear):
            return values.permute(0, 3, 1, 2)
        flat = values.flatten(1)
        return flat if self.read.order is None else torch.empty_like(flat).index_copy_(1, self.read.order, flat)

    def refuse(self, why: str) -> RestoreError:
        return RestoreError(f"cannot restore node `{self.node['name']}`: {why}")


def _names(node: Mapping[str, Any]) -> list[str]:
    """The tensors that a node names."""
    own = [value for key, value in node.items() if key in _TENSORS and value is not None]
    return own + [name for part in [*node.get("bases", []), *node.get("rows", [])] for name in _names(part)]


def _harmless(module: nn.Module) -> nn.Module:
    """A copy that can be exported whatever the module holds: its graph does not depend on values."""
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.fill_(0.5)
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            layer.reset_running_stats()
    for layer in inq_layers(module):
        layer.frozen.fill_(False)
        layer.freeze(1.0)
    return module


class _Pairing:
    """The layers of a module beside the nodes that it exports, which must be those of a file."""

    def __init__(self, module: nn.Module, model: Model) -> None:
        self.model = model
        self.nodes: dict[str, Any] = {node["name"]: node for node in model.graph["nodes"]}
        self.whole = is_leaf(module)
        self.folded: list[tuple[str, str]] = []
        """Layers and the batch norms that went into them."""
        self.converter, exported = self._exported(_harmless(module), self.folded)
        self._compare(exported.graph)

    def _exported(self, module: nn.Module, pairs: list[tuple[str, str]]) -> tuple[Converter, Model]:
        """What the module exports, for inputs of the file's shape."""
        traced = trace(module)
        *size, channels = self.model.input_shape
        try:
            converter, output = walked(folded(traced, pairs), torch.zeros(2, channels, *size))
        except ExportError as error:
            shape = " x ".join(map(str, self.model.input_shape))
            raise RestoreError(f"the file, which reads {shape}, is not of this module: {error}") from error
        return converter, Model.from_bytes(converter.builder.to_bytes(output))

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, in plain order."""
        return torch.from_numpy(self.model.tensor(name))

    def _calls(self) -> list[fx.Node]:
        return [node for node in self.converter.module.graph.nodes if node.op == "call_module"]

    def _compare(self, ours: Mapping[str, Any]) -> None:
        """Raises `RestoreError` unless the file's graph is the one that the module exports."""
        theirs = self.model.graph
        for own, found in zip(ours["nodes"], theirs["nodes"], strict=False):
            if own != found:
                fields = [key for key in {**own, **found} if own.get(key) != found.get(key)]
                raise RestoreError(
                    f"the file is not of this module: node `{found['name']}` ({found['op']}) differs from the module's "
                    f"`{own['name']}` ({own['op']}) in {', '.join(fields)}"
                )
        if ours != theirs:
            counts = len(theirs["nodes"]), len(ours["nodes"])
            raise RestoreError(
                f"the file is not of this module: it has {counts[0]} nodes and the output `{theirs['output']}`, the "
                f"module's {counts[1]} and `{ours['output']}`"
            )

    def check(self, module: nn.Module) -> None:
        """Raises `RestoreError` unless `module` exports the file's tensors, bit for bit."""
        exported = self._exported(module, [])[1]
        for node in self.model.graph["nodes"]:
            for name in _names(node):
                if not np.array_equal(exported.tensor(name), self.model.tensor(name)):
                    raise RestoreError(
                        f"node `{node['name']}` ({node['op']}) would be exported with another {name} than the file's: "
                        "the module cannot hold those values; build it in float32, without parameters or batch norms "
                        "that several layers share"
                    )

    def steps(self, module: nn.Module) -> list[_Step]:
        """Every layer of `module` that has parameters, in the order of the graph."""

        def found(target: str) -> nn.Module:
            return module if self.whole else module.get_submodule(target)

        steps = []
        for call in self._calls():
            target = str(call.target)
            layer, made = found(target), self.converter.values[call]
            if type(layer) not in _RESTORERS:
                if any(True for _ in layer.state_dict()):
                    known = ", ".join(sorted({kind.__name__ for kind in _RESTORERS}))
                    raise RestoreError(f"cannot restore `{target}` ({type(layer).__name__}); known are {known}")
                continue
            read = self.converter.values[call.all_input_nodes[0]]
            norms = [found(norm) for into, norm in self.folded if into == target]
            steps.append(_Step(layer, self.nodes[made.name], read, made, norms, self))
        return steps


def _inner(layer: nn.Module) -> nn.Module:
    """The layer with the weights."""
    return layer.layer if isinstance(layer, hn.BinaryWeight | hn.PowerOfTwo | hn.Inq) else layer


def _bias(step: _Step, layer: nn.Module) -> None:
    if layer.bias is not None:
        layer.bias.copy_(step.tensor("bias"))


def _float(step: _Step) -> None:
    layer = step.layer
    layer.weight.copy_(step.weight(step.tensor("weight")))
    if not step.norms:
        _bias(step, layer)
        return
    if layer.bias is not None:
        layer.bias.zero_()
    shift = step.tensor("bias")
    for norm in step.norms:
        _set_norm(step, norm, torch.ones_like(shift), shift if norm is step.norms[-1] else torch.zeros_like(shift))


def _scaled_signs(step: _Step, signs: Tensor, alpha: Tensor) -> Tensor:
    return step.weight(signs * alpha.view(-1, 1, 1, 1))


def _horq(step: _Step) -> None:
    layer = step.layer
    if layer.bases > 1:
        raise step.refuse("it has several weight bases, which no real-valued weights can be told from")
    basis = step.node["bases"][0]
    alpha = step.pairing.tensor(basis["alpha"])
    if layer.weight_scale == "none":
        alpha = torch.full_like(alpha, MAGNITUDE)
    layer.weight.copy_(_scaled_signs(step, step.pairing.tensor(basis["weight"]), alpha))
    if layer.scales is not None:
        scales = step.tensor("scales")
        if len(layer.scales) < len(scales) and bool((scales != scales[0]).any()):
            raise step.refuse(
                "the module has one b for all orders, the file one for each; build it with own_scales=True"
            )
        layer.scales.copy_(scales[: len(layer.scales)])
    _bias(step, layer)


def _binary_weight(step: _Step) -> None:
    if step.layer.bases > 1:
        raise step.refuse("it has several weight bases, which no real-valued weights can be told from")
    step.layer.layer.weight.copy_(_scaled_signs(step, step.tensor("weight"), step.tensor("alpha")))
    _bias(step, step.layer.layer)


def _coded(step: _Step) -> None:
    layer, codebook = step.layer, step.tensor("codebook")
    values = step.weight(codebook[step.tensor("codes").long()])
    layer.layer.weight.copy_(values)
    if layer.top is not None:
        layer.top.copy_(codebook.max().log2().round())
    if isinstance(layer, hn.Inq):
        layer.fixed.copy_(values)
        layer.frozen.fill_(True)
    _bias(step, layer.layer)


def _affine(step: _Step) -> None:
    step.arrange(step.layer.scale, step.tensor("scale"))
    step.arrange(step.layer.shift, step.tensor("shift"))


def _affines(step: _Step) -> None:
    for layer, row in zip(step.layer.rows, step.node["rows"], strict=True):
        step.arrange(layer.scale, step.pairing.tensor(row["scale"]))
        step.arrange(layer.shift, step.pairing.tensor(row["shift"]))


def _set_norm(step: _Step, norm: nn.Module, scale: Tensor, shift: Tensor) -> None:
    if norm.weight is None:
        raise step.refuse("its batch norm has no gain and offset; build it with affine=True")
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    step.arrange(norm.weight, scale)
    step.arrange(norm.bias, shift)


def _norm(step: _Step) -> None:
    _set_norm(step, step.layer, step.tensor("scale"), step.tensor("shift"))


def _norms(step: _Step) -> None:
    for norm, row in zip(step.layer.norms, step.node["rows"], strict=True):
        _set_norm(step, norm, step.pairing.tensor(row["scale"]), step.pairing.tensor(row["shift"]))


def _prelu(step: _Step) -> None:
    step.arrange(step.layer.weight, step.tensor("slope"))


def _rprelu(step: _Step) -> None:
    step.arrange(step.layer.after, step.tensor("shift"))
    slope = step.before()
    slope.arrange(step.layer.weight, slope.tensor("slope"))
    first = slope.before()
    first.arrange(step.layer.before, first.tensor("shift"))


_RESTORERS: dict[type, Callable[[_Step], None]] = {
    nn.Conv2d: _float,
    nn.Linear: _float,
    hn.HorqConv2d: _horq,
    hn.HorqLinear: _horq,
    hn.BinaryWeight: _binary_weight,
    hn.PowerOfTwo: _coded,
    hn.Inq: _coded,
    hn.Affine: _affine,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, hn.BatchNorm1d, hn.BatchNorm2d), _norm),
    hn.SwitchableBatchNorm: _norms,
    hn.AffineByOrder: _affines,
    nn.PReLU: _prelu,
    hn.PReLU: _prelu,
    hn.RPReLU: _rprelu,
    hn.Shift: lambda step: step.arrange(step.layer.shift, step.tensor("shift")),
}
