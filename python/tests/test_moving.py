"""Operations that move values, made by the builder: their lists of whole numbers, and what numpy makes of the same."""

import numpy as np
import pytest

import horq


def answer(x, op, **fields):
    """The answer of one node to samples `x`."""
    builder = horq.Builder("x", x.shape[1:])
    builder.add("y", ["x"], op, **fields)
    return horq.Model.from_bytes(builder.to_bytes("y")).run(x)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 4, 6, 8), dtype=np.float32)


def test_axes_go_where_numpy_has_them(x):
    turned = x.transpose(0, 3, 1, 2).reshape(2, -1)
    fields = {"sizes": [4, 6, 8], "order": (2, 0, 1), "shape": [192]}
    assert np.array_equal(answer(x, "rearrange", **fields), turned)
    arrays = {name: np.array(field) for name, field in fields.items()}
    assert np.array_equal(answer(x, "rearrange", **arrays), turned)


def test_parts_and_borders_are_those_of_numpy(x):
    part = answer(x, "slice", start=[1, 0, 2], stop=[4, 6, 8], step=[1, 2, 3], reverse=[1, 0, 0])
    assert np.array_equal(part, x[:, 1:4:1, 0:6:2, 2:8:3][:, ::-1])
    whole = answer(x, "slice", start=[0, 0, 0], stop=[4, 6, 8])
    assert np.array_equal(whole, x), "step and reverse need not be given"
    for mode in ("constant", "reflect", "edge", "wrap"):
        value = {"constant_values": 0.5} if mode == "constant" else {}
        given = {"value": 0.5} if mode == "constant" else {}
        padded = answer(x, "pad", before=[1, 0, 2], after=[0, 3, 1], mode=mode, **given)
        assert np.array_equal(padded, np.pad(x, ((0, 0), (1, 0), (0, 3), (2, 1)), mode, **value)), mode
    assert np.array_equal(answer(x, "gather", axis=2, indices=range(7, 0, -2)), x[..., 7:0:-2])


def test_sizes_are_resized_and_pooled(x):
    up = answer(x, "resize", size=[8, 12], mode="nearest", coordinates="asymmetric", rounding="floor")
    assert np.array_equal(up, x.repeat(2, 1).repeat(2, 2))
    points = answer(x, "resize", size=[7, 6], mode="linear", coordinates="align_corners")
    assert np.allclose(points[:, 1::2], (x[:, :-1] + x[:, 1:]) / 2, atol=1e-6)
    scaled = answer(x, "resize", size=[4, 6], mode="linear", coordinates="asymmetric", scale=np.float32([2, 1]))
    assert np.array_equal(scaled[:, ::2], x[:, :2])
    same = answer(x, "resize", size=[4, 6], mode="cubic", coordinates="half_pixel", cubic=-0.75, outside="edge")
    assert np.array_equal(same, x)
    pooled = answer(x, "adaptive_average_pool", size=[2, 2])
    assert np.allclose(pooled, x.reshape(2, 2, 2, 2, 3, 8).mean((2, 4)), atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sizes": [4, 6, 8], "order": [0, 0, 1], "shape": [192]}, "must name each axis"),
        ({"sizes": [4, 6, 8], "order": [0, 1, 2], "shape": [4, 48]}, "one size .* or three"),
        ({"sizes": [4, 6, -8], "order": [0, 1, 2], "shape": [192]}, "at least 0"),
        ({"sizes": [2**40, 2**40, 8], "order": [0, 1, 2], "shape": [192]}, "product of its sizes"),
    ],
)
def test_lists_that_are_wrong_are_refused(x, fields, text):
    with pytest.raises(horq.Error, match=text):
        answer(x, "rearrange", **fields)


@pytest.mark.parametrize("sizes", [192, "192", [4.0, 6, 8], [[4], 6, 8], None])
def test_what_is_no_list_of_whole_numbers_is_refused(x, sizes):
    with pytest.raises((horq.Error, TypeError)):
        answer(x, "rearrange", sizes=sizes, order=[0, 1, 2], shape=[192])
