"""The node cases of `onnx.backend.test`, as they are and as a network would hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def shapes(model: onnx.ModelProto) -> list[list[int]]:
    """The sizes of the inputs."""
    return [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in model.graph.input]


def with_constants(model: onnx.ModelProto, inputs: Sequence[np.ndarray], places: set[int]) -> onnx.ModelProto:
    """The model where the inputs at those places are initializers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    names = [value.name for value in model.graph.input]
    for place in places:
        value, kind = inputs[place], model.graph.input[place].type.tensor_type.elem_type
        if helper.tensor_dtype_to_np_dtype(kind) == value.dtype:
            changed.graph.initializer.append(numpy_helper.from_array(value, names[place]))
        else:  # a type that numpy has not, such as whole numbers of 4 bits
            changed.graph.initializer.append(helper.make_tensor(names[place], kind, value.shape, value.ravel()))
    kept = [value for place, value in enumerate(changed.graph.input) if place not in places]
    del changed.graph.input[:]
    changed.graph.input.extend(kept)
    return changed


def with_batch(model: onnx.ModelProto, inputs: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> onnx.ModelProto:
    """The model behind an axis of one that stands for the batch: Reshape nodes take it off and put it on."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    fed = {tensor.name for tensor in graph.initializer}
    before, after = [], []
    for value, tensor in zip([value for value in graph.input if value.name not in fed], inputs, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(tensor.shape, np.int64), f"{value.name}:inner"))
        before.append(helper.make_node("Reshape", [f"{value.name}:outer", f"{value.name}:inner"], [value.name]))
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(f"{value.name}:outer", kind, [1, *tensor.shape]))
    for value, tensor in zip(graph.output, answers, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([1, *tensor.shape], np.int64), f"{value.name}:outer"))
        after.append(helper.make_node("Reshape", [value.name, f"{value.name}:outer"], [f"{value.name}:batched"]))
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(f"{value.name}:batched", kind, [1, *tensor.shape]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


class Attempt:
    """One form of a case: what is imported, what it is given, what it must answer."""

    def __init__(self, form: str, model: onnx.ModelProto, inputs: list[np.ndarray], answers: list[np.ndarray]) -> None:
        self.form, self.model, self.inputs, self.answers = form, model, inputs, answers
        fed = {tensor.name for tensor in model.graph.initializer}
        self.names = [value.name for value in model.graph.input if value.name not in fed]


def attempts(folder: Path, inputs: list[np.ndarray], answers: list[np.ndarray]) -> Iterator[Attempt]:
    """The case as it is; then with inputs constant, as networks have them: whole numbers, all but the first, the first.

    Each of these comes behind an axis for the batch as well, since a sample is a batch of one.
    """
    model = onnx.load(folder / "model.onnx")
    if len(model.graph.input) != len(inputs) or len(model.graph.output) != len(answers):
        yield Attempt("as it is", model, inputs, answers)
        return
    kinds = [value.type.tensor_type.elem_type for value in model.graph.input]
    whole = {place for place, kind in enumerate(kinds) if kind not in FLOATS}
    choices = {"as it is": set()}
    if whole and len(whole) < len(inputs):
        choices["whole numbers constant"] = whole
    if len(inputs) > 1:
        choices["all but the first constant"] = set(range(1, len(inputs)))
        choices["the first constant"] = {0}
    for batched in (False, True):
        for form, places in choices.items():
            changed = with_constants(model, inputs, places)
            given = [value for place, value in enumerate(inputs) if place not in places]
            if not batched:
                yield Attempt(form, changed, given, answers)
            else:
                one = [value[None] for value in given]
                yield Attempt(
                    f"{form}, batch added", with_batch(changed, given, answers), one, [v[None] for v in answers]
                )
