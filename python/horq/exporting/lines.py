"""Errors that name a node of a trace, and the line of the user's code that it comes from."""

from __future__ import annotations

import os
import sys
import traceback
from types import CodeType, FrameType

import torch
from torch import fx, nn

from ..errors import ExportError

_NOT_USERS = tuple(os.path.dirname(file) + os.sep for file in (torch.__file__, os.path.dirname(__file__)))


def line_above(stop: CodeType) -> str | None:
    """``file:line`` of the innermost caller outside of PyTorch, or None if `stop` runs further inside: a layer in an
    `nn.Sequential` is called from no line of the user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not stop:
        if _is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def line_of(error: BaseException) -> str:
    """`` at file:line`` of the user's code in which `error` was raised, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if _is_users(frame.filename)]
    return f" at {users[-1].filename}:{users[-1].lineno}" if users else ""


def _is_users(file: str) -> bool:
    return not file.startswith(_NOT_USERS)


def layer_of(node: fx.Node) -> nn.Module | None:
    """The layer that a node of a `fx.GraphModule` calls, if it calls one."""
    module = node.graph.owning_module
    return module.get_submodule(str(node.target)) if node.op == "call_module" and module is not None else None


def refusal(why: str, node: fx.Node) -> ExportError:
    """The error that a file cannot express `node`."""
    what, layer = f"`{node.name}`", layer_of(node)
    if layer is not None:
        what = f"`{node.target}` ({kind_of(layer)})"
    elif node.op == "get_attr":
        what = f"`{node.target}`"
    elif node.op in ("call_function", "call_method"):
        what += f" ({getattr(node.target, '__name__', node.target)})"
    line = node.meta.get("line")
    return ExportError(f"cannot export node {what}{f' at {line}' if line else ''}: {why}")


def kind_of(layer: nn.Module) -> str:
    """The full name of a layer's class."""
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
