"""horq: binary and high-order residual quantized networks, trained in PyTorch, run by a Rust engine.

`Model`, `Session`, `Builder`, `selftest` and `from_onnx` need numpy only; `horq.nn`, `convert`, `fold`, `check`,
`export` and `restore` need PyTorch, which is imported when one of them is first asked for.

What horq refuses is a `horq.Error`; a file that cannot be opened, read or written is a `horq.FileError`, which is also
the `OSError` that `open` would raise, such as `FileNotFoundError`. Arguments of the wrong type are `TypeError`s.
A run that ends before its time raises `CancelledError` or `DeadlineError`. `Error.sample` tells whose values of a batch
are at fault.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._core import FINGERPRINT, Builder, CancelToken, Error, Model, Session, __version__, selftest
from .errors import CancelledError, DeadlineError, ExportError, FileError
from .onnx import from_onnx

if TYPE_CHECKING:
    from . import nn
    from .exporting.exporter import check, export
    from .exporting.folding import fold
    from .nn import convert
    from .restoring import RestoreError, restore

__all__ = [
    "FINGERPRINT",
    "Builder",
    "CancelToken",
    "CancelledError",
    "DeadlineError",
    "Error",
    "ExportError",
    "FileError",
    "Model",
    "RestoreError",
    "Session",
    "__version__",
    "check",
    "convert",
    "export",
    "fold",
    "from_onnx",
    "nn",
    "restore",
    "selftest",
]

_HOMES = {
    "check": "exporting.exporter",
    "convert": "nn",
    "export": "exporting.exporter",
    "fold": "exporting.folding",
    "restore": "restoring",
    "RestoreError": "restoring",
}
"""The modules that hold what needs PyTorch."""


_WITHOUT_CUDA = " --index-url https://download.pytorch.org/whl/cpu (5 GB less than with CUDA)"


def __getattr__(name: str) -> Any:
    """Imports what needs PyTorch when it is first asked for."""
    if name != "nn" and name not in _HOMES:
        raise AttributeError(f"module 'horq' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"horq.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        text = f"horq.{name} needs PyTorch, which is not installed; install it: pip install torch{_WITHOUT_CUDA}"
        raise ModuleNotFoundError(text, name="torch") from error
    return module if name == "nn" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({name for name in globals() if name.startswith("__")}.union(__all__))
