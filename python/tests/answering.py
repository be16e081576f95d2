"""What the processes of test_processes.py run; it imports no PyTorch, which takes seconds in each of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import horq

MODEL = Path(__file__).parents[2] / "models" / "lenet5.horq"
inherited: horq.Model | None = None
"""Given to forked workers by their parent; others open the file."""


def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answers of the bundled model, inherited or opened."""
    return inherited.run(images) if inherited else horq.Model(MODEL, threads=2).run(images)
