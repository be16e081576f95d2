"""`horq.from_onnx`."""

import numpy as np
import pytest

import horq

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def network(op="Sign"):
    """A float layer, a batch norm, signs, and a layer of binary weights."""
    rng = np.random.default_rng(3)

    def floats(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    constants = {
        "w": floats(32, 3, 3, 3),
        "gamma": floats(32),
        "beta": floats(32),
        "mean": floats(32),
        "variance": np.abs(floats(32)) + 0.5,
        "signs": np.where(floats(16, 32, 3, 3) < 0, np.float32(-0.25), np.float32(0.25)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"]),
        helper.make_node(op, ["b"], ["c"]),
        helper.make_node("Conv", ["c", "signs"], ["d"], name="binary", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def answers(file, x):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_signs_and_binary_weights_are_a_binary_layer(tmp_path):
    file = network()
    (tmp_path / "net.onnx").write_bytes(file)
    model, report = horq.from_onnx(tmp_path / "net.onnx", tmp_path / "net.horq")
    assert [layer["became"] for layer in report.layers].count("binary_conv2d") == 1
    x = np.random.default_rng(4).standard_normal((20, 3, 8, 8)).astype(np.float32)
    expected = answers(file, x)
    for read in (model, horq.Model(str(tmp_path / "net.horq"))):
        found = read.run(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_layout_of_the_network_can_stay():
    file = network("Relu")
    model, _ = horq.from_onnx(file, same_layout=True)
    x = np.random.default_rng(5).standard_normal((3, 3, 8, 8)).astype(np.float32)
    expected = answers(file, x)
    np.testing.assert_allclose(model.run(x), expected, atol=1e-4 * np.abs(expected).max())


def test_everything_that_is_refused_is_named():
    with pytest.raises(horq.ExportError, match="GRU"):
        horq.from_onnx(network("GRU"))
    with pytest.raises(horq.Error):
        horq.from_onnx(b"<!DOCTYPE html>")
    with pytest.raises(FileNotFoundError):
        horq.from_onnx("missing.onnx")
