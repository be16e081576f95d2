"""Models, sessions and the builder over numpy arrays."""

import threading

import numpy as np
import pytest

import horq


def binary_dense(order=3, features=40, filters=6, seed=0):
    """A model of one binary layer in mode fixed, and its answer by the definition for integer inputs."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((filters, features), dtype=np.float32)
    alpha = np.arange(1, filters + 1, dtype=np.float32)
    scales = np.array([4, 2, 1], dtype=np.float32)[:order]
    builder = horq.Builder("x", (features,))
    bases = [(weight, alpha)]
    builder.add("dense", ["x"], "binary_dense", filters=filters, order=order, mode="fixed", scales=scales, bases=bases)

    def answer(x, upto=order):
        magnitudes, h, total = np.abs(x), np.where(x < 0, -1, 1), 0
        for b in scales[:upto]:
            total = total + b * (h @ np.where(weight < 0, -1, 1).T)
            h, magnitudes = np.where(magnitudes < b, -h, h), np.abs(magnitudes - b)
        return alpha * total

    return builder, answer


@pytest.fixture
def model():
    return horq.Model.from_bytes(binary_dense()[0].to_bytes("dense"))


def inputs(n, features=40, seed=1):
    return np.random.default_rng(seed).integers(-7, 8, (n, features)).astype(np.float32)


def test_run_and_the_dial(model):
    answer = binary_dense()[1]
    x = inputs(200)  # more than one call to the engine
    for order in (1, 2, 3):
        assert np.array_equal(model.run(x, order=order), answer(x, order))
    assert np.array_equal(model.run(x), answer(x)), "without an order, the highest again"
    assert np.array_equal(model.run(x, order=8), answer(x))


def test_out_is_written_and_returned(model):
    x, out = inputs(5), np.full((5, 6), np.nan, np.float32)
    assert model.run(x, out=out) is out
    assert np.array_equal(out, model.run(x))


def test_input_is_read_where_it_lies(model):
    x = inputs(8)
    assert np.array_equal(model.run(x[2:6]), model.run(x)[2:6])
    x.flags.writeable = False
    model.run(x)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1.0] * 40], "must be a numpy array"),
        (np.zeros((2, 40)), "must be float32, float16 or uint8, not float64"),
        (np.zeros((2, 80), np.float32)[:, ::2], "C order without gaps"),
        (np.zeros((40, 2), np.float32).T, "C order without gaps"),
        (np.zeros(40, np.float32), r"shape \[N, 40\] with N >= 1, not \[40\]"),
        (np.zeros((2, 41), np.float32), r"not \[2, 41\]"),
        (np.zeros((0, 40), np.float32), r"not \[0, 40\]"),
        (np.full((1, 40), np.nan, np.float32), "NaN"),
    ],
)
def test_bad_inputs_are_named(model, value, words):
    with pytest.raises(horq.Error, match=words):
        model.run(value)
    with pytest.raises(horq.Error, match=words):
        model.session(batch=4).run(value)


def test_bad_outs_are_named(model):
    x = inputs(2)
    with pytest.raises(horq.Error, match=r"out must have the shape \[2, 6\], not \[3, 6\]"):
        model.run(x, out=np.zeros((3, 6), np.float32))
    with pytest.raises(horq.Error, match="out must be float32"):
        model.run(x, out=np.zeros((2, 6)))
    frozen = np.zeros((2, 6), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(horq.Error, match="read-only"):
        model.run(x, out=frozen)
    shared = np.zeros(92, np.float32)
    with pytest.raises(horq.Error, match="overlaps"):
        model.run(shared[:80].reshape(2, 40), out=shared[70:82].reshape(2, 6))


def test_session(model):
    session = model.session(batch=3, profile=True, order=1)
    answer = binary_dense()[1]
    x = inputs(3)
    assert np.array_equal(session.run(x), answer(x, 1))
    session.set_order(2)
    assert np.array_equal(session.run(x[:2]), answer(x[:2], 2))
    session.set_order(3, "dense")
    (layer,) = session.profile()
    assert (layer["name"], layer["op"], layer["order"], layer["max_order"]) == ("dense", "binary_dense", 3, 3)
    assert (layer["runs"], layer["samples"], layer["output"]) == (2, 5, (6,))
    assert layer["nanoseconds"].keys() == {"quantize", "bits", "epilogue", "float"}
    assert layer["wall_nanoseconds"] > 0
    session.reset_profile()
    assert session.profile()[0]["runs"] == 0
    assert session.batch == 3
    with pytest.raises(horq.Error):
        session.run(inputs(4))
    with pytest.raises(horq.Error, match="dense"):
        session.set_order(1, "conv")
    with pytest.raises(horq.Error):
        session.set_order(0)


def test_instruction_sets_agree_and_unknown_ones_are_named(model):
    x = inputs(4)
    portable = model.session(batch=4, isa="portable")
    assert portable.isa == "portable"
    assert np.array_equal(portable.run(x), model.run(x))
    with pytest.raises(horq.Error, match="sse17"):
        model.session(isa="sse17")
    with pytest.raises(horq.Error, match="threads must be 1 to 1024, not 0"):
        model.session(threads=0)


def test_threads_share_a_model(model):
    answer = binary_dense()[1]
    failures = []

    def work(seed):
        x = inputs(70, seed=seed)
        orders = (1, 2, 3) * 10
        failures.extend(seed for order in orders if not np.array_equal(model.run(x, order=order), answer(x, order)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_session_in_use_says_so():
    """A long run in one thread (it has released the GIL) and calls from another."""
    builder = horq.Builder("x", (64, 64, 64))
    weight = np.ones((64, 3, 3, 64), np.float32)
    window = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    for i, source in enumerate(["x", "c0", "c1", "c2"]):
        builder.add(f"c{i}", [source], "conv2d", filters=64, weight=weight / 576, **window)
    model = horq.Model.from_bytes(builder.to_bytes("c3"))
    session = model.session(batch=4)
    x = np.ones((4, 64, 64, 64), np.float32)
    started, refusals = threading.Event(), []

    def run():
        started.set()
        session.run(x)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    while thread.is_alive():
        try:
            session.profile()
        except horq.Error as error:
            refusals.append(str(error))
    thread.join()
    assert refusals, "the GIL was released while the session ran"
    assert "one for each thread with Model.session" in refusals[0]
    session.profile()


def test_files(tmp_path):
    builder, answer = binary_dense()
    x = inputs(2)
    builder.golden(x, answer(x).astype(np.float32))
    builder.note("licence", "none")
    path = tmp_path / "m.horq"
    builder.write("dense", path)
    for model in (horq.Model(path), horq.Model.map(path, trusted=True), horq.Model(str(path))):
        assert model.input_shape == (40,)
        assert model.output_shape == (6,)
        assert model.notes == {"licence": "none"}
        assert model.file_len == path.stat().st_size
        assert len(model.digest) == 64
        assert model.graph["output"] == "dense"
        given, expected = model.golden()
        assert np.array_equal(given, x)
        assert np.array_equal(model.run(given), expected)
        model.verify_digest()
    with pytest.raises(horq.Error, match="nowhere"):
        horq.Model(tmp_path / "nowhere")
    raw = bytearray(path.read_bytes())
    raw[-200] ^= 1
    with pytest.raises(horq.Error):
        horq.Model.from_bytes(bytes(raw)).verify_digest()
    assert horq.Model.from_bytes(binary_dense()[0].to_bytes("dense")).golden() is None


def test_builder_names_what_is_wrong():
    builder = horq.Builder("x", (4,))
    weight = np.ones((2, 4), np.float32)
    with pytest.raises(horq.Error, match=r"`a` \(dense\) needs the field filters"):
        builder.add("a", ["x"], "dense", weight=weight)
    with pytest.raises(horq.Error, match=r"`a` \(dense\) has no fields \['bais'\]"):
        builder.add("a", ["x"], "dense", filters=2, weight=weight, bais=weight)
    with pytest.raises(horq.Error, match='there is no operation "lstm"'):
        builder.add("a", ["x"], "lstm")
    with pytest.raises(horq.Error, match=r"mode.*unknown variant `row`"):
        builder.add("a", ["x"], "binary_dense", filters=2, order=1, mode="row", bases=[(weight, weight[:, 0].copy())])
    with pytest.raises(horq.Error, match="weight of node `a` must be float32"):
        builder.add("a", ["x"], "dense", filters=2, weight=weight.astype(float))
    with pytest.raises(horq.Error, match="filters"):
        builder.add("a", ["x"], "dense", filters="two", weight=weight)
    with pytest.raises(horq.Error, match="`y`"):
        builder.add("a", ["y"], "relu")
    with pytest.raises(horq.Error, match=r"one size .* or three"):
        horq.Builder("x", (4, 4))
    builder.add("a", ["x"], "dense", filters=2, weight=weight)
    assert builder.shape("a") == [2]
    with pytest.raises(horq.Error, match="no value `b`"):
        builder.shape("b")


def test_the_selftest_gives_the_number_of_every_cpu(model):
    numbers = horq.selftest()
    assert set(numbers.values()) == {horq.FINGERPRINT}
    assert len(horq.FINGERPRINT) == 16
    assert {model.session().isa, "portable"} <= set(numbers)
