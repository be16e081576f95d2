"""The rules of interval arithmetic: from what an operation reads to what it makes.

The source of a result is empty where it is the operation itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from .values import BOTH, Interval, Moments, Values

_INF = math.inf


@dataclass(frozen=True)
class Call:
    """A node and its layer, for rules that go by settings."""

    node: fx.Node
    layer: nn.Module | None

    def setting(self, place: int, name: str, default: Any) -> Any:
        """An attribute of the layer, or an argument of the function."""
        if self.layer is not None:
            return getattr(self.layer, name, default)
        arguments = self.node.args
        value = arguments[place] if place < len(arguments) else self.node.kwargs.get(name, default)
        return default if value is None else value


def name_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def rule_name(name: str) -> str:
    """The rule of an operation: `relu_`, `F.relu` and `nn.ReLU` have one, pools of one to three dimensions another."""
    return re.sub(r"[123]d$", "", name.lower().replace("_", ""))


_Rule = Callable[[list[Values], Call], Values]


def _each(values: Values, bounds: Callable[[float, float], Interval]) -> frozenset[Interval]:
    return frozenset(bounds(*interval) for interval in (values.ranges or BOTH))


def _same(given: list[Values], _: Call) -> Values:
    return given[0]


def _any(given: list[Values], _: Call) -> Values:
    return Values(BOTH, "")


def _scaled(given: list[Values], _: Call) -> Values:
    """Times factors of 0 and above, or mixed with zeros: padding, dropout, sums."""
    first = given[0]
    if first.ranges is None:
        return first
    return replace(first, ranges=_each(first, lambda low, high: (-_INF if low < 0 else 0.0, _INF if high > 0 else 0.0)))


def _between(low: float, high: float) -> _Rule:
    return lambda given, _: Values(frozenset({(low, high)}), "")


def _monotone(function: Callable[[float], float]) -> _Rule:
    return lambda given, _: Values(_each(given[0], lambda low, high: (function(low), function(high))), "")


def _dipping(least: float) -> _Rule:
    """GELU and its kin: at least `least`, and of the sign of what they read."""
    return lambda given, _: Values(_each(given[0], lambda low, high: (-least if low < 0 else 0.0, max(high, 0.0))), "")


def _leaky(given: list[Values], call: Call) -> Values:
    """A slope below 0: a PReLU whose slopes are all 0 is a ReLU."""
    slope = 1.0
    if isinstance(call.layer, nn.PReLU):
        slope = call.layer.weight.max().item()
    elif isinstance(call.layer, nn.LeakyReLU) or rule_name(name_of(call.node)) == "leakyrelu":
        slope = float(call.setting(1, "negative_slope", 0.01))
    if slope <= 0:
        return _clamped(given[0], 0.0, _INF)
    return Values(_each(given[0], lambda low, high: (low if low >= 0 else -_INF, high)), "")


def _clamped(values: Values, low: float, high: float) -> Values:
    ranges = _each(values, lambda a, b: (min(max(a, low), high), min(max(b, low), high)))
    return Values(ranges, "", _rectified(values.moments) if low == 0 else None)


def _clamp(low: float, high: float) -> _Rule:
    return lambda given, _: _clamped(given[0], low, high)


def _clamp_by(low: str, high: str, defaults: Interval = (-_INF, _INF)) -> _Rule:
    def rule(given: list[Values], call: Call) -> Values:
        bounds = call.setting(1, low, defaults[0]), call.setting(2, high, defaults[1])
        return (
            _clamped(given[0], *bounds) if all(isinstance(bound, int | float) for bound in bounds) else _any([], call)
        )

    return rule


def _threshold(given: list[Values], call: Call) -> Values:
    below, value = float(call.setting(1, "threshold", 0.0)), float(call.setting(2, "value", 0.0))
    return Values(_each(given[0], lambda low, high: (min(max(low, below), value), max(high, value))), "")


def _pairs(given: list[Values], combine: Callable[[Interval, Interval], Interval]) -> frozenset[Interval]:
    first, second = given[0].ranges or BOTH, given[-1].ranges or BOTH
    return frozenset(combine(a, b) for a in first for b in second)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _product(a: Interval, b: Interval) -> Interval:
    corners = [_times(x, y) for x in a for y in b]
    return min(corners), max(corners)


def _unknown(given: list[Values]) -> Values | None:
    """A sum with what is not known is not known."""
    return next((values for values in given if values.ranges is None), None)


def _add(given: list[Values], _: Call) -> Values:
    ranges = _pairs(given, lambda a, b: (a[0] + b[0], a[1] + b[1]))
    first, second = given[0].moments, given[-1].moments
    known = first is not None and second is not None and len(given) == 2 and len(first[0]) == len(second[0])
    moments = (first[0] + second[0], first[1] + second[1]) if known else None  # as if they were independent
    return _unknown(given) or Values(ranges, "", moments)


def _subtract(given: list[Values], _: Call) -> Values:
    return _unknown(given) or Values(_pairs(given, lambda a, b: (a[0] - b[1], a[1] - b[0])), "")


def _multiply(given: list[Values], call: Call) -> Values:
    if len(call.node.args) == 2 and call.node.args[0] is call.node.args[1]:
        return Values(frozenset({(0.0, _INF)}), "")
    return _unknown(given) or Values(_pairs(given, _product), "")


def _divide(given: list[Values], _: Call) -> Values:
    def combine(a: Interval, b: Interval) -> Interval:
        if b[0] < 0 < b[1]:
            return -_INF, _INF
        over = (0.0, _INF) if b[0] >= 0 else (-_INF, 0.0)
        return _product((min(a[0], 0.0), max(a[1], 0.0)), over)

    return _unknown(given) or Values(_pairs(given, combine), "")


def _negate(given: list[Values], call: Call) -> Values:
    return _unknown(given) or Values(_each(given[0], lambda low, high: (-high, -low)), "")


def _power(given: list[Values], call: Call) -> Values:
    even = call.setting(1, "exponent", None) in (2, 4, 6, 8)
    return Values(frozenset({(0.0, _INF)}) if even else _each(given[0], lambda low, _: (min(low, 0), _INF)), "")


def _larger(given: list[Values], call: Call) -> Values:
    if len(given) < 2:
        return given[0]
    return Values(_pairs(given, lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))), "")


def _smaller(given: list[Values], call: Call) -> Values:
    if len(given) < 2:
        return given[0]
    return Values(_pairs(given, lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))), "")


def either(given: list[Values]) -> Values:
    """What is known of a value that may be any of `given`."""
    return _unknown(given) or Values(frozenset().union(*(values.ranges for values in given)), given[0].source)


def _joined(given: list[Values], _: Call) -> Values:
    """`torch.cat`: the parts of all."""
    moments = [values.moments for values in given]
    known = None
    if all(pair is not None for pair in moments):
        known = torch.cat([mean for mean, _ in moments]), torch.cat([variance for _, variance in moments])
    return _unknown(given) or replace(either(given), source="", moments=known)


def _resized(given: list[Values], call: Call) -> Values:
    cubic = "bicubic" in (getattr(call.layer, "mode", None), *call.node.args, *call.node.kwargs.values())
    return Values(BOTH, "") if cubic else given[0]


def _normalized(given: list[Values], call: Call) -> Values:
    """A batch norm: what its gains and offsets make of values of mean 0 and variance 1."""
    norm = call.layer
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return Values(BOTH, "")
    ones = torch.ones(norm.num_features)
    gain, offset = (ones, 0 * ones) if norm.weight is None else (norm.weight.detach(), norm.bias.detach())
    return Values(BOTH, "", (offset.double().cpu(), gain.double().cpu().square()))


def _rectified(moments: Moments | None) -> Moments | None:
    """Mean and variance of max(x, 0) for normally distributed x."""
    if moments is None:
        return None
    mean, deviation = moments[0], moments[1].sqrt().clamp(min=1e-12)
    normal = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    share, density = normal.cdf(mean / deviation), normal.log_prob(mean / deviation).exp()
    above = mean * share + deviation * density
    square = (mean.square() + moments[1]) * share + mean * deviation * density
    return above, (square - above.square()).clamp(min=0)


ARITHMETIC = {"add", "iadd", "sub", "isub", "mul", "imul", "truediv", "div", "maximum", "minimum", "rsub"}
_KEPT = (
    "identity maxpool adaptivemaxpool adaptiveavgpool flatten unflatten view reshape permute transpose contiguous "
    "getitem chunk split tensorsplit unbind unsqueeze squeeze expand repeat roll flip clone detach to float double "
    "half bfloat16 type mean amax amin median movedim swapaxes narrow select indexselect replicationpad "
    "reflectionpad pixelshuffle pixelunshuffle channelshuffle t checkpoint"
)
_SCALED = "dropout featurealphadropout featuredropout avgpool pad zeropad constantpad stochasticdepth sum cumsum"
_SIGNED = (
    "conv convtranspose linear bilinear layernorm groupnorm instancenorm localresponsenorm rmsnorm matmul mm bmm addmm "
    "einsum baddbmm alphadropout randn randnlike log logsoftmax horqconv horqlinear binaryweight codebook int8 "
    "poweroftwo inq affine affinebyorder shift rprelu switchablebatchnorm centred"
)
RULES: dict[str, _Rule] = {
    **dict.fromkeys(_KEPT.split(), _same),
    **dict.fromkeys(_SCALED.split(), _scaled),
    **dict.fromkeys(_SIGNED.split(), _any),
    **dict.fromkeys(("batchnorm", "syncbatchnorm"), _normalized),
    **dict.fromkeys(("interpolate", "upsample"), _resized),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax", "softmin", "softmax2d", "rand", "randlike"), _between(0, 1)),
    **dict.fromkeys(("softplus", "exp", "sqrt", "rsqrt", "square", "abs"), _between(0, _INF)),
    "logsigmoid": _between(-_INF, 0),
    "relu": _clamp(0, _INF),
    "relu6": _clamp(0, 6),
    "hardtanh": _clamp_by("min_val", "max_val", (-1, 1)),
    **dict.fromkeys(("clamp", "clip"), _clamp_by("min", "max")),
    "clampmin": _clamp_by("min", "no other"),
    "threshold": _threshold,
    **dict.fromkeys(("tanh", "softsign"), _monotone(math.tanh)),
    **dict.fromkeys(("hardshrink", "softshrink", "tanhshrink"), _monotone(float)),
    "gelu": _dipping(0.17),
    "silu": _dipping(0.279),
    "mish": _dipping(0.309),
    "hardswish": _dipping(0.375),
    **dict.fromkeys(("leakyrelu", "rrelu", "prelu", "elu", "selu", "celu"), _leaky),
    **dict.fromkeys(("add", "iadd"), _add),
    **dict.fromkeys(("sub", "isub"), _subtract),
    **dict.fromkeys(("mul", "imul"), _multiply),
    **dict.fromkeys(("truediv", "div"), _divide),
    "neg": _negate,
    "pow": _power,
    **dict.fromkeys(("maximum", "max"), _larger),
    **dict.fromkeys(("minimum", "min"), _smaller),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _joined),
}
