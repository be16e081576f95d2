"""Tiny networks trained on made-up images, for each module of tests that asks for them; PyTorch has one thread."""

import os
import types

import made_up
import pytest
import torch

from experiments.results.evaluate import evaluate
from horq.train import read
from horq.train.loop import Trainer

# The tests' tensors are too small to share among threads, which wait for each other by spinning.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, a recipe, and its runs but for one seed, order 2 and the power-of-two net."""
    root = tmp_path_factory.mktemp("made")
    made_up.write_mnist(root / "data")
    (root / "tiny.toml").write_text(made_up.RECIPE)
    configs = read(root / "tiny.toml")
    for name in ("net-float", "net-dial", "net-order1"):
        Trainer(configs[name], root / "data", root / "runs", progress=False).go()
    return types.SimpleNamespace(root=root, recipe=root / "tiny.toml", out=root / "runs", data=root / "data")


@pytest.fixture(scope="module")
def evaluated(made):
    """The same, evaluated."""
    found = {
        name: evaluate(made.out / name, made.data, images=None if name != "net-order1" else 30)
        for name in ("net-float", "net-dial", "net-order1")
    }
    return types.SimpleNamespace(found=found, **vars(made))
