"""Answers do not depend on the floating-point mode that PyTorch, or another library, has put the thread into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import horq

MODEL = Path(__file__).parents[2] / "models" / "lenet5.horq"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1.0, 1e-38, 1e-44])
def test_flushed_denormals_change_no_answer(threads: int, size: float) -> None:
    images = (np.random.default_rng(1).standard_normal((8, 28, 28, 1)) * size).astype(np.float32)
    expected = horq.Model(MODEL, threads=threads).run(images)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    try:
        model = horq.Model(MODEL, threads=threads)  # helpers take over the mode of the thread that makes them
        answers = model.run(images)
        tiny = torch.tensor([1e-40]) * 0.5
        assert tiny.item() == 0, "PyTorch still flushes afterwards"
    finally:
        torch.set_flush_denormal(False)
    assert np.array_equal(answers, expected)
    assert np.array_equal(model.run(images), expected), "helpers made while denormals were flushed"
