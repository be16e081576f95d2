"""The road by torch.export: from any module to a file's bytes, their report, or everything that stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..._core import Imported, Model, __version__
from ...errors import ExportError
from .capture import captured
from .compare import Answers, Comparison, Port
from .modules import Example, ready
from .own import whole
from .walk import KNOWN, Walk


@dataclass(frozen=True)
class Made:
    """A file and what is known about it."""

    imported: Imported
    model: Model
    comparison: Comparison


class Refused(ExportError):
    """A module that has several things no file can express; `refusals` has all of them."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        shown = [f"cannot export {text}" for text in refusals[:20]]
        more = [f"and {len(refusals) - 20} more"] if len(refusals) > 20 else []
        super().__init__("\n".join(shown + more))


def made(module: nn.Module, example: Example, notes: Mapping[str, str], golden: int) -> Made:
    """The file of a module, compared with the module's own answers to the first `golden` samples of the example.

    Raises `ExportError`; `Refused` if it is the module's code that cannot be expressed.
    """
    inputs = example.part(0, golden)
    with ready(module) as copy:
        answers = Answers(copy, inputs)
        walk = _walked(copy, example.part(0, 1))
        # Where operations are missing, inputs stand in for them: the graph is looked at, but is no file.
        stored = None if walk.refusals else ([tensor.float().numpy() for tensor in inputs.tensors], answers.tensors())
        imported = walk.e.graph.to_horq(
            producer=f"horq {__version__} (PyTorch {torch.__version__}, torch.export)", notes=dict(notes), golden=stored
        )
        if not isinstance(imported, Imported):
            raise Refused(_all_refusals(walk, imported))
        if walk.refusals:
            raise Refused(_all_refusals(walk, []))
        model = Model.from_bytes(imported.file)
        ports = [[Port(*port) for port in ports] for ports in (imported.inputs, imported.outputs)]
        return Made(imported, model, answers.check(model, *ports))


def _walked(module: nn.Module, example: Example) -> Walk:
    with whole(module) as layers, torch.no_grad():
        found = captured(module, example.arguments, example.keywords, KNOWN)
        return Walk(found, layers, _names(found.inputs, len(example.tensors)))


def _names(placeholders: list[str], tensors: int) -> list[str]:
    """What the file's inputs are called: as the arguments of forward."""
    if len(placeholders) == tensors == 1:
        return ["input"]
    return list(placeholders)


def _all_refusals(walk: Walk, others: list[tuple[str, str, str, str]]) -> list[str]:
    """The refusals of both stages, those of the second with the lines of the user's code."""
    found = [f"{what}: {why}" for what, why in walk.refusals]
    for place, what, reason, instead in others:
        # Where operations are missing, a word on the graph as a whole says nothing about the module.
        if place in walk.stand_ins or (walk.refusals and not place):
            continue
        origin = walk.origins.get(place, "")
        text = f"{origin or f'`{place}` ({what})'}: {f'{what}: ' if origin else ''}{reason}"
        found.append(f"{text}; {instead}" if instead else text)
    return list(dict.fromkeys(found))
