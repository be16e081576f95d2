"""A finished run as a model to hand out: the `.horq` file and its card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from horq._core import Model
from horq.train import Config, ConfigError, read, runs

from .evaluate import Agreement, agreement, evaluation, file_of
from .subjects import SUBJECTS
from .tables import RECIPES, epochs, label

TOLERANCE = 1e-4
"""The largest difference of a logit between the engine and PyTorch, relative to the image's largest."""


def recipe_of(config: Config) -> Path | None:
    """The recipe in `RECIPES` that has exactly this run."""
    for file in sorted(RECIPES.glob("*.toml")):
        if read(file).get(config.name) == config:
            return file
    return None


def make(folder: Path, to: Path, name: str | None = None, tolerance: float = TOLERANCE) -> Path:
    """Puts the evaluated run in `folder` into `to` as NAME.horq and NAME.md and returns the first.

    Raises `FileNotFoundError` if the run was not evaluated, `ConfigError` if it came from a model itself, and
    `ValueError` if its evaluation found predictions other than PyTorch's or logits further apart than `tolerance`, if
    PyTorch took fewer than all images, if the file is not the one evaluated, or if it does not answer its own golden
    inputs as it says.
    """
    figures = evaluation(folder)
    if figures is None:
        raise FileNotFoundError(f"{folder} has no evaluation; run: python -m experiments.results evaluate {folder}")
    runs.load(folder)  # kept figures alone make no model
    if "restored" in runs.result(folder):
        raise ConfigError(f"{folder} was restored from a model; hand that one out")
    model = Model(file_of(folder))
    model.verify_digest()
    if model.digest != figures["digest"]:
        raise ValueError(f"{file_of(folder)} is not the file that was evaluated; evaluate the run again")
    for order, found in figures["orders"].items():
        _check(f"{folder.name}, order {order}", found, tolerance)
    golden = _golden(model)
    if golden.equal < golden.images or golden.largest_difference > tolerance:
        raise ValueError(
            f"{file_of(folder)} answers its golden inputs with differences of {golden.largest_difference:.1e}"
        )
    to.mkdir(parents=True, exist_ok=True)
    target = to / f"{name or folder.name}.horq"
    scratch = target.with_name(f".{target.name}.part")
    shutil.copyfile(file_of(folder), scratch)
    scratch.replace(target)
    runs.write_whole(target.with_suffix(".md"), card(target.name, folder, figures, model))
    return target


def _check(where: str, found: dict[str, Any], tolerance: float) -> None:
    agreed = found["torch"]
    if agreed["images"] < found["images"]:
        raise ValueError(
            f"{where}: PyTorch took {agreed['images']} of {found['images']} images; evaluate again without --images"
        )
    if agreed["different"]:
        raise ValueError(f"{where}: the engine predicts otherwise than PyTorch on {agreed['different']} images")
    if agreed["largest_difference"] > tolerance:
        raise ValueError(
            f"{where}: logits differ by {agreed['largest_difference']:.1e} from PyTorch's, more than {tolerance:.1e}"
        )


def _golden(model: Model) -> Agreement:
    pair = model.golden()
    assert pair is not None, "evaluate stores golden inputs"
    expected = torch.from_numpy(np.array(pair[1]))
    return agreement(torch.from_numpy(model.run(pair[0])), expected, expected.argmax(1))


def card(file: str, folder: Path, figures: dict[str, Any], model: Model) -> str:
    """The card in Markdown: what it reads and answers, data, recipe, seed, size, digest, accuracy by order."""
    config, result = runs.load_config(folder), runs.result(folder)
    subject = SUBJECTS[config.data]
    width = "" if config.width == 1 else f" with {config.width:g} times its channels"
    recipe = recipe_of(config)
    how = "a recipe of its own (note `training`)"
    if recipe:
        how = f"`python -m horq.train python/experiments/recipes/{recipe.name} {config.name}`"
    length = epochs(config, read(recipe)) if recipe else str(config.epochs)
    minutes = f"{result['seconds'] / 60:.0f} minutes" + " for the last" * ("+" in length)
    from_others = [f"starts from `{config.init}`"] * bool(config.init)
    from_others += [f"follows `{config.teacher}`"] * bool(config.teacher)
    orders = [order for order in figures["orders"] if order != "0"]
    served = f"; orders served: {', '.join(orders)}" if orders else ""
    lines = [
        f"# {file}",
        "",
        f"{config.network}{width}, {label(config)}{served}.",
        "",
        f"- Input: {subject.input}. Output: {subject.output}.",
        f"- Data: {subject.credit}. The model's weights carry the project's licence.",
        f"- Recipe: {how}; {', '.join([*from_others, f'{length} epochs'])}, seed {config.seed}, "
        f"{minutes}, PyTorch {result['torch']}. All settings: the file's note `training`.",
        "- The golden inputs in the file are made up; none is an image of the data.",
        f"- {figures['bytes']:,} bytes ({figures['float_bytes'] / figures['bytes']:.1f} times smaller than in f32), "
        f"digest `{model.digest}`",
        "",
    ]
    held = bool(config.held_out)
    images = max(found["images"] for found in figures["orders"].values())
    lines.append(
        f"| order | accuracy on the {images:,} test images |" + " held out |" * held + " predicts as PyTorch |"
    )
    lines.append("|---|---|---|" + "---|" * held)
    for order, found in figures["orders"].items():
        cells = [order if order != "0" else config.method, f"{100 * found['accuracy']:.2f} %"]
        cells += [f"{100 * result['accuracy'][order]:.2f} %"] * held
        ties = f" ({found['torch']['ties']} tied)" if found["torch"]["ties"] else ""
        cells.append(f"{found['torch']['equal']:,}{ties}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
