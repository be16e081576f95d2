"""What values a layer can read, as far as a network's code tells: interval arithmetic over its trace by torch.fx.

Behind a ReLU all values are 0 or more, so all their signs are +1 and a plane of signs says nothing about them. Every
operation maps the bounds of what it reads to bounds of what it makes (`horq.nn.rules`). Values joined by `torch.cat`
differ from channel to channel, so a value has a set of intervals, one for each of its parts. Means and variances by
channel are carried along where batch norms tell them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import fx, nn

from .rules import ARITHMETIC, RULES, Call, either, name_of, rule_name
from .running import modes_kept
from .values import Values, constant


def read_by(model: nn.Module, layers: Iterable[nn.Module]) -> dict[nn.Module, Values]:
    """What each of `layers` reads in `model`, joined over its calls; nothing is known of one that the trace misses.

    The trace is that of training mode. Where torch.fx cannot make one, nothing is known of any layer, and `source` says
    why.
    """
    found = dict.fromkeys(layers, Values(None, "no call of it is seen"))
    if model in found:
        return found | {model: Values(None, "the input")}
    try:
        with modes_kept(model):
            model.train()
            graph = _Tracer(found).trace(model)
    except Exception as error:  # a trace runs the user's code, so anything may come out of it
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        return dict.fromkeys(found, Values(None, f"torch.fx cannot trace {type(model).__name__}: {reason}"))
    return found | _Bounds(model, graph).of(found)


class _Tracer(fx.Tracer):
    """Leaves the layers of horq.nn whole, and those that are asked for."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.whole = set(layers)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.whole or _is_own(m) or super().is_leaf_module(m, module_qualified_name)


def _is_own(layer: nn.Module) -> bool:
    return type(layer).__module__.startswith(__package__)


class _Bounds:
    """What is known of each value of a graph, found in one walk in its order."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self.model, self.graph = model, graph
        self.values: dict[fx.Node, Values] = {}

    def of(self, layers: Iterable[nn.Module]) -> dict[nn.Module, Values]:
        """What those of `layers` read that the graph calls."""
        wanted, found = set(layers), {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = Values(None, "the input")
            elif node.op == "get_attr":
                self.values[node] = constant(_attribute(self.model, str(node.target)), node.name)
            elif node.op != "output":
                layer = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
                given = self._given(node, layer)
                if layer in wanted and given:
                    found[layer] = given[0] if layer not in found else either([found[layer], given[0]])
                self.values[node] = made = self._made(node, layer, given)
                if _in_place(node, layer) and isinstance(node.args[0], fx.Node):
                    self.values[node.args[0]] = made  # it is read again under its first name, as ResNets do
        return found

    def _given(self, node: fx.Node, layer: nn.Module | None) -> list[Values]:
        """What the node reads, numbers included; of keywords only values from the graph."""
        arguments = [*node.args, *(value for value in node.kwargs.values() if isinstance(value, fx.Node))]
        nested = (part for a in arguments for part in (a if isinstance(a, list | tuple) else [a]))
        if layer is None and rule_name(name_of(node)) not in ARITHMETIC:
            nested = (part for part in nested if isinstance(part, fx.Node))
        return [
            self.values[part] if isinstance(part, fx.Node) else constant(part, "a number")
            for part in nested
            if isinstance(part, fx.Node | int | float)
        ]

    def _made(self, node: fx.Node, layer: nn.Module | None, given: list[Values]) -> Values:
        if not given:
            return Values(None, f"`{node.name}`")
        if layer is not None:
            rule = next((RULES[key] for key in map(rule_name, _bases(layer)) if key in RULES), None)
            source = f"{node.target} ({type(layer).__name__})"
        else:
            rule, source = RULES.get(rule_name(name_of(node))), f"`{node.name}`"
        if rule is None:
            return Values(None, f"{source}, which is not known")
        made = rule(given, Call(node, layer))
        return replace(made, source=source) if made.source == "" else made


def _attribute(model: nn.Module, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name)
    return model


def _bases(layer: nn.Module) -> list[str]:
    """The names of the classes of PyTorch and of horq.nn that a layer is."""
    return [kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith(("torch.nn", __package__))]


def _in_place(node: fx.Node, layer: nn.Module | None) -> bool:
    if layer is not None:
        return bool(getattr(layer, "inplace", False))
    name = name_of(node)
    return bool(node.kwargs.get("inplace")) or name in ("iadd", "imul", "isub") or bool(re.search(r"[a-z0-9]_$", name))
