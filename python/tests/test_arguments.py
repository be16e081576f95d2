"""Values of every wrong kind, at every door of the compiled part: an error that can be caught and read."""

import errno
import itertools
import os
import pickle
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import horq
from horq import _core

BIG = 10**6
NUMBERS = {
    "negative": -1,
    "very negative": -(2**200),
    "huge": 2**64,
    "enormous": 10**5000,
    "bool": True,
    "numpy bool": np.True_,
    "float": 2.0,
    "nan": float("nan"),
    "infinite": float("inf"),
    "text": "2",
    "bytes": b"2",
    "list": [2],
    "array": np.array([2, 2]),
    "object": object(),
}
"""None of them a count."""


def built():
    builder = horq.Builder("x", (4,))
    weight, alpha = np.ones((2, 4), np.float32), np.ones(2, np.float32)
    builder.add("dense", ["x"], "binary_dense", filters=2, order=3, mode="none", bases=[(weight, alpha)])
    return builder


@pytest.fixture(scope="module")
def data():
    return built().to_bytes("dense")


@pytest.fixture
def model(data):
    return horq.Model.from_bytes(data)


def refuses(words, call, *arguments, **keywords):
    """Checks that a call raises what `except Exception` and a person can deal with."""
    with pytest.raises((TypeError, ValueError, horq.Error), match=words or None) as caught:
        call(*arguments, **keywords)
    assert not isinstance(caught.value, OverflowError)
    assert len(str(caught.value)) > 10
    return str(caught.value)


X = np.ones((1, 4), np.float32)


@pytest.mark.parametrize("kind", [*NUMBERS, "none", "zero"])
@pytest.mark.parametrize("name", ["order", "batch", "threads"])
def test_numbers(name, kind, data, tmp_path):
    value = {**NUMBERS, "none": None, "zero": 0}[kind]
    if kind == "none" and name == "order":
        return
    (tmp_path / "m").write_bytes(data)
    model, words = horq.Model.from_bytes(data), f"{name} must be"
    refuses(words, model.session, **{name: value})
    if name == "order":
        refuses(words, model.run, X, order=value)
        refuses(words, model.session().set_order, value)
        refuses(words, model.session().set_order, value, "dense")
    if name == "threads":
        refuses(words, horq.Model, tmp_path / "m", threads=value)
        refuses(words, horq.Model.map, tmp_path / "m", threads=value)
        refuses(words, horq.Model.from_bytes, data, threads=value)


@pytest.mark.parametrize("value", [1, None, "yes", 1.0, []])
def test_flags(value, model):
    refuses("", model.session, profile=value)


def test_integers_of_numpy_count(model):
    assert model.session(batch=np.int64(3), threads=np.uint8(2), order=np.int8(1)).batch == 3
    model.run(X, order=np.int32(8))


def test_orders_above_a_layers_own_are_its_highest_and_above_eight_an_error(model):
    session = model.session(order=8)
    assert session.profile()[0]["order"] == 3
    assert np.array_equal(model.run(X, order=8), model.run(X, order=3))
    for call in (lambda: model.run(X, order=9), lambda: session.set_order(9), lambda: model.session(order=9)):
        refuses("order must be 1 to 8, not 9", call)
    refuses(r"`dense` can run at orders 1 to 3, not 4", session.set_order, 4, "dense")


def test_threads_that_cannot_be_had_are_refused_when_they_are_asked_for(data, tmp_path):
    (tmp_path / "m").write_bytes(data)
    for make in (lambda **k: horq.Model(tmp_path / "m", **k), lambda **k: horq.Model.from_bytes(data, **k)):
        refuses("threads must be 1 to 1024, not 1000000", make, threads=BIG)
        refuses("sse17", make, isa="sse17")
        if horq.Model.from_bytes(data).session().isa != "neon":
            refuses("neon", make, isa="neon")
    refuses("threads must be 1 to 1024", horq.Model, tmp_path / "missing", threads=BIG)


ARRAYS = {
    "none": None,
    "list": [[1.0] * 4],
    "scalar": np.float32(1),
    "0-d": np.array(1, np.float32),
    "1-d": np.ones(4, np.float32),
    "3-d": np.ones((1, 1, 4), np.float32),
    "empty": np.ones((0, 4), np.float32),
    "no features": np.ones((1, 0), np.float32),
    "float64": np.ones((1, 4)),
    "float16": np.ones((1, 4), np.float16),
    "integers": np.ones((1, 4), np.int32),
    "bools": np.ones((1, 4), bool),
    "complex": np.ones((1, 4), np.complex64),
    "objects": np.array([[None] * 4]),
    "text": np.array([["a"] * 4]),
    "structured": np.zeros((1, 4), [("a", np.float32)]),
    "big endian": np.ones((1, 4), ">f4"),
    "strided": np.ones((1, 8), np.float32)[:, ::2],
    "backward": np.ones((1, 4), np.float32)[:, ::-1],
    "columns": np.ones((4, 4), np.float32).T,
    "broadcast": np.broadcast_to(np.float32(1), (2, 4)),
    "unaligned": np.frombuffer(b"\0" * 17, np.uint8)[1:].view("f4").reshape(1, 4),
    "nan": np.full((1, 4), np.nan, np.float32),
    "infinite": np.full((1, 4), -np.inf, np.float32),
}


@pytest.mark.parametrize("kind", [kind for kind in ARRAYS if kind != "float16"])
def test_inputs(kind, model):
    refuses("input", model.run, ARRAYS[kind])
    refuses("input", model.session().run, ARRAYS[kind])


@pytest.mark.parametrize("kind", [kind for kind in ARRAYS if kind not in ("none", "nan", "infinite")])
def test_outs(kind, model):
    refuses("out", model.run, X, out=ARRAYS[kind])
    refuses("out", model.session().run, X, out=ARRAYS[kind])


def test_read_only_and_shared_arrays(model):
    out = np.zeros((1, 2), np.float32)
    out.flags.writeable = False
    refuses("read-only", model.run, X, out=out)
    frozen = X.copy()
    frozen.flags.writeable = False
    model.run(frozen)
    shared = np.zeros((1, 4), np.float32)
    refuses("overlaps", model.run, shared, out=shared[:, :2])


PATHS = {
    "none": None,
    "number": 3,
    "list": ["m"],
    "NUL": "m\0n",
    "NUL in bytes": b"m\0n",
    "array": np.array(["m"]),
}


@pytest.mark.parametrize("kind", PATHS)
def test_paths(kind):
    words = "NUL character" if "NUL" in kind else "expected str, bytes or os.PathLike"
    refuses(words, horq.Model, PATHS[kind])
    refuses(words, horq.Model.map, PATHS[kind])
    refuses(words, built().write, "dense", PATHS[kind])


class Odd(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def test_paths_are_those_of_open(data, tmp_path):
    name = tmp_path / os.fsdecode(b"m\xff.horq")  # no text of any encoding
    built().write("dense", os.fsencode(name))
    assert name.read_bytes() == data
    for path in (name, str(name), os.fsencode(name), Odd(str(name)), Odd(os.fsencode(name))):
        assert horq.Model(path).file_len == horq.Model.map(path, trusted=True).file_len == len(data)


def test_files_that_cannot_be_had_are_both_kinds_of_error(data, tmp_path):
    (tmp_path / "file").write_bytes(data)
    missing = tmp_path / "missing"
    found = []
    for call in (horq.Model, horq.Model.open_shared, partial(horq.Model.map, trusted=True)):
        with pytest.raises(FileNotFoundError, match=r"cannot open .*missing.*No such file") as caught:
            call(missing)
        found.append(caught.value)
        with pytest.raises(NotADirectoryError):
            call(tmp_path / "file" / "m")
        with pytest.raises(horq.FileError) as caught:
            call(tmp_path)
        found.append(caught.value)
    with pytest.raises(IsADirectoryError):
        horq.Model(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        built().write("dense", missing / "m")
    found.append(caught.value)
    with pytest.raises(IsADirectoryError, match="name a file in it") as caught:
        built().write("dense", tmp_path)
    found.append(caught.value)
    if os.name == "posix":
        with pytest.raises(PermissionError, match="cannot write"):
            built().write("dense", "/dev/null")
    if os.geteuid() != 0:  # whom nothing is forbidden
        (tmp_path / "file").chmod(0)
        with pytest.raises(PermissionError):
            horq.Model(tmp_path / "file")
    for error in found:
        assert isinstance(error, horq.Error)
        assert isinstance(error, horq.FileError)
        assert error.errno
        assert Path(error.filename) in (missing, tmp_path, missing / "m")
    assert found[0].errno == errno.ENOENT
    again = pickle.loads(pickle.dumps(found[0]))
    assert (type(again), str(again), again.filename) == (type(found[0]), str(found[0]), str(missing))


@pytest.mark.parametrize("kind", ["none", "text", "number", "array", "empty", "short", "noise"])
def test_bytes(kind, data):
    values = {"none": None, "text": "abc", "number": 3, "array": np.zeros(4, np.uint8)}
    values |= {"empty": b"", "short": data[:100], "noise": bytes(range(256)) * 4}
    refuses("", horq.Model.from_bytes, values[kind])


STRINGS = {"none": None, "number": 3, "bytes": b"dense", "surrogate": "\ud800", "empty": "", "unknown": "y\0"}


@pytest.mark.parametrize("kind", STRINGS)
def test_strings(kind, data, tmp_path):
    value, model, builder = STRINGS[kind], horq.Model.from_bytes(data), built()
    if kind != "none":
        refuses("", model.session, isa=value)
        refuses("", horq.Model.from_bytes, data, isa=value)
        refuses("", model.session().set_order, 1, value)
    refuses("", model.tensor, value)
    refuses("", builder.shape, value)
    refuses("", builder.to_bytes, value)
    refuses("", builder.write, value, tmp_path / "m")
    refuses("", builder.add, value, ["dense"], "relu")
    refuses("", builder.add, "a", [value], "relu")
    refuses("", builder.add, "a", value, "relu")
    refuses("", builder.add, "a", ["dense"], value)
    if kind not in ("empty", "unknown"):
        refuses("", horq.Builder, value, (4,))
        refuses("", builder.producer, value)
        refuses("", builder.note, value, "x")
        refuses("", builder.note, "x", value)


@pytest.mark.parametrize("kind", [*NUMBERS, "none", "zero"])
def test_shapes(kind):
    value = {**NUMBERS, "none": None, "zero": 0}[kind]
    for shape in ((value,), (value, 4, 4), (4, 4, value), [value]):
        refuses("each size of the shape must be", horq.Builder, "x", shape)
    if kind != "list":
        refuses("", horq.Builder, "x", value)
    refuses("one size", horq.Builder, "x", (4, 4))


def test_shapes_that_no_memory_holds():
    for shape in ((2**62,), (2**31, 2**31, 2**31)):
        builder = horq.Builder("x", shape)

        def whole(builder=builder):
            builder.add("a", ["x"], "relu")
            builder.to_bytes("a")

        refuses("elements a sample", whole)


WINDOW = {"kernel": (1, 1), "filters": 2, "weight": np.ones((2, 1, 1, 3), np.float32)}
COUNTS = {"filters": lambda v: v, "groups": lambda v: v}
COUNTS |= {key: lambda v: (1, v) for key in ("kernel", "stride", "dilation")}
COUNTS |= {"padding": lambda v: (0, 0, v, 0)}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("field", COUNTS)
def test_counts_of_a_node(field, kind):
    builder = horq.Builder("x", (5, 5, 3))
    value = COUNTS[field](NUMBERS[kind])
    refuses(rf"node `a` \(conv2d\).*{field}: it must be", builder.add, "a", ["x"], "conv2d", **{**WINDOW, field: value})


@pytest.mark.parametrize("value", [3, "11", (1,), (1, 1, 1), None, {}, 2.5])
@pytest.mark.parametrize("field", ["kernel", "stride", "dilation", "padding"])
def test_pairs_of_a_node(field, value):
    builder = horq.Builder("x", (5, 5, 3))
    if value is None and field != "kernel":
        return
    refuses(field, builder.add, "a", ["x"], "conv2d", **{**WINDOW, field: value})


def test_numbers_beyond_any_layer():
    """Sizes that fit a machine word and nothing else."""
    for field, most in itertools.product(COUNTS, (2**31, 2**62, 2**63 - 1)):
        builder = horq.Builder("x", (5, 5, 3))
        node = {**WINDOW, field: COUNTS[field](most)}
        if field in ("stride", "dilation") and most <= 2**31:  # of a kernel of one tap that has one place
            builder.add("a", ["x"], "conv2d", **{**node, "weight": np.ones((2, 1, 1, 3), np.float32)})
        else:
            refuses("", builder.add, "a", ["x"], "conv2d", **node)


@pytest.mark.parametrize("kind", [*NUMBERS, "zero", "none"])
@pytest.mark.parametrize("field", ["input_scale", "zero_point"])
def test_fields_of_an_8_bit_layer(field, kind):
    value = {**NUMBERS, "zero": 0, "none": None}[kind]
    fine = {"input_scale": ("float", "huge", "numpy bool"), "zero_point": ("zero",)}
    if kind in fine[field]:
        return
    fields = {"filters": 2, "weight": np.ones((2, 4), np.int8), "alpha": np.ones(2, np.float32)}
    fields |= {"input_scale": 0.5, "zero_point": 3, field: value}
    builder = horq.Builder("x", (4,))

    def whole():
        builder.add("a", ["x"], "int8_dense", **fields)
        builder.to_bytes("a")

    refuses("input|zero_point", whole)


@pytest.mark.parametrize("kind", [*ARRAYS, "number"])
def test_weights(kind):
    value = ARRAYS.get(kind, 3)
    if kind in ("3-d", "1-d"):  # of the right length
        return
    builder = horq.Builder("x", (4,))

    def whole(**fields):
        builder.add("a", ["x"], "dense", filters=1, **fields)
        builder.to_bytes("a")

    refuses("weight", whole, weight=value)
    if kind not in ("none", "0-d"):  # one value is a bias
        refuses("bias", whole, weight=np.ones((1, 4), np.float32), bias=value)


@pytest.mark.parametrize("value", [3, "ab", [3], [(X, X, X)], [(X,)], [(X, None)], [None], {"a": 1}, [(X.tolist(), X)]])
def test_bases_and_rows(value):
    builder = horq.Builder("x", (4,))
    refuses("", builder.add, "a", ["x"], "binary_dense", filters=1, order=1, mode="none", bases=value)
    refuses("", built().add, "a", ["dense"], "affine_by_order", order_of="dense", rows=value)


@pytest.mark.parametrize("kind", [kind for kind in ARRAYS if kind not in ("3-d", "1-d", "empty", "no features")])
def test_golden(kind):
    builder = built()

    def whole(*pair):
        builder.golden(*pair)
        builder.to_bytes("dense")

    refuses("golden", whole, ARRAYS[kind], np.ones((1, 2), np.float32))
    refuses("golden", whole, X, ARRAYS[kind] if kind not in ("nan", "infinite") else None)


def test_an_answer_that_no_memory_holds(tmp_path):
    builder = horq.Builder("x", (1, 1, 1))
    weight, padding = np.ones((1, 1, 1, 1), np.float32), (2000, 2000, 2000, 2000)
    builder.add("a", ["x"], "conv2d", kernel=(1, 1), padding=padding, filters=1, weight=weight)
    model = horq.Model.from_bytes(builder.to_bytes("a"))
    with pytest.raises(MemoryError, match="Unable to allocate"):
        model.run(np.ones((2**23, 1, 1, 1), np.float32))


def test_a_panic_is_an_error_of_ours():
    with pytest.raises(horq.Error, match="internal error: the tile is bent; please report it"):
        _core._panic("the tile is bent")
    failures = []

    def work():
        try:
            _core._panic("again")
        except Exception as error:
            failures.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == [horq.Error]


def test_every_door_of_the_compiled_part_is_guarded():
    """Each function that Python can call runs its body in `guard`, but for those that only read a field."""
    fields = {"producer", "digest", "file_len", "inputs", "outputs", "input_shape", "output_shape", "notes", "__repr__"}
    source = Path(__file__).parent.parent / "src"
    for file in ("model.rs", "session.rs", "builder.rs"):
        text = (source / file).read_text()
        for block in text.split("#[pymethods]")[1:]:
            block = block.split("\n}\n")[0]
            for entry in block.split("\n    fn ")[1:]:
                name = entry.split("(")[0].split("<")[0]
                assert name in fields or "guard(" in entry, f"{file}: {name}"
