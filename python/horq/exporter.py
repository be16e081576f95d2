"""From a `torch.nn.Module` to a `.horq` file."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ._core import Builder, Error, __version__
from .fields import array, channels_last
from .folding import folded, trace
from .handlers import FUNCTIONS, MODULES
from .nn import HorqConv2d, HorqLinear


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

    A `SwitchableBatchNorm` goes by the order of the nearest binary layer before it that has as many orders, or else of
    the nearest behind, or else of any; a session whose layers all have one order cannot tell.

    The file computes what `horq.fold(module)` computes: eval mode, every binary layer at its highest order. Images lie
    NHWC in the engine, so weights are permuted on the way, also those of a dense layer after a flatten; users of the
    file feed [N, H, W, C]. After such a flatten the means of a `HorqLinear` in mode ``image`` or ``window`` are summed
    in another order than in PyTorch, so their last bit may differ.

    It can express Conv2d, Linear, HorqConv2d, HorqLinear, BinaryWeight, Codebook, Int8, PowerOfTwo, Inq, BatchNorm1d
    and 2d, SwitchableBatchNorm, Affine, AffineByOrder, Shift, ReLU, PReLU, RPReLU, MaxPool2d, AvgPool2d,
    AdaptiveAvgPool2d(1), Flatten, view and reshape to [N, -1], add, cat, softmax, Dropout and Identity.
    Raises `ExportError` for anything else, naming the node; then nothing is written. The file appears whole or not at
    all.
    """
    plain, traced = trace(module)
    if example.dim() not in (2, 4) or len(example) == 0:
        raise ExportError(f"example must be [N, C, H, W] or [N, features] with N >= 1, not {list(example.shape)}")
    if golden < 1:
        raise ExportError(f"golden must be at least 1 sample, not {golden}")
    example = example.detach().float().cpu()
    probe = example[: max(golden, 2)]
    if len(probe) == 1:  # one sample cannot tell the batch dimension from others
        probe = torch.cat([probe, probe])
    faithful = _is_faithful(plain, traced, probe)  # now, since folding changes the layers that the two share
    net = folded(traced)
    converter = Converter(net, probe)
    builder, output = converter.run()
    if not faithful:
        raise ExportError(
            "the module's trace by torch.fx answers otherwise than the module itself: it changes a value in place "
            "(such as x += y) that it reads again under another name, or it draws at random; write x = x + y"
        )
    builder.producer(f"horq {__version__} (PyTorch {torch.__version__})")
    for key, value in (notes or {}).items():
        builder.note(key, value)
    inputs = example[:golden]
    with torch.no_grad():
        answers = net(inputs)
    builder.golden(channels_last(inputs), channels_last(answers))
    builder.write(output, path)


def _is_faithful(plain: nn.Module, traced: fx.GraphModule, probe: Tensor) -> bool:
    """Whether a module and its trace give the same answers.

    The two are the same operations, so they agree bit for bit, unless a value is changed under a second name (`y = x;
    x += 1` changes y, but not in a trace) or by chance.
    """
    with torch.no_grad():
        try:
            expected, given = plain(probe.clone()), traced(probe.clone())
        except Exception as error:  # the user's module runs here
            raise ExportError(f"the module does not run on the example: {error}") from error
    return not isinstance(expected, Tensor) or torch.allclose(given, expected, rtol=0, atol=0, equal_nan=True)


@dataclass
class Value:
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


class Converter:
    """Walks a folded graph and adds its nodes to a builder."""

    def __init__(self, module: fx.GraphModule, probe: Tensor) -> None:
        self.module = module
        self.values: dict[fx.Node, Value] = {}
        self.node: fx.Node | None = None
        self.taken = {"input"}
        self.overwritten: dict[str, str] = {}
        """By the engine's name of a value that the torch graph changed in place: the node that did."""
        self.binary: dict[fx.Node, str] = {}
        """The engine's names of the binary layers, taken before all others: what goes by the order of one may precede
        it."""
        for node in module.graph.nodes:
            layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, HorqConv2d | HorqLinear):
                self.binary[node] = self._free(str(node.target), node.name)
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
                self.values[node] = Value("input", shape, flat=len(shape) == 1)
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
        value = self.read(result)
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
            handler = MODULES.get(type(layer))
            if handler is None:
                raise self.refuse(f"the format has no such layer; it has {_names(MODULES)}")
            if len(node.all_input_nodes) != 1:
                raise self.refuse(f"it reads {len(node.all_input_nodes)} values; call it with one")
            handler(self, layer, self.read(node.all_input_nodes[0]))
        elif node.op in ("call_function", "call_method"):
            function = FUNCTIONS.get(node.target)
            if function is None:
                known = sorted({key if isinstance(key, str) else key.__name__ for key in FUNCTIONS})
                raise self.refuse(f"the format has no such operation; it has {', '.join(known)}")
            try:
                inspect.signature(function).bind(self, *node.args, **node.kwargs)
            except TypeError as error:
                raise self.refuse(f"it is called in a way that is not known: {error}") from error
            function(self, *node.args, **node.kwargs)
        else:
            raise self.refuse("a parameter used outside a layer; put it into a layer, such as horq.nn.Affine")

    def read(self, argument: Any) -> Value:
        """The value of an argument of the present node."""
        if isinstance(argument, Value):
            return argument
        if not isinstance(argument, fx.Node) or argument not in self.values:
            raise self.refuse(f"it reads {argument!r}, which is no value computed from the input")
        value = self.values[argument]
        if value.name in self.overwritten:
            changer = self.overwritten[value.name]
            raise self.refuse(
                f"it reads `{argument.name}`, which `{changer}` changed in place; use the form that does not"
            )
        return value

    def overwrite(self, value: Value) -> None:
        """The present node changes `value` in place: nothing may read it any more, under whatever name."""
        assert self.node is not None
        self.overwritten[value.name] = self.node.name

    def add(self, inputs: list[Value], op: str, *, like: Value | None = None, part: str = "", **fields: Any) -> Value:
        """Adds a node for the present one; an elementwise node passes the value that it is `like`.

        A layer that becomes several nodes names its parts: ``layer.part``.
        """
        node = self.node
        assert node is not None
        part = part and f".{part}"
        called = str(node.target) if node.op == "call_module" else node.name
        name = self.binary.get(node) or self._free(called + part, node.name + part)
        self.builder.add(name, [value.name for value in inputs], op, **fields)
        flat = len(self.builder.shape(name)) == 1
        self.values[node] = Value(name, self.results[node][1:], flat, None if like is None else like.order)
        return self.values[node]

    def _free(self, name: str, other: str) -> str:
        """The first of two names that is not taken yet, or the other with something behind it; taken from now on."""
        name = name if name not in self.taken else other
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def layer_of_order(self, highest: int) -> str:
        """The binary layer by whose order the present node goes: of those of that highest order the nearest before it,
        or else the nearest behind, or else the first of all."""
        assert self.node is not None
        for neighbours in (lambda node: node.all_input_nodes, lambda node: node.users):
            near, seen = [self.node], {self.node}
            while near:
                near = [n for n in dict.fromkeys(other for node in near for other in neighbours(node)) if n not in seen]
                seen.update(near)
                for node in near:
                    if node in self.binary and self.module.get_submodule(str(node.target)).max_order == highest:
                        return self.binary[node]
        for node, name in self.binary.items():
            if self.module.get_submodule(str(node.target)).max_order == highest:
                return name
        raise self.refuse(
            f"it has a batch norm for each of {highest} orders, but no binary layer has that many; "
            "switch norms to the order of the binary layers"
        )

    def alias(self, value: Value) -> None:
        """The present node is `value` in another shape."""
        assert self.node is not None
        self.values[self.node] = Value(value.name, self.results[self.node][1:], value.flat, value.order)

    def vector(self, value: Value) -> None:
        """Refuses a value that the engine holds as an image."""
        if not value.flat or len(value.shape) != 1:
            raise self.refuse("it reads an image; flatten it first")

    def image(self, value: Value) -> None:
        """Refuses a value that the engine does not hold as an image."""
        if value.flat:
            raise self.refuse("it reads a vector; only images [N, C, H, W] that were not pooled to one pixel will do")


def _names(table: Mapping[type, Any]) -> str:
    return ", ".join(sorted({layer.__name__ for layer in table}))
