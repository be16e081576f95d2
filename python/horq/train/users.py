"""Networks that a user names: `FILE.py:NAME` or `package.module:NAME`."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


class NetworkError(ValueError):
    """A user's network that cannot be trained: where it comes from, what is wrong with it, and what to do."""


def is_reference(network: str) -> bool:
    """Whether the words name a network of the user's own."""
    return ":" in network


def resolved(network: str, folder: Path) -> str:
    """The reference with its file, if it names one, from the root on; a relative file lies in `folder`."""
    place, _, name = network.rpartition(":")
    return f"{(folder / place).resolve()}:{name}" if place.endswith(".py") else network


def made(network: str, width: float = 1.0) -> nn.Module:
    """The network that `network` names: what a function or class gives when it is called, or a copy of a module.

    A `width` other than 1 is passed on as an argument of that name. Raises `NetworkError`.
    """
    place, _, name = network.rpartition(":")
    with _beside(place):
        found = _attribute(_module(network, place), place, name)
        if isinstance(found, nn.Module):
            if width != 1:
                raise NetworkError(f"{network} is a module, which takes no width; leave width out, or name a function")
            return copy.deepcopy(found)
        if not callable(found):
            raise NetworkError(
                f"{network} is a {type(found).__name__}; name a function or class that gives the network"
            )
        arguments = {} if width == 1 else {"width": width}
        try:
            net = found(**arguments)
        except Exception as error:  # whatever the user's code raises
            call = ", ".join(f"{key}={value}" for key, value in arguments.items())
            raise NetworkError(
                f"{network} fails when it is called as {name}({call}){_line(error, place)}: {_said(error)}; it must "
                "give the network then, so give its arguments defaults"
            ) from error
    if not isinstance(net, nn.Module):
        raise NetworkError(f"{network} gives a {type(net).__name__}, where it must give a torch.nn.Module")
    return net


def tried(net: nn.Module, network: str, samples: Tensor, what: str, classes: int | None) -> int:
    """Lets `net` answer two samples or more, [n, ...], in eval mode, and returns how many classes it has.

    `network` and `what` say in errors which network and samples they are. Raises `NetworkError` unless the answers are
    one row of `classes` logits (any number without) for each sample.
    """
    shape = f"[N, {', '.join(map(str, samples.shape[1:]))}]"
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            answers = net(samples)
    except Exception as error:  # whatever the user's code raises
        channels = f"; its first layer must read {samples.shape[1]} channels" if samples.dim() == 4 else ""
        raise NetworkError(f"{network} does not take {what} of shape {shape}: {_said(error)}{channels}") from error
    finally:
        net.train(training)
    wanted = f"[N, {'classes' if classes is None else classes}]"
    if not isinstance(answers, Tensor):
        raise NetworkError(
            f"{network} answers a {type(answers).__name__}; training needs one tensor of logits, {wanted}: wrap it in "
            "a module that returns that one"
        )
    if answers.dim() != 2 or len(answers) != len(samples) or classes not in (None, answers.shape[1]):
        many = f"; {what} have {classes} classes, so its last layer must have {classes} outputs" if classes else ""
        raise NetworkError(
            f"{network} answers {list(answers.shape)} to {len(samples)} samples, where {wanted} is needed{many}"
        )
    return answers.shape[1]


@contextlib.contextmanager
def _beside(place: str) -> Iterator[None]:
    """Lets a file import what lies beside it, as a script may."""
    folder = str(Path(place).parent) if place.endswith(".py") else None
    if folder is not None:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder is not None and folder in sys.path:
            sys.path.remove(folder)


def _module(network: str, place: str) -> ModuleType:
    """The module of a reference."""
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except Exception as error:  # whatever the user's code raises
            raise NetworkError(
                f"cannot import {place!r} for the network {network!r}: {_said(error)}; write FILE.py:NAME or "
                "package.module:NAME, where the package can be imported from this folder or is installed"
            ) from error
    file = Path(place)
    if not file.is_file():
        raise NetworkError(f"there is no file {place} for the network {network!r}; write FILE.py:NAME")
    name = f"horq_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise NetworkError(f"{place} cannot be run{_line(error, place)}: {_said(error)}") from error
    return module


def _attribute(module: ModuleType, place: str, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        own = [key for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
        here = [key for key in own if getattr(getattr(module, key), "__module__", None) == module.__name__]
        raise NetworkError(
            f"{place} has no {name!r}; it has {', '.join(here or own) or 'nothing that could give a network'}"
        ) from error


def _line(error: Exception, place: str) -> str:
    """The line of the user's file, in which the error arose."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == place]
    if isinstance(error, SyntaxError) and error.filename == place:
        lines.append(error.lineno)
    return f" (line {lines[-1]})" if lines else ""


def _said(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
