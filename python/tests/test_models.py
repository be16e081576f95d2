"""The bundled models: small, what their cards say, and right on the inputs that they carry."""

from pathlib import Path

import numpy as np
import pytest

import horq

FILES = sorted((Path(__file__).parents[2] / "models").glob("*.horq"))


def test_they_are_there_and_small():
    assert {"lenet5.horq", "mlp.horq"} <= {file.name for file in FILES}
    assert all(file.stat().st_size < 2_000_000 for file in FILES)
    assert sum(file.stat().st_size for file in FILES) < 10_000_000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_model_answers_as_when_it_was_made(file):
    model = horq.Model(file)
    model.verify_digest()
    card = file.with_suffix(".md").read_text()
    assert model.digest in card
    assert model.notes["input"] in card
    given, expected = model.golden()
    answers = model.run(given)
    assert np.array_equal(answers.argmax(1), expected.argmax(1))
    assert np.allclose(answers, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
