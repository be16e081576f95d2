"""Convolutions, matrix products, pools, resizing, embeddings and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .emitter import Emitter, Operand, Ref, Refusal, shape_of

Handler = Callable[..., Any]


def _numbers(value: Any, count: int) -> list[int]:
    """As many numbers as there are axes of a window, of one or all."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return [int(number) for number in (numbers * count if len(numbers) == 1 else numbers)]


def _convolution(
    e: Emitter, x: Operand, weight: Operand, bias: Operand | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, *, pads: list[int] | None = None,
) -> Ref:  # fmt: skip
    count = len(shape_of(weight)) - 2
    x, weight = e.number(x), e.number(weight)
    bias = None if bias is None else e.number(bias)
    margins = _numbers(padding, count)
    fields = {
        "kernel_shape": list(shape_of(weight)[2:]),
        "strides": _numbers(stride, count),
        "pads": pads or [*margins, *margins],
        "dilations": _numbers(dilation, count),
        "group": groups,
    }
    if transposed:
        return e.op("ConvTranspose", x, weight, bias, **fields, output_padding=_numbers(output_padding, count))
    return e.op("Conv", x, weight, bias, **fields)


def _forward(e: Emitter, x: Operand, weight: Operand, bias: Any = None, stride: Any = 1, *rest: Any) -> Ref:
    """conv1d to conv3d as they are called, padding given as numbers or as a word."""
    padding, dilation, groups = (*rest, *(0, 1, 1)[len(rest) :])
    if padding == "valid":
        padding = 0
    if padding == "same":
        count = len(shape_of(weight)) - 2
        steps = _numbers(dilation, count)
        whole = [step * (size - 1) for step, size in zip(steps, shape_of(weight)[2:], strict=True)]
        pads = [*(size // 2 for size in whole), *(size - size // 2 for size in whole)]
        return _convolution(e, x, weight, bias, stride, 0, dilation, False, 0, groups, pads=pads)
    return _convolution(e, x, weight, bias, stride, padding, dilation, False, 0, groups)


def _transposed(e: Emitter, x: Operand, weight: Operand, bias: Any = None, stride: Any = 1, *rest: Any) -> Ref:
    padding, output_padding, groups, dilation = (*rest, *(0, 0, 1, 1)[len(rest) :])
    return _convolution(e, x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def _turned(e: Emitter, x: Operand) -> Operand:
    """A matrix with its last two axes exchanged."""
    if isinstance(x, Tensor):
        return x.transpose(-1, -2)
    order = list(range(len(shape_of(x))))
    order[-1], order[-2] = order[-2], order[-1]
    return e.transpose(x, order)  # type: ignore[arg-type]


def _linear(e: Emitter, x: Operand, weight: Operand, bias: Operand | None = None) -> Ref:
    x, weight = e.number(x), e.number(weight)
    if len(shape_of(x)) == 2:
        return e.op("Gemm", x, weight, None if bias is None else e.number(bias), transB=1)
    product = e.op("MatMul", x, _turned(e, weight))
    return product if bias is None else e.op("Add", product, e.number(bias))


def _matmul(e: Emitter, a: Operand, b: Operand) -> Ref:
    return e.op("MatMul", e.number(a), e.number(b))


def _addmm(e: Emitter, bias: Operand, a: Operand, b: Operand, *, beta: float = 1, alpha: float = 1) -> Ref:
    if len(shape_of(a)) == 2 and shape_of(a)[0] == 1:
        fields = {"alpha": float(alpha), "beta": float(beta)}
        return e.op("Gemm", e.number(a), e.number(b), e.number(bias), **fields)
    product = e.op("MatMul", e.number(a), e.number(b))
    if alpha != 1:
        product = e.op("Mul", product, e.number(alpha))
    if beta != 1:
        bias = e.arithmetic("Mul", bias, beta)
    return e.op("Add", product, e.number(bias))


def _dot(e: Emitter, a: Operand, b: Operand) -> Ref:
    product = e.arithmetic("Mul", a, b)
    return e.reduce("ReduceSum", product, None, False)


def _attention(
    e: Emitter, query: Operand, key: Operand, value: Operand, mask: Operand | None = None, dropout: float = 0.0,
    causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Ref:  # fmt: skip
    """softmax(query key^T scale + mask) value."""
    if dropout:
        raise Refusal("it drops values in eval mode, too; pass dropout_p=0.0")
    if enable_gqa:
        raise Refusal("heads that share keys (enable_gqa) are not known; repeat the keys")
    query, key, value = (e.number(part) for part in (query, key, value))
    scale = 1 / math.sqrt(shape_of(query)[-1]) if scale is None else scale
    shape = (*shape_of(query)[:-1], shape_of(key)[-2])
    scores: Operand = e.op("MatMul", query, _turned(e, key), shape=shape)
    scores = e.op("Mul", scores, e.number(scale), shape=shape)
    if causal:
        mask = torch.ones(shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        if isinstance(mask, Tensor) and mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, _OUT)
        elif isinstance(mask, Tensor):
            mask = mask.float().clamp(min=_OUT)
        elif mask.dtype == torch.bool:  # type: ignore[union-attr]
            mask = e.op("Where", mask, e.number(0.0), e.number(_OUT), shape=shape_of(mask))
        scores = e.op("Add", scores, mask, shape=shape)
    share = e.op("Softmax", scores, shape=shape, axis=len(shape) - 1)
    return e.op("MatMul", share, value)


_OUT = -1e30
"""What stands for minus infinity in a mask: its exponential is 0, and it is a number that the engine stores."""


def _window(kernel: Any, stride: Any, padding: Any, count: int) -> dict[str, Any]:
    margins = _numbers(padding, count)
    kernel = _numbers(kernel, count)
    return {
        "kernel_shape": kernel,
        "strides": _numbers(stride, count) if stride not in (None, [], ()) else kernel,
        "pads": [*margins, *margins],
    }


def _max_pool(count: int) -> Handler:
    def handler(
        e: Emitter, x: Ref, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
    ) -> Ref:
        fields = _window(kernel, stride, padding, count)
        return e.op("MaxPool", x, **fields, dilations=_numbers(dilation, count), ceil_mode=int(ceil))

    return handler


def _with_places(handler: Handler) -> Handler:
    """A pool that also tells where it found its values; nobody may read that."""

    def both(e: Emitter, *arguments: Any) -> list[Any]:
        e.result = e.result[0]
        return [handler(e, *arguments), None]

    return both


def _average_pool(count: int) -> Handler:
    def handler(
        e: Emitter, x: Ref, kernel: Any, stride: Any = None, padding: Any = 0, ceil: bool = False,
        include: bool = True, divisor: int | None = None,
    ) -> Ref:  # fmt: skip
        fields = _window(kernel, stride, padding, count)
        if divisor is not None and ceil:
            raise Refusal("ceil_mode with divisor_override is not known; leave one of them off")
        include = include or divisor is not None
        value = e.op("AveragePool", x, **fields, ceil_mode=int(ceil), count_include_pad=int(include))
        if divisor is None:
            return value
        return e.op("Mul", value, e.number(math.prod(fields["kernel_shape"]) / divisor))

    return handler


def _adaptive(average: bool, count: int) -> Handler:
    """A pool to a given size: PyTorch's windows, which are alike where the sizes divide."""

    def handler(e: Emitter, x: Ref, size: Any) -> Ref:
        sizes, given = list(e.result.shape[-count:]), list(x.shape[-count:])
        if sizes == given:
            return x
        if sizes == [1] * count:
            return e.op("GlobalAveragePool" if average else "GlobalMaxPool", x)
        if all(whole % part == 0 for whole, part in zip(given, sizes, strict=True)):
            kernel = [whole // part for whole, part in zip(given, sizes, strict=True)]
            fields = _window(kernel, kernel, 0, count)
            return e.op("AveragePool", x, **fields) if average else e.op("MaxPool", x, **fields)
        if count > 2:
            raise Refusal(f"a pool from {given} to {sizes} is not known; choose sizes that divide")
        op = "adaptive_average_pool" if average else "adaptive_max_pool"
        return e.op(op, x, domain="horq", size=[*[1] * (2 - count), *sizes])

    return handler


def _resize(mode: str, coordinates: str, rounding: str | None = None) -> Handler:
    """The forms with an output size and scale factors: upsample_*.vec."""

    def handler(e: Emitter, x: Ref, size: Any, *rest: Any) -> Ref:
        factors, corners = (rest[-1], rest[0]) if len(rest) == 2 else (rest[0] if rest else None, False)
        result = list(e.result.shape)
        where = "align_corners" if corners else coordinates
        fields = {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": rounding}
        if mode == "cubic":
            fields["cubic_coeff_a"] = -0.75
        exact = factors is not None and not corners
        if exact and any(f * n != m for f, n, m in zip(factors, x.shape[2:], result[2:], strict=True)):
            return e.op("Resize", x, None, torch.tensor([1.0, 1.0, *factors]), **fields)
        return e.op("Resize", x, None, None, e.ints(result), **fields)

    return handler


def _sized(handler: Handler, count: int, corners: bool) -> Handler:
    """The forms with an output size and one factor an axis: upsample_*.default."""

    def with_factors(e: Emitter, x: Ref, size: Any, *rest: Any) -> Ref:
        factors = list(rest[1:] if corners else rest)
        given = factors if len(factors) == count and None not in factors else None
        return handler(e, x, size, *([rest[0]] if corners else []), given)

    return with_factors


def _embedding(e: Emitter, weight: Operand, indices: Operand, *_rest: Any, **_keywords: Any) -> Ref:
    if not isinstance(weight, Tensor):
        raise Refusal("the table of an embedding must not depend on the input")
    return e.op("Gather", e.number(weight), e.number(indices, torch.int64), axis=0)


_NEAREST = _resize("nearest", "asymmetric", "floor")
_NEAREST_EXACT = _resize("nearest", "half_pixel", "round_prefer_ceil")
_LINEAR = _resize("linear", "half_pixel")
_CUBIC = _resize("cubic", "half_pixel")


def _pools() -> dict[str, Handler]:
    table: dict[str, Handler] = {}
    for n in (1, 2, 3):
        table |= {
            f"aten.max_pool{n}d.default": _max_pool(n),
            f"aten.max_pool{n}d_with_indices.default": _with_places(_max_pool(n)),
            f"aten.avg_pool{n}d.default": _average_pool(n),
            f"aten.adaptive_avg_pool{n}d.default": _adaptive(True, n),
            f"aten._adaptive_avg_pool{n}d.default": _adaptive(True, n),
            f"aten.adaptive_max_pool{n}d.default": _with_places(_adaptive(False, n)),
        }
    return table


def _resizes() -> dict[str, Handler]:
    table: dict[str, Handler] = {"aten.upsample_bilinear2d.vec": _LINEAR, "aten.upsample_bicubic2d.vec": _CUBIC}
    table["aten.upsample_linear1d.vec"] = _LINEAR
    table["aten.upsample_linear1d.default"] = _sized(_LINEAR, 1, True)
    table["aten.upsample_bilinear2d.default"] = _sized(_LINEAR, 2, True)
    table["aten.upsample_bicubic2d.default"] = _sized(_CUBIC, 2, True)
    for n in (1, 2):
        for name, handler in ((f"upsample_nearest{n}d", _NEAREST), (f"_upsample_nearest_exact{n}d", _NEAREST_EXACT)):
            table[f"aten.{name}.vec"] = handler
            table[f"aten.{name}.default"] = _sized(handler, n, False)
    return table


HANDLERS: dict[str, Handler] = {
    "aten.convolution.default": _convolution,
    **{f"aten.conv{n}d.{form}": _forward for n in (1, 2, 3) for form in ("default", "padding")},
    **{f"aten.conv_transpose{name}": _transposed for name in ("1d.default", "2d.input", "3d.input")},
    "aten.linear.default": _linear,
    **{f"aten.{name}.default": _matmul for name in ("mm", "bmm", "matmul", "mv")},
    "aten.addmm.default": _addmm,
    "aten.baddbmm.default": _addmm,
    "aten.dot.default": _dot,
    "aten.scaled_dot_product_attention.default": _attention,
    **_pools(),
    **_resizes(),
    "aten.embedding.default": _embedding,
}
