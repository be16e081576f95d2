"""What a run is: the fields of a recipe, read from TOML and checked."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from . import users
from .data import SETS
from .networks import GREY, NETWORKS

GIVEN = "given"
"""The network and the data of a run that a program gave to `horq.train.fit`."""


class ConfigError(ValueError):
    """A recipe that cannot be run: which file and field, and what it may be."""


def positive(text: str) -> int:
    """A count from a command line."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


@dataclass(frozen=True)
class Config:
    """One run. Every field can stand in a recipe."""

    name: str
    network: str
    """One of `horq.train.networks.NETWORKS`, or a network of the user's, ``FILE.py:NAME`` or ``package.module:NAME``:
    what the function or class of that name gives."""
    data: str
    """One of mnist, fashion-mnist, cifar-10."""
    epochs: int
    width: float = 1.0
    """The factor of all channel counts."""
    method: str = "float"
    """The method of `horq.convert`, or ``own`` for a network that has its layers of `horq.nn` already."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that `horq.convert` takes for the method, such as order, scale_mode, bits; of ``own`` the highest
    order of its layers, if they have any."""
    dial: bool = False
    """Whether the order is drawn from 1 to options.order anew at each step, so that one file serves them all."""
    draws: tuple[float, ...] = ()
    """How often each order is drawn, relative to the others; evenly if empty."""
    own_norms: bool = False
    """Whether each order of a dial has batch norms of its own; see `horq.nn.SwitchableBatchNorm`."""
    init: str | None = None
    """The run whose weights this one starts from, of the same network: float, of this method, or, for a method with
    binary weights that are not hashed, of any other with binary weights."""
    teacher: str | None = None
    """The run whose logits this one follows; any network for the same data."""
    follow: float = 0.5
    """Share of the loss that follows the teacher; the rest follows the labels."""
    temperature: float = 2.0
    """Divides both networks' logits in that share."""
    smoothing: float = 0.05
    """Label smoothing of the cross entropy, 0 to 1."""
    seed: int = 1
    batch: int = 128
    optimizer: str = "adam"
    """adam, or sgd with Nesterov momentum 0.9."""
    lr: float = 1e-3
    """The highest learning rate; the rate rises over `warmup` and falls to 0 along a cosine."""
    warmup: float = 1.0
    """Epochs over which the learning rate rises."""
    weight_decay: float = 0.0
    """The weight decay of float and coded weights, decoupled for adam; nothing else decays."""
    augment: float = 1.0
    """The strength of the augmentation; 0 for none."""
    held_out: int = 0
    """Training images kept for choices; 0 trains on all."""
    subset: int | None = None
    """Trains on that many images only, for trials."""
    settle: float = 0.3
    """The last share of the epochs of a dial, in which the batch norms keep statistics averaged over the orders."""
    shares: tuple[float, ...] = (0.5, 0.75, 0.875, 1.0)
    """The shares of frozen weights of method inq, each for an equal part of the epochs."""
    hash_images: int = 2000
    """The number of training images that method bwnh hashes the layers on."""
    precision: str = "bf16"
    """The precision of products while training: bf16 or f32."""
    compile: bool = True
    """Whether torch.compile fuses the network; it needs a C++ compiler."""

    def __post_init__(self) -> None:
        if "\0" in self.name or self.name in ("", "..") or PureWindowsPath(self.name).name != self.name:
            raise ConfigError(f"a run's name is the name of a folder, not {self.name!r}")
        for name in ("init", "teacher"):  # TOML has no null: "" takes back what the top of a recipe says
            object.__setattr__(self, name, getattr(self, name) or None)
        foreign, given = users.is_reference(self.network), self.network == self.data == GIVEN
        for name, choices in _CHOICES.items():
            if (foreign and name == "network") or (given and name in ("network", "data")):
                continue
            if name == "network" and self.network not in choices:
                raise ConfigError(
                    f"network must be one of {', '.join(choices)}, or FILE.py:NAME for one of your own, not "
                    f"{self.network!r}"
                )
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} must be {low} to {high}, not {value!r}")
        if self.dial and (self.method not in ("horq", "own") or self.order < 2):
            raise ConfigError("dial needs method = 'horq' (or 'own') and an order of at least 2 in options")
        if self.method == "own" and (set(self.options) - {"order"} or not 0 <= self.order <= 8):
            raise ConfigError(f"method own takes the option order, 1 to 8, not {dict(self.options)}")
        drawn = self.dial and len(self.draws) == self.order and all(0 < share < math.inf for share in self.draws)
        if self.draws and not drawn:
            raise ConfigError(f"draws needs dial and a number above 0 for each of its orders, not {list(self.draws)}")
        if self.own_norms and (not self.dial or self.settle):
            raise ConfigError("own_norms needs dial, and settle = 0: no statistics are shared that could settle")
        if self.method == "inq" and self.epochs < len(self.shares):
            raise ConfigError(f"method inq needs an epoch for each of its {len(self.shares)} shares, not {self.epochs}")
        if self.network in NETWORKS and (self.network in GREY) == (self.data == "cifar-10"):
            fitting = ", ".join(name for name in NETWORKS if (name in GREY) == (self.network not in GREY))
            raise ConfigError(f"network {self.network} does not read the images of {self.data}; {fitting} do")
        if self.method in ("bwnh", "inq") and self.init is None and not given:
            raise ConfigError(f"method {self.method} starts from a float run; name it in init")
        if (
            not self.shares
            or list(self.shares) != sorted(self.shares)
            or not 0 < self.shares[0] <= self.shares[-1] == 1
        ):
            raise ConfigError(f"shares must grow from above 0 to 1, not {list(self.shares)}")

    @property
    def order(self) -> int:
        """The highest order, 0 for methods without binary activations."""
        if self.method == "horq":
            return self.options.get("order", 2)
        if self.method == "own":
            return self.options.get("order", 0)
        return 1 if self.method in ("xnor", "bnn") else 0

    @property
    def is_foreign(self) -> bool:
        """Whether the network is the user's own."""
        return self.network not in NETWORKS

    @property
    def orders(self) -> list[int]:
        """The orders that the network serves; [0] for methods without binary activations."""
        return list(range(1, self.order + 1)) if self.dial else [self.order]


_CHOICES: dict[str, tuple[str, ...]] = {
    "network": tuple(NETWORKS),
    "data": SETS,
    "method": ("float", "horq", "xnor", "bnn", "bwn", "bwnh", "dqc", "sqc", "inq", "own"),
    "optimizer": ("adam", "sgd"),
    "precision": ("bf16", "f32"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "width": (1 / 64, 64),
    "follow": (0, 1),
    "temperature": (1e-3, 1e3),
    "smoothing": (0, 1),
    "batch": (1, 1 << 20),
    "subset": (1, 1 << 30),
    "lr": (0, 1e3),
    "warmup": (0, 1e5),
    "weight_decay": (0, 1e3),
    "augment": (0, 10),
    "settle": (0, 1),
    "hash_images": (1, 1 << 30),
}
_TYPES = {entry.name: entry.type for entry in dataclasses.fields(Config)}


def _checked(where: str, name: str, value: Any) -> Any:
    """A value of a recipe in the type of its field."""
    if name not in _TYPES or name == "name":
        raise ConfigError(
            f"{where} has an unknown field {name!r}; known are {', '.join(n for n in _TYPES if n != 'name')}"
        )
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "str | None": (str,),
        "int": (int,),
        "int | None": (int,),
        "float": (int, float),
        "bool": (bool,),
        "Mapping[str, Any]": (dict,),
        "tuple[float, ...]": (list,),
    }
    kind = str(_TYPES[name])
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{where}: {name} must be {kind.removesuffix(' | None')}, not {value!r}")
    if kind == "tuple[float, ...]":
        return tuple(float(entry) for entry in value)
    return float(value) if kind == "float" else value


def without_recipe(name: str, fields: Mapping[str, Any]) -> Config:
    """The run of those fields, by that name. Raises `ConfigError`."""
    for needed in ("network", "data", "epochs"):
        if needed not in fields:
            raise ConfigError(f"without a recipe a run needs {needed}: --set {needed}=...")
    return _made(f"run {name}", name, {key: _checked("--set", key, value) for key, value in fields.items()})


def restored(where: str, fields: Any) -> Config:
    """The run whose fields were written down as JSON; `where` says in errors by whom.

    Raises `ConfigError` for what no run can have.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("name"), str):
        raise ConfigError(f"{where} holds no fields of a run")
    values = {
        key: None if value is None and "None" in str(_TYPES.get(key)) else _checked(where, key, value)
        for key, value in fields.items()
        if key != "name"
    }
    return _made(where, fields["name"], values)


def _made(where: str, name: str, values: Mapping[str, Any]) -> Config:
    """The run of that name; `where` says in errors what gave its fields."""
    try:
        return Config(name=name, **values)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{where}: {str(error).replace('Config.__init__() ', '')}") from error


def read(path: str | Path, changes: Mapping[str, Any] | None = None) -> dict[str, Config]:
    """The runs of a recipe by name, in its order.

    A recipe is a TOML file: fields at the top hold for all its runs, a table ``[runs.NAME]`` for each run adds to or
    replaces them (its ``options`` are merged), and ``seeds = [1, 2, 3]`` makes a run of each seed, called NAME for the
    first and NAME-seed2, NAME-seed3 for the others. A network's file lies relative to the recipe. `changes` are fields
    that replace those of every run.

    Raises `ConfigError`, which names the file, run and field.
    """
    file = Path(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no recipe at {file}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from error
    runs = table.pop("runs", None)
    if not isinstance(runs, dict) or not runs:
        raise ConfigError(f"{file} has no runs; give it at least one table [runs.NAME]")
    found: dict[str, Config] = {}
    for name, own in runs.items():
        if not isinstance(own, dict):
            raise ConfigError(f"{file}: runs.{name} must be a table")
        for where, part in ((str(file), table), (f"{file}, run {name}", own)):
            _checked(where, "options", part.get("options", {}))
        fields = {**table, **own, "options": {**table.get("options", {}), **own.get("options", {})}}
        if isinstance(fields.get("network"), str):
            fields["network"] = users.resolved(fields["network"], file.parent)
        options = {**fields["options"], **(changes or {}).get("options", {})}
        fields = {**fields, **(changes or {}), "options": options}
        seeds = fields.pop("seeds", None)
        if seeds is not None and (not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds)):
            raise ConfigError(f"{file}: seeds of {name} must be a list of integers, not {seeds!r}")
        where = f"{file}, run {name}"
        values = {key: _checked(where, key, value) for key, value in fields.items()}
        for index, seed in enumerate(seeds or [values.get("seed", 1)]):
            full = name if index == 0 else f"{name}-seed{seed}"
            if full in found:
                raise ConfigError(f"{where}: two runs are called {full}")
            found[full] = _made(where, full, {**values, "seed": seed})
    return found
