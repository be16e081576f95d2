"""From a `torch.nn.Module` to a `.horq` file."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from . import fields as packing
from ._core import Builder, Error, __version__
from .fields import array, bias, channels_last, window
from .folding import fold
from .nn import Affine, BinaryWeight, Codebook, HorqConv2d, HorqLinear, Int8
from .nn.layers import pair


class ExportError(Error):
    """A module that a `.horq` file cannot express: which node, why, and what to do."""


def export(
    module: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    *,
    notes: Mapping[str, str] | None = None,
    golden: int = 4,
) -> None:
    """Writes `module` to `path` as a `.horq` file that the engine runs.

    Arguments:
        example: an input with the batch first: [N, C, H, W] or [N, features].
        notes: what the file should say about itself: accuracy, licence, input preparation.
        golden: how many samples of `example` to store with their answers for a self-test.

    The file computes what `horq.fold(module)` computes: eval mode, every binary layer at its highest order. Images lie
    NHWC in the engine, so weights are permuted on the way, also those of a dense layer after a flatten; users of the
    file feed [N, H, W, C]. After such a flatten the means of a `HorqLinear` in mode ``image`` or ``window`` are summed
    in another order than in PyTorch, so their last bit may differ.

    It can express Conv2d, Linear, HorqConv2d, HorqLinear, BinaryWeight, Codebook, Int8, BatchNorm1d and 2d, Affine,
    ReLU, PReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, view and reshape to [N, -1], add, cat, softmax,
    Dropout and Identity.
    Raises `ExportError` for anything else, naming the node; then nothing is written. The file appears whole or not at
    all.
    """
    folded = fold(module)
    if example.dim() not in (2, 4) or len(example) == 0:
        raise ExportError(f"example must be [N, C, H, W] or [N, features] with N >= 1, not {list(example.shape)}")
    if golden < 1:
        raise ExportError(f"golden must be at least 1 sample, not {golden}")
    example = example.detach().float().cpu()
    probe = example[: max(golden, 2)]
    if len(probe) == 1:  # one sample cannot tell the batch dimension from others
        probe = torch.cat([probe, probe])
    converter = _Converter(folded, probe)
    builder, output = converter.run()
    builder.producer(f"horq {__version__} (PyTorch {torch.__version__})")
    for key, value in (notes or {}).items():
        builder.note(key, value)
    inputs = example[:golden]
    with torch.no_grad():
        answers = folded(inputs)
    builder.golden(channels_last(inputs), channels_last(answers))
    builder.write(output, path)


@dataclass
class _Value:
    """A value of the torch graph in the engine's graph."""

    name: str
    shape: tuple[int, ...]
    """In PyTorch, batch left out."""
    flat: bool
    """Whether the engine holds it as a vector."""
    order: Tensor | None = None
    """Of a vector: element i of the engine's is element order[i] of PyTorch's; None if they agree."""

    def arranged(self, vector: Tensor) -> np.ndarray:
        """A per-channel or per-feature vector in the engine's order."""
        return array(vector if self.order is None else vector[self.order])


class _Shapes(fx.Interpreter):
    """Runs the graph and keeps each node's result: a shape for a tensor, else the result."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.results[n] = tuple(result.shape) if isinstance(result, Tensor) else result
        return result


class _Converter:
    """Walks a folded graph and adds its nodes to a builder."""

    def __init__(self, module: fx.GraphModule, probe: Tensor) -> None:
        self.module = module
        self.values: dict[fx.Node, _Value] = {}
        self.node: fx.Node | None = None
        shapes = _Shapes(module)
        try:
            with torch.no_grad():
                shapes.run(probe)
        except Exception as error:  # the user's module runs here
            raise ExportError(f"the module does not run on the example: {error}") from error
        self.results = shapes.results
        self.batch = len(probe)
        channels, *size = probe.shape[1:]
        self.builder = Builder("input", [*size, channels])

    def run(self) -> tuple[Builder, str]:
        """The builder with all nodes, and the name of the output."""
        placeholders = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        if len(placeholders) != 1:
            raise ExportError(f"the module takes {len(placeholders)} inputs; a .horq file has one")
        for node in self.module.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                shape = self.results[node][1:]
                self.values[node] = _Value("input", shape, flat=len(shape) == 1)
            elif node.op == "output":
                return self.builder, self._output(node.args[0])
            elif isinstance(self.results[node], tuple) and self._is_tensor(node):
                self._convert(node)
        raise ExportError("the module has no output")

    def _is_tensor(self, node: fx.Node) -> bool:
        """Whether a result that is a tuple is a tensor's shape, and no size() or shape of the traced code."""
        return not (node.op == "call_method" and node.target == "size") and not (
            node.op == "call_function" and node.target in (getattr, operator.getitem)
        )

    def _output(self, result: Any) -> str:
        if not isinstance(result, fx.Node) or result not in self.values:
            raise ExportError("the module must return one tensor; return only the one that is the answer")
        value = self.values[result]
        if value.name == "input":
            raise ExportError("the module returns its input; a .horq file needs at least one layer")
        if value.order is not None:
            raise ExportError(
                "the module returns a flattened image, whose order in the engine (rows, columns, channels) is not "
                "PyTorch's; end with a dense layer, or return the image"
            )
        return value.name

    def refuse(self, why: str) -> ExportError:
        """An error about the present node."""
        node = self.node
        assert node is not None
        what = f"`{node.name}`"
        if node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            what = f"`{node.target}` ({type(layer).__module__}.{type(layer).__qualname__})"
        elif node.op in ("call_function", "call_method"):
            what += f" ({getattr(node.target, '__name__', node.target)})"
        return ExportError(f"cannot export node {what}: {why}")

    def _convert(self, node: fx.Node) -> None:
        shape = self.results[node]
        if len(shape) not in (2, 4) or shape[0] != self.batch:
            raise self.refuse(
                f"its value has the shape {list(shape)} for a batch of {self.batch}; "
                "keep the batch first and values [N, C, H, W] or [N, features]"
            )
        if node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            handler = _MODULES.get(type(layer))
            if handler is None:
                raise self.refuse(f"the format has no such layer; it has {_names(_MODULES)}")
            if len(node.all_input_nodes) != 1:
                raise self.refuse(f"it reads {len(node.all_input_nodes)} values; call it with one")
            handler(self, layer, self.read(node.all_input_nodes[0]))
        elif node.op in ("call_function", "call_method"):
            function = _FUNCTIONS.get(node.target)
            if function is None:
                known = sorted({key if isinstance(key, str) else key.__name__ for key in _FUNCTIONS})
                raise self.refuse(f"the format has no such operation; it has {', '.join(known)}")
            try:
                inspect.signature(function).bind(self, *node.args, **node.kwargs)
            except TypeError as error:
                raise self.refuse(f"it is called in a way that is not known: {error}") from error
            function(self, *node.args, **node.kwargs)
        else:
            raise self.refuse("a parameter used outside a layer; put it into a layer, such as horq.nn.Affine")

    def read(self, argument: Any) -> _Value:
        """The value of an argument of the present node."""
        if isinstance(argument, _Value):
            return argument
        if not isinstance(argument, fx.Node) or argument not in self.values:
            raise self.refuse(f"it reads {argument!r}, which is no value computed from the input")
        return self.values[argument]

    def add(self, inputs: list[_Value], op: str, *, like: _Value | None = None, **fields: Any) -> _Value:
        """Adds a node for the present one; an elementwise node passes the value that it is `like`."""
        node = self.node
        assert node is not None
        taken = {value.name for value in self.values.values()}
        name = str(node.target) if node.op == "call_module" else node.name
        name = name if name not in taken else node.name
        while name in taken:
            name += "_"
        self.builder.add(name, [value.name for value in inputs], op, **fields)
        flat = len(self.builder.shape(name)) == 1
        self.values[node] = _Value(name, self.results[node][1:], flat, None if like is None else like.order)
        return self.values[node]

    def alias(self, value: _Value) -> None:
        """The present node is `value` in another shape."""
        assert self.node is not None
        self.values[self.node] = _Value(value.name, self.results[self.node][1:], value.flat, value.order)

    def image(self, value: _Value) -> None:
        """Refuses a value that the engine does not hold as an image."""
        if value.flat:
            raise self.refuse("it reads a vector; only images [N, C, H, W] that were not pooled to one pixel will do")


def _names(table: Mapping[type, Any]) -> str:
    return ", ".join(sorted({layer.__name__ for layer in table}))


def _conv2d(c: _Converter, layer: nn.Conv2d, value: _Value) -> None:
    c.image(value)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise c.refuse("only zero padding given as numbers is known; pad with numbers and padding_mode='zeros'")
    c.add([value], "conv2d", weight=packing.weights(layer.weight, None), **packing.shape(layer))


def _columns(c: _Converter, layer: nn.Linear | HorqLinear, value: _Value) -> Tensor:
    if not value.flat or len(value.shape) != 1:
        raise c.refuse("it reads an image; flatten it first")
    return layer.weight if value.order is None else layer.weight[:, value.order]


def _linear(c: _Converter, layer: nn.Linear, value: _Value) -> None:
    weight = array(_columns(c, layer, value))
    c.add([value], "dense", filters=layer.out_features, weight=weight, **bias(layer))


def _quantizer(layer: HorqConv2d | HorqLinear) -> dict[str, Any]:
    fields: dict[str, Any] = {"order": layer.max_order, "mode": layer.scale_mode}
    return fields if layer.scales is None else {**fields, "scales": array(layer.scales)}


def _horq_conv2d(c: _Converter, layer: HorqConv2d, value: _Value) -> None:
    c.image(value)
    c.add(
        [value],
        "binary_conv2d",
        **window(layer.kernel_size, layer.stride, layer.padding, layer.dilation),
        filters=layer.out_channels,
        groups=layer.groups,
        pad_value=layer.padding_mode,
        bases=[(array(layer.weight.permute(0, 2, 3, 1)), array(layer.alpha()))],
        **_quantizer(layer),
        **bias(layer),
    )


def _horq_linear(c: _Converter, layer: HorqLinear, value: _Value) -> None:
    bases = [(array(_columns(c, layer, value)), array(layer.alpha()))]
    c.add([value], "binary_dense", filters=layer.out_features, bases=bases, **_quantizer(layer), **bias(layer))


def _packed(c: _Converter, layer: nn.Conv2d | nn.Linear, value: _Value, op: str) -> tuple[str, dict[str, Any]]:
    """The operation of a layer inside BinaryWeight, Codebook or Int8, and its fields but the weights."""
    dense = isinstance(layer, nn.Linear)
    _columns(c, layer, value) if dense else c.image(value)
    return f"{op}_{'dense' if dense else 'conv2d'}", packing.shape(layer)


def _binary_weight(c: _Converter, layer: BinaryWeight, value: _Value) -> None:
    op, fields = _packed(c, layer.layer, value, "binary_weight")
    weight = packing.weights(layer.layer.weight, value.order)
    c.add([value], op, weight=weight, alpha=array(layer.alpha()), **fields)


def _codebook(c: _Converter, layer: Codebook, value: _Value) -> None:
    op, fields = _packed(c, layer.layer, value, "codebook")
    codes = packing.weights(layer.codes, value.order, np.uint8)
    c.add([value], op, codes=codes, codebook=array(layer.codebook), **fields)


def _int8(c: _Converter, layer: Int8, value: _Value) -> None:
    op, fields = _packed(c, layer.layer, value, "int8")
    weight = packing.weights(layer.layer.weight, value.order, np.int8)
    quantizer = {"input_scale": layer.scale.item(), "zero_point": layer.zero_point}
    c.add([value], op, weight=weight, alpha=array(layer.alpha), **quantizer, **fields)


def _affine(c: _Converter, layer: Affine, value: _Value) -> None:
    c.add([value], "affine", like=value, scale=value.arranged(layer.scale), shift=value.arranged(layer.shift))


def _relu(c: _Converter, value: Any, inplace: bool = False) -> None:
    value = c.read(value)
    c.add([value], "relu", like=value)


def _prelu(c: _Converter, layer: nn.PReLU, value: _Value) -> None:
    c.add([value], "prelu", like=value, slope=value.arranged(layer.weight.expand(value.shape[0])))


def _max_pool(
    c: _Converter,
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
    c: _Converter,
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


def _global_pool(c: _Converter, value: Any, output_size: Any) -> None:
    value = c.read(value)
    if pair(output_size) != (1, 1):
        raise c.refuse("only an output size of 1 is known; use AvgPool2d with a kernel for others")
    _global_pool_of(c, value)


def _mean(c: _Converter, value: Any, dim: Any = None, keepdim: bool = False) -> None:
    value = c.read(value)
    dims = sorted(d % 4 for d in dim) if isinstance(dim, tuple | list) else None
    if len(value.shape) != 3 or dims != [2, 3]:
        raise c.refuse("only the mean over rows and columns of an image, dim=(2, 3), is known")
    _global_pool_of(c, value)


def _global_pool_of(c: _Converter, value: _Value) -> None:
    c.image(value)
    c.add([value], "global_average_pool")


def _flatten(c: _Converter, value: Any, *_sizes: Any, **_keywords: Any) -> None:
    """flatten, view and reshape: what counts is the shape that comes out."""
    assert c.node is not None
    value, shape = c.read(value), c.results[c.node][1:]
    one_pixel = value.flat and shape == value.shape[:1]
    if shape == value.shape or one_pixel:
        c.alias(value)
    elif not value.flat and len(shape) == 1:
        channels, height, width = value.shape
        added = c.add([value], "flatten")
        if channels > 1 and height * width > 1:
            order = torch.arange(shape[0]).view(channels, height, width).permute(1, 2, 0).flatten()
            added.order = order
    else:
        raise c.refuse(f"it makes {list(shape)} of {list(value.shape)} (batch left out); only [N, -1] is known")


def _same(c: _Converter, value: Any, *_arguments: Any, **_keywords: Any) -> None:
    """What changes nothing in eval mode."""
    c.alias(c.read(value))


def _add(c: _Converter, first: Any, second: Any, *, alpha: Any = 1) -> None:
    first, second = c.read(first), c.read(second)
    if alpha != 1 or first.shape != second.shape or first.flat != second.flat:
        raise c.refuse("only the plain sum of two values of one shape is known")
    if not _agree(first.order, second.order):
        raise c.refuse(
            "its operands are vectors of different order, one flattened from an image; add before flattening"
        )
    c.add([first, second], "add", like=first)


def _agree(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _concat(c: _Converter, values: Any, dim: int = 0, **_keywords: Any) -> None:
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


def _softmax(c: _Converter, value: Any, dim: int | None = None, **_keywords: Any) -> None:
    value = c.read(value)
    if dim is None or dim % (1 + len(value.shape)) != 1:
        raise c.refuse(f"softmax runs over channels, dim=1, not dim={dim}")
    c.add([value], "softmax", like=value)


_MODULES: dict[type, Callable[[_Converter, Any, _Value], None]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: _linear,
    HorqConv2d: _horq_conv2d,
    HorqLinear: _horq_linear,
    BinaryWeight: _binary_weight,
    Codebook: _codebook,
    Int8: _int8,
    Affine: _affine,
    nn.ReLU: lambda c, layer, value: _relu(c, value),
    nn.PReLU: _prelu,
    nn.MaxPool2d: lambda c, layer, value: _max_pool(
        c,
        value,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.ceil_mode,
        layer.return_indices,
    ),
    nn.AvgPool2d: lambda c, layer, value: _average_pool(
        c,
        value,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.ceil_mode,
        layer.count_include_pad,
        layer.divisor_override,
    ),
    nn.AdaptiveAvgPool2d: lambda c, layer, value: _global_pool(c, value, layer.output_size),
    nn.Flatten: lambda c, layer, value: _flatten(c, value),
    nn.Softmax: lambda c, layer, value: _softmax(c, value, layer.dim),
}

_FUNCTIONS: dict[Any, Callable[..., None]] = {
    F.relu: _relu,
    torch.relu: _relu,
    "relu": _relu,
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    "add_": _add,
    torch.cat: _concat,
    torch.concat: _concat,
    torch.flatten: _flatten,
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    torch.reshape: _flatten,
    F.max_pool2d: _max_pool,
    torch.max_pool2d: _max_pool,
    F.avg_pool2d: _average_pool,
    F.adaptive_avg_pool2d: _global_pool,
    torch.mean: _mean,
    "mean": _mean,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    "softmax": _softmax,
    F.dropout: _same,
    "contiguous": _same,
}
