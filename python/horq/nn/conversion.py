"""From a float network to a quantized one of the same structure."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .centring import Centre, batches_of, centred, constant_signs, seen_by, settle, unless_known
from .functional import Padding, check_choice
from .inq import Inq
from .layers import HorqConv2d, HorqLinear
from .packed import BinaryWeight, Codebook, Int8, checked
from .powers import PowerOfTwo
from .ranges import read_by
from .running import modes_kept
from .subjects import check_module, computed, instead_of, name_of, unready
from .tools import start_scales_
from .values import Values

_Layer = nn.Conv2d | nn.Linear
OWN = (HorqConv2d, HorqLinear, BinaryWeight, Codebook, Int8, PowerOfTwo, Inq)
"""The layers of horq.nn that have weights."""
_UNKNOWN = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase)
"""Layers with weights that would stay float unnoticed."""


def _horq(layer: _Layer, padding_mode: Padding = "valid-taps", **rules: Any) -> nn.Module:
    new: HorqConv2d | HorqLinear
    rules["bias"] = layer.bias is not None
    if isinstance(layer, nn.Linear):
        new = HorqLinear(layer.in_features, layer.out_features, **rules)
    else:
        window = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        new = HorqConv2d(layer.in_channels, layer.out_channels, *window, padding_mode=padding_mode, **rules)
    new.to(layer.weight.device, layer.weight.dtype)
    new.weight, new.bias = layer.weight, layer.bias
    with torch.no_grad():
        new.weight.clamp_(-1, 1)
    return new


def _binary_weight(layer: _Layer, **options: Any) -> nn.Module:
    with torch.no_grad():
        layer.weight.clamp_(-1, 1)
    return BinaryWeight(layer, **options)


@dataclass(frozen=True)
class _Method:
    """How a method makes a layer of a float one: by what, its options with their defaults, and what it always sets."""

    make: Callable[..., nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    always: dict[str, Any] = field(default_factory=dict)


_TAPS = {"padding_mode": "valid-taps"}
_BASES = {"bases": 1, "refined": False}
_SCALES = {"scale_mode": "fixed", "own_scales": False}
_HORQ = {"order": 2, **_SCALES, "gradient": "per-order", **_TAPS, "weight_scale": "mean", **_BASES}
_METHODS = {
    "horq": _Method(_horq, _HORQ),
    "xnor": _Method(_horq, {"scale_mode": "window", "gradient": "clip", **_TAPS}, {"order": 1}),
    "bnn": _Method(_horq, {"gradient": "clip", **_TAPS}, {"order": 1, "scale_mode": "none", "weight_scale": "none"}),
    "bwn": _Method(_binary_weight, _BASES),
    "bwnh": _Method(_binary_weight),
    "dqc": _Method(PowerOfTwo, {"bits": 4, "zero": False}, {"dynamic": True}),
    "sqc": _Method(PowerOfTwo, {"bits": 4, "zero": False}, {"dynamic": False}),
    "inq": _Method(Inq, {"bits": 5}),
    "float": _Method(lambda layer: layer),
}
_FLOAT_ENDS = ("horq", "xnor", "bnn", "bwn", "bwnh")
"""The methods whose papers keep the first and the last layer float."""
_OF_SIGNS = ("horq", "xnor", "bnn")
"""The methods with binary activations; all have the options centre and data."""


def convert(model: nn.Module, method: str, *, skip: Iterable[str] | None = None, **options: Any) -> nn.Module:
    """Returns a copy of `model` whose `torch.nn.Conv2d` and `Linear` are layers of `method` with the same weights.

    Arguments:
        method:
            ``horq``: `HorqConv2d` and `HorqLinear`; options order (2), scale_mode (``fixed``), gradient
            (``per-order``), padding_mode (``valid-taps``), weight_scale (``mean``), bases (1), refined (False),
            own_scales (False), centre, data;
            ``xnor``: the same at order 1; options scale_mode (``window``), gradient (``clip``), padding_mode, centre,
            data;
            ``bnn``: the same at order 1 without any scale; options gradient (``clip``), padding_mode, centre, data;
            ``bwn``: `BinaryWeight`; options bases (1), refined (False);
            ``bwnh``: the same with one basis, for `hash_weights_` to set from the float network next;
            ``dqc``, ``sqc``: `PowerOfTwo`; options bits (4), zero (False);
            ``inq``: `Inq`, no weight frozen yet; option bits (5);
            ``float``: the layers as they are.
        skip: names, as `named_modules` has them, of layers or blocks of layers that stay float. By default the first
            and the last layer with weights do, in the order of `named_modules`, but for ``dqc``, ``sqc`` and
            ``inq``, which code every layer. Give ``()`` to convert all.
        centre: what to put before a binary layer that reads values of one sign, such as those of a ReLU, whose signs
            would all be +1: ``norm`` (the default), a batch norm that starts with the deviation as its gain, so that
            at first it only takes the mean off; ``shift``, a learned shift that starts at minus the mean; ``none``.
            The pair is then a `Centred`. A layer that reads both signs gets nothing.
        data: a batch as `model` takes it, or several; some hundred samples are enough. They tell what a layer reads
            where the code does not, where a shift starts, and whether signs in the copy are constant. All batch norms
            of the copy take their statistics anew on them, so that its eval mode is of use before any training, and
            scales of mode ``halving`` start from them (`start_scales_`).

    A layer keeps its name, weights, bias, groups, device and training mode. What `HorqConv2d` and `HorqLinear` hold is
    called as in the float model (``conv1.weight``, ``conv1.bias``; ``conv1.scales`` is new); a layer inside another is
    called ``layer`` there (``conv1.layer.weight``). Weights of binary layers are clipped to [-1, 1], outside which
    they would get no gradient. Layers of `horq.nn` in the model stay as they are, so parts of a network can be
    converted one after another.

    What a layer reads is found in a trace by torch.fx: through ReLUs as modules and functions, pools, sums, `torch.cat`
    and the like (`horq.nn.ranges`). `explain` of the copy shows it as a table. Without data, what is put in starts from
    the mean and variance that the gains and offsets of the batch norms before it tell, else from a guess, which
    training mode corrects.

    Warns (`UserWarning`, naming the layers) where neither code nor data tell what a layer reads, where a layer reads
    one sign and `centre` is ``none``, and where in the copy all signs of a plane are constant over the data.

    Raises `ValueError` for an unknown method, option or name, where nothing is left to convert, and for ``shift`` where
    nothing tells a mean, and `TypeError` for a layer with weights that no method knows; both name it.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
    own = _METHODS[method]
    known = [*own.options, *["centre", "data"] * (method in _OF_SIGNS)]
    for option in options:
        if option not in known:
            raise ValueError(f"method {method!r} has no option {option!r}; it has {', '.join(known) or 'none'}")
    centre, data = options.pop("centre", "norm"), options.pop("data", None)
    check_choice("centre", centre, Centre)
    batches = None if data is None else batches_of(data)
    check_module(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"model must be a torch.nn.Module as it was written, not {name_of(model)}; {instead_of(model)}")
    if reason := unready(model):
        raise ValueError(f"cannot convert {reason}")
    model = _copied(model)
    if batches is not None:
        _check_runs(model, batches)
    if method == "float":
        return model
    layers = _weight_layers(model)
    kept = _kept(model, skip)
    if skip is None and method in _FLOAT_ENDS:
        kept |= {name for name, _ in layers[:1] + layers[-1:]}
    chosen = {name: layer for name, layer in layers if name not in kept}
    values = _values(model, chosen, centre, batches) if method in _OF_SIGNS else {}
    converted: dict[nn.Module, nn.Module] = {}
    for name, layer in chosen.items():
        try:
            new = own.make(checked(layer), **own.options | options | own.always).train(layer.training)
            if layer in values and values[layer].one_sided and centre != "none":
                new = centred(new, values[layer], centre)
            converted[layer] = new
        except (TypeError, ValueError) as error:
            raise type(error)(f"cannot convert {name!r}: {error}; name it in skip to leave it float") from error
    if not converted:
        raise ValueError(
            f"{type(model).__name__} has no layer left to convert; skip=() converts also its first and last"
        )
    for parent in list(model.modules()):
        if parent in converted or isinstance(parent, OWN):
            continue
        for name, child in parent._modules.items():  # named_children leaves out a layer's second name
            if child in converted:
                parent._modules[name] = converted[child]
    model = converted.get(model, model)
    if batches is not None and method in _OF_SIGNS:
        settle(model, batches)
        start_scales_(model, batches)
        _warn_of_constant_signs(model, batches)
    return model


def _copied(model: nn.Module) -> nn.Module:
    """A copy; raises `TypeError` with the layer that cannot be copied, as none can whose weight holds a graph."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # what a user's module holds may refuse to be copied
        for name, layer in model.named_modules():
            if found := computed(layer):
                raise TypeError(
                    f"cannot copy {name!r}: its weight is computed at each call ({found[0]}); make it a plain one with "
                    f"{found[1]}"
                ) from error
        raise TypeError(
            f"cannot copy the {type(model).__name__}: {error}; hold in it only parameters, buffers, modules and plain "
            "values"
        ) from error


def _check_runs(model: nn.Module, batches: list[Tensor]) -> None:
    """Raises `ValueError` unless the float model runs on the data, in eval mode."""
    with modes_kept(model), torch.no_grad():
        try:
            model.eval()
            for batch in batches:
                model(batch)
        except Exception as error:  # the user's module runs here
            raise ValueError(
                f"the model does not run on data of the shape {list(batch.shape)} and type {batch.dtype}: {error}; "
                "give batches as it takes them, of the type of its weights"
            ) from error
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.eps <= 0 and layer.running_mean is not None:
            raise ValueError(
                f"the batch norm {name!r} has eps {layer.eps}, with which training divides by 0 where a channel does "
                "not vary; give it a larger eps"
            )


def _values(
    model: nn.Module, chosen: dict[str, nn.Module], centre: Centre, batches: list[Tensor] | None
) -> dict[nn.Module, Values]:
    """What the layers read that will quantize it; warns of those where that is not known or will not do."""
    values = read_by(model, chosen.values())
    if batches is not None:
        seen = seen_by(model, chosen.values(), batches)
        values |= unless_known(values, seen)
        values |= {layer: replace(values[layer], moments=own.moments) for layer, own in seen.items()}
    unknown = [f"{name!r} ({values[layer].source})" for name, layer in chosen.items() if values[layer].ranges is None]
    if unknown:
        warnings.warn(
            f"cannot tell what values these layers read: {', '.join(unknown)}; if they are all 0 and above, as behind "
            "a ReLU, every sign is +1 and the layer answers a constant: pass data= to have a look, or put a batch norm "
            "before it",
            stacklevel=3,
        )
    one_sided = [name for name, layer in chosen.items() if values[layer].one_sided]
    if one_sided and centre == "none":
        warnings.warn(
            f"the signs before {', '.join(map(repr, one_sided))} are constant, since the values there are of one sign: "
            "order 1 learns nothing from them; leave centre at 'norm'",
            stacklevel=3,
        )
    return values


def _warn_of_constant_signs(model: nn.Module, batches: list[Tensor]) -> None:
    names = {layer: name for name, layer in model.named_modules()}
    for layer, planes in constant_signs(model, batches).items():
        lost = [str(k + 1) for k, plane in enumerate(planes) if plane.all()]
        if lost:
            warnings.warn(
                f"over the data all signs of plane {', '.join(lost)} before {names[layer]!r} are constant: the layer "
                "learns nothing from them; put a batch norm before it, or leave it float (skip)",
                stacklevel=3,
            )


def _weight_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and layers with weights of their own, those inside layers of horq.nn left out."""
    inside = {part for own in model.modules() if isinstance(own, OWN) for part in own.modules()}
    layers = ((name, layer) for name, layer in model.named_modules() if isinstance(layer, _UNKNOWN))
    return [(name, layer) for name, layer in layers if layer not in inside]


def _kept(model: nn.Module, skip: Iterable[str] | None) -> set[str]:
    """The names of all modules that `skip` names or that lie in one."""
    if isinstance(skip, str):
        raise ValueError(f"skip must be a list of names, not one string; write skip=[{skip!r}]")
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    kept = set()
    for block in skip or ():
        if block not in names:
            raise ValueError(f"skip names {block!r}, which is no module of the model")
        kept |= {name for name in names if name == block or name.startswith(f"{block}.")}
    return kept
