"""Files of other programs, made by them, at every door that takes a model: what it is and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import horq


def saved(value, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    return file.getvalue()


def array(save, *arrays, **named) -> bytes:
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return file.getvalue()


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("m.horq"), io.BytesIO())
    return file.getvalue()


def network() -> bytes:
    builder = horq.Builder("x", (4,))
    builder.add("y", ["x"], "relu")
    return builder.to_bytes("y")


def onnx_network(**fields) -> bytes:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for field, value in fields.items():
        setattr(model, field, value)
    return model.SerializeToString()


STATE = {"weight": torch.ones(3)}
OTHERS = {
    "state_dict": (saved(STATE), "PyTorch", "export it with horq"),
    "module": (saved(torch.nn.Linear(2, 2)), "PyTorch", "export it with horq"),
    "state_dict of old": (saved(STATE, _use_new_zipfile_serialization=False), "pickle", "export it with horq"),
    "TorchScript": (scripted(), "PyTorch", "export it with horq"),
    "npy": (array(np.save, np.ones(3)), "NumPy array", "where inputs are asked for"),
    "npz": (array(np.savez, np.ones(3), b=np.ones(3)), "npz", "where inputs are asked for"),
    "npz, compressed": (array(np.savez_compressed, np.ones(3)), "npz", "where inputs are asked for"),
    "gzip": (gzip.compress(network()), "gzip", "decompress"),
    "bzip2": (bz2.compress(network()), "bzip2", "decompress"),
    "xz": (lzma.compress(network()), "xz", "decompress"),
    "lzma": (lzma.compress(network(), format=lzma.FORMAT_ALONE), "lzma", "decompress"),
    "zip": (zipped("m.horq"), "zip archive with a .horq", "unpack"),
    "keras": (zipped("metadata.json"), "Keras", "export it with horq"),
    "tar": (tarred("w"), "tar archive", "unpack"),
    "tar.gz": (tarred("w:gz"), "gzip", "decompress"),
    "page": (b"<!DOCTYPE html><html></html>", "web page", "download"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer", "git lfs pull"),
    "empty": (b"", "empty", "again"),
    "zeros": (bytes(4096), "filled with zeros", "again"),
    "source code": (b"import torch\n", "text", "look into it"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_in_place_of_a_model(case, tmp_path):
    data, found, advice = OTHERS[case]
    path = tmp_path / "m.horq"
    path.write_bytes(data)
    texts = set()
    for call in (
        lambda: horq.Model(path),
        lambda: horq.Model.open_shared(path),
        lambda: horq.Model.map(path, trusted=True),
        lambda: horq.Model.from_bytes(data),
        lambda: horq.restore(torch.nn.Sequential(torch.nn.Linear(2, 2)), path),
    ):
        with pytest.raises(horq.Error, match=r"not a .horq file") as caught:
            call()
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert found in (text := texts.pop())
    assert advice in text


def test_an_onnx_file_in_place_of_a_model():
    for data in (onnx_network(), onnx_network(producer_name="pytorch"), onnx_network(model_version=3)):
        with pytest.raises(horq.Error, match=r"an ONNX file.*horq.from_onnx"):
            horq.Model.from_bytes(data)


@pytest.mark.parametrize("case", [*OTHERS, "horq"])
def test_in_place_of_an_onnx_file(case, tmp_path):
    data, found, advice = {**OTHERS, "horq": (network(), ".horq file", "needs no import")}[case]
    advice = {"export it with horq": "export it as ONNX", "where inputs are asked for": "names an .onnx file"}.get(
        advice, advice
    )
    (tmp_path / "m.onnx").write_bytes(data)
    for source in (tmp_path / "m.onnx", data):
        with pytest.raises(horq.Error, match="not an ONNX model") as caught:
            horq.from_onnx(source, tmp_path / "m.horq")
        assert found in str(caught.value)
        assert advice in str(caught.value)
    assert not (tmp_path / "m.horq").exists()


def test_an_onnx_file_that_is_cut(tmp_path):
    data = onnx_network()
    onnx.checker.check_model(onnx.load_from_string(data))
    for length in range(1, len(data)):
        with pytest.raises(horq.Error) as caught:
            horq.from_onnx(data[:length], tmp_path / "m.horq")
        assert len(str(caught.value)) > 30
