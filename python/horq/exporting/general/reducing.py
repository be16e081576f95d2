"""Reductions, and what is normalised by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..unfit import NO_STATISTICS
from .emitter import Emitter, Operand, Ref, Refusal, kind

Handler = Callable[..., Any]


def _axes(x: Ref, given: Any) -> list[int]:
    """The axes that are meant, all where none are given."""
    if given is None or (isinstance(given, list | tuple) and not given):
        return list(range(len(x.shape)))
    return [axis % max(len(x.shape), 1) for axis in (given if isinstance(given, list | tuple) else [given])]


def _reduction(op: str) -> Handler:
    def handler(e: Emitter, x: Ref, axes: Any = None, keep: bool = False, **_keywords: Any) -> Operand:
        if not x.shape:
            return x
        return e.number(e.reduce(op, x, _axes(x, axes), keep), e.result.dtype)

    return handler


def _extreme(op: str, index: str) -> Handler:
    """max.dim and min.dim: the values, and their places if somebody reads them."""

    def handler(e: Emitter, x: Ref, axis: int, keep: bool = False) -> list[Any]:
        shape = e.result[0].shape
        value = e.reduce(op, x, [axis], keep)
        return [value, lambda: _place(e, index, x, axis, keep, shape)]

    return handler


def _place(e: Emitter, op: str, x: Ref, axis: int, keep: bool, shape: Sequence[int]) -> Ref:
    return e.op(op, e.number(x), shape=shape, dtype=torch.int64, axis=axis, keepdims=int(keep), select_last_index=0)


def _arg(op: str) -> Handler:
    def handler(e: Emitter, x: Ref, axis: int | None = None, keep: bool = False) -> Ref:
        if axis is None:
            x, axis = e.reshape(x, (math.prod(x.shape),)), 0
        return _place(e, op, x, axis % len(x.shape), keep, e.result.shape)

    return handler


def _top(e: Emitter, x: Ref, count: int, axis: int = -1, largest: bool = True, order: bool = True) -> list[Ref]:
    shape = e.result[0].shape
    results = [(shape, torch.float32), (shape, torch.int64)]
    count_ = e.ints([count])
    return e.ops(
        "TopK", e.number(x), count_, results=results, axis=axis % len(x.shape), largest=int(largest), sorted=int(order)
    )


def _variance(
    e: Emitter, x: Ref, axes: Any = None, *, correction: float | None = 1, keepdim: bool = False
) -> tuple[Ref, Ref]:
    """Variance and mean, in two passes as PyTorch takes them."""
    axes = _axes(x, axes)
    count = math.prod(x.shape[axis] for axis in axes)
    correction = 1 if correction is None else correction
    mean = e.reduce("ReduceMean", x, axes, True)
    off = e.op("Sub", e.number(x), mean, shape=x.shape)
    variance = e.reduce("ReduceMean", e.op("Mul", off, off, shape=x.shape), axes, keepdim)
    if count <= correction:
        raise Refusal(f"it takes the variance of {count} values with the correction {correction}, which is no number")
    if correction:
        variance = e.op("Mul", variance, e.number(count / (count - correction)), shape=variance.shape)
    if not keepdim:
        mean = e.reshape(mean, variance.shape)
    return variance, mean


def _norm(e: Emitter, x: Ref, order: float = 2, axes: Any = None, keep: bool = False, *, dtype: Any = None) -> Ref:
    axes = _axes(x, axes)
    if order == 2:
        return e.reduce("ReduceL2", x, axes, keep)
    size = e.op("Abs", e.number(x), shape=x.shape)
    if order in (math.inf, -math.inf):
        return e.reduce("ReduceMax" if order > 0 else "ReduceMin", size, axes, keep)
    if order == 1:
        return e.reduce("ReduceSum", size, axes, keep)
    if order == 0:
        raise Refusal("a norm of order 0, which counts, is not known; compare with 0 and sum")
    total = e.reduce("ReduceSum", e.op("Pow", size, e.number(float(order)), shape=x.shape), axes, keep)
    return e.op("Pow", total, e.number(1 / order), shape=total.shape)


def _log_sum_exp(e: Emitter, x: Ref, axes: Any, keep: bool = False) -> Ref:
    axes = _axes(x, axes)
    top = e.reduce("ReduceMax", x, axes, True)
    total = e.reduce("ReduceSum", e.op("Exp", e.op("Sub", e.number(x), top, shape=x.shape), shape=x.shape), axes, True)
    value = e.op("Add", e.op("Log", total, shape=total.shape), top, shape=total.shape)
    return value if keep else e.reshape(value, e.result.shape)


def _softmax(op: str) -> Handler:
    def handler(e: Emitter, x: Ref, axis: int, *_rest: Any, **_keywords: Any) -> Ref:
        return e.op(op, e.number(x), axis=axis % max(len(x.shape), 1))

    return handler


def _layer_norm(
    e: Emitter, x: Ref, sizes: Sequence[int], weight: Operand | None = None, bias: Operand | None = None, *rest: Any
) -> Ref:
    scale = torch.ones(tuple(sizes)) if weight is None else weight
    epsilon = float(rest[0]) if rest else 1e-5
    return e.op("LayerNormalization", e.number(x), scale, bias, axis=-len(sizes), epsilon=epsilon, stash_type=1)


def _native_layer_norm(
    e: Emitter, x: Ref, sizes: Sequence[int], weight: Operand | None, bias: Operand | None, epsilon: float
) -> list[Any]:
    e.result = e.result[0]
    return [_layer_norm(e, x, sizes, weight, bias, epsilon), None, None]


def _rms_norm(e: Emitter, x: Ref, sizes: Sequence[int], weight: Operand | None = None, epsilon: Any = None) -> Ref:
    scale = torch.ones(tuple(sizes)) if weight is None else weight
    epsilon = torch.finfo(torch.float32).eps if epsilon is None else float(epsilon)
    return e.op("RMSNormalization", e.number(x), scale, axis=-len(sizes), epsilon=epsilon, stash_type=1)


def _group_norm(
    e: Emitter, x: Ref, groups: int, weight: Any = None, bias: Any = None, epsilon: float = 1e-5, *_rest: Any
) -> Ref:
    channels = x.shape[1]
    scale = torch.ones(channels) if weight is None else weight
    shift = torch.zeros(channels) if bias is None else bias
    return e.op(
        "GroupNormalization", e.number(x), scale, shift, num_groups=groups, epsilon=float(epsilon), stash_type=1
    )


def _native_group_norm(
    e: Emitter, x: Ref, weight: Any, bias: Any, _n: int, _c: int, _hw: int, groups: int, epsilon: float
) -> list[Any]:
    e.result = e.result[0]
    return [_group_norm(e, x, groups, weight, bias, epsilon), None, None]


def _instance_norm(
    e: Emitter, x: Ref, weight: Any, bias: Any, mean: Any, variance: Any, own: bool, _momentum: float, epsilon: float,
    *_rest: Any,
) -> Ref:  # fmt: skip
    channels = x.shape[1]
    scale = torch.ones(channels) if weight is None else weight
    shift = torch.zeros(channels) if bias is None else bias
    if not own:
        return _batch_norm(e, x, scale, shift, mean, variance, epsilon)
    return e.op("InstanceNormalization", e.number(x), scale, shift, epsilon=float(epsilon))


def _batch_norm(e: Emitter, x: Ref, weight: Any, bias: Any, mean: Operand, variance: Operand, epsilon: float) -> Ref:
    channels = x.shape[1]
    scale = torch.ones(channels) if weight is None else weight
    shift = torch.zeros(channels) if bias is None else bias
    return e.op("BatchNormalization", e.number(x), scale, shift, mean, variance, epsilon=float(epsilon))


def _no_training_norm(
    e: Emitter, x: Ref, weight: Any, bias: Any, mean: Tensor, variance: Tensor, _momentum: float, epsilon: float
) -> list[Any]:
    e.result = e.result[0]
    return [_batch_norm(e, x, weight, bias, mean, variance, epsilon), None, None]


def _plain_batch_norm(
    e: Emitter, x: Ref, weight: Any, bias: Any, mean: Any, variance: Any, own: bool, _momentum: float, epsilon: float,
    *_rest: Any,
) -> Ref:  # fmt: skip
    if own or mean is None:
        return _norm_of_the_batch(e)
    return _batch_norm(e, x, weight, bias, mean, variance, epsilon)


def _deviation(e: Emitter, x: Ref, *arguments: Any, **keywords: Any) -> Ref:
    variance = _old_variance(e, x, *arguments, **keywords)
    return e.op("Sqrt", variance, shape=variance.shape)


def _old_variance(e: Emitter, x: Ref, *arguments: Any, **keywords: Any) -> Ref:
    """var and std in their forms with dim and unbiased, or with correction."""
    if "correction" in keywords:
        return _variance(e, x, *arguments, **keywords)[0]
    axes = None if arguments and isinstance(arguments[0], bool) else (arguments[0] if arguments else None)
    rest = arguments[1:] if axes is not None else arguments
    unbiased, keep = (*rest, *(True, False)[len(rest) :])
    keep = keywords.get("keepdim", keep)
    return _variance(e, x, axes, correction=int(keywords.get("unbiased", unbiased)), keepdim=keep)[0]


def _norm_of_the_batch(e: Emitter, *_arguments: Any) -> Ref:
    raise Refusal(NO_STATISTICS)


def _any(op: str) -> Handler:
    def handler(e: Emitter, x: Ref, axes: Any = None, keep: bool = False) -> Ref:
        value = e.reduce(op, e.number(x), _axes(x, axes), keep)  # type: ignore[arg-type]
        return e.number(value, kind(e.result.dtype))  # type: ignore[return-value]

    return handler


HANDLERS: dict[str, Handler] = {
    **{f"aten.{name}": _reduction("ReduceMean") for name in ("mean.dim", "mean.default")},
    **{f"aten.{name}": _reduction("ReduceSum") for name in ("sum.dim_IntList", "sum.default")},
    **{f"aten.{name}": _reduction("ReduceMax") for name in ("amax.default", "max.default")},
    **{f"aten.{name}": _reduction("ReduceMin") for name in ("amin.default", "min.default")},
    **{f"aten.prod.{form}": _reduction("ReduceProd") for form in ("default", "dim_int")},
    "aten.max.dim": _extreme("ReduceMax", "ArgMax"),
    "aten.min.dim": _extreme("ReduceMin", "ArgMin"),
    "aten.argmax.default": _arg("ArgMax"),
    "aten.argmin.default": _arg("ArgMin"),
    "aten.topk.default": _top,
    **{f"aten.var.{form}": _old_variance for form in ("default", "dim", "correction")},
    **{f"aten.std.{form}": _deviation for form in ("default", "dim", "correction")},
    "aten.var_mean.correction": lambda e, *a, **k: list(_variance(e, *a, **k)),
    "aten.linalg_vector_norm.default": _norm,
    "aten.logsumexp.default": _log_sum_exp,
    **dict.fromkeys(("aten._softmax.default", "aten.softmax.int"), _softmax("Softmax")),
    **dict.fromkeys(("aten._log_softmax.default", "aten.log_softmax.int"), _softmax("LogSoftmax")),
    "aten.layer_norm.default": _layer_norm,
    "aten.native_layer_norm.default": _native_layer_norm,
    "aten.rms_norm.default": _rms_norm,
    "aten.group_norm.default": _group_norm,
    "aten.native_group_norm.default": _native_group_norm,
    "aten.instance_norm.default": _instance_norm,
    "aten.batch_norm.default": _plain_batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _no_training_norm,
    **dict.fromkeys(
        (
            *("aten._native_batch_norm_legit.no_stats", "aten._native_batch_norm_legit.default"),
            *("aten._native_batch_norm_legit_functional.default", "aten.native_batch_norm.default"),
        ),
        _norm_of_the_batch,
    ),
    **{f"aten.any.{form}": _any("ReduceMax") for form in ("default", "dim", "dims")},
    **{f"aten.all.{form}": _any("ReduceMin") for form in ("default", "dim", "dims")},
}
