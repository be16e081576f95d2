"""ONNX Runtime on one thread, and how far its answers move when numbers change in their last bits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

ORIGINAL = Path(__file__).parents[3] / "tools/src/import/original.py"
"""What `horq import --check` runs."""


class Reference:
    """The original network."""

    def __init__(self, model: Path | bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        source = model if isinstance(model, bytes) else str(model)
        self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One sample."""
        return self.session.run(None, dict(zip(self.names, inputs, strict=True)))


def moved(folder: Path, samples: Sequence[int]) -> np.ndarray:
    """How far the original's answers to those samples of a folder move, as shares of their largest value, when inputs
    and weights change in their last bits: far where a sign or a rounding hangs on them.

    Raises `RuntimeError` if the original does not run.
    """
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    shapes = [[value.name, [size.dim_value for size in value.type.tensor_type.shape.dim]] for value in inputs]
    files = [folder / f"input_{place}.npy" for place in range(len(inputs))]
    job = {"inputs": shapes, "outputs": [value.name for value in graph.output], "moved": list(samples)}
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            ORIGINAL,
            folder / "model.onnx",
            scratch,
            1 + max(samples),
            1,
            json.dumps(job),
            *files,
        ]
        ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(ran.stderr.strip()[-300:])
        return np.load(Path(scratch) / "moved.npy")
