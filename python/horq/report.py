"""What became of a module: a table of its layers, and how near the file's answers come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ._core import Model, layers_of


@dataclass(frozen=True)
class Report:
    """What became of each layer; as text a table."""

    road: Literal["exact", "general", "onnx"]
    """The way into the file."""
    layers: list[dict[str, Any]]
    """A row for each node of the engine: name, node, op, became, kind (the arithmetic of a product: `binary order 2, 1
    base`, `codebook of 16`, `int8`, `float`), shape, bytes, macs (by the kind of operands), predicted_share of the time
    of a run, and note."""
    table: str
    """The same for people."""
    samples: int = 0
    """How many samples of the example were compared."""
    largest_difference: float = 0.0
    """The largest difference from the module's own answers, as a share of an answer's largest value, ties left out."""
    ties: int = 0
    """Samples whose answer lies farther off, since a value lies so near a threshold that the module's own answer moves
    as far when its weights change in their last bits."""

    def __str__(self) -> str:
        if not self.samples:
            return self.table
        ties = f"; {self.ties} of them hang on the last bit of a value at a threshold" if self.ties else ""
        near = f"{self.samples} samples answered within {self.largest_difference:.1g} of the module's own{ties}"
        return f"{self.table}\n{near}; the {self.road} road."


def report_of_model(model: Model, road: Literal["exact", "general", "onnx"] = "exact", **compared: Any) -> Report:
    """The report of a file, which knows nothing of where it comes from."""
    layers, table = layers_of(model)
    return Report(road, layers, table, **compared)
