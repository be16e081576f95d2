#!/usr/bin/env python3
"""Installs the wheel in FOLDER into an empty environment, and lets it answer there: .ci/wheel.py FOLDER.

There is no compiler on the path of that environment, and no PyTorch in it.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import importlib.util, sys
import numpy as np
import horq

assert importlib.util.find_spec("torch") is None, "there is a PyTorch here"
model = horq.Model("models/lenet5.horq")
inputs, answers = model.golden()
assert np.abs(model.run(inputs) - answers).max() <= 1e-4 * np.abs(answers).max(), "other answers than the file has"
model, report = horq.from_onnx("fuzz/onnx/conv.onnx")
values = [np.zeros((1, *shape), np.float32) for shape in model.inputs.values()]
assert all(np.isfinite(answer).all() for answer in [model.run(*values)])
try:
    horq.export
except ModuleNotFoundError as error:
    assert "needs PyTorch" in str(error), error
else:
    raise AssertionError("horq.export is there without PyTorch")
print(f"horq {horq.__version__} on {sys.version.split()[0]}, {model.session().isa}\\n{report}")
"""


def main() -> None:
    """Installs and runs."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    assert "-abi3-" in wheel.name, f"{wheel.name} is of one Python alone"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        environment = {**os.environ, "PATH": str(programs), "PYTHONPATH": ""}
        python = str(programs / ("python.exe" if os.name == "nt" else "python"))
        install = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", str(wheel)]
        subprocess.run(install, env=environment, check=True)
        subprocess.run([python, "-c", PROGRAM], env=environment, check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
