"""Files that change while a model lives: who is safe, who has to say that it trusts them, and one copy for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import horq

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sealed memory")
X = np.ones((1, 64), np.float32)


def network(factor: float, features: int = 64) -> bytes:
    builder = horq.Builder("x", (features,))
    weight = np.full((features, features), factor, np.float32)
    builder.add("y", ["x"], "dense", filters=features, weight=weight)
    return builder.to_bytes("y")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "m.horq").write_bytes(network(1))
    return tmp_path / "m.horq"


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * 4096)


CHANGES = {
    "overwritten in place": overwritten,
    "cut": lambda path: os.truncate(path, 100),
    "removed": lambda path: path.unlink(),
    "written anew": lambda path: path.write_bytes(network(2)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", [horq.Model, horq.Model.open_shared])
def test_a_model_does_not_hang_on_its_file(change, way, path):
    model = way(path)
    before = model.run(X)
    CHANGES[change](path)
    assert np.array_equal(model.run(X), before)
    model.verify_digest()
    model.check()


def test_a_map_has_to_be_trusted(path):
    for call in (lambda: horq.Model.map(path), lambda: horq.Model.map(path, trusted=False)):
        with pytest.raises(horq.Error, match=r"SIGBUS; use Model.open_shared, or pass trusted=True"):
            call()
    with pytest.raises(TypeError):
        horq.Model.map(path, trusted="yes")
    with pytest.raises(TypeError):
        horq.Model.map(path, True)
    model = horq.Model.map(path, trusted=True)
    before = model.run(X)
    (path.parent / "other").write_bytes(network(2))
    os.replace(path.parent / "other", path)
    assert np.array_equal(model.run(X), before), "replaced by renaming"


def test_values_of_a_map_are_checked_before_they_are_used(path):
    data = bytearray(network(1))
    data[-4:] = np.float32("nan").tobytes()
    path.write_bytes(data)
    with pytest.raises(horq.Error, match="is NaN") as opened:
        horq.Model(path)
    for use in ("run", "session", "check", "tensor", "golden", "resized"):
        model = horq.Model.map(path, trusted=True)
        arguments = {"run": (X,), "tensor": ("y.weight",), "resized": ((64,),)}.get(use, ())
        with pytest.raises(horq.Error) as caught:
            getattr(model, use)(*arguments)
        assert str(caught.value) == str(opened.value), use


CHILD = """
import sys, numpy as np, horq
model = horq.Model.from_fd(int(sys.argv[1]))
print(model.digest, model.run(np.ones((1, 64), np.float32))[0, 0])
"""


@LINUX
def test_another_process_uses_the_memory(path):
    model = horq.Model.open_shared(path)
    path.unlink()
    fd = os.dup(model.fileno())
    try:
        command = [sys.executable, "-c", CHILD, str(fd)]
        said = subprocess.run(command, pass_fds=[fd], capture_output=True, text=True, check=True).stdout
        assert said.split() == [model.digest, "64.0"]
        assert np.array_equal(horq.Model.from_fd(fd).run(X), model.run(X))
        assert horq.Model.from_fd(model).digest == model.digest, "an object with a fileno"
    finally:
        os.close(fd)
    again = horq.Model.from_fd(model.fileno())
    del model
    assert again.run(X)[0, 0] == 64, "the descriptor is its own"


@LINUX
def test_memory_that_could_change_is_refused(path):
    fd = os.memfd_create("m", os.MFD_ALLOW_SEALING)
    os.write(fd, network(1))
    for given in (fd, path.open("rb")):
        with pytest.raises(horq.Error, match="cannot take the model from shared memory"):
            horq.Model.from_fd(given)
    os.close(fd)
    with pytest.raises(horq.Error, match=r"cannot take the model from shared memory.*[Bb]ad file"):
        horq.Model.from_fd(fd)
    for wrong, words in ((-1, "fd must be"), (2**40, "fd must be"), ("3", "fd must be"), (True, "fd must be")):
        with pytest.raises((horq.Error, TypeError), match=words):
            horq.Model.from_fd(wrong)


def test_other_models_have_no_descriptor(path):
    for model in (horq.Model(path), horq.Model.map(path, trusted=True), horq.Model.from_bytes(path.read_bytes())):
        with pytest.raises(horq.Error, match=r"Model.open_shared"):
            model.fileno()
