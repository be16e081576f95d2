"""One run from its fields to its figures."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ExportError
from ..exporting.exporter import check, export
from ..nn import BinaryWeight, clip_weights_, freeze_, hash_weights_, horq_layers, start_scales_
from . import data, runs
from .accuracy import accuracies, accuracy, dial, images, norms, recalibrate, watched_on
from .config import Config, ConfigError
from .data import EVAL_BATCH
from .feeds import CALIBRATION, Batch, Feed, Images, first
from .networks import finish
from .start import same_scales, started

STARTING = 1000
"""Training images from which scales of mode ``halving`` start."""


@dataclass(frozen=True)
class Given:
    """The modules that a program gave for a run."""

    net: nn.Module
    """The network; it is not changed."""
    teacher: nn.Module | None = None
    """The trained network whose logits are followed."""
    held_out: bool = False
    """Whether what the run is watched on is none of what it trains on."""

    def made(self, config: Config) -> nn.Module:
        """A copy of the network, the method of the run in it."""
        torch.manual_seed(config.seed)
        return runs.adapted(copy.deepcopy(self.net), config)


def of_set(config: Config, root: Path) -> Images:
    """The images of the data set of a run, in the folder `root`."""
    train, watched = images(config, root)

    def change(pixels: Tensor, generator: torch.Generator) -> Tensor:
        return data.augmented(config.data, pixels, config.augment, generator)

    try:
        return Images(train, watched, config.batch, change)
    except ConfigError as error:
        raise ConfigError(f"{config.name}: {error}") from error


class Trainer:
    """One run: `go` trains it to the end, from its last checkpoint if there is one."""

    def __init__(
        self,
        config: Config,
        root: Path | Feed,
        out: Path,
        progress: bool = True,
        tensorboard: bool = False,
        device: str = "cpu",
        export: bool = False,
        given: Given | None = None,
    ) -> None:
        """`root` is the folder of the data sets, or what the run trains on. `export` writes NAME.horq at the end.
        `given` has the modules of a run whose network a program gave."""
        self.config = config
        self.device = torch.device(device)
        self.folder = out / config.name
        self.out = out
        self.progress = progress
        self.export = export
        self.given = given
        self.feed = of_set(config, root) if isinstance(root, Path) else root
        self.feed.to(self.device)
        self.net = self._placed(runs.made(config) if given is None else given.made(config))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.teacher = self._teacher()
        self.epoch = 0
        self.seconds = 0.0
        self.notes: dict[str, Any] = {}
        self.writer = _tensorboard(self.folder) if tensorboard else None

    # ---- preparation

    def _placed(self, net: nn.Module) -> nn.Module:
        """A network where it is trained, in the memory format that is fastest there."""
        return net.to(self.device, memory_format=torch.channels_last)

    def _lower_precision(self) -> torch.autocast:
        """Products in bfloat16, if the recipe says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _teacher(self) -> nn.Module | None:
        """The trained network whose logits are followed."""
        if self.given is not None and self.given.teacher is not None:
            net = copy.deepcopy(self.given.teacher).eval()
        elif self.config.teacher is not None:
            net, config = runs.load(self.out / self.config.teacher)
            if config.data != self.config.data:
                raise ValueError(f"{self.config.name}: teacher {config.name} was trained on {config.data}")
        else:
            return None
        for layer in horq_layers(net):
            layer.train()  # the planes are summed and multiplied once: eval mode's exact sums take a product each
        net = self._placed(net.requires_grad_(False))
        return torch.compile(net) if self.config.compile else net

    def _initialize(self) -> None:
        """Takes over the weights of another run, and starts the scales that none gives from data; a network that was
        given starts from its own."""
        config = self.config
        source, given = None, None
        if self.given is not None:
            source = copy.deepcopy(self.given.net).eval()
        elif config.init is not None:
            source, given = runs.load(self.out / config.init)
            self.net = self._placed(started(self.net, config, source, given))
        if source is not None:
            clip_weights_(self.net)
            if config.method == "bwnh":
                images = self.feed.plain(config.hash_images, self.generator)
                errors = hash_weights_(self.net, self._placed(source), lambda: images.split(EVAL_BATCH))
                self.notes["hash_errors"] = errors
        halving = any(layer.scale_mode == "halving" for layer in horq_layers(self.net))
        if halving and config.method != "own" and (given is None or not same_scales(config, given)):
            start_scales_(self.net, self.feed.plain(STARTING, self.generator).split(EVAL_BATCH))

    # ---- training

    def go(self) -> dict[str, Any]:
        """Trains to the end and returns what `result.json` holds."""
        with runs.locked(self.folder):
            return self._go()

    def _go(self) -> dict[str, Any]:
        config = self.config
        if runs.has_figures(self.folder) and not runs.finished(self.folder):
            raise ConfigError(
                f"{self.folder} holds figures without a network; train into another folder (--out), or remove it first"
            )
        checkpoint = self.folder / "checkpoint.pt"
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True) if checkpoint.exists() else None
        if saved is not None and runs.completed(saved["config"]) != runs.plain(config):
            raise ValueError(
                f"{checkpoint} belongs to other settings of {config.name}; remove the folder to start anew"
            )
        sources = runs.sources(config, self.out)
        if saved is not None and saved["notes"].get("sources") != sources:
            raise ValueError(
                f"{checkpoint} started from another training of {', '.join(sources)}; remove the folder to start anew"
            )
        self.notes["sources"] = sources
        if saved is None:
            self._initialize()
            self._check_export()
        runs.write_whole(self.folder / "config.json", runs.plain(config))
        optimizer = _optimizer(self.net, config)
        if saved is not None:
            self._restore(saved, optimizer)
        running = torch.compile(self.net) if config.compile else self.net
        while self.epoch < config.epochs:
            started = time.perf_counter()
            row = self._one_epoch(running, optimizer)
            self.epoch += 1
            self.seconds += time.perf_counter() - started
            self._log({"epoch": self.epoch, **row, "seconds": round(self.seconds, 1)})
            runs.write_whole(checkpoint, self._state(optimizer))
        return self._finish()

    def _one_epoch(self, running: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        config = self.config
        orders = config.orders
        self._seed()
        settled = config.dial and self.epoch >= config.epochs - math.ceil(config.settle * config.epochs)
        if settled and self.epoch == config.epochs - math.ceil(config.settle * config.epochs):
            recalibrate(self.net, self._calibration(), orders)
        self.net.train()
        if settled:  # all orders share one set of statistics, so the last epochs train on those
            for norm in norms(self.net):
                norm.eval()
        self._begin_share()
        total = torch.zeros((), device=self.device)
        for step, (pixels, labels) in enumerate(self._steps()):
            if config.dial:
                dial(self.net, orders[self._drawn(len(orders))])
            for group in optimizer.param_groups:
                group["lr"] = self._rate(self.epoch + step / self.feed.per_epoch)
            with self._lower_precision():
                answers = running(pixels).float()
                with torch.no_grad():
                    followed = None if self.teacher is None else self.teacher(pixels).float()
            loss = self._loss(answers, labels, followed)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            clip_weights_(self.net)
            total += loss.detach()
        mean = total.item() / self.feed.per_epoch
        if not math.isfinite(mean):
            raise ValueError(f"{config.name}: the loss of epoch {self.epoch + 1} is {mean}; lower lr, or use f32")
        dial(self.net, config.order)
        with self._lower_precision():
            watched = accuracy(self.net, self.feed.watched)
        return {"loss": round(mean, 5), "lr": round(self._rate(self.epoch + 1), 7), "accuracy": round(watched, 5)}

    def _drawn(self, count: int) -> int:
        """The index of the order that this step trains, by the weights in `draws`."""
        if not self.config.draws:
            return int(torch.randint(count, (1,), generator=self.generator))
        return int(torch.multinomial(torch.tensor(self.config.draws), 1, generator=self.generator))

    def _seed(self) -> None:
        """Seeds what networks and DataLoaders of the user's draw from, so that an epoch is the same in a run that was
        cut off before it."""
        seed = self.config.seed * 100_003 + self.epoch
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # the one that data sets of today draw from

    def _steps(self) -> Iterator[Batch]:
        batches = self.feed.epoch(self.generator)
        if not self.progress:
            return batches
        from tqdm import tqdm

        name = f"{self.config.name} {self.epoch + 1}/{self.config.epochs}"
        return iter(tqdm(batches, name, self.feed.per_epoch, leave=False))

    def _rate(self, epochs: float) -> float:
        """The learning rate after that many epochs."""
        config = self.config
        rise = min(1.0, (epochs + 1 / self.feed.per_epoch) / config.warmup) if config.warmup else 1.0
        return config.lr * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, epochs / config.epochs)))

    def _loss(self, answers: Tensor, labels: Tensor, followed: Tensor | None) -> Tensor:
        config = self.config
        loss = F.cross_entropy(answers, labels, label_smoothing=config.smoothing)
        if followed is None:
            return loss
        t = config.temperature
        distance = F.kl_div(
            F.log_softmax(answers / t, 1), F.log_softmax(followed / t, 1), reduction="batchmean", log_target=True
        )
        return (1 - config.follow) * loss + config.follow * t**2 * distance

    def _begin_share(self) -> None:
        """INQ: freezes the share of this part of the epochs."""
        if self.config.method == "inq":
            shares = self.config.shares
            freeze_(self.net, shares[self.epoch * len(shares) // self.config.epochs])

    def _calibration(self) -> list[Tensor]:
        return self.feed.some(CALIBRATION, self.generator)

    # ---- the file

    def _example(self) -> Tensor:
        return first(self.feed.watched, 4).cpu()

    def _check_export(self) -> None:
        """Finds out before a network of the user's is trained whether a file can be made of it."""
        if not self.export or not self.config.is_foreign:
            return
        net = copy.deepcopy(self.net).cpu()
        if self.config.method == "inq":
            freeze_(net, 1.0)  # as it will be at the end
        found = check(net, self._example())
        if not found:
            raise ConfigError(
                f"no .horq file can be made of {self.config.name}'s network; change it, or train it without one "
                f"(--no-export, in Python export=False):\n{found}"
            )

    def _export(self) -> None:
        file = self.folder / f"{self.config.name}.horq"
        try:
            report = export(self.net, self._example(), file, notes={"training": json.dumps(runs.plain(self.config))})
        except ExportError as error:
            raise ConfigError(
                f"{self.config.name} is trained, and its network in {self.folder}/final.pt, but no .horq file can be "
                f"made of it: {error}"
            ) from error
        runs.write_whole(self.folder / "report.txt", f"{report}\n")
        print(f"{report}\n{file}: {file.stat().st_size} bytes", flush=True)

    # ---- records

    def _state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {
            "config": runs.plain(self.config),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "parameters": self.net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "notes": self.notes,
        }

    def _restore(self, saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        self.epoch, self.seconds, self.notes = saved["epoch"], saved["seconds"], saved["notes"]
        try:
            self.net.load_state_dict(saved["parameters"])
        except RuntimeError as error:
            raise ConfigError(
                f"{self.folder}/checkpoint.pt is of a network with other layers; remove the folder to start anew, or "
                f"take back the change of the network: {error}"
            ) from error
        optimizer.load_state_dict(saved["optimizer"])
        self.generator.set_state(saved["generator"])

    def _log(self, row: dict[str, Any]) -> None:
        path = self.folder / "log.csv"
        kept: list[dict[str, Any]] = []
        if path.exists():  # an epoch that was cut off after its row is run and written again
            with path.open(newline="") as file:
                kept = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(row))
        writer.writeheader()
        writer.writerows([*kept, row])
        runs.write_whole(path, text.getvalue())
        if self.writer is not None:
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, row["epoch"])
            self.writer.flush()
        print(f"{self.config.name}: " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    def _finish(self) -> dict[str, Any]:
        """Makes the first layer exact, settles the statistics, and writes the network and its figures; on the CPU."""
        config = self.config
        self.device = torch.device("cpu")
        self.net = self.net.cpu()
        self.feed.to(self.device)
        self._seed()
        if not config.is_foreign:
            finish(self.net)
        if not (config.dial and config.settle):  # a dial that settled has its statistics already
            recalibrate(self.net, self._calibration(), config.orders)
        own = {"accuracy": accuracies(self.net, self.feed.watched, config.orders), "on": self._watched_on()}
        own |= {"epochs": self.epoch, "seconds": round(self.seconds, 1), **self.notes}
        result = runs.write_finished(self.folder, config, self.net, own)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "checkpoint.pt").unlink()
        if self.export:
            self._export()
        return result

    def _watched_on(self) -> str:
        watched = self.feed.watched
        if self.given is not None and self.given.held_out:
            return f"{len(watched)} samples that it was not trained on"
        return watched_on(self.config, watched)


def _optimizer(net: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam or SGD; only weights of float layers and those that are coded decay, no binary ones."""
    binary = {inner for layer in net.modules() if isinstance(layer, BinaryWeight) for inner in layer.modules()}
    float_weights = {
        layer.weight for layer in net.modules() if type(layer) in (nn.Conv2d, nn.Linear) and layer not in binary
    }
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p in float_weights], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p not in float_weights], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, config.lr, fused=True)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SystemExit("--tensorboard needs the package tensorboard; the CSV log is written without it") from error
    return SummaryWriter(str(folder / "tensorboard"))
