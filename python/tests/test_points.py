"""Operating points in Python: written, read, set, asked for, and refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import horq

MODEL = Path(__file__).parents[2] / "models" / "lenet5.horq"


@pytest.fixture(scope="module")
def pointed(tmp_path_factory):
    """LeNet-5 with two points, the first of which is the default one."""
    path = tmp_path_factory.mktemp("points") / "pointed.horq"
    model = horq.Model(MODEL)
    layers = [layer["name"] for layer in model.session(profile=True).profile() if layer["order"]]
    low = {"name": "low", "orders": dict.fromkeys(layers, 1)}
    model.write_with_points({"points": [low, {"name": "top", "orders": {}}], "default": "low"}, path)
    return horq.Model(path)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).uniform(0, 255, (3, 28, 28, 1)).astype(np.float32)


def test_a_file_says_its_points(pointed):
    assert [point["name"] for point in pointed.points["points"]] == ["low", "top"]
    assert pointed.points["default"] == "low"
    assert not horq.Model(MODEL).points.get("points")


def test_answers_at_a_point_are_those_of_its_orders(pointed, images):
    plain = horq.Model(MODEL)
    low, top = plain.run(images, order=1), plain.run(images)
    assert not np.array_equal(low, top)
    for name, wanted in (("low", low), ("default", low), ("top", top)):
        np.testing.assert_array_equal(pointed.run(images, point=name), wanted)
        np.testing.assert_array_equal(pointed.session(batch=3, point=name).run(images), wanted)
    np.testing.assert_array_equal(pointed.run(images), top)  # points change nothing until they are asked for


def test_a_session_moves_between_points(pointed, images):
    session = pointed.session(batch=3)
    assert session.point is None
    session.set_point("low")
    low = session.run(images)
    assert session.point == "low"
    top = session.run(images, point="top")
    assert session.point == "top"
    np.testing.assert_array_equal(low, pointed.run(images, point="low"))
    np.testing.assert_array_equal(top, pointed.run(images))
    session.set_order(1)
    assert session.point is None


def test_points_that_are_not_there_are_refused_by_name(pointed, images, tmp_path):
    for call in (
        lambda: pointed.run(images, point="fast"),
        lambda: pointed.session(point="fast"),
        lambda: pointed.session().set_point("fast"),
    ):
        with pytest.raises(horq.Error, match=r"fast.*low, top, default"):
            call()
    with pytest.raises(horq.Error, match="none at all"):
        horq.Model(MODEL).run(images, point="low")
    with pytest.raises(horq.Error, match="order or point"):
        pointed.run(images, order=1, point="low")
    path = tmp_path / "none.horq"
    with pytest.raises(horq.Error, match="conv9"):
        pointed.write_with_points({"points": [{"name": "low", "orders": {"conv9": 1}}]}, path)
    assert not path.exists()
