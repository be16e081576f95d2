"""Runs that end before their time: by Ctrl-C and other signals, by a timeout, by a token."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import horq

SIZE = 64


def network(path: Path, layers: int = 6) -> horq.Model:
    """Float convolutions of 64 channels, some milliseconds a sample and more."""
    rng = np.random.default_rng(1)
    builder = horq.Builder("x", (SIZE, SIZE, 16))
    before = "x"
    for layer in range(layers):
        weight = rng.standard_normal((64, 3, 3, 16 if layer == 0 else 64)).astype(np.float32) * 0.05
        name = f"conv{layer}"
        builder.add(
            name,
            [before],
            "conv2d",
            filters=64,
            kernel=(3, 3),
            stride=(1, 1),
            dilation=(1, 1),
            padding=(1, 1, 1, 1),
            groups=1,
            weight=weight,
        )
        before = name
    builder.write(before, path)
    return horq.Model(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ending") / "slow.horq"
    network(file)
    return file


@pytest.fixture(scope="module")
def model(path: Path) -> horq.Model:
    return horq.Model(path)


MANY = np.full((400, SIZE, SIZE, 16), 0.25, np.float32)
"""Samples that take far longer than any of these tests."""
FEW = MANY[:2]


def calls(model: horq.Model) -> dict[str, Callable[..., Any]]:
    """Every way to run many samples."""
    alone, together = model.session(batch=400), model.session(batch=400, threads=2)
    return {
        "model": lambda **kw: model.run(MANY, **kw),
        "model by name, channels first": lambda **kw: model.run(
            {"x": np.ascontiguousarray(MANY[:100].transpose(0, 3, 1, 2))}, layout="nchw", **kw
        ),
        "bytes": lambda **kw: model.run(np.ones(MANY.shape, np.uint8), as_dict=True, **kw),
        "session": lambda **kw: alone.run(MANY, **kw),
        "two threads": lambda **kw: together.run(MANY, **kw),
        "one sample at a time": lambda **kw: [model.run(MANY[i : i + 1], **kw) for i in range(len(MANY))],
    }


WAYS = ["model", "model by name, channels first", "bytes", "session", "two threads"]
SOON = 0.6
"""Seconds that an ending may take in a build without optimisation on a machine that has other work; 0.1 else."""


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_ends_a_run(model: horq.Model, way: str) -> None:
    call, began = calls(model)[way], time.monotonic()
    with pytest.raises(horq.DeadlineError, match=r"^the run passed its deadline") as caught:
        call(timeout=0.3)
    assert time.monotonic() - began < 0.3 + SOON
    assert isinstance(caught.value, horq.Error)
    assert isinstance(caught.value, TimeoutError)
    assert 0 <= caught.value.samples < 400
    assert caught.value.sample is None
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (horq.DeadlineError, str(caught.value))


def test_a_run_in_time_and_the_next_after_a_late_one_are_exact(model: horq.Model) -> None:
    expected = model.run(FEW)
    session = model.session(batch=400, threads=2)
    for timeout in [None, 3600, float("inf"), 1e300, np.float32(100)]:
        np.testing.assert_array_equal(model.run(FEW, timeout=timeout), expected)
        np.testing.assert_array_equal(session.run(FEW, timeout=timeout), expected)
    for _ in range(2):
        for run in [model.run, session.run]:
            with pytest.raises(horq.DeadlineError):
                run(MANY, timeout=0.05)
            with pytest.raises(horq.DeadlineError):
                run(FEW, timeout=0)
            np.testing.assert_array_equal(run(FEW), expected)


@pytest.mark.parametrize("wrong", ["1", [1], True, object()])
def test_what_is_no_time_is_refused(model: horq.Model, wrong: object) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None"):
        model.run(FEW, timeout=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, -0.001, float("nan"), float("-inf")])
def test_a_negative_time_is_refused(model: horq.Model, wrong: float) -> None:
    with pytest.raises(horq.Error, match="timeout must be 0 seconds or more"):
        model.session().run(FEW[:1], timeout=wrong)


@pytest.mark.parametrize("way", WAYS)
def test_another_thread_cancels_a_run(model: horq.Model, way: str) -> None:
    call, token = calls(model)[way], horq.CancelToken()
    cancelled: list[float] = []

    def cancel() -> None:
        cancelled.append(time.monotonic())
        token.cancel()

    threading.Timer(0.3, cancel).start()
    with pytest.raises(horq.CancelledError, match=r"^the run was cancelled"):
        call(cancel=token)
    assert time.monotonic() - cancelled[0] < SOON
    assert token.cancelled
    assert "cancelled" in repr(token)
    with pytest.raises(horq.CancelledError):
        model.run(FEW, cancel=token)
    assert not horq.CancelToken().cancelled
    with pytest.raises(TypeError):
        model.run(FEW, cancel=True)  # type: ignore[arg-type]


def interrupted(path: Path, body: str, *, after: float = 0.8) -> tuple[str, int]:
    """What a process prints that runs `body`, and how it ends, if it gets a SIGINT some time after it has begun."""
    before = f"""
        import signal, sys, threading, time
        import numpy as np
        import horq
        model = horq.Model({str(path)!r})
        many = np.full((400, {SIZE}, {SIZE}, 16), 0.25, np.float32)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        print("begun", flush=True)
    """
    text = textwrap.dedent(before) + textwrap.dedent(body)
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(after)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    late = threading.Timer(30, process.kill)
    late.start()
    line = process.stdout.readline()
    took = time.monotonic() - sent
    # `communicate` would lose what `readline` has read ahead.
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=60)
    late.cancel()
    assert took < SOON, f"{took} s; {line!r}, {out!r}, {err!r}"
    return line + out, process.returncode


@pytest.mark.parametrize(
    "run",
    [
        "model.run(many)",
        "model.run(many.astype(np.float16))",
        "model.run(many.transpose(0, 3, 1, 2).copy(), layout='nchw')",
        "model.run({'x': many}, out=np.empty((400, 64, 64, 64), np.float32))",
        "model.run(many, timeout=1000, cancel=horq.CancelToken())",
        "model.session(batch=400).run(many)",
        "model.session(batch=400, threads=2).run(many)",
        "horq.Model.map(model_path, trusted=True, threads=2).run(many)",
        "model.resized((512, 512, 16)).run(np.ones((1, 512, 512, 16), np.float32))",
    ],
)
def test_ctrl_c_ends_a_run(path: Path, run: str) -> None:
    body = f"""
        model_path = {str(path)!r}
        try:
            {run}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        answer = model.run(many[:1])
        print(answer.shape)
    """
    text, code = interrupted(path, body)
    assert (text, code) == ("interrupted\n(1, 64, 64, 64)\n", 0)


def test_a_handler_that_raises_ends_a_run_and_others_do_not(path: Path) -> None:
    body = """
        class Stop(Exception): pass
        def stop(*_): raise Stop("as it should")
        signal.signal(signal.SIGINT, stop)
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        try:
            model.run(many)
        except Stop as error:
            print(error, len(seen) >= 3, flush=True)
    """
    assert interrupted(path, body) == ("as it should True\n", 0)


def test_a_handler_may_call_the_session_that_it_interrupts(path: Path) -> None:
    body = """
        session = model.session(batch=400)
        def again(*_):
            try:
                session.run(many[:1])
            except horq.Error as error:
                print(error, flush=True)
            print(model.run(many[:1]).shape, flush=True)
            raise KeyboardInterrupt
        signal.signal(signal.SIGINT, again)
        try:
            session.run(many)
        except KeyboardInterrupt:
            print(session.run(many[:1]).shape)
    """
    text, code = interrupted(path, body)
    lines = text.splitlines()
    assert code == 0, text
    assert lines[0].startswith("the session is running"), text
    assert lines[1:] == ["(1, 64, 64, 64)"] * 2


def test_ctrl_c_while_another_thread_runs_reaches_the_main_thread(path: Path) -> None:
    body = """
        token = horq.CancelToken()
        outcome, ended = [], threading.Event()
        def work():
            try:
                model.run(many, cancel=token)
            except horq.CancelledError as error:
                outcome.append(type(error).__name__)
            ended.set()
        thread = threading.Thread(target=work)
        thread.start()
        try:
            thread.join()
        except KeyboardInterrupt:
            print("main", flush=True)
            token.cancel()
            ended.wait(20)  # a second join may return at once
        print(outcome)
    """
    assert interrupted(path, body) == ("main\n['CancelledError']\n", 0)


def test_other_threads_go_on_beside_a_run(model: horq.Model) -> None:
    """A run asks for the GIL now and then, but holds it for no time to speak of."""
    token, counts = horq.CancelToken(), [0]

    def count() -> None:
        while not token.cancelled:
            counts[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    with pytest.raises(horq.DeadlineError):
        model.run(MANY, timeout=0.5)
    token.cancel()
    thread.join()
    assert counts[0] > 50


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 7, 64, 200])
def test_an_error_names_the_first_sample_of_the_call(model: horq.Model, batch: int, threads: int) -> None:
    builder = horq.Builder("x", (4,))
    builder.add("large", ["x"], "affine", scale=np.full(4, 3e38, np.float32), shift=np.zeros(4, np.float32))
    builder.add("y", ["large"], "sign")
    small = horq.Model.from_bytes(builder.to_bytes("y"), threads=threads)
    x = np.zeros((200, 4), np.float32)
    x[150, 2] = x[190, 0] = 2
    for found, value, text in [(150, 2, "in sample 150, value 2 of layer `y`"), (150, np.nan, r"\(in sample 150\)")]:
        x[150, 2] = value
        with pytest.raises(horq.Error, match=text) as caught:
            small.run(x)
        assert caught.value.sample == found
        session = small.session(batch=batch, threads=threads)
        first = 150 // batch * batch
        with pytest.raises(horq.Error) as caught:
            session.run(x[first : first + batch])
        assert caught.value.sample == found - first
    with pytest.raises(horq.Error, match="must be float32") as caught:
        small.run(x.astype(np.float64))
    assert caught.value.sample is None
