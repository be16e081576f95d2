"""One run from its fields to its figures."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..nn import BinaryWeight, clip_weights_, freeze_, hash_weights_, horq_layers, set_order
from . import data, runs
from .config import Config, ConfigError
from .networks import build, finish

EVAL_BATCH = 250
CALIBRATION = 5000
"""Training images over which the statistics of batch norms are taken anew."""
WATCHED = 2000
"""Images that the accuracy in the log is taken on where nothing is held out: of the training set, not augmented."""


def images(config: Config, root: Path) -> tuple[data.Part, data.Part]:
    """The images that a run trains on, and those that it is watched on."""
    train = data.load(config.data, root, "train", config.held_out)
    if config.subset is not None:
        train = data.Part(train.images[: config.subset], train.labels[: config.subset])
    if config.held_out:
        return train, data.load(config.data, root, "held-out", config.held_out)
    return train, data.Part(train.images[:WATCHED], train.labels[:WATCHED])


def watched_on(config: Config, watched: data.Part) -> str:
    """What those images are called in `result.json`."""
    return f"{len(watched)} images " + ("held out" if config.held_out else "of the training set")


def norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms of `net`."""
    return [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]


@torch.no_grad()
def logits(net: nn.Module, images: Tensor, batch: int = EVAL_BATCH) -> Tensor:
    """The answers of `net`, in the mode it is in, to images [n, C, H, W] (uint8), `batch` at a time."""
    return torch.cat([net(part.float()).float() for part in images.split(batch)])


def accuracy(net: nn.Module, part: data.Part) -> float:
    """The share of images that `net`, set to eval mode, labels rightly."""
    net.eval()
    return (logits(net, part.images).argmax(1) == part.labels).double().mean().item()


@torch.no_grad()
def recalibrate(net: nn.Module, batches: list[Tensor], orders: list[int]) -> None:
    """Takes the running statistics of every batch norm anew, averaged over batches and orders; all else as in eval."""
    net.eval()
    momenta = [norm.momentum for norm in norms(net)]
    for norm in norms(net):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in batches:
        for order in orders:
            dial(net, order)
            net(batch)
    for norm, momentum in zip(norms(net), momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def dial(net: nn.Module, order: int) -> None:
    """Turns the dial of a network with binary activations; order 0 stands for a network without."""
    if order:
        set_order(net, order)


_BINARY = ("horq", "xnor", "bnn", "bwn")
"""The methods with binary weights that start from each other's, and from BWNH's, which are found from float ones."""
_CENTRE = ".before."
"""What the name of a parameter has that `horq.convert` put before a binary layer (`horq.nn.Centred`)."""
_OF_AN_ORDER = re.compile(r"(?<=\.)norms\.(\d+)\.")
"""What the name of a batch norm's parameter has besides where each order has its own: the order, counted from 0."""


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
        """Takes over the weights of another run."""
        config = self.config
        if config.init is None:
            return
        source, given = runs.load(self.out / config.init)
        if (given.network, given.width) != (config.network, config.width):
            raise ValueError(f"{config.name}: init {given.name} is {given.network} of width {given.width}")
        if given.method == "float":
            self.net = self._placed(runs.adapted(source, config))
        elif given.method == config.method:
            self._take_over(source, given)
        elif given.method in (*_BINARY, "bwnh") and config.method in _BINARY:
            self.net = self._placed(runs.adapted(_unwrapped(source, given), config))
            self.net.load_state_dict(_centres(source, self.net), strict=False)
        else:
            raise ValueError(
                f"{config.name} ({config.method}) starts from a run of float or its own method"
                f"{', or of any with binary weights' if config.method in _BINARY else ''}, not {given.method}"
            )
        clip_weights_(self.net)
        if config.method == "bwnh":
            images = self.train.images[self._shuffled()[: config.hash_images]].float()
            errors = hash_weights_(self.net, self._placed(source), lambda: images.split(EVAL_BATCH))
            self.notes["hash_errors"] = errors

    def _take_over(self, source: nn.Module, given: Config) -> None:
        """The parameters of the same method at another order; of scales, those that both have. Where orders have batch
        norms of their own, each takes over that of its order, of the highest that there is, or the one that all share.
        """
        by_order: dict[str, list[Tensor]] = {}
        for name, value in source.state_dict().items():
            by_order.setdefault(_OF_AN_ORDER.sub("", name), []).append(value)
        taken = {name: values[0] for name, values in by_order.items()}  # what is not known here is refused below
        for name, value in self.net.state_dict().items():
            order, shared = _OF_AN_ORDER.search(name), _OF_AN_ORDER.sub("", name)
            if shared not in by_order:
                continue
            if order:
                taken.pop(shared, None)
            index = int(order[1]) if order else self.config.order - 1
            taken[name] = by_order[shared][min(index, len(by_order[shared]) - 1)]
            if name.endswith(".scales"):
                count = min(len(value), len(taken[name]))
                taken[name] = torch.cat([taken[name][:count], value[count:].cpu()])
        try:
            self.net.load_state_dict(taken)
        except RuntimeError as error:
            raise ValueError(f"{self.config.name}: init {given.name} has other layers: {error}") from error

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
        figures = {}
        for order in config.orders:
            dial(self.net, order)
            figures[str(order)] = accuracy(self.net, self.watched)
        dial(self.net, config.order)
        runs.write_whole(self.folder / "final.pt", self.net.state_dict())
        result = {
            "name": config.name,
            "network": runs.digest(self.folder),
            "accuracy": figures,
            "on": watched_on(config, self.watched),
            "epochs": self.epoch,
            "seconds": round(self.seconds, 1),
            "torch": torch.__version__,
            "finished": time.strftime("%Y-%m-%d", time.gmtime()),
            **self.notes,
        }
        runs.write_whole(self.folder / "result.json", result)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "checkpoint.pt").unlink()
        return result


def _unwrapped(source: nn.Module, given: Config) -> nn.Module:
    """The float network whose weights a trained network binarizes, with the norms of its highest order: what other
    methods with binary weights can start from."""
    net = build(given.network, given.width)
    values = {_OF_AN_ORDER.sub("", name): value for name, value in source.state_dict().items()}
    named = {
        name.replace(".layer.", "."): value
        for name, value in values.items()
        if not name.endswith(".scales") and _CENTRE not in name
    }
    net.load_state_dict(named)
    return net


def _centres(source: nn.Module, net: nn.Module) -> dict[str, Tensor]:
    """What stands before the binary layers of `source`, of its highest order, under the names that `net` has for it."""
    values = {_OF_AN_ORDER.sub("", name): value for name, value in source.state_dict().items()}
    named = {name: _OF_AN_ORDER.sub("", name) for name in net.state_dict() if _CENTRE in name}
    return {name: values[plain] for name, plain in named.items() if plain in values}


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
