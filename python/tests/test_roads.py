"""The harness that measures the importer: forms of node cases, comparisons, ties, workers that die."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from experiments.roads import comparing, nodes, reference, workers  # noqa: E402
from experiments.roads.cases import attempts  # noqa: E402
from experiments.roads.engine import Port  # noqa: E402


def model(nodes, inputs, outputs, initializers=()):
    def named(values):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values]

    graph = helper.make_graph(nodes, "graph", named(inputs), named(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_every_form_of_a_case_computes_the_same(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (4, 5)))
    matmul = helper.make_node("MatMul", ["a", "b"], ["c"])
    onnx.save(model([matmul], [("a", [3, 4]), ("b", [4, 5])], [("c", [3, 5])]), tmp_path / "model.onnx")
    found = list(attempts(tmp_path, [a, b], [a @ b]))
    assert [attempt.form for attempt in found[:3]] == ["as it is", "all but the first constant", "the first constant"]
    assert [len(attempt.inputs) for attempt in found] == [2, 1, 1, 2, 1, 1]
    for attempt in found:
        answers = reference.Reference(attempt.model.SerializeToString()).run(attempt.inputs)
        np.testing.assert_allclose(answers[0], attempt.answers[0], rtol=1e-5)
        assert ("batch added" in attempt.form) == (answers[0].shape == (1, 3, 5))


def test_a_port_turns_values_there_and_back():
    port = Port([1, 2, 3, 4], [0, 2, 3, 1], [3, 4, 2], "x")
    value = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    turned = port.into(value)
    assert turned.shape == (1, 3, 4, 2)
    assert turned[0, 1, 2, 0] == value[0, 0, 1, 2]
    np.testing.assert_array_equal(port.out(turned), value)
    two = np.concatenate([value, value + 1])
    np.testing.assert_array_equal(port.out(port.into(two)), two)


def test_a_comparison_counts_what_lies_beyond():
    theirs = [[np.array([[1.0, -4.0, 2.0]])]] * 3
    ours = [[np.array([[1.0, -4.0, 2.0 + 1e-5]])], [np.array([[1.0, -4.0, 3.0]])], [np.array([[3.0, -4.0, 2.0]])]]
    found = comparing.compare(ours, theirs)
    assert found.beyond == [1, 2]
    assert found.classes == 2
    assert found.largest == pytest.approx(2.5e-6)
    assert found.farthest == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"shape \[1, 2\] where the network gives \[1, 3\]"):
        comparing.compare([[np.zeros((1, 2))]], theirs[:1])


def test_not_a_number_lies_beyond():
    found = comparing.compare([[np.array([[np.nan, 1.0]])]], [[np.array([[0.5, 1.0]])]])
    assert found.beyond == [0]


def test_answers_move_where_a_sign_is_near_a_tie(tmp_path):
    steps = [helper.make_node("Sub", ["x", "t"], ["d"]), helper.make_node("Sign", ["d"], ["y"])]
    threshold = numpy_helper.from_array(np.array([0.5, 0.5], np.float32), "t")
    onnx.save(model(steps, [("x", [1, 2])], [("y", [1, 2])], [threshold]), tmp_path / "model.onnx")
    np.save(tmp_path / "input_0.npy", np.array([[[0.5 + 2**-22, 1.5]], [[0.75, 1.5]]], np.float32))
    assert reference.moved(tmp_path, [0, 1]).tolist() == [2.0, 0.0]


def test_a_worker_that_dies_is_an_answer_and_the_next_job_is_done():
    worker = workers.Worker(60)
    died = worker.ask({"kind": "nothing that is known"})
    assert "KeyError" in died["died"]
    assert worker.process is None
    assert "KeyError" in worker.ask({"kind": "network"})["died"]


def test_the_table_of_node_cases_counts_each_case_once():
    found = {
        "test_relu": {"outcome": "passed", "text": "", "ops": ["Relu"]},
        "test_gelu_expanded": {"outcome": "refused", "text": "no", "ops": ["Add", "Gelu"]},
        "test_add": {"outcome": "wrong", "text": "answer 0", "ops": ["Add"]},
    }
    text = nodes.table(found)
    assert "3 cases: 1 passed, 1 refused, 0 unchecked, 1 wrong, 0 panic, 0 crash" in text
    assert "operations with a case that passes: 1 of 3" in text
    assert "- refused test_gelu_expanded (Add, Gelu): no" in text
