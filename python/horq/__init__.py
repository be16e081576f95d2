"""horq: binary and high-order residual quantized networks, trained in PyTorch, run by a Rust engine.

`Model`, `Session` and `Builder` need numpy only; `horq.nn`, `fold` and `export` need PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import Builder, Error, Model, Session, __version__

if TYPE_CHECKING:
    from .export import ExportError, export
    from .fold import fold

__all__ = ["Builder", "Error", "ExportError", "Model", "Session", "__version__", "export", "fold"]


def __getattr__(name: str) -> Any:
    """Imports what needs PyTorch when it is first asked for."""
    import importlib

    homes = {"export": "export", "ExportError": "export", "fold": "fold"}
    if name not in homes:
        raise AttributeError(f"module 'horq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"horq.{homes[name]}"), name)
    globals()[name] = value  # a submodule of the same name would otherwise hide it
    return value
