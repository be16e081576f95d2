"""The training and comparing scripts from end to end, on made-up images in the files' format."""

import gzip
import json
import sys

import numpy as np
import pytest
import torch

from horq import compare_mnist, mnist, train_mnist


def write_idx(path, values):
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten blurred patterns with noise: 300 training images, of which 50 are held out, and 50 test images."""
    monkeypatch.setattr(mnist, "HELD_OUT", 50)
    random = np.random.default_rng(0)
    patterns = np.kron(random.integers(0, 2, (10, 7, 7)), np.ones((4, 4))) * 200
    for prefix, n in (("train", 300), ("t10k", 50)):
        labels = random.integers(0, 10, n)
        images = np.clip(patterns[labels] + random.normal(0, 30, (n, 28, 28)), 0, 255)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return tmp_path


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
    module.main()


def test_train_and_compare(folder, monkeypatch, tmp_path):
    out, table = tmp_path / "runs", tmp_path / "rows.json"
    common = ["--data", folder, "--out", out, "--epochs", 3, "--batch", 25, "--threads", 1]
    lenet = ["--net", "lenet5", *common]
    run(monkeypatch, train_mnist, *lenet, "--order", 0)
    run(monkeypatch, train_mnist, *lenet, "--order", "any", "--teacher", out / "lenet5-0.pt")
    run(monkeypatch, train_mnist, *lenet, "--order", 2, "--init", out / "lenet5-any.pt", "--lr", 1e-3)
    run(monkeypatch, train_mnist, "--net", "mlp", *common, "--order", 1)
    files = [out / f"{name}.pt" for name in ("lenet5-0", "lenet5-any", "lenet5-2", "mlp-1")]
    run(monkeypatch, compare_mnist, *files, "--data", folder, "--json", table, "--threads", 1)
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    served = [("0", 0), *(("any", k) for k in (1, 2, 3, 4)), ("2", 2), ("1", 1)]
    assert [(row["trained"], row["order"]) for row in rows] == served
    assert all(row["equal"] for row in rows)
    assert all(row["accuracy"] > (0.4 if row["trained"] == "any" else 0.7) for row in rows), "ten patterns are easy"


def test_the_first_convolution_sums_exactly():
    """After `finish` every order of summation gives the same bits."""
    torch.manual_seed(0)
    net = mnist.build("lenet5", 1)
    net.finish()
    weight = net.conv1.weight.double()
    pixels = torch.randint(0, 256, (64, 1, 28, 28)).double()
    exact = torch.nn.functional.conv2d(pixels, weight)
    assert torch.equal(exact, net.conv1(pixels.float()).double())
    assert torch.equal(exact.float().double(), exact)


def test_augmentation_keeps_the_ink():
    images = torch.zeros(32, 1, 28, 28)
    images[:, :, 10:18, 10:18] = 200
    moved = mnist.augment(images, 1.0, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert not torch.equal(moved[0], moved[1])
    ratio = moved.sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert ((ratio > 0.4) & (ratio < 2)).all()


def test_files_that_are_no_idx_are_named(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0\0\x0d\1aaaa"))
    with pytest.raises(ValueError, match=r"x\.gz is no IDX file"):
        mnist.read_idx(path)
    path.write_bytes(gzip.compress(b"\0\0\x08\1\0\0\0\5ab"))
    with pytest.raises(ValueError, match="holds 2 values"):
        mnist.read_idx(path)
