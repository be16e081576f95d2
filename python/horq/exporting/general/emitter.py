"""Nodes of the import crate's graph, made for one ATen operation after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._core import Graph

_ELEMENTS = {torch.float32: 1, torch.int64: 7, torch.bool: 9}
"""The numbers of ONNX for the types that the graph knows."""


class Refusal(Exception):
    """Why an operation cannot be said in the graph."""


@dataclass(frozen=True)
class Ref:
    """A value of the graph that depends on the inputs."""

    id: int
    shape: tuple[int, ...]
    dtype: torch.dtype


Operand = Ref | Tensor | float | int | bool


def kind(dtype: torch.dtype) -> torch.dtype:
    """The type in which the graph holds values of a type of PyTorch's: float32, int64 or bool."""
    if dtype == torch.bool:
        return dtype
    return torch.float32 if dtype.is_floating_point else torch.int64


def type_of(value: Operand) -> torch.dtype:
    """The type of a value in the graph."""
    if isinstance(value, Ref):
        return value.dtype
    if isinstance(value, Tensor):
        return kind(value.dtype)
    return torch.bool if isinstance(value, bool) else torch.int64 if isinstance(value, int) else torch.float32


def shape_of(value: Operand) -> tuple[int, ...]:
    """The shape of a value, the batch of one included."""
    return tuple(value.shape) if isinstance(value, Ref | Tensor) else ()


class Emitter:
    """Adds nodes to a graph. `name` is what the nodes that follow are called; `result` is what PyTorch says of the
    present operation's value: a tensor without data, or several."""

    def __init__(self, graph: Graph | None = None) -> None:
        self.graph = Graph() if graph is None else graph
        self.name = ""
        self.result: Any = None
        self._count = 0
        self._constants: dict[tuple[int, torch.dtype], tuple[int, Tensor]] = {}
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()

    def begin(self, name: str, result: Any) -> None:
        """The nodes that follow belong to an operation of that name, which is not taken yet."""
        self.name, self.result, self._count = name, result, 0

    def free(self, name: str) -> str:
        """`name`, or with a number behind it if it is taken; taken from now on."""
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found

    def input(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Ref:
        """An input of the graph, with the batch of one."""
        number = self.graph.input(self.free(name), list(shape), _ELEMENTS[kind(dtype)])
        return Ref(number, tuple(shape), kind(dtype))

    def called(self, value: Tensor, name: str) -> None:
        """Names a constant for those who read the report."""
        self._names[id(value)] = name

    def constant(self, value: Tensor) -> int:
        """The graph's number of a constant; the same tensor has one number."""
        key = (id(value), value.dtype)
        if key not in self._constants:
            values = value.detach().cpu().to(kind(value.dtype)).contiguous().numpy()
            name = self._names.get(id(value), f"{self.name}.constant")
            self._constants[key] = (self.graph.constant(self.free(name), values), value)
        return self._constants[key][0]

    def number(self, value: Operand, dtype: torch.dtype = torch.float32) -> Operand:
        """`value` in a type of the graph."""
        dtype = kind(dtype)
        if isinstance(value, Ref):
            if value.dtype == dtype:
                return value
            return self.op("Cast", value, shape=value.shape, dtype=dtype, to=_ELEMENTS[dtype])
        if isinstance(value, Tensor):
            return value if kind(value.dtype) == value.dtype == dtype else value.to(dtype)
        return torch.tensor(value, dtype=dtype)

    def op(
        self,
        op: str,
        *inputs: Operand | None,
        shape: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
        domain: str = "",
        **attributes: Any,
    ) -> Ref:
        """A node with one result, by default of the shape of the present operation's."""
        if shape is None:
            shape = self.result.shape
        return self.ops(op, *inputs, results=[(shape, dtype)], domain=domain, **attributes)[0]

    def ops(
        self,
        op: str,
        *inputs: Operand | None,
        results: Sequence[tuple[Sequence[int], torch.dtype]],
        domain: str = "",
        **attributes: Any,
    ) -> list[Ref]:
        """A node with several results."""
        self._count += 1
        name = self.name if self._count == 1 else self.free(f"{self.name}.{op.lower()}")
        numbers = [None if value is None else self._id(value) for value in inputs]
        made = [
            (self.free(name if len(results) == 1 else f"{name}:{i}") + "", list(shape), _ELEMENTS[dtype])
            for i, (shape, dtype) in enumerate(results)
        ]
        given = {key: value for key, value in attributes.items() if value is not None}
        ids = self.graph.node(name, op, numbers, made, given, domain)
        return [Ref(number, tuple(shape), dtype) for number, (shape, dtype) in zip(ids, results, strict=True)]

    def _id(self, value: Operand) -> int:
        if isinstance(value, Ref):
            return value.id
        return self.constant(value if isinstance(value, Tensor) else self.number(value, type_of(value)))

    def ints(self, values: Sequence[int]) -> Tensor:
        """A constant of whole numbers, such as axes."""
        return torch.tensor(list(values), dtype=torch.int64)

    def reshape(self, value: Ref, shape: Sequence[int]) -> Ref:
        """The same elements in another shape."""
        shape = tuple(shape)
        if shape == value.shape:
            return value
        return self.op("Reshape", value, self.ints(shape), shape=shape, dtype=value.dtype)

    def transpose(self, value: Ref, order: Sequence[int]) -> Ref:
        """Axis i of the result is axis order[i] of the value."""
        order = [axis % len(value.shape) for axis in order]
        if order == list(range(len(order))):
            return value
        shape = [value.shape[axis] for axis in order]
        return self.op("Transpose", value, shape=shape, dtype=value.dtype, perm=order)

    def slice(self, value: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
        """Elements start, start + step .. before stop of an axis."""
        shape = list(value.shape)
        size = len(range(*slice(start, stop, step).indices(shape[axis])))
        if (start, step, size) == (0, 1, shape[axis]):
            return value
        shape[axis] = size
        limits = [self.ints([number]) for number in (start, stop, axis, step)]
        return self.op("Slice", value, *limits, shape=shape, dtype=value.dtype)

    def expand(self, value: Ref, shape: Sequence[int]) -> Ref:
        """Broadcast to a shape."""
        if tuple(shape) == value.shape:
            return value
        return self.op("Expand", value, self.ints(shape), shape=shape, dtype=value.dtype)

    def concat(self, values: Sequence[Operand], axis: int, dtype: torch.dtype) -> Ref:
        """Several values one after another along an axis."""
        values = [self.number(value, dtype) for value in values]
        shape = list(shape_of(values[0]))
        shape[axis] = sum(shape_of(value)[axis] for value in values)
        return self.op("Concat", *values, shape=shape, dtype=kind(dtype), axis=axis)

    def arithmetic(self, op: str, a: Operand, b: Operand) -> Ref:
        """A float32 operation of two values with broadcasting."""
        shape = np.broadcast_shapes(shape_of(a), shape_of(b))
        return self.op(op, self.number(a), self.number(b), shape=shape)

    def reduce(self, op: str, value: Ref, axes: Sequence[int] | None, keep: bool) -> Ref:
        """A float32 reduction; all axes if none are given."""
        axes = sorted(axis % max(len(value.shape), 1) for axis in axes or range(len(value.shape)))
        shape = [1 if i in axes else size for i, size in enumerate(value.shape) if keep or i not in axes]
        value = self.number(value)  # type: ignore[assignment]
        return self.op(op, value, self.ints(axes), shape=shape, keepdims=int(keep))
