"""Several inputs and outputs, bytes, other layouts and sizes, and pickles of models."""

import copy
import pickle

import numpy as np
import pytest

import horq

RANDOM = np.random.default_rng(5)
WEIGHT = RANDOM.standard_normal((3, 3, 3, 3), dtype=np.float32)


def branches():
    """Two images in, the vector of means and an image in the middle out."""
    builder = horq.Builder("left", (6, 5, 3))
    builder.add_input("right", (6, 5, 3))
    window = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    builder.add("conv", ["left"], "conv2d", filters=3, weight=WEIGHT, **window)
    builder.add("sum", ["conv", "right"], "add")
    builder.add("mean", ["sum"], "global_average_pool")
    return builder


def image(samples, seed=0, channels=3):
    return np.random.default_rng(seed).standard_normal((samples, 6, 5, channels), dtype=np.float32)


@pytest.fixture
def model():
    return horq.Model.from_bytes(branches().to_bytes(["mean", "sum"]))


@pytest.fixture
def sums():
    """The same with the image alone as the answer."""
    builder = branches()
    with pytest.raises(horq.Error, match="nobody reads node `mean`"):
        builder.to_bytes("sum")
    return horq.Model.from_bytes(builder.to_bytes(("sum", "mean")))


def test_a_model_says_what_goes_in_and_out(model):
    assert list(model.inputs.items()) == [("left", (6, 5, 3)), ("right", (6, 5, 3))]
    assert list(model.outputs.items()) == [("mean", (3,)), ("sum", (6, 5, 3))]
    assert (model.input_shape, model.output_shape) == ((6, 5, 3), (3,))
    assert model.graph["more_inputs"] == [{"name": "right", "shape": [6, 5, 3]}]
    assert model.graph["more_outputs"] == ["sum"]
    assert repr(model).startswith("<horq.Model 6x5x3, 6x5x3 to 3, 6x5x3, 3 nodes")


def test_answers_by_place_and_by_name(model):
    left, right = image(100), image(100, seed=1)  # more than one call to the engine
    mean, total = model.run(left, right)
    assert (mean.shape, total.shape) == ((100, 3), (100, 6, 5, 3))
    assert np.allclose(total.mean((1, 2)), mean, atol=1e-6)
    again, _ = model.run({"right": right, "left": left})
    assert np.array_equal(again, mean)
    named = model.run(left, right, as_dict=True)
    assert list(named) == ["mean", "sum"]
    assert np.array_equal(named["sum"], total)
    session = model.session(batch=100, threads=2)
    for found, expected in zip(session.run({"left": left, "right": right}), (mean, total), strict=True):
        assert np.array_equal(found, expected)
    only_right = model.run(np.zeros_like(left), right)[1]
    assert np.array_equal(only_right, right)


def test_outs_are_written_and_returned(model):
    left, right = image(4), image(4, seed=1)
    outs = (np.full((4, 3), np.nan, np.float32), np.full((4, 6, 5, 3), np.nan, np.float32))
    answers = model.run(left, right, out=outs)
    assert all(answer is out for answer, out in zip(answers, outs, strict=True))
    assert all(np.array_equal(out, expected) for out, expected in zip(outs, model.run(left, right), strict=True))
    with pytest.raises(horq.Error, match="out has 1 arrays, but the model has 2 outputs"):
        model.run(left, right, out=outs[0])
    with pytest.raises(horq.Error, match=r"out\[1\] \(`sum`\) must have the shape \[4, 6, 5, 3\], not \[4, 3\]"):
        model.run(left, right, out=(outs[0], outs[0]))
    shared = np.zeros((4, 6, 5, 3), np.float32)
    with pytest.raises(horq.Error, match="overlaps"):
        model.run(left, shared, out=(outs[0], shared))


def test_what_does_not_fit_is_named(model):
    left = image(2)
    with pytest.raises(horq.Error, match="1 inputs were given, but the model has 2: 'left', 'right'"):
        model.run(left)
    with pytest.raises(horq.Error, match="the model has no input 'top'; its inputs are: 'left', 'right'"):
        model.run({"left": left, "top": left})
    with pytest.raises(horq.Error, match="the input 'right' is missing"):
        model.session().run({"left": left})
    with pytest.raises(horq.Error, match=r"the input `right` must have the shape \[N, 6, 5, 3\]"):
        model.run(left, left[:, :5])
    with pytest.raises(horq.Error, match="the input `right` has 1 samples, but `left` has 2"):
        model.run(left, left[:1])
    bad = left.copy()
    bad[1, 0, 0, 2] = np.nan
    with pytest.raises(horq.Error, match=r"value 92 of the input `right` \(in sample 1\) is NaN"):
        model.session(batch=2).run(left, bad)
    with pytest.raises(horq.Error, match='layout must be "nhwc"'):
        model.run(left, left, layout="chw")


def test_bytes_and_halves_are_taken(model):
    left = RANDOM.integers(0, 256, (3, 6, 5, 3)).astype(np.uint8)
    right = image(3).astype(np.float16)
    expected = model.run(left.astype(np.float32), right.astype(np.float32))
    for run in (model.run, model.session(batch=3).run):
        for found, value in zip(run(left, right), expected, strict=True):
            assert np.array_equal(found, value)
    with pytest.raises(horq.Error, match="C order without gaps"):
        model.run(left[:, :, ::-1], right)
    with pytest.raises(horq.Error, match="must be float32, float16 or uint8, not int64"):
        model.run(left.astype(np.int64), right)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint8])
def test_channels_can_stand_first(model, kind):
    left, right = (np.abs(image(3, seed)).astype(kind) for seed in (1, 2))
    mean, total = model.run(left, right)
    first = [np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in (left, right)]
    for given in (first, [x.transpose(0, 3, 1, 2) for x in (left, right)]):
        found = model.run(*given, layout="nchw")
        assert found[1].shape == (3, 3, 6, 5)
        assert found[1].flags.c_contiguous
        assert np.array_equal(found[0], mean)
        assert np.array_equal(found[1], total.transpose(0, 3, 1, 2))
    outs = (np.empty((3, 3), np.float32), np.empty((3, 3, 6, 5), np.float32))
    answers = model.session(batch=3).run(*first, layout="nchw", out=outs)
    assert answers[1] is outs[1]
    assert np.array_equal(outs[1], total.transpose(0, 3, 1, 2))
    with pytest.raises(horq.Error, match=r"shape \[N, 3, 6, 5\].*channels stand first"):
        model.run(left, right, layout="nchw")


def test_golden_values_of_all(model, tmp_path):
    builder = branches()
    left, right = image(2), image(2, seed=1)
    answers = model.run(left, right)
    builder.golden((left, right), answers)
    builder.write(["mean", "sum"], tmp_path / "m.horq")
    inputs, outputs = horq.Model(tmp_path / "m.horq").golden()
    for found, given in zip((*inputs, *outputs), (left, right, *answers), strict=True):
        assert np.array_equal(found, given)
    builder.golden(left, answers)
    with pytest.raises(horq.Error, match="1 golden inputs were given, but the model has 2: left, right"):
        builder.to_bytes(["mean", "sum"])


def test_sizes_can_be_chosen(sums):
    larger = sums.resized((9, 11, 3), (9, 11, 3))
    assert larger.inputs == {"left": (9, 11, 3), "right": (9, 11, 3)}
    assert larger.outputs == {"sum": (9, 11, 3), "mean": (3,)}
    right = RANDOM.standard_normal((2, 9, 11, 3)).astype(np.float32)
    total, _ = larger.run(np.zeros_like(right), right)
    assert np.array_equal(total, right)
    assert larger.digest == sums.digest
    assert sums.resized({"right": (1, 1, 3), "left": (1, 1, 3)}).input_shape == (1, 1, 3)
    with pytest.raises(horq.Error, match=r"`sum` \(add\).*9x9x3 and 9x11x3"):
        sums.resized((9, 9, 3), (9, 11, 3))
    with pytest.raises(horq.Error, match=r"`conv` cannot read a value of shape 6x5x4"):
        sums.resized((6, 5, 4), (6, 5, 3))
    with pytest.raises(horq.Error, match="1 inputs were given, but the model has 2"):
        sums.resized((6, 5, 3))


def test_models_pickle(model):
    left, right = image(2), image(2, seed=1)
    for made in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert made.digest == model.digest
        for found, expected in zip(made.run(left, right), model.run(left, right), strict=True):
            assert np.array_equal(found, expected)
    larger = pickle.loads(pickle.dumps(model.resized((7, 8, 3), (7, 8, 3))))
    assert larger.inputs == {"left": (7, 8, 3), "right": (7, 8, 3)}


def test_a_model_with_one_input_and_output_gives_one_array():
    builder = horq.Builder("x", (4,))
    builder.add("y", ["x"], "relu")
    model = horq.Model.from_bytes(builder.to_bytes("y"))
    x = np.array([[0, 2, 200, 4]], np.float32)
    assert np.array_equal(model.run(x), x)
    assert np.array_equal(model.run({"x": x}), x)
    assert np.array_equal(model.run(x, as_dict=True)["y"], x)
    assert np.array_equal(model.run(x.astype(np.uint8)), x)
