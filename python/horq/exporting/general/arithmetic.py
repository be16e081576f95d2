"""Elementwise operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .emitter import Emitter, Operand, Ref, Refusal, kind, shape_of, type_of

Handler = Callable[..., Any]


def _unary(op: str, **attributes: Any) -> Handler:
    """An operation of one value by the same name."""
    return lambda e, x: e.op(op, e.number(x), **attributes)


def _in_result_type(op: str) -> Handler:
    """An operation of two values, both taken in the type of the result."""

    def handler(e: Emitter, a: Operand, b: Operand, *, alpha: float = 1) -> Ref:
        dtype = kind(e.result.dtype)
        if alpha != 1:
            b = e.op("Mul", e.number(b, dtype), e.number(alpha, dtype), shape=shape_of(b), dtype=dtype)
        return e.op(op, e.number(a, dtype), e.number(b, dtype), dtype=dtype)

    return handler


_add, _subtract, _multiply, _divide = (_in_result_type(op) for op in ("Add", "Sub", "Mul", "Div"))


def _divide_by_mode(e: Emitter, a: Operand, b: Operand, *, rounding_mode: str | None = None) -> Ref:
    if rounding_mode not in (None, "floor"):
        raise Refusal(f"division with rounding_mode={rounding_mode!r} is not known; divide, then torch.floor")
    quotient = e.op("Div", e.number(a), e.number(b))
    return quotient if rounding_mode is None else e.number(e.op("Floor", quotient), e.result.dtype)


def _remainder(e: Emitter, a: Operand, b: Operand) -> Ref:
    """a - floor(a / b) b, with the sign of the divisor."""
    a, b = e.number(a), e.number(b)
    whole = e.op("Floor", e.op("Div", a, b))
    return e.number(e.op("Sub", a, e.op("Mul", whole, b)), e.result.dtype)


def _compare(op: str) -> Handler:
    def handler(e: Emitter, a: Operand, b: Operand) -> Ref:
        types = {type_of(a), type_of(b)}
        dtype = torch.float32 if torch.float32 in types else torch.int64
        return e.op(op, e.number(a, dtype), e.number(b, dtype), dtype=torch.bool)

    return handler


def _not_equal(e: Emitter, a: Operand, b: Operand) -> Ref:
    return e.op("Not", _compare("Equal")(e, a, b), dtype=torch.bool)


def _logical(op: str) -> Handler:
    def handler(e: Emitter, a: Operand, *b: Operand) -> Ref:
        return e.op(op, *(_truth(e, value) for value in (a, *b)), dtype=torch.bool)

    return handler


def _truth(e: Emitter, value: Operand) -> Operand:
    """Whether a value is not 0."""
    if type_of(value) == torch.bool:
        return value
    equal = e.op("Equal", e.number(value), e.number(0), shape=shape_of(value), dtype=torch.bool)
    return e.op("Not", equal, shape=shape_of(value), dtype=torch.bool)


def _bitwise(op: str) -> Handler:
    def handler(e: Emitter, *values: Operand) -> Ref:
        if any(type_of(value) != torch.bool for value in values):
            raise Refusal("bitwise operations are known for truth values only")
        return _logical(op)(e, *values)

    return handler


def _where(e: Emitter, condition: Operand, a: Operand, b: Operand) -> Ref:
    dtype = kind(e.result.dtype)
    return e.op("Where", _truth(e, condition), e.number(a, dtype), e.number(b, dtype), dtype=dtype)


def _clamp(e: Emitter, x: Operand, low: Any = None, high: Any = None) -> Operand:
    dtype = kind(e.result.dtype)
    x = e.number(x, dtype)
    if any(isinstance(limit, Ref) or (isinstance(limit, Tensor) and limit.numel() > 1) for limit in (low, high)):
        for op, limit in (("Max", low), ("Min", high)):
            x = x if limit is None else e.op(op, x, e.number(limit, dtype), dtype=dtype)
        return x
    low, high = (None if limit is None else e.number(limit, dtype).reshape(()) for limit in (low, high))  # type: ignore[union-attr]
    return e.op("Clip", x, low, high, dtype=dtype)


def _power(e: Emitter, base: Operand, exponent: Operand) -> Ref:
    if exponent == 2 and not isinstance(exponent, Tensor | Ref):
        return e.op("Mul", e.number(base), e.number(base))
    return e.op("Pow", e.number(base), e.number(exponent))


def _leaky_relu(e: Emitter, x: Operand, slope: float = 0.01) -> Ref:
    return e.op("LeakyRelu", e.number(x), alpha=float(slope))


def _rrelu(e: Emitter, x: Operand, *settings: Any, **_more: Any) -> Ref:
    low, high = (*settings, 1 / 8, 1 / 3)[:2] if len(settings) >= 2 else (1 / 8, 1 / 3)
    return e.op("LeakyRelu", e.number(x), alpha=(low + high) / 2)


def _prelu(e: Emitter, x: Operand, weight: Operand) -> Ref:
    if not isinstance(weight, Tensor):
        raise Refusal("the slope of a PReLU must not depend on the input")
    dimensions = len(shape_of(x))
    if weight.dim() == 1 and dimensions > 2:
        weight = weight.view(-1, *[1] * (dimensions - 2))
    return e.op("PRelu", e.number(x), e.number(weight))


def _elu(e: Emitter, x: Operand, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Ref:
    if input_scale != 1:
        raise Refusal("an ELU with an input_scale is not known; scale its input before")
    y = e.op("Elu", e.number(x), alpha=float(alpha))
    return y if scale == 1 else e.op("Mul", y, e.number(scale))


def _gelu(e: Emitter, x: Operand, *, approximate: str = "none") -> Ref:
    return e.op("Gelu", e.number(x), approximate=approximate)


def _silu(e: Emitter, x: Operand) -> Ref:
    x = e.number(x)
    return e.op("Mul", x, e.op("Sigmoid", x))


def _softplus(e: Emitter, x: Operand, beta: float = 1, threshold: float = 20) -> Ref:
    if beta * threshold < 17 * beta or threshold < 17:
        raise Refusal("a softplus that becomes linear at a low threshold is not known; leave threshold at 20")
    x = e.number(x)
    if beta == 1:
        return e.op("Softplus", x)
    return e.op("Div", e.op("Softplus", e.op("Mul", x, e.number(beta))), e.number(beta))


def _log_sigmoid(e: Emitter, x: Operand) -> Ref:
    return e.op("Neg", e.op("Softplus", e.op("Neg", e.number(x))))


def _hard_sigmoid(e: Emitter, x: Operand) -> Ref:
    return e.op("HardSigmoid", e.number(x), alpha=1 / 6, beta=0.5)


def _composed(*steps: tuple[str, float | None]) -> Handler:
    """Operations one after another, each with a constant as its second value, or none."""

    def handler(e: Emitter, x: Operand) -> Ref:
        value: Operand = e.number(x)
        for op, second in steps:
            value = e.op(op, value) if second is None else e.op(op, value, e.number(second))
        return value  # type: ignore[return-value]

    return handler


def _exp2(e: Emitter, x: Operand) -> Ref:
    return e.op("Pow", e.number(2), e.number(x))


def _round(e: Emitter, x: Operand, *, decimals: int = 0) -> Ref:
    if decimals:
        raise Refusal("rounding to decimals is not known; scale, round, and scale back")
    return e.op("Round", e.number(x))


def _truncate(e: Emitter, x: Operand) -> Ref:
    x = e.number(x)
    return e.op("Mul", e.op("Sign", x), e.op("Floor", e.op("Abs", x)))


def _fraction(e: Emitter, x: Operand) -> Ref:
    return e.op("Sub", e.number(x), _truncate(e, x))


def _log1p(e: Emitter, x: Operand) -> Ref:
    return e.op("Log", e.op("Add", e.number(x), e.number(1)))


def _same(e: Emitter, x: Operand, *_arguments: Any, **_keywords: Any) -> Operand:
    """What changes nothing but, perhaps, the type."""
    return e.number(x, e.result.dtype)


def _dropout(e: Emitter, x: Operand, _p: float, train: bool) -> Operand:
    if train:
        raise Refusal("it drops values in eval mode, too; pass training=self.training, or use torch.nn.Dropout")
    return x


def _copy(e: Emitter, _into: Operand, source: Operand, *_more: Any) -> Operand:
    value = e.number(source, e.result.dtype)
    shape = tuple(e.result.shape)
    return e.expand(value, shape) if isinstance(value, Ref) else value.expand(shape)


HANDLERS: dict[str, Handler] = {
    **{f"aten.add.{form}": _add for form in ("Tensor", "Scalar")},
    **{f"aten.sub.{form}": _subtract for form in ("Tensor", "Scalar")},
    **{f"aten.rsub.{form}": lambda e, a, b, alpha=1: _subtract(e, b, a, alpha=alpha) for form in ("Tensor", "Scalar")},
    **{f"aten.mul.{form}": _multiply for form in ("Tensor", "Scalar")},
    **{f"aten.div.{form}": _divide for form in ("Tensor", "Scalar")},
    **{f"aten.div.{form}_mode": _divide_by_mode for form in ("Tensor", "Scalar")},
    **{f"aten.remainder.{form}": _remainder for form in ("Tensor", "Scalar")},
    **{f"aten.{name}.default": _in_result_type(op) for name, op in (("maximum", "Max"), ("minimum", "Min"))},
    **{f"aten.{name}.other": _in_result_type(op) for name, op in (("max", "Max"), ("min", "Min"))},
    **{
        f"aten.{name}.{form}": _compare(op)
        for name, op in (
            ("eq", "Equal"),
            ("gt", "Greater"),
            ("ge", "GreaterOrEqual"),
            ("lt", "Less"),
            ("le", "LessOrEqual"),
        )
        for form in ("Tensor", "Scalar")
    },
    **{f"aten.ne.{form}": _not_equal for form in ("Tensor", "Scalar")},
    **{
        f"aten.logical_{name}.default": _logical(op)
        for name, op in (("and", "And"), ("or", "Or"), ("xor", "Xor"), ("not", "Not"))
    },
    **{
        f"aten.bitwise_{name}.{form}": _bitwise(op)
        for name, op, form in (
            ("and", "And", "Tensor"),
            ("or", "Or", "Tensor"),
            ("xor", "Xor", "Tensor"),
            ("not", "Not", "default"),
        )
    },
    **{f"aten.where.{form}": _where for form in ("self", "ScalarSelf", "ScalarOther", "Scalar")},
    **{f"aten.clamp.{form}": _clamp for form in ("default", "Tensor")},
    **{f"aten.clamp_min.{form}": _clamp for form in ("default", "Tensor")},
    **{f"aten.clamp_max.{form}": lambda e, x, high: _clamp(e, x, None, high) for form in ("default", "Tensor")},
    "aten.relu6.default": lambda e, x: _clamp(e, x, 0.0, 6.0),
    "aten.hardtanh.default": lambda e, x, low=-1.0, high=1.0: _clamp(e, x, low, high),
    **{f"aten.pow.{form}": _power for form in ("Tensor_Scalar", "Tensor_Tensor", "Scalar")},
    "aten.square.default": lambda e, x: _power(e, x, 2),
    **{
        f"aten.{name}.default": _unary(op)
        for name, op in (
            ("relu", "Relu"),
            ("sigmoid", "Sigmoid"),
            ("tanh", "Tanh"),
            ("exp", "Exp"),
            ("log", "Log"),
            ("sqrt", "Sqrt"),
            ("reciprocal", "Reciprocal"),
            ("abs", "Abs"),
            ("neg", "Neg"),
            ("floor", "Floor"),
            ("ceil", "Ceil"),
            ("erf", "Erf"),
            ("sign", "Sign"),
            ("sgn", "Sign"),
            ("sin", "Sin"),
            ("cos", "Cos"),
            ("tan", "Tan"),
            ("asin", "Asin"),
            ("acos", "Acos"),
            ("atan", "Atan"),
            ("sinh", "Sinh"),
            ("cosh", "Cosh"),
            ("asinh", "Asinh"),
            ("acosh", "Acosh"),
            ("atanh", "Atanh"),
            ("hardswish", "HardSwish"),
            ("mish", "Mish"),
        )
    },
    "aten.round.default": _round,
    "aten.round.decimals": _round,
    "aten.trunc.default": _truncate,
    "aten.frac.default": _fraction,
    "aten.rsqrt.default": _composed(("Sqrt", None), ("Reciprocal", None)),
    "aten.expm1.default": _composed(("Exp", None), ("Sub", 1.0)),
    "aten.log1p.default": _log1p,
    "aten.log2.default": _composed(("Log", None), ("Mul", 1 / math.log(2))),
    "aten.log10.default": _composed(("Log", None), ("Mul", 1 / math.log(10))),
    "aten.exp2.default": _exp2,
    "aten.leaky_relu.default": _leaky_relu,
    **dict.fromkeys(("aten.rrelu.default", "aten.rrelu_with_noise.default"), _rrelu),
    **dict.fromkeys(("aten.prelu.default", "aten._prelu_kernel.default"), _prelu),
    "aten.elu.default": _elu,
    "aten.celu.default": lambda e, x, alpha=1.0: e.op("Celu", e.number(x), alpha=float(alpha)),
    "aten.selu.default": _unary("Selu"),
    "aten.gelu.default": _gelu,
    "aten.silu.default": _silu,
    "aten.softplus.default": _softplus,
    "aten.log_sigmoid.default": _log_sigmoid,
    "aten.log_sigmoid_forward.default": lambda e, x: (_log_sigmoid(e, x), None),
    "aten.hardsigmoid.default": _hard_sigmoid,
    **dict.fromkeys(
        (
            *("aten.clone.default", "aten.detach.default", "aten.detach_.default", "aten.alias.default"),
            *("aten._to_copy.default", "aten.lift_fresh.default", "aten.lift_fresh_copy.default"),
            *("aten.contiguous.default", "aten.to.dtype", "aten.to.dtype_layout", "aten.type_as.default"),
            *("aten.to.device", "aten.to.other", "prims.convert_element_type.default"),
        ),
        _same,
    ),
    **{
        f"aten.{name}.default": _dropout
        for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
    },
    "aten.native_dropout.default": lambda e, x, p, train: (_dropout(e, x, p, train), None),
    **dict.fromkeys(("aten.copy.default", "aten.copy_.default"), _copy),
}
