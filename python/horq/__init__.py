"""horq: binary and high-order residual quantized networks, trained in PyTorch, run by a Rust engine.

`Model`, `Session` and `Builder` need numpy only; `horq.nn`, `convert`, `fold`, `export` and `restore` need PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import Builder, Error, Model, Session, __version__

if TYPE_CHECKING:
    from .exporter import ExportError, export
    from .folding import fold
    from .nn import convert
    from .restoring import RestoreError, restore

__all__ = [
    "Builder",
    "Error",
    "ExportError",
    "Model",
    "RestoreError",
    "Session",
    "__version__",
    "convert",
    "export",
    "fold",
    "restore",
]


def __getattr__(name: str) -> Any:
    """Imports what needs PyTorch when it is first asked for."""
    import importlib

    homes = {"export": "exporter", "ExportError": "exporter", "fold": "folding", "convert": "nn"}
    homes |= {"restore": "restoring", "RestoreError": "restoring"}
    if name not in homes:
        raise AttributeError(f"module 'horq' has no attribute {name!r}")
    return getattr(importlib.import_module(f"horq.{homes[name]}"), name)
