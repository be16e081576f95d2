"""What the nodes of a torch graph have become in the engine's graph, and how a node is added to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from .._core import Builder
from ..errors import ExportError
from ..nn import HorqConv2d, HorqLinear
from .fields import array
from .lines import layer_of, refusal


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
    """The shape in PyTorch, batch left out."""
    flat: bool
    """Whether the engine holds it as a vector."""
    order: Tensor | None = None
    """Element i of the engine's vector is element order[i] of PyTorch's; None if they agree."""
    memory: _Memory = field(default_factory=_Memory)
    version: int = 0
    """The version of its memory that this value is; it is gone when the memory has a later one."""

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
            raise refusal(f"it does not run on the example: {error}", n) from error
        if isinstance(result, Tensor):
            self.tensors[n] = tuple(result.shape), result.dtype
        else:
            self.others[n] = result
        return result


class Converter:
    """What has become of the nodes of a folded graph so far, and the builder that they are added to.

    `horq.exporting.walk` sets `node`, the present one, and calls its handler, which adds to the builder.
    """

    def __init__(self, module: fx.GraphModule, probe: Tensor) -> None:
        self.module = module
        self.values: dict[fx.Node, Value] = {}
        self.node: fx.Node | None = None
        self.taken = {"input"}
        self.binary: dict[fx.Node, str] = {}
        """The engine's names of the binary layers, taken before all others: what goes by the order of one may precede
        it."""
        for node in module.graph.nodes:
            if isinstance(layer_of(node), HorqConv2d | HorqLinear):
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
        """The results of nodes that are no tensors, such as sizes."""
        self.batch = len(probe)
        channels, *size = probe.shape[1:]
        self.builder = Builder("input", [*size, channels])

    def refuse(self, why: str) -> ExportError:
        """An error about the present node."""
        assert self.node is not None
        return refusal(why, self.node)

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
                    if node in self.binary and layer_of(node).max_order == highest:
                        return self.binary[node]
        for node, name in self.binary.items():
            if layer_of(node).max_order == highest:
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
