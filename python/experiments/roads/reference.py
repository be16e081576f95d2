"""ONNX Runtime on one thread, and how near its decisions are to a tie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

DECIDE = {"Sign", "Round", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Floor", "Ceil"}
"""Operations whose answer jumps."""


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


def margins(path: Path, samples: list[list[np.ndarray]]) -> list[float]:
    """For each sample how near its nearest decision is to a tie: the distance, of the tensor's largest magnitude.

    A difference between two correct runtimes is explained where this is of the order of float rounding, 1e-6.
    """
    model = onnx.load(path)
    signs, steps = [], []
    fixed = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in DECIDE and node.input[0] not in fixed:
            (steps if node.op_type in {"Round", "Floor", "Ceil"} else signs).append((node.op_type, list(node.input)))
    known = {value.name for value in model.graph.output}
    for value in sorted({name for _, inputs in signs + steps for name in inputs} - known - fixed):
        model.graph.output.append(onnx.ValueInfoProto(name=value))
    reference = Reference(model.SerializeToString())
    names = [value.name for value in reference.session.get_outputs()]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nearest = []
    for sample in samples:
        values = constants | dict(zip(names, reference.run(sample), strict=True))
        values |= dict(zip(reference.names, sample, strict=True))
        found = [np.inf]
        for op, inputs in signs:
            distance = values[inputs[0]].astype(np.float64)
            distance = distance if op == "Sign" else distance - values[inputs[1]]
            found.append(_least(distance))
        for op, inputs in steps:
            value = values[inputs[0]].astype(np.float64)
            found.append(
                _least(value - np.floor(value) - 0.5, value)
                if op == "Round"
                else _least(value - np.round(value), value)
            )
        nearest.append(min(found))
    return nearest


def _least(distance: np.ndarray, value: np.ndarray | None = None) -> float:
    """The least distance, of the largest magnitude: 0 for an exact tie."""
    scale = float(np.abs(distance if value is None else value).max(initial=0)) or 1.0
    return float(np.abs(distance).min(initial=np.inf)) / scale
