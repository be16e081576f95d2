"""The weights that a run starts from: those of another one."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from . import runs
from .config import Config
from .networks import build

_BINARY = ("horq", "xnor", "bnn", "bwn")
"""The methods with binary weights that start from each other's, and from BWNH's, which are found from float ones."""
_CENTRE = ".before."
"""The part of the name of a parameter that `horq.convert` put before a binary layer (`horq.nn.Centred`)."""
_OF_AN_ORDER = re.compile(r"(?<=\.)norms\.(\d+)\.")
"""The part of the name of a batch norm's parameter where each order has its own: the order, counted from 0."""


def started(net: nn.Module, config: Config, source: nn.Module, given: Config) -> nn.Module:
    """The network of a run, `net` before, with the weights of the trained network `source` of the run `given`.

    Raises `ValueError` where the one cannot start from the other.
    """
    if (given.network, given.width) != (config.network, config.width):
        raise ValueError(f"{config.name}: init {given.name} is {given.network} of width {given.width}")
    if given.method == "float":
        return runs.adapted(source, config)
    if given.method == config.method:
        _take_over(net, config, source, given)
        return net
    if given.method in (*_BINARY, "bwnh") and config.method in _BINARY:
        net = runs.adapted(_unwrapped(source, given), config)
        net.load_state_dict(_centres(source, net), strict=False)
        return net
    raise ValueError(
        f"{config.name} ({config.method}) starts from a run of float or its own method"
        f"{', or of any with binary weights' if config.method in _BINARY else ''}, not {given.method}"
    )


def _take_over(net: nn.Module, config: Config, source: nn.Module, given: Config) -> None:
    """The parameters of the same method at another order; of scales of one mode, those that both have. Where orders
    have batch norms of their own, each takes over that of its order, of the highest that there is, or the one that all
    share.
    """
    by_order: dict[str, list[Tensor]] = {}
    for name, value in source.state_dict().items():
        by_order.setdefault(_OF_AN_ORDER.sub("", name), []).append(value)
    taken = {name: values[0] for name, values in by_order.items()}  # what is not known here is refused below
    for name, value in net.state_dict().items():
        order, shared = _OF_AN_ORDER.search(name), _OF_AN_ORDER.sub("", name)
        if shared not in by_order:
            continue
        if order:
            taken.pop(shared, None)
        index = int(order[1]) if order else config.order - 1
        taken[name] = by_order[shared][min(index, len(by_order[shared]) - 1)]
        if name.endswith(".scales"):
            count = min(len(value), len(taken[name])) if same_scales(config, given) else 0
            taken[name] = torch.cat([taken[name][:count], value[count:].cpu()])
    try:
        net.load_state_dict(taken)
    except RuntimeError as error:
        raise ValueError(f"{config.name}: init {given.name} has other layers: {error}") from error


def same_scales(config: Config, given: Config) -> bool:
    """Whether scales of the one run mean in the other what they do in the first: a ``fixed`` scale is that of a plane,
    a b of ``halving`` that of an order."""
    mode, other = (run.options.get("scale_mode", "fixed") for run in (config, given))
    if given.method != config.method or mode != other:
        return False
    by_order = [run.options.get("own_scales", False) for run in (config, given)]
    return mode != "halving" or all(by_order) or (not any(by_order) and config.order == given.order)


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
