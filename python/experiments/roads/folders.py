"""What a folder of a network holds: `model.onnx` or `loader.py`, samples, answers, `info.json`.

`input_0.npy`, `output_0.npy` and so on hold one tensor each: in the folder of a network [samples, 1, ...], in that of
an ONNX node case the tensor itself. `loader.py` defines `load() -> (module, example)`; beside it `input.npy` and
`output.npy` hold [samples, ...]. `info.json` may say where the network is from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def tensors(folder: Path, stem: str) -> list[np.ndarray]:
    """The tensors `STEM_0.npy`, `STEM_1.npy` and so on, as far as they go."""
    found = []
    while (path := folder / f"{stem}_{len(found)}.npy").exists():
        found.append(np.load(path))
    return found


def samples(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and answers, [samples, 1, ...] each."""
    if (folder / "input.npy").exists():
        return [np.load(folder / "input.npy")[:, None]], [np.load(folder / "output.npy")[:, None]]
    inputs, answers = tensors(folder, "input"), tensors(folder, "output")
    if not inputs or not answers:
        raise FileNotFoundError(f"{folder} holds no input_0.npy and output_0.npy, nor input.npy and output.npy")
    return inputs, answers


def info(folder: Path) -> dict[str, Any]:
    """What is known of the network."""
    path = folder / "info.json"
    return json.loads(path.read_text()) if path.exists() else {}


def networks(root: Path) -> list[Path]:
    """The folders of networks that are complete, by name."""
    whole = [path.parent for path in root.glob("*/output_0.npy")] + [path.parent for path in root.glob("*/output.npy")]
    return sorted(folder for folder in whole if (folder / "model.onnx").exists() or (folder / "loader.py").exists())
