"""From a `torch.nn.Module` to a `.horq` file."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .._core import Error, Model, __version__
from ..errors import ExportError
from .answers import Reference, rows
from .fields import channels_last
from .folding import copied, folded, trace
from .walk import walked


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
        converter, output = walked(folded(trace(module)), probe)
        builder = converter.builder
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
