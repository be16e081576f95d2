"""From a `torch.nn.Module` to a `.horq` file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._core import Error, Model, __version__, write_file
from ..errors import ExportError
from ..report import Report, report_of_model
from .answers import Reference, rows
from .fields import channels_last
from .folding import copied, folded, trace
from .general.modules import Example, example_of
from .general.road import Refused, made
from .walk import walked


def export(
    module: nn.Module,
    example: Any,
    path: str | os.PathLike[str],
    *,
    notes: Mapping[str, str] | None = None,
    golden: int = 4,
    general: bool = True,
) -> Report:
    """Writes `module` to `path` as a `.horq` file that the engine runs, and returns what each layer became.

    Arguments:
        example: an input with the batch first, [N, C, H, W], [N, features] or another shape: a tensor or a numpy array;
            a tuple of them for several inputs, a dict for arguments by name.
        notes: what the file should say about itself: accuracy, licence, input preparation.
        golden: how many samples of `example` to compare, and to store with their answers for a self-test.
        general: whether modules that the exact road does not know go the general one.

    Two roads lead into a file. The exact one takes networks of Conv2d, Linear, the layers of `horq.nn`, batch norms,
    ReLU, Hardswish, PReLU, pools, add, cat, flatten and softmax as torch.fx traces them; binary layers answer to the
    bit. What it does not know goes the general road: torch.export captures the module in eval mode with everything that
    it does (hooks, parametrizations, autograd functions, functional code), and `horq` recognises what its operations
    compute: weights of two values become binary ones, whatever makes signs becomes a quantizer, and layers of `horq.nn`
    stay what they are. Several inputs and outputs are fine there.

    A `SwitchableBatchNorm` goes by the order of the nearest binary layer before it that has as many orders, or else of
    the nearest behind, or else of any; a session whose layers all have one order cannot tell.

    Images lie NHWC in the engine, so weights are permuted on the way, also those of a dense layer after a flatten;
    users of the file feed [N, H, W, C], or run it with ``layout="nchw"``. After such a flatten the means of a
    `HorqLinear` in mode ``image`` or ``window`` are summed in another order than in PyTorch, so their last bit may
    differ.

    Before the file is written, its bytes answer the samples that they store, at every order of the dial, beside
    `module` itself in eval mode: each answer within 1e-4 of its largest value, but for samples whose answer the module
    itself changes as far when its weights change in their last bits, which the report counts. Raises `ExportError` for
    what no file can express, naming every operation and its line in the module's code. After an error nothing is
    written: the file appears whole or not at all. Raises `FileError` if it cannot be written.
    """
    path = os.fspath(path)
    notes = notes or {}
    _check_options(notes, golden)
    given = example_of(example)
    file, report = _made(module, given, notes, golden, general)
    write_file(file, path)
    return report


@dataclass(frozen=True)
class Check:
    """What `horq.check` finds: either everything that stands in the way, or what the module will become."""

    refusals: list[str]
    """Every operation that no file can express, with its line and what to do."""
    report: Report | None
    """What each layer becomes and costs; none where something is refused."""

    def __bool__(self) -> bool:
        """Whether the module can be exported."""
        return not self.refusals

    def __str__(self) -> str:
        if self.report is not None:
            return str(self.report)
        return "\n".join([f"{len(self.refusals)} refused:", *self.refusals])


def check(module: nn.Module, example: Any, *, golden: int = 4) -> Check:
    """Finds out whether `module` can be exported and what it would become, before it is trained: nothing is written.

    `example` and `golden` are those of `export`. All refusals are listed, not the first alone. Raises `ExportError`
    only for an example that no module can take.
    """
    _check_options({}, golden)
    given = example_of(example)
    try:
        return Check([], _made(module, given, {}, golden, True)[1])
    except Refused as error:
        return Check(error.refusals, None)
    except ExportError as error:
        return Check([str(error)], None)


def _check_options(notes: Mapping[str, str], golden: int) -> None:
    if not isinstance(golden, int) or isinstance(golden, bool) or golden < 1:
        raise ExportError(f"golden must be at least 1 sample, not {golden!r}")
    for key, value in notes.items():
        if not all(isinstance(text, str) and text.encode(errors="ignore").decode() == text for text in (key, value)):
            raise ExportError(f"notes must be text, not {key!r}: {value!r}; convert values with str or json.dumps")


def _made(
    module: nn.Module, example: Example, notes: Mapping[str, str], golden: int, general: bool
) -> tuple[bytes, Report]:
    """The file's bytes and the report, by the exact road if that knows the module."""
    try:
        return _exact(module, example, notes, golden)
    except ExportError:
        if not general:
            raise
    found = made(module, example, notes, golden)
    near = found.comparison
    compared = {"samples": near.samples, "largest_difference": near.largest, "ties": near.ties}
    return found.imported.file, Report("general", found.imported.layers, found.imported.table, **compared)


def _exact(module: nn.Module, given: Example, notes: Mapping[str, str], golden: int) -> tuple[bytes, Report]:
    """The file of a module that torch.fx traces and that is made of layers that the engine has."""
    example = _one_tensor(given)
    inputs = example[:golden]
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        # One sample cannot tell the batch from other dimensions.
        probe = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])
        converter, output = walked(folded(trace(module)), probe)
        builder = converter.builder
        reference = Reference(copied(module), inputs)
        reference.check_trace(trace(module))
        answers = rows(converter.module(inputs))
        builder.producer(f"horq {__version__} (PyTorch {torch.__version__})")
        for key, value in notes.items():
            builder.note(key, value)
        builder.golden(channels_last(inputs), answers)
        try:
            model = Model.from_bytes(builder.to_bytes(output))
        except Error as error:
            raise ExportError(str(error)) from error
        stored = reference.check_engine(model, answers)
        builder.golden(channels_last(inputs), stored)
    # What is written are the bytes that the engine has run, but for the stored answers that it has corrected.
    ties = int((stored != answers).any(1).sum())
    return builder.to_bytes(output), report_of_model(model, samples=len(inputs), ties=ties)


def _one_tensor(given: Example) -> Tensor:
    """The one input of the exact road."""
    if len(given.arguments) != 1 or given.keywords or not isinstance(given.arguments[0], Tensor):
        raise ExportError("the exact road takes one tensor as the example")
    example = given.arguments[0]
    if example.dim() not in (2, 4):
        raise ExportError(f"example must be [N, C, H, W] or [N, features] with N >= 1, not {list(example.shape)}")
    return example.float()
