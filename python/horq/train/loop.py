"""One run from its fields to its figures."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import BinaryWeight, clip_weights_, freeze_, hash_weights_, horq_layers, start_scales_
from . import data, runs
from .accuracy import EVAL_BATCH, accuracies, accuracy, dial, images, norms, recalibrate, watched_on
from .config import Config, ConfigError
from .networks import finish
from .start import same_scales, started

CALIBRATION = 5000
"""Training images over which the statistics of batch norms are taken anew."""
STARTING = 1000
"""Training images from which scales of mode ``halving`` start."""


class Trainer:
    """One run: `go` trains it to the end, from its last checkpoint if there is one."""

    def __init__(
        self,
        config: Config,
        root: Path,
        out: Path,
        progress: bool = True,
        tensorboard: bool = False,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.folder = out / config.name
        self.out = out
        self.progress = progress
        self.train, self.watched = images(config, root)
        if len(self.train) < config.batch:
            raise ValueError(f"{config.name}: a batch of {config.batch} needs more than {len(self.train)} images")
        self.train, self.watched = self.train.to(self.device), self.watched.to(self.device)
        self.net = self._placed(runs.made(config))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.teacher = self._teacher()
        self.per_epoch = len(self.train) // config.batch
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
        if self.config.teacher is None:
            return None
        net, config = runs.load(self.out / self.config.teacher)
        if config.data != self.config.data:
            raise ValueError(f"{self.config.name}: teacher {config.name} was trained on {config.data}")
        for layer in horq_layers(net):
            layer.train()  # the planes are summed and multiplied once: eval mode's exact sums take a product each
        net = self._placed(net.requires_grad_(False))
        return torch.compile(net) if self.config.compile else net

    def _initialize(self) -> None:
        """Takes over the weights of another run, and starts the scales that none gives from data."""
        config, given = self.config, None
        if config.init is not None:
            given = self._take_over(config.init)
        halving = any(layer.scale_mode == "halving" for layer in horq_layers(self.net))
        if halving and (given is None or not same_scales(config, given)):
            images = self.train.images[self._shuffled()[:STARTING]].float()
            start_scales_(self.net, images.split(EVAL_BATCH))

    def _take_over(self, name: str) -> Config:
        """Starts from the weights of the run of that name, whose fields it returns."""
        config = self.config
        source, given = runs.load(self.out / name)
        self.net = self._placed(started(self.net, config, source, given))
        clip_weights_(self.net)
        if config.method == "bwnh":
            images = self.train.images[self._shuffled()[: config.hash_images]].float()
            errors = hash_weights_(self.net, self._placed(source), lambda: images.split(EVAL_BATCH))
            self.notes["hash_errors"] = errors
        return given

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
        settled = config.dial and self.epoch >= config.epochs - math.ceil(config.settle * config.epochs)
        if settled and self.epoch == config.epochs - math.ceil(config.settle * config.epochs):
            recalibrate(self.net, self._calibration(), orders)
        self.net.train()
        if settled:  # all orders share one set of statistics, so the last epochs train on those
            for norm in norms(self.net):
                norm.eval()
        self._begin_share()
        shuffled = self._shuffled()
        total = torch.zeros((), device=self.device)
        for step in self._steps():
            kept = shuffled[step * config.batch : (step + 1) * config.batch]
            pixels = data.augmented(config.data, self.train.images[kept], config.augment, self.generator)
            labels = self.train.labels[kept]
            if config.dial:
                dial(self.net, orders[self._drawn(len(orders))])
            for group in optimizer.param_groups:
                group["lr"] = self._rate(self.epoch + step / self.per_epoch)
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
        mean = total.item() / self.per_epoch
        if not math.isfinite(mean):
            raise ValueError(f"{config.name}: the loss of epoch {self.epoch + 1} is {mean}; lower lr, or use f32")
        dial(self.net, config.order)
        with self._lower_precision():
            watched = accuracy(self.net, self.watched)
        return {"loss": round(mean, 5), "lr": round(self._rate(self.epoch + 1), 7), "accuracy": round(watched, 5)}

    def _drawn(self, count: int) -> int:
        """The index of the order that this step trains, by the weights in `draws`."""
        if not self.config.draws:
            return int(torch.randint(count, (1,), generator=self.generator))
        return int(torch.multinomial(torch.tensor(self.config.draws), 1, generator=self.generator))

    def _shuffled(self) -> Tensor:
        """The indices of all training images in random order."""
        return torch.randperm(len(self.train), generator=self.generator).to(self.device)

    def _steps(self) -> Iterator[int]:
        steps = range(self.per_epoch)
        if not self.progress:
            return iter(steps)
        from tqdm import tqdm

        return iter(tqdm(steps, f"{self.config.name} {self.epoch + 1}/{self.config.epochs}", leave=False))

    def _rate(self, epochs: float) -> float:
        """The learning rate after that many epochs."""
        config = self.config
        rise = min(1.0, (epochs + 1 / self.per_epoch) / config.warmup) if config.warmup else 1.0
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
        images = self.train.images[self._shuffled()[:CALIBRATION]]
        return [
            data.augmented(self.config.data, part, self.config.augment, self.generator)
            for part in images.split(EVAL_BATCH)
        ]

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
        self.net.load_state_dict(saved["parameters"])
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
        self.net, self.train, self.watched = self.net.cpu(), self.train.to(self.device), self.watched.to(self.device)
        finish(self.net)
        if not (config.dial and config.settle):  # a dial that settled has its statistics already
            recalibrate(self.net, self._calibration(), config.orders)
        own = {"accuracy": accuracies(self.net, self.watched, config.orders), "on": watched_on(config, self.watched)}
        own |= {"epochs": self.epoch, "seconds": round(self.seconds, 1), **self.notes}
        result = runs.write_finished(self.folder, config, self.net, own)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "checkpoint.pt").unlink()
        return result


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
