"""Layers of horq.nn inside foreign code: each stays whole as one operation, so that what is written is exact."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import nn as hn
from ...nn.layers import pair
from ...nn.norm import affine_of
from ..handlers import MODULES
from .emitter import Emitter, Ref, Refusal

KINDS = (
    *(hn.HorqConv2d, hn.HorqLinear, hn.BinaryWeight, hn.Codebook, hn.Inq, hn.Int8, hn.PowerOfTwo),
    *(hn.AffineByOrder, hn.SwitchableBatchNorm, hn.PReLU, hn.RPReLU, nn.LocalResponseNorm),
)
"""The layers that stay whole; the others of horq.nn are products and sums, which are captured as such. PyTorch writes a
response norm as a pool over five axes."""

_LAYERS: dict[int, nn.Module] = {}
"""The layers of the module that is being captured, by number."""


@torch.library.custom_op("horq::layer", mutates_args=())
def _layer(x: Tensor, number: int) -> Tensor:
    return _LAYERS[number](x).clone()


@_layer.register_fake
def _(x: Tensor, number: int) -> Tensor:
    layer = _LAYERS[number]
    layer = getattr(layer, "layer", layer)  # the convolution or dense layer inside one that codes its weights
    if isinstance(layer, nn.Conv2d | hn.HorqConv2d):
        weight = x.new_empty((layer.out_channels, layer.in_channels // layer.groups, *pair(layer.kernel_size)))
        return torch.nn.functional.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    if isinstance(layer, nn.Linear | hn.HorqLinear):
        return x.new_empty((*x.shape[:-1], layer.out_features))
    return torch.empty_like(x)


@contextmanager
def whole(module: nn.Module) -> Iterator[dict[int, nn.Module]]:
    """While this lasts, own layers inside `module` are one operation each, by the numbers that it gives."""
    found = [layer for layer in module.modules() if _stays_whole(layer)]
    inside = {part for layer in found for part in layer.modules() if part is not layer}
    layers = {number: layer for number, layer in enumerate(layer for layer in found if layer not in inside)}
    forwards = {}
    for number, layer in layers.items():
        forwards[number] = vars(layer).get("forward")
        if forwards[number] is None:
            _LAYERS[number] = _unhooked(layer)
            layer.forward = _called(number)  # type: ignore[assignment]
    try:
        yield layers
    finally:
        for number, layer in layers.items():
            if forwards[number] is None:
                del layer.forward
        _LAYERS.clear()


def _stays_whole(layer: nn.Module) -> bool:
    # Windows of an even size lie otherwise in PyTorch than in ONNX.
    return type(layer) in KINDS and not (isinstance(layer, nn.LocalResponseNorm) and layer.size % 2 == 0)


def _called(number: int) -> Callable[[Tensor], Tensor]:
    """The forward of a layer while it is captured; a function, since PyTorch looks into that of the module itself."""

    def forward(x: Tensor) -> Tensor:
        return torch.ops.horq.layer(x, number)

    return forward


def _unhooked(layer: nn.Module) -> nn.Module:
    """The layer itself without its hooks, which are captured around it."""
    plain = copy.copy(layer)
    plain.__dict__ = {**layer.__dict__}
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        plain.__dict__[hooks] = type(layer.__dict__[hooks])()
    return plain


class _Recorder:
    """What the handlers of the exact road talk to: nodes of the engine, put into the graph in the domain horq."""

    def __init__(self, e: Emitter, binary: dict[str, int]) -> None:
        self.e = e
        self.binary = binary

    def refuse(self, why: str) -> Refusal:
        return Refusal(why)

    def image(self, value: _Value) -> None:
        if value.flat:
            raise Refusal("it reads a vector; only images [N, C, H, W] will do")

    def vector(self, value: _Value) -> None:
        if not value.flat:
            raise Refusal("it reads an image; flatten it first")

    def layer_of_order(self, highest: int) -> str:
        for name, order in reversed(self.binary.items()):
            if order == highest:
                return name
        raise Refusal(
            f"it has a batch norm for each of {highest} orders, but no binary layer has that many; "
            "switch norms to the order of the binary layers"
        )

    def add(self, inputs: list[_Value], op: str, *, like: Any = None, part: str = "", **fields: Any) -> _Value:
        shape = self.e.result.shape
        if op == "add":  # of the bases of a weight
            return _Value(self.e.op("Add", *(value.ref for value in inputs), shape=shape))
        ref = self.e.op(op, *(value.ref for value in inputs), shape=shape, domain="horq", **_attributes(fields))
        return _Value(ref)


class _Value:
    """A value as the handlers of the exact road see it."""

    order = None

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self.flat = len(ref.shape) == 2
        self.shape = ref.shape[1:]

    def arranged(self, vector: Tensor) -> np.ndarray:
        return np.ascontiguousarray(vector.detach().numpy())


def _attributes(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as attributes of a node: lists of pairs of tensors become tensors by number."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            for i, parts in enumerate(value):
                found |= {f"{name}.{i}.{j}": part for j, part in enumerate(parts)}
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def emitted(e: Emitter, layer: nn.Module, x: Ref, binary: dict[str, int]) -> Ref:
    """The nodes of an own layer; `binary` has the orders of the binary layers by the names of their nodes."""
    if isinstance(layer, hn.PReLU):
        return _prelu(e, layer, x)
    if isinstance(layer, nn.LocalResponseNorm):
        fields = {"alpha": float(layer.alpha), "beta": float(layer.beta), "bias": float(layer.k)}
        return e.op("LRN", x, size=layer.size, **fields)
    recorder, value = _Recorder(e, binary), _Value(x)
    if isinstance(layer, hn.SwitchableBatchNorm):
        layer = hn.AffineByOrder(hn.Affine(*affine_of(norm)) for norm in layer.norms)
    last: list[_Value] = []
    add = recorder.add

    def remembered(*arguments: Any, **keywords: Any) -> _Value:
        last.append(add(*arguments, **keywords))
        return last[-1]

    recorder.add = remembered  # type: ignore[method-assign]
    MODULES[type(layer)](recorder, layer, value)  # type: ignore[arg-type]
    return last[-1].ref


def _prelu(e: Emitter, layer: hn.PReLU, x: Ref) -> Ref:
    """A PReLU is said as what it is, not as the choice between two values that its code takes."""
    slope, before, after = (
        vector.detach().view(-1, *[1] * (len(x.shape) - 2))
        for vector in (layer.weight, getattr(layer, "before", layer.weight), getattr(layer, "after", layer.weight))
    )
    if not isinstance(layer, hn.RPReLU):
        return e.op("PRelu", x, slope)
    return e.op("Add", e.op("PRelu", e.op("Add", x, before), slope), after)
