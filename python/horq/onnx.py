"""From ONNX and QONNX files to `.horq` files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ._core import Imported, Model, import_onnx, write_file
from .errors import ExportError
from .report import Report


def from_onnx(
    source: str | os.PathLike[str] | bytes,
    out: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Sequence[int]] | None = None,
    notes: Mapping[str, str] | None = None,
    same_layout: bool = False,
) -> tuple[Model, Report]:
    """Reads an ONNX or QONNX network and returns the model and what each layer became; also writes it to `out`.

    Arguments:
        source: the file, or its bytes. External data must lie in the file's folder.
        out: where to write the `.horq` file, if anywhere.
        inputs: the shape of inputs whose sizes the file leaves open, by name, with the batch of 1 first.
        notes: what the file should say about itself.
        same_layout: whether inputs and outputs keep the order of the network's axes; otherwise images lie [N, H, W, C].

    What the network computes decides, not what its nodes are called: weights of two values become binary ones, whatever
    makes signs or steps becomes a quantizer, and batch norms fold into scales and thresholds. Raises `ExportError` with
    everything in the network that no file can express, and `FileError` if a file cannot be read or written.
    """
    found = import_onnx(
        source if isinstance(source, bytes) else os.fspath(source),
        inputs={name: list(shape) for name, shape in (inputs or {}).items()},
        notes=dict(notes or {}),
        same_layout=same_layout,
    )
    if not isinstance(found, Imported):
        lines = [f"`{place}` ({what}): {why}{f'; {instead}' if instead else ''}" for place, what, why, instead in found]
        raise ExportError("\n".join(f"cannot import {line}" for line in lines))
    if out is not None:
        write_file(found.file, os.fspath(out))
    return Model.from_bytes(found.file), Report("onnx", found.layers, found.table)
