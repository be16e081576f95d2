"""Models and sessions in the processes that Python programs make: forks, multiprocessing, loaders of data."""

from __future__ import annotations

import multiprocessing
import os
import time

import answering
import numpy as np
import pytest
import torch
from answering import MODEL
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

import horq

METHODS = multiprocessing.get_all_start_methods()


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((8, 28, 28, 1), np.float32)


def warm(images: NDArray[np.float32]) -> tuple[horq.Model, horq.Session, NDArray[np.float32]]:
    """A model and a session whose threads have worked."""
    model = horq.Model(MODEL, threads=3)
    session = model.session(batch=8, threads=3)
    answers = model.run(images)
    assert np.array_equal(session.run(images), answers)
    return model, session, answers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("use", ["nothing", "drop", "run"])
def test_a_forked_child_ends_with_0(images: NDArray[np.float32], use: str) -> None:
    model, session, answers = warm(images)
    child = os.fork()
    if child == 0:
        try:
            if use == "run":
                assert np.array_equal(model.run(images), answers)
                assert np.array_equal(session.run(images), answers)
            if use != "nothing":
                del model, session
            os._exit(0)
        except BaseException:
            os._exit(1)
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.01)
    assert ended[1] == 0
    assert np.array_equal(session.run(images), answers), "the parent goes on"


@pytest.mark.parametrize("method", METHODS)
def test_every_start_method_of_multiprocessing(
    images: NDArray[np.float32], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, answers = warm(images)
    monkeypatch.setattr(answering, "inherited", model)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.map(answering.answer, [images] * 4):
            assert np.array_equal(found, answers)
        pool.close()
        pool.join()


class _Answers(Dataset):
    """A data set whose samples go through a model, as in distillation or filtering."""

    def __init__(self, model: horq.Model | None, images: NDArray[np.float32]) -> None:
        self.model = model
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        model = self.model or horq.Model(MODEL)
        return model.run(self.images[index : index + 1])[0]


@pytest.mark.parametrize("method", METHODS)
def test_workers_of_a_data_loader(images: NDArray[np.float32], method: str) -> None:
    model, _, answers = warm(images)
    data = _Answers(model if method == "fork" else None, images)
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=method)
    for _ in range(2 if method == "fork" else 1):  # others start Python and import PyTorch each time
        assert np.array_equal(torch.cat(list(loader)).numpy(), answers)
