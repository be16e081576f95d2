"""A finished run through the Rust engine and through PyTorch: accuracy, agreement, size."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from horq._core import Model
from horq.exporting.exporter import export
from horq.exporting.fields import channels_last
from horq.nn import set_order
from horq.train import Config, data, runs
from horq.train.accuracy import logits
from horq.train.networks import build

from .subjects import SUBJECTS, doodles

EVALUATION = "evaluation.json"
TIE = 1e-5
"""Two answers whose logits lie closer than this share of the image's largest logit are a tie."""
BATCH = 50
"""Images that PyTorch takes at once: layers in mode `window` unfold all of their windows."""
GOLDEN = 4


@dataclass(frozen=True)
class Agreement:
    """The engine's answers beside PyTorch's on the same images."""

    images: int
    accuracy: float
    """The accuracy of PyTorch's answers, 0 to 1."""
    engine_accuracy: float
    """The accuracy of the engine's answers, 0 to 1."""
    equal: int
    """Images with equal predictions."""
    ties: int
    """Images with unequal predictions whose logits are a tie in PyTorch."""
    largest_difference: float
    """The largest difference of a logit, relative to the largest logit of its image."""

    @property
    def different(self) -> int:
        """Images with unequal predictions that are no tie."""
        return self.images - self.equal - self.ties


def agreement(engine: Tensor, expected: Tensor, labels: Tensor) -> Agreement:
    """Compares logits [n, classes] of the engine and of PyTorch on images with those labels [n]."""
    engine, expected = engine.double(), expected.double()
    largest = expected.abs().amax(1).clamp(min=torch.finfo(torch.float64).tiny)
    ours, theirs = engine.argmax(1), expected.argmax(1)
    gap = expected.amax(1) - expected.gather(1, ours[:, None])[:, 0]
    equal = ours == theirs
    return Agreement(
        images=len(labels),
        accuracy=(theirs == labels).double().mean().item(),
        engine_accuracy=(ours == labels).double().mean().item(),
        equal=int(equal.sum()),
        ties=int((~equal & (gap <= TIE * largest)).sum()),
        largest_difference=((engine - expected).abs().amax(1) / largest).max().item(),
    )


def file_of(folder: Path) -> Path:
    """Where the `.horq` file of the run in `folder` lies."""
    return folder / f"{folder.resolve().name}.horq"


def notes(config: Config) -> dict[str, str]:
    """The notes in the file of a run."""
    subject = SUBJECTS[config.data]
    names = subject.classes.split(", ")
    return {
        **({"classes": ", ".join(names)} if len(names) == data.CLASSES else {}),  # digits need no names
        "input": subject.input,
        "output": subject.output,
        "data": subject.credit,
        "training": json.dumps(runs.plain(config)),
    }


def export_run(net: nn.Module, config: Config, file: Path) -> None:
    """Writes the network of a run, with made-up golden inputs."""
    export(net, doodles(config.data, GOLDEN), file, notes=notes(config), golden=GOLDEN)


def float_bytes(config: Config) -> int:
    """Bytes of the `.horq` file of the float network that a run's method was put into."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "float.horq"
        export_run(build(config.network, config.width).eval(), config, file)
        return file.stat().st_size


def engine_inputs(images: Tensor) -> np.ndarray:
    """Images [n, C, H, W] (uint8) as the engine reads them: float32 [n, H, W, C]."""
    return channels_last(images.float())


def read_figures(folder: Path, name: str) -> dict[str, Any] | None:
    """The figures in a file of the run in `folder`; None if it is missing or belongs to an earlier training."""
    if not (folder / name).exists() or not runs.has_figures(folder):
        return None
    figures = json.loads((folder / name).read_text())
    return figures if figures["trained"] == runs.digest(folder) else None


def write_figures(folder: Path, name: str, **figures: Any) -> dict[str, Any]:
    """Writes figures of the run in `folder` with its name and the digest of its network, and returns them all."""
    figures = {"name": folder.resolve().name, "trained": runs.digest(folder), **figures}
    runs.write_whole(folder / name, figures)
    return figures


def evaluation(folder: Path) -> dict[str, Any] | None:
    """What `evaluate` has found for the run in `folder`; None if it is missing or of an earlier training."""
    return read_figures(folder, EVALUATION)


def is_complete(figures: dict[str, Any] | None, images: int | None) -> bool:
    """Whether an evaluation is there and PyTorch has taken that many images (all of them without) in it."""
    if figures is None:
        return False
    return all(
        found["torch"]["images"] >= min(images or found["images"], found["images"])
        for found in figures["orders"].values()
    )


def compare(net: nn.Module, model: Model, test: data.Part, order: int, images: int | None) -> dict[str, Any]:
    """The engine on all of `test`, PyTorch on the first `images` (all without), at one order (0 for none)."""
    if order:
        set_order(net, order)
    compared = len(test) if images is None else min(images, len(test))
    answers = torch.from_numpy(model.run(engine_inputs(test.images), order=order or None))
    found = agreement(answers[:compared], logits(net, test.images[:compared], BATCH), test.labels[:compared])
    return {
        "images": len(test),
        "accuracy": (answers.argmax(1) == test.labels).double().mean().item(),
        "torch": {**dataclasses.asdict(found), "different": found.different},
    }


def evaluate(folder: Path, root: Path, images: int | None = None) -> dict[str, Any]:
    """Runs the network in `folder` in the engine and in PyTorch at each of its orders, and writes `evaluation.json`.

    The engine takes the whole test set, PyTorch the first `images` of it (all without). The `.horq` file stays in the
    folder. `root` is the folder above the data sets' own. Returns what the file holds: name, trained (a digest),
    isa, digest and bytes of the `.horq` file, float_bytes (of the float network's), and for each order images and
    accuracy of the engine and under `torch` the fields of `Agreement`.

    Raises `FileNotFoundError` for an unfinished run or missing data.
    """
    net, config = runs.load(folder)
    test = data.load(config.data, root, "test")
    file = file_of(folder)
    export_run(net, config, file)
    model = Model(file)
    orders = {str(order): compare(net, model, test, order, images) for order in config.orders}
    own = {"isa": model.session().isa, "digest": model.digest, "bytes": model.file_len}
    return write_figures(folder, EVALUATION, **own, float_bytes=float_bytes(config), orders=orders)
