"""The walk over a folded graph: each node goes to its handler, which adds it to the engine's graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from .._core import Error
from ..errors import ExportError
from .converter import Converter, Value
from .folding import NORMS, PARAMETER
from .handlers import FUNCTIONS, MODULES
from .lines import layer_of


def walked(module: fx.GraphModule, probe: Tensor) -> tuple[Converter, str]:
    """A converter whose builder has all nodes of a folded graph, and the name of the output.

    `probe` is a batch of two samples or more, on which the graph runs once. Raises `ExportError` for what a file cannot
    express, naming the node.
    """
    c = Converter(module, probe)
    for node in module.graph.nodes:
        c.node = node
        if node.op == "placeholder":
            shape = c.shapes[node][1:]
            c.values[node] = Value("input", shape, flat=len(shape) == 1)
        elif node.op == "output":
            return c, _output(c, node.args[0])
        elif node in c.shapes:
            _convert(c, node)
        else:
            _check_constant(c, node)
    raise ExportError("the module has no output")


def _check_constant(c: Converter, node: fx.Node) -> None:
    """Refuses what is neither a tensor nor a size that the traced code computes, such as the parts of a tensor."""
    kinds = bool | int | float | torch.dtype | torch.device | torch.Size
    result = c.constants[node]
    parts = result if isinstance(result, tuple | list) else [result]
    if not all(isinstance(part, kinds) for part in parts):
        raise _unknown(c)


def _unknown(c: Converter) -> ExportError:
    known = sorted({key if isinstance(key, str) else key.__name__ for key in FUNCTIONS})
    return c.refuse(f"the format has no such operation; it has {', '.join(known)}")


def _output(c: Converter, result: Any) -> str:
    if not isinstance(result, fx.Node) or result not in c.values:
        raise ExportError("the module must return one tensor; return only the one that is the answer")
    value = c.read(result)
    if value.name == "input":
        raise ExportError("the module returns its input; a .horq file needs at least one layer")
    if value.order is not None:
        raise ExportError(
            "the module returns a flattened image, whose order in the engine (rows, columns, channels) is not "
            "PyTorch's; end with a dense layer, or return the image"
        )
    return value.name


def _convert(c: Converter, node: fx.Node) -> None:
    if node.op == "get_attr":
        raise c.refuse(PARAMETER)
    shape = c.shapes[node]
    if len(shape) not in (2, 4) or shape[0] != c.batch:
        raise c.refuse(
            f"its value has the shape {list(shape)} for a batch of {c.batch}; "
            "keep the batch first and values [N, C, H, W] or [N, features]"
        )
    if c.types[node] != torch.float32:
        raise c.refuse(f"its value is {c.types[node]}, but the engine computes float32; leave the cast out")
    call, arguments, keywords = _call(c, node)
    try:
        call(c, *arguments, **keywords)
    except ExportError:
        raise
    except (Error, TypeError, ValueError, IndexError, AttributeError) as error:  # values that no handler expects
        raise c.refuse(str(error)) from error
    if not node.users and c.values[node].version == 0:  # what changes a value in place needs no reader
        raise c.refuse("nothing reads its value; leave it out, or use it")


def _call(c: Converter, node: fx.Node) -> tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]:
    """The handler of a node, and the arguments that it takes behind the converter."""
    layer = layer_of(node)
    if layer is not None:
        handler = MODULES.get(type(layer))
        if handler is None:
            kinds = [kind for kind in type(layer).__mro__ if kind in MODULES or kind in NORMS]
            if kinds:
                base = f"{kinds[0].__module__}.{kinds[0].__qualname__}"
                raise c.refuse(f"it is a subclass of {base} and may compute something else; use {base}")
            raise c.refuse(f"the format has no such layer; it has {_names(MODULES)}")
        if len(node.all_input_nodes) != 1:
            raise c.refuse(f"it reads {len(node.all_input_nodes)} values; call it with one")
        return handler, (layer, c.read(node.all_input_nodes[0])), {}
    handler = FUNCTIONS.get(node.target)
    if handler is None:
        raise _unknown(c)
    arguments, keywords = fx.map_arg((node.args, node.kwargs), lambda read: c.constants.get(read, read))
    try:
        inspect.signature(handler).bind(c, *arguments, **keywords)
    except TypeError as error:
        raise c.refuse(f"it is called in a way that is not known: {error}") from error
    return handler, arguments, keywords


def _names(table: Mapping[type, Any]) -> str:
    return ", ".join(sorted({layer.__name__ for layer in table}))
