"""The walk over a graph of ATen operations: each becomes nodes of the import crate's graph, or a refusal."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...nn import HorqConv2d, HorqLinear
from . import arithmetic, layering, reducing, shaping
from .capture import Captured, describe, place_of
from .emitter import Emitter, Ref, Refusal
from .own import emitted

HANDLERS: dict[str, Callable[..., Any]] = {
    **arithmetic.HANDLERS,
    **shaping.HANDLERS,
    **reducing.HANDLERS,
    **layering.HANDLERS,
}
"""How each ATen operation becomes nodes, by its name."""

_OWN = "horq.layer.default"
KNOWN = frozenset((*HANDLERS, _OWN, "aten._assert_tensor_metadata.default"))
"""The operations that need not be made of others."""
_CHECKS = ("aten._assert_tensor_metadata", "aten._assert_async", "aten._assert_scalar", "aten.sym_constrain")
_NO_VALUES = frozenset(("dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "implicit"))
"""Keywords that say how a value lies in memory, or of what type it is, which the result tells."""
_HALVES = (torch.float16, torch.bfloat16)


class Walk:
    """What has become of a captured graph.

    `refusals` has why an operation cannot be said, by a description that names its line; `origins` has the same
    description for each name of a node in the graph, and `stand_ins` the inputs that are none of the module's.
    """

    def __init__(self, captured: Captured, layers: dict[int, nn.Module], names: list[str], graph: Any = None) -> None:
        self.e = Emitter(graph)
        self.layers = layers
        self.refusals: list[tuple[str, str]] = []
        self.origins: dict[str, str] = {}
        self.stand_ins: set[str] = set()
        self.binary = self._binary(captured.graph)
        values: dict[fx.Node, Any] = {}
        inputs = dict(zip(captured.inputs, names, strict=True))
        for node in captured.graph.nodes:
            if node.op == "placeholder":
                values[node] = self._placeholder(captured, node, inputs)
            elif node.op == "get_attr":
                values[node] = getattr(captured.program.graph_module, str(node.target))
            elif node.op == "call_function" and node.users:  # what nobody reads is left out
                values[node] = self._value(node, values)
            elif node.op == "output":
                self._outputs([node.args[0][i] for i in captured.answers], values)

    def _binary(self, graph: fx.Graph) -> dict[str, int]:
        """The orders of the binary layers, by the names that their nodes will have."""
        found = {}
        for node in graph.nodes:
            if str(node.target) == _OWN and isinstance(self.layers[node.args[1]], HorqConv2d | HorqLinear):
                found[self._name(node)] = self.layers[node.args[1]].max_order
        return found

    def _placeholder(self, captured: Captured, node: fx.Node, inputs: dict[str, str]) -> Any:
        if node.name in captured.held:
            name, tensor = captured.held[node.name]
            self.e.called(tensor, name)
            return tensor
        value = node.meta.get("val")
        if isinstance(value, Tensor) and node.name in inputs:
            return self.e.input(inputs[node.name], value.shape, value.dtype)
        if not isinstance(value, Tensor):
            return value
        raise TypeError(f"the placeholder {node.name} stands for nothing known")

    @staticmethod
    def _name(node: fx.Node) -> str:
        return place_of(node)[0] or node.name

    def _value(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        arguments, keywords = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        read = _leaves((arguments, keywords))
        target = str(node.target)
        if target.startswith(_CHECKS):
            return None
        try:
            return self._made(node, target, arguments, keywords, any(isinstance(value, Ref) for value in read))
        except Refusal as refusal:
            why = str(refusal)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError, AssertionError) as error:
            why = f"it is called in a way that is not known: {error}"
        self.refusals.append((describe(node), why))
        return self._stand_in(node.meta.get("val"))

    def _stand_in(self, result: Any) -> Any:
        """Values in place of those of a refused operation, so that what stands behind it is looked at, too."""
        if isinstance(result, list | tuple):
            return [self._stand_in(part) for part in result]
        if not isinstance(result, Tensor):
            return result
        name = self.e.free("missing")
        self.stand_ins.add(name)
        return self.e.input(name, result.shape, result.dtype)

    def _made(self, node: fx.Node, target: str, arguments: Any, keywords: Any, computed: bool) -> Any:
        if node.target is operator.getitem:
            part = arguments[0][arguments[1]]
            if part is None:
                raise Refusal("it reads what the operation before gives beside its value, which is not known")
            return part() if callable(part) and not isinstance(part, Tensor) else part
        if target not in HANDLERS and torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Refusal("it draws at random; take that out of its eval mode")
        if not computed:
            return node.target(*arguments, **keywords)  # type: ignore[operator]
        self._check_types(node)
        name = self._name(node)
        name = name if target == _OWN and name in self.binary and name not in self.origins else self.e.free(name)
        self.origins[name] = describe(node)
        self.e.begin(name, node.meta.get("val"))
        if target == _OWN:
            x, number = arguments
            return emitted(self.e, self.layers[number], x, self.binary)
        handler = HANDLERS.get(target)
        if handler is None:
            raise Refusal("the format has no such operation; see docs/bring-your-network.md for those that it has")
        return handler(self.e, *arguments, **{key: value for key, value in keywords.items() if key not in _NO_VALUES})

    @staticmethod
    def _check_types(node: fx.Node) -> None:
        for value in _leaves(node.meta.get("val")):
            if isinstance(value, Tensor) and (value.dtype in _HALVES or value.dtype.is_complex):
                raise Refusal(f"its value is {value.dtype}, but the engine computes float32; leave the cast out")

    def _outputs(self, answers: list[Any], values: dict[fx.Node, Any]) -> None:
        for answer in answers:
            if not isinstance(answer, fx.Node):
                continue
            value = values[answer]
            if isinstance(value, Ref):
                if value.dtype != torch.float32:
                    self.e.begin(self.e.free(f"{answer.name}.values"), answer.meta["val"])
                    value = self.e.number(value)  # type: ignore[assignment]
                self.e.graph.output(value.id)
            else:
                self.refusals.append(
                    (f"the answer `{answer.name}`", "it does not depend on the input; leave it out of what is returned")
                )


def _leaves(value: Any) -> list[Any]:
    """All values in lists, tuples and dicts."""
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [value]
