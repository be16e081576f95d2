"""From a `torch.nn.Module` to a `.horq` file."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ._core import Builder, Error, Model, __version__
from .answers import Reference, rows
from .errors import ExportError
from .fields import array, channels_last
from .folding import NORMS, PARAMETER, copied, folded, trace
from .handlers import FUNCTIONS, MODULES
from .lines import refusal
from .nn import HorqConv2d, HorqLinear


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
    and 2d, SwitchableBatchNorm, Affine, AffineByOrder, Shift, ReLU, Hardswish, PReLU, RPReLU, MaxPool2d, AvgPool2d,
    AdaptiveAvgPool2d(1), Flatten, view and reshape to [N, -1], add, cat, softmax, Dropout and Identity.
    Raises `ExportError` for anything else, naming the node and its line in the module's code. Before the file is
    written, its bytes answer the samples that they store, at every order, beside `module` itself in eval mode. Where
    the two differ, the module does something that its trace by torch.fx does not show: an `ExportError`, too. After an
    error nothing is written: the file appears whole or not at all. Raises `FileError` if it cannot be written.
    """
    path = os.fspath(path)
    _check_arguments(example, notes or {}, golden)
    example = example.detach().float().cpu().contiguous()
    inputs = example[:golden]
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        # One sample cannot tell the batch from other dimensions.
        probe = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])
        converter = Converter(folded(trace(module)), probe)
        builder, output = converter.run()
        reference = Reference(copied(module), inputs)
        reference.check_trace(trace(module))
        answers = rows(converter.module(inputs))
        builder.producer(f"horq {__version__} (PyTorch {torch.__version__})")
        for key, value in (notes or {}).items():
            builder.note(key, value)
        builder.golden(channels_last(inputs), answers)
        try:
            model = Model.from_bytes(builder.to_bytes(output))
        except Error as error:
            raise ExportError(str(error)) from error
        builder.golden(channels_last(inputs), reference.check_engine(model, answers))
        # What is written are the bytes that the engine has run, but for the stored answers that it has corrected.
    builder.write(output, path)


def _check_arguments(example: Tensor, notes: Mapping[str, str], golden: int) -> None:
    if not isinstance(example, Tensor):
        raise ExportError(
            f"example must be one torch.Tensor, not {type(example).__qualname__}; a numpy array becomes one with "
            "torch.from_numpy, and a file has one input"
        )
    if example.dim() not in (2, 4) or example.numel() == 0:
        raise ExportError(f"example must be [N, C, H, W] or [N, features] with N >= 1, not {list(example.shape)}")
    if example.layout != torch.strided or example.is_meta or example.is_complex():
        raise ExportError(f"example must be a dense tensor of real numbers, not {example.type()} on {example.device}")
    if not bool(example.float().isfinite().all()):
        raise ExportError("example must be finite, but holds NaN or infinity; check what prepares it")
    if not isinstance(golden, int) or isinstance(golden, bool) or golden < 1:
        raise ExportError(f"golden must be at least 1 sample, not {golden!r}")
    for key, value in notes.items():
        if not all(isinstance(text, str) and text.encode(errors="ignore").decode() == text for text in (key, value)):
            raise ExportError(f"notes must be text, not {key!r}: {value!r}; convert values with str or json.dumps")


class _Memory:
    """Memory that several values of the torch graph may lie in: views of each other, and what was changed in place."""

    def __init__(self) -> None:
        self.version = 0
        self.changer = ""
        """The node that changed it last."""


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
    memory: _Memory = field(default_factory=_Memory)
    version: int = 0
    """Of its memory; the value is gone when that has a later one."""

    def arranged(self, vector: Tensor) -> np.ndarray:
        """A per-channel or per-feature vector in the engine's order."""
        return array(vector if self.order is None else vector[self.order])


class _Results(fx.Interpreter):
    """Runs the graph and keeps each node's result: the shape and type of a tensor, else the result."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # the errors below say more
        self.tensors: dict[fx.Node, tuple[tuple[int, ...], torch.dtype]] = {}
        self.others: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:  # the user's operations run here
            layer = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
            raise refusal(f"it does not run on the example: {error}", n, layer) from error
        if isinstance(result, Tensor):
            self.tensors[n] = tuple(result.shape), result.dtype
        else:
            self.others[n] = result
        return result


class Converter:
    """Walks a folded graph and adds its nodes to a builder."""

    def __init__(self, module: fx.GraphModule, probe: Tensor) -> None:
        self.module = module
        self.values: dict[fx.Node, Value] = {}
        self.node: fx.Node | None = None
        self.taken = {"input"}
        self.binary: dict[fx.Node, str] = {}
        """The engine's names of the binary layers, taken before all others: what goes by the order of one may precede
        it."""
        for node in module.graph.nodes:
            layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, HorqConv2d | HorqLinear):
                self.binary[node] = self._free(str(node.target), node.name)
        inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise ExportError(
                f"the module takes {len(inputs)} inputs ({', '.join(node.name for node in inputs)}); a .horq file has "
                "one, so hold the others in the module"
            )
        results = _Results(module)
        with torch.no_grad():
            results.run(probe.clone())
        self.shapes = {node: shape for node, (shape, _) in results.tensors.items()}
        self.types = {node: dtype for node, (_, dtype) in results.tensors.items()}
        self.constants = results.others
        """What is computed on the way and no tensor, such as sizes."""
        self.batch = len(probe)
        channels, *size = probe.shape[1:]
        self.builder = Builder("input", [*size, channels])

    def run(self) -> tuple[Builder, str]:
        """The builder with all nodes, and the name of the output."""
        for node in self.module.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                shape = self.shapes[node][1:]
                self.values[node] = Value("input", shape, flat=len(shape) == 1)
            elif node.op == "output":
                return self.builder, self._output(node.args[0])
            elif node in self.shapes:
                self._convert(node)
            else:
                self._check_constant(node)
        raise ExportError("the module has no output")

    def _check_constant(self, node: fx.Node) -> None:
        """Refuses what is neither a tensor nor a size that the traced code computes, such as the parts of a tensor."""
        kinds = bool | int | float | torch.dtype | torch.device | torch.Size
        result = self.constants[node]
        parts = result if isinstance(result, tuple | list) else [result]
        if not all(isinstance(part, kinds) for part in parts):
            raise self._unknown()

    def _unknown(self) -> ExportError:
        known = sorted({key if isinstance(key, str) else key.__name__ for key in FUNCTIONS})
        return self.refuse(f"the format has no such operation; it has {', '.join(known)}")

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
        assert self.node is not None
        return refusal(why, self.node, self._layer(self.node))

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _convert(self, node: fx.Node) -> None:
        if node.op == "get_attr":
            raise self.refuse(PARAMETER)
        shape = self.shapes[node]
        if len(shape) not in (2, 4) or shape[0] != self.batch:
            raise self.refuse(
                f"its value has the shape {list(shape)} for a batch of {self.batch}; "
                "keep the batch first and values [N, C, H, W] or [N, features]"
            )
        if self.types[node] != torch.float32:
            raise self.refuse(f"its value is {self.types[node]}, but the engine computes float32; leave the cast out")
        call, arguments, keywords = self._call(node)
        try:
            call(self, *arguments, **keywords)
        except ExportError:
            raise
        except (Error, TypeError, ValueError, IndexError, AttributeError) as error:  # values that no handler expects
            raise self.refuse(str(error)) from error
        if not node.users and self.values[node].version == 0:  # what changes a value in place needs no reader
            raise self.refuse("nothing reads its value; leave it out, or use it")

    def _call(self, node: fx.Node) -> tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]:
        """The handler of a node, and the arguments that it takes behind the converter."""
        if node.op == "call_module":
            layer = self._layer(node)
            handler = MODULES.get(type(layer))
            if handler is None:
                kinds = [kind for kind in type(layer).__mro__ if kind in MODULES or kind in NORMS]
                if kinds:
                    base = f"{kinds[0].__module__}.{kinds[0].__qualname__}"
                    raise self.refuse(f"it is a subclass of {base} and may compute something else; use {base}")
                raise self.refuse(f"the format has no such layer; it has {_names(MODULES)}")
            if len(node.all_input_nodes) != 1:
                raise self.refuse(f"it reads {len(node.all_input_nodes)} values; call it with one")
            return handler, (layer, self.read(node.all_input_nodes[0])), {}
        handler = FUNCTIONS.get(node.target)
        if handler is None:
            raise self._unknown()
        arguments, keywords = fx.map_arg((node.args, node.kwargs), lambda read: self.constants.get(read, read))
        try:
            inspect.signature(handler).bind(self, *arguments, **keywords)
        except TypeError as error:
            raise self.refuse(f"it is called in a way that is not known: {error}") from error
        return handler, arguments, keywords

    def read(self, argument: Any) -> Value:
        """The value of an argument of the present node."""
        if isinstance(argument, Value):
            return argument
        if not isinstance(argument, fx.Node) or argument not in self.values:
            raise self.refuse(f"it reads {argument!r}, which is no value computed from the input")
        value = self.values[argument]
        if value.version < value.memory.version:
            raise self.refuse(
                f"it reads `{argument.name}`, which `{value.memory.changer}` changed in place; use the form that does "
                "not"
            )
        return value

    def overwrite(self, value: Value) -> None:
        """The present node has changed `value` in place: nothing may read that any more, under whatever name or view,
        but as what this node made of it."""
        assert self.node is not None
        made = self.values[self.node]
        memory = made.memory = value.memory
        memory.version += 1
        memory.changer = self.node.name
        made.version = memory.version

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
        self.values[node] = Value(name, self.shapes[node][1:], flat, None if like is None else like.order)
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
        self.values[self.node] = dataclasses.replace(value, shape=self.shapes[self.node][1:])

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
