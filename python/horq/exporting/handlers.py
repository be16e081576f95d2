"""How each layer and function becomes nodes of the engine's graph."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import nn as hn
from ..nn.layers import pair
from . import fields as packing
from .converter import Converter, Value
from .fields import array, bias, window


def _conv2d(c: Converter, layer: nn.Conv2d, value: Value) -> None:
    c.image(value)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise c.refuse("only zero padding given as numbers is known; pad with numbers and padding_mode='zeros'")
    c.add([value], "conv2d", weight=packing.weights(layer.weight, None), **packing.shape(layer))


def _linear(c: Converter, layer: nn.Linear, value: Value) -> None:
    c.vector(value)
    c.add([value], "dense", weight=packing.weights(layer.weight, value.order), **packing.shape(layer))


def _quantizer(layer: hn.HorqConv2d | hn.HorqLinear) -> dict[str, Any]:
    fields: dict[str, Any] = {"order": layer.max_order, "mode": layer.scale_mode}
    if layer.scales is None:
        return fields
    # A file holds the b of each order where scales halve, also where all have one.
    return {**fields, "scales": array(layer.scales.expand(layer.max_order))}


def _horq_conv2d(c: Converter, layer: hn.HorqConv2d, value: Value) -> None:
    c.image(value)
    c.add(
        [value],
        "binary_conv2d",
        **window(layer.kernel_size, layer.stride, layer.padding, layer.dilation),
        filters=layer.out_channels,
        groups=layer.groups,
        pad_value=layer.padding_mode,
        bases=[(packing.weights(b, None), array(alpha)) for b, alpha in layer.weight_bases()],
        **_quantizer(layer),
        **bias(layer),
    )


def _horq_linear(c: Converter, layer: hn.HorqLinear, value: Value) -> None:
    c.vector(value)
    bases = [(packing.weights(b, value.order), array(alpha)) for b, alpha in layer.weight_bases()]
    c.add([value], "binary_dense", filters=layer.out_features, bases=bases, **_quantizer(layer), **bias(layer))


def _packed(c: Converter, layer: nn.Conv2d | nn.Linear, value: Value, op: str) -> tuple[str, dict[str, Any]]:
    """The operation of a layer inside BinaryWeight, Codebook or Int8, and its fields but the weights."""
    dense = isinstance(layer, nn.Linear)
    c.vector(value) if dense else c.image(value)
    return f"{op}_{'dense' if dense else 'conv2d'}", packing.shape(layer)


def _binary_weight(c: Converter, layer: hn.BinaryWeight, value: Value) -> None:
    op, fields = _packed(c, layer.layer, value, "binary_weight")
    total = None
    for b, alpha in layer.weight_bases():
        own = c.add([value], op, weight=packing.weights(b, value.order), alpha=array(alpha), **fields)
        fields.pop("bias", None)  # the first basis adds it
        total = own if total is None else c.add([total, own], "add", like=total)


def _powers(c: Converter, layer: hn.PowerOfTwo | hn.Inq, value: Value) -> None:
    try:
        codes = layer.codes()
    except ValueError as error:
        raise c.refuse(str(error)) from error
    _coded(c, layer.layer, value, codes, layer.codebook())


def _coded(c: Converter, layer: nn.Conv2d | nn.Linear, value: Value, codes: Tensor, codebook: Tensor) -> None:
    op, fields = _packed(c, layer, value, "codebook")
    c.add([value], op, codes=packing.weights(codes, value.order, np.uint8), codebook=array(codebook), **fields)


def _int8(c: Converter, layer: hn.Int8, value: Value) -> None:
    op, fields = _packed(c, layer.layer, value, "int8")
    weight = packing.weights(layer.layer.weight, value.order, np.int8)
    quantizer = {"input_scale": layer.scale.item(), "zero_point": layer.zero_point}
    c.add([value], op, weight=weight, alpha=array(layer.alpha), **quantizer, **fields)


def _affine(c: Converter, layer: hn.Affine, value: Value) -> None:
    c.add([value], "affine", like=value, scale=value.arranged(layer.scale), shift=value.arranged(layer.shift))


def _affine_by_order(c: Converter, layer: hn.AffineByOrder, value: Value) -> None:
    rows = [(value.arranged(row.scale), value.arranged(row.shift)) for row in layer.rows]
    c.add([value], "affine_by_order", like=value, order_of=c.layer_of_order(layer.max_order), rows=rows)


def _activation(op: str) -> Callable[..., None]:
    """The handler of an activation that has no parameters and may change its value in place."""

    def handler(c: Converter, value: Any, inplace: bool = False) -> None:
        value = c.read(value)
        c.add([value], op, like=value)
        if inplace:
            c.overwrite(value)

    return handler


_relu, _hard_swish = _activation("relu"), _activation("hard_swish")


def _prelu(c: Converter, layer: nn.PReLU, value: Value) -> None:
    c.add([value], "prelu", like=value, slope=value.arranged(layer.weight.expand(value.shape[0])))


def _shift(c: Converter, shift: Tensor, value: Value, part: str = "") -> Value:
    scale = array(torch.ones_like(shift))
    return c.add([value], "affine", like=value, part=part, scale=scale, shift=value.arranged(shift))


def _rprelu(c: Converter, layer: hn.RPReLU, value: Value) -> None:
    shifted = _shift(c, layer.before, value, "before")
    slope = value.arranged(layer.weight.expand(value.shape[0]))
    _shift(c, layer.after, c.add([shifted], "prelu", like=value, slope=slope), "after")


def _max_pool(
    c: Converter,
    value: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> None:
    value = c.read(value)
    c.image(value)
    if ceil_mode or return_indices:
        raise c.refuse("ceil_mode and return_indices are not known; leave them off")
    c.add([value], "max_pool", **window(kernel_size, stride, padding, dilation))


def _average_pool(
    c: Converter,
    value: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> None:
    value = c.read(value)
    c.image(value)
    if ceil_mode or divisor_override is not None:
        raise c.refuse("ceil_mode and divisor_override are not known; leave them off")
    if count_include_pad and max(pair(padding)) > 0:
        raise c.refuse("padded taps are left out of the mean; pass count_include_pad=False")
    c.add([value], "average_pool", **window(kernel_size, stride, padding, 1))


def _global_pool(c: Converter, value: Any, output_size: Any) -> None:
    value = c.read(value)
    if pair(output_size) != (1, 1):
        raise c.refuse("only an output size of 1 is known; use AvgPool2d with a kernel for others")
    _global_pool_of(c, value)


def _mean(c: Converter, value: Any, dim: Any = None, keepdim: bool = False) -> None:
    value = c.read(value)
    dims = sorted(d % 4 for d in dim) if isinstance(dim, tuple | list) else None
    if len(value.shape) != 3 or dims != [2, 3]:
        raise c.refuse("only the mean over rows and columns of an image, dim=(2, 3), is known")
    _global_pool_of(c, value)


def _global_pool_of(c: Converter, value: Value) -> None:
    c.image(value)
    c.add([value], "global_average_pool")


def _flatten(c: Converter, value: Any, *_sizes: Any, **_keywords: Any) -> None:
    """flatten, view and reshape: what counts is the shape that comes out."""
    assert c.node is not None
    value, shape = c.read(value), c.shapes[c.node][1:]
    one_pixel = value.flat and shape == value.shape[:1]
    if shape == value.shape or one_pixel:
        c.alias(value)
    elif not value.flat and len(shape) == 1:
        channels, height, width = value.shape
        added = c.add([value], "flatten")
        added.memory, added.version = value.memory, value.version  # a view
        if channels > 1 and height * width > 1:
            order = torch.arange(shape[0]).view(channels, height, width).permute(1, 2, 0).flatten()
            added.order = order
    else:
        raise c.refuse(f"it makes {list(shape)} of {list(value.shape)} (batch left out); only [N, -1] is known")


def _same(c: Converter, value: Any, *_arguments: Any, **_keywords: Any) -> None:
    """An operation that changes nothing in eval mode."""
    c.alias(c.read(value))


def _dropout(c: Converter, value: Any, p: Any = 0.5, training: Any = True, inplace: Any = False) -> None:
    if training is not False:
        raise c.refuse("it drops values in eval mode, too; pass training=self.training, or use torch.nn.Dropout")
    c.alias(c.read(value))


def _add(c: Converter, first: Any, second: Any, *, alpha: Any = 1) -> None:
    first, second = c.read(first), c.read(second)
    if alpha != 1 or first.shape != second.shape or first.flat != second.flat:
        raise c.refuse("only the plain sum of two values of one shape is known")
    if not _agree(first.order, second.order):
        raise c.refuse(
            "its operands are vectors of different order, one flattened from an image; add before flattening"
        )
    c.add([first, second], "add", like=first)


def _add_in_place(c: Converter, first: Any, second: Any, *, alpha: Any = 1) -> None:
    _add(c, first, second, alpha=alpha)
    c.overwrite(c.read(first))


def _agree(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _concat(c: Converter, values: Any, dim: int = 0) -> None:
    values = [c.read(value) for value in values]
    if any(len(value.shape) != len(values[0].shape) or value.flat != values[0].flat for value in values):
        raise c.refuse("its operands are images and vectors; flatten all or none")
    if dim % (1 + len(values[0].shape)) != 1:
        raise c.refuse(f"only channels can be joined, dim=1, not dim={dim}")
    added = c.add(values, "concat")
    if any(value.order is not None for value in values):
        sizes = [value.shape[0] for value in values]
        starts = np.cumsum([0, *sizes])
        orders = [
            torch.arange(n) if value.order is None else value.order for value, n in zip(values, sizes, strict=True)
        ]
        added.order = torch.cat([order + int(start) for order, start in zip(orders, starts[:-1], strict=True)])


def _softmax(c: Converter, value: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> None:
    value = c.read(value)
    if dim is None or dim % (1 + len(value.shape)) != 1:
        raise c.refuse(f"softmax runs over channels, dim=1, not dim={dim}")
    c.add([value], "softmax", like=value)


def _with(handler: Callable[..., None], *settings: str) -> Callable[[Converter, Any, Value], None]:
    """The handler of a layer that is a function of its settings."""
    return lambda c, layer, value: handler(c, value, *(getattr(layer, name) for name in settings))


_WINDOW = ("kernel_size", "stride", "padding")
_POOLS = (nn.MaxPool2d, hn.MaxPool2d)
MODULES: dict[type, Callable[[Converter, Any, Value], None]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: _linear,
    hn.HorqConv2d: _horq_conv2d,
    hn.HorqLinear: _horq_linear,
    hn.BinaryWeight: _binary_weight,
    hn.Codebook: lambda c, layer, value: _coded(c, layer.layer, value, layer.codes, layer.codebook),
    **dict.fromkeys((hn.PowerOfTwo, hn.Inq), _powers),
    hn.Int8: _int8,
    hn.Affine: _affine,
    hn.AffineByOrder: _affine_by_order,
    nn.ReLU: _with(_relu, "inplace"),
    nn.Hardswish: _with(_hard_swish, "inplace"),
    **dict.fromkeys((nn.PReLU, hn.PReLU), _prelu),
    hn.RPReLU: _rprelu,
    hn.Shift: lambda c, layer, value: _shift(c, layer.shift, value),
    **dict.fromkeys(
        (nn.MaxPool2d, hn.MaxPool2d), _with(_max_pool, *_WINDOW, "dilation", "ceil_mode", "return_indices")
    ),
    nn.AvgPool2d: _with(_average_pool, *_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: _with(_global_pool, "output_size"),
    nn.Flatten: _with(_flatten),
    nn.Softmax: _with(_softmax, "dim"),
}
FUNCTIONS: dict[Any, Callable[..., None]] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), _relu),
    F.hardswish: _hard_swish,
    **dict.fromkeys((operator.add, torch.add, "add"), _add),
    "add_": _add_in_place,
    **dict.fromkeys((torch.cat, torch.concat), _concat),
    **dict.fromkeys((torch.flatten, "flatten", "view", "reshape", torch.reshape), _flatten),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _max_pool),
    F.avg_pool2d: _average_pool,
    F.adaptive_avg_pool2d: _global_pool,
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), _softmax),
    F.dropout: _dropout,
    "contiguous": _same,
}
