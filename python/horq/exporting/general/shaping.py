"""Operations that move, join and cut values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .emitter import Emitter, Operand, Ref, Refusal, shape_of, type_of


def _view(e: Emitter, x: Ref, *_sizes: Any, **_keywords: Any) -> Ref:
    """What counts is the shape that comes out."""
    return e.reshape(x, e.result.shape)


def _squeeze(e: Emitter, x: Ref, *_axes: Any) -> Ref:
    axes, size = [], list(e.result.shape)
    given = range(len(x.shape)) if not _axes else (_axes[0] if isinstance(_axes[0], list | tuple) else [_axes[0]])
    axes = sorted({axis % len(x.shape) for axis in given if x.shape[axis] == 1}) if x.shape else []
    if not axes:
        return x
    return e.op("Squeeze", x, e.ints(axes), shape=size, dtype=x.dtype)


def _unsqueeze(e: Emitter, x: Ref, axis: int) -> Ref:
    axis %= len(x.shape) + 1
    return e.op("Unsqueeze", x, e.ints([axis]), shape=(*x.shape[:axis], 1, *x.shape[axis:]), dtype=x.dtype)


def _swap(e: Emitter, x: Ref, first: int = 0, second: int = 1) -> Ref:
    order = list(range(len(x.shape)))
    if len(order) > 1:
        order[first], order[second] = order[second], order[first]
    return e.transpose(x, order)


def _expand(e: Emitter, x: Ref, *_sizes: Any, **_keywords: Any) -> Ref:
    return e.expand(x, e.result.shape)


def _repeat(e: Emitter, x: Ref, repeats: Sequence[int]) -> Ref:
    x = e.reshape(x, (1,) * (len(repeats) - len(x.shape)) + x.shape)
    if all(count == 1 for count in repeats):
        return x
    return e.op("Tile", x, e.ints(repeats), dtype=x.dtype)


def _repeat_interleave(e: Emitter, x: Ref, repeats: Any, axis: int | None = None, **_keywords: Any) -> Ref:
    if axis is None:
        x, axis = e.reshape(x, (int(np.prod(x.shape)),)), 0
    if isinstance(repeats, Ref):
        raise Refusal("it repeats by counts that depend on the input")
    counts = repeats if isinstance(repeats, Tensor) else torch.full((x.shape[axis],), repeats)
    return _gather(e, x, axis % len(x.shape), torch.repeat_interleave(torch.arange(x.shape[axis]), counts))


def _gather(e: Emitter, x: Ref, axis: int, indices: Tensor) -> Ref:
    """The elements of those places of an axis, which are not negative."""
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return e.op("Gather", x, indices.long(), shape=shape, dtype=x.dtype, axis=axis)


def _cat(e: Emitter, values: Sequence[Operand], axis: int = 0) -> Operand:
    kept = [value for value in values if shape_of(value) != (0,)]
    if len(kept) == 1:
        return e.number(kept[0], e.result.dtype)
    return e.concat(kept, axis % len(e.result.shape), e.result.dtype)


def _stack(e: Emitter, values: Sequence[Operand], axis: int = 0) -> Operand:
    axis %= len(e.result.shape)
    parts = [_unsqueeze(e, value, axis) if isinstance(value, Ref) else value.unsqueeze(axis) for value in values]  # type: ignore[union-attr]
    return _cat(e, parts, axis)


def _slice(e: Emitter, x: Ref, axis: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> Ref:
    axis %= len(x.shape)
    first, last, step = slice(start, stop, step).indices(x.shape[axis])
    return e.slice(x, axis, first, max(first, last), step)


def _select(e: Emitter, x: Ref, axis: int, index: int) -> Ref:
    axis %= len(x.shape)
    return _gather(e, x, axis, torch.tensor(index % x.shape[axis]))


def _split(e: Emitter, x: Ref, sizes: Any, axis: int = 0) -> list[Ref]:
    axis %= len(x.shape)
    if isinstance(sizes, int):
        whole = x.shape[axis]
        sizes = [min(sizes, whole - start) for start in range(0, whole, sizes)]
    shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
    if len(sizes) == 1:
        return [x]
    return e.ops("Split", x, e.ints(sizes), results=[(shape, x.dtype) for shape in shapes], axis=axis)


def _chunk(e: Emitter, x: Ref, count: int, axis: int = 0) -> list[Ref]:
    return _split(e, x, -(-x.shape[axis] // count), axis)


def _unbind(e: Emitter, x: Ref, axis: int = 0) -> list[Ref]:
    return [_select(e, x, axis, index) for index in range(x.shape[axis])]


def _put_slice(
    e: Emitter, x: Operand, source: Operand, axis: int = 0, start: Any = None, stop: Any = None, step: int = 1
) -> Operand:
    """x with the elements of a slice replaced."""
    shape = tuple(e.result.shape)
    axis %= len(shape)
    first, last, step = slice(start, stop, step).indices(shape[axis])
    dtype = e.result.dtype
    source = _expanded(e, source, (*shape[:axis], len(range(first, last, step)), *shape[axis + 1 :]))
    if step == 1:
        ends = [(0, first), (max(first, last), shape[axis])]
        before, after = ([_cut(e, x, axis, *end)] if end[0] < end[1] else [] for end in ends)
        parts = [*before, source, *after]
        return e.number(parts[0], dtype) if len(parts) == 1 else e.concat(parts, axis, dtype)
    both = e.concat([x, source], axis, dtype)
    places = torch.arange(shape[axis])
    places[first:last:step] = shape[axis] + torch.arange(len(places[first:last:step]))
    return _gather(e, both, axis, places)


def _cut(e: Emitter, x: Operand, axis: int, start: int, stop: int) -> Operand:
    return e.slice(x, axis, start, stop) if isinstance(x, Ref) else x.narrow(axis, start, stop - start)  # type: ignore[union-attr]


def _expanded(e: Emitter, x: Operand, shape: Sequence[int]) -> Operand:
    return e.expand(x, shape) if isinstance(x, Ref) else e.number(x, type_of(x)).expand(tuple(shape))  # type: ignore[union-attr]


def _put_select(e: Emitter, x: Operand, source: Operand, axis: int, index: int) -> Operand:
    shape = tuple(e.result.shape)
    axis, index = axis % len(shape), index % shape[axis]
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    source = e.reshape(source, kept) if isinstance(source, Ref) else source.reshape(kept)  # type: ignore[union-attr]
    return _put_slice(e, x, source, axis, index, index + 1)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(e: Emitter, x: Ref, margins: Sequence[int], mode: str = "constant", value: Any = None) -> Ref:
    rank, pairs = len(x.shape), len(margins) // 2
    for i in range(pairs):
        axis, (before, after) = rank - 1 - i, margins[2 * i : 2 * i + 2]
        x = e.slice(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))
    kept = [max(margin, 0) for margin in margins]
    if not any(kept):
        return x
    before, after = [0] * rank, [0] * rank
    for i in range(pairs):
        before[rank - 1 - i], after[rank - 1 - i] = kept[2 * i], kept[2 * i + 1]
    fill = e.number(0 if value is None else value, x.dtype) if mode == "constant" else None
    return e.op("Pad", x, e.ints([*before, *after]), fill, dtype=x.dtype, mode=_PAD_MODES[mode])


def _flip(e: Emitter, x: Ref, axes: Sequence[int]) -> Ref:
    axes = [axis % len(x.shape) for axis in axes]
    limits = ([-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes))
    return e.op("Slice", x, *(e.ints(numbers) for numbers in limits), dtype=x.dtype)


def _roll(e: Emitter, x: Ref, shifts: Sequence[int], axes: Sequence[int] = ()) -> Ref:
    shape = x.shape
    if not axes:
        x, axes = e.reshape(x, (int(np.prod(shape)),)), [0]
    for shift, axis in zip(shifts, axes, strict=True):
        axis %= len(x.shape)
        cut = -shift % x.shape[axis]
        if cut:
            size = x.shape[axis]
            x = e.concat([e.slice(x, axis, cut, size), e.slice(x, axis, 0, cut)], axis, x.dtype)
    return e.reshape(x, shape)


def _index_select(e: Emitter, x: Operand, axis: int, indices: Operand) -> Ref:
    if isinstance(x, Tensor) and isinstance(indices, Ref):
        return e.op("Gather", e.number(x, e.result.dtype), indices, dtype=type_of(x), axis=axis % x.dim())
    if not isinstance(x, Ref) or not isinstance(indices, Tensor):
        raise Refusal("it picks elements by indices that depend on the input")
    axis %= len(x.shape)
    return _gather(e, x, axis, indices % x.shape[axis])


def _index(e: Emitter, x: Operand, indices: Sequence[Operand | None]) -> Ref:
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [indices[axis] for axis in axes]
    if isinstance(x, Tensor) and len(given) == 1 and isinstance(given[0], Ref) and given[0].dtype == torch.int64:
        return e.op("Gather", e.number(x, e.result.dtype), given[0], dtype=type_of(x), axis=axes[0])
    if not isinstance(x, Ref) or not all(isinstance(index, Tensor) for index in given):
        raise Refusal("it picks elements by indices or a mask that depends on the input; multiply by the mask instead")
    found: list[tuple[int, Tensor]] = []
    for axis, index in zip(axes, given, strict=True):
        if index.dtype == torch.bool:  # type: ignore[union-attr]
            found += [(axis + i, places) for i, places in enumerate(index.nonzero(as_tuple=True))]  # type: ignore[union-attr]
        else:
            found.append((axis, index % x.shape[axis]))  # type: ignore[operator, union-attr]
    axes = [axis for axis, _ in found]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise Refusal("it indexes axes that do not follow one another; index one after another")
    first, stop = axes[0], axes[-1] + 1
    place = torch.zeros((), dtype=torch.int64)
    for axis, index in found:
        place = place * x.shape[axis] + index
    x = e.reshape(x, (*x.shape[:first], int(np.prod(x.shape[first:stop])), *x.shape[stop:]))
    return _gather(e, x, first, place)


def _windows(e: Emitter, x: Ref, axis: int, size: int, step: int) -> Ref:
    """Tensor.unfold: the windows of an axis, their elements along a new last one."""
    axis %= len(x.shape)
    starts = torch.arange(0, x.shape[axis] - size + 1, step)
    value = _gather(e, x, axis, starts[:, None] + torch.arange(size))
    order = [i for i in range(len(value.shape)) if i != axis + 1]
    return e.transpose(value, [*order, axis + 1])


def _filled(value: float | None) -> Any:
    """A tensor of one number in the shape of the result, whatever it is made like."""

    def handler(e: Emitter, _like: Operand, *arguments: Any, **_keywords: Any) -> Tensor:
        fill = value if value is not None else arguments[-1]
        if isinstance(fill, Ref):
            raise Refusal("it is filled with a value that depends on the input")
        return torch.full(tuple(e.result.shape), fill, dtype=e.result.dtype)

    return handler


def _pixel_shuffle(e: Emitter, x: Ref, factor: int) -> Ref:
    if len(x.shape) != 4:
        raise Refusal("it is known for [N, C, H, W] only")
    return e.op("DepthToSpace", x, blocksize=factor, mode="CRD")


def _masked_fill(e: Emitter, x: Operand, mask: Operand, value: Operand) -> Ref:
    dtype = type_of(x)
    return e.op("Where", mask, e.number(value, dtype), e.number(x, dtype), dtype=dtype)


HANDLERS = {
    **dict.fromkeys(
        (
            *("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.flatten.using_ints"),
            *("aten.unflatten.int", "aten._reshape_alias.default", "aten.view_copy.default"),
        ),
        _view,
    ),
    **{f"aten.squeeze.{form}": _squeeze for form in ("default", "dim", "dims")},
    "aten.unsqueeze.default": _unsqueeze,
    "aten.permute.default": lambda e, x, order: e.transpose(x, order),
    **dict.fromkeys(("aten.transpose.int", "aten.t.default", "aten.swapaxes.default"), _swap),
    **dict.fromkeys(("aten.expand.default", "aten.expand_as.default"), _expand),
    "aten.repeat.default": _repeat,
    **{f"aten.repeat_interleave.{form}": _repeat_interleave for form in ("self_int", "self_Tensor")},
    "aten.cat.default": _cat,
    "aten.stack.default": _stack,
    "aten.slice.Tensor": _slice,
    "aten.narrow.default": lambda e, x, axis, start, length: _slice(e, x, axis, start, start + length),
    "aten.select.int": _select,
    **{f"aten.{form}": _split for form in ("split.Tensor", "split.sizes", "split_with_sizes.default")},
    "aten.chunk.default": _chunk,
    "aten.unbind.int": _unbind,
    "aten.slice_scatter.default": _put_slice,
    "aten.select_scatter.default": _put_select,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": lambda e, x, margins, value=0: _pad(e, x, margins, "constant", value),
    **{f"aten.reflection_pad{n}d.default": lambda e, x, margins: _pad(e, x, margins, "reflect") for n in (1, 2, 3)},
    **{f"aten.replication_pad{n}d.default": lambda e, x, margins: _pad(e, x, margins, "replicate") for n in (1, 2, 3)},
    "aten.flip.default": _flip,
    "aten.roll.default": _roll,
    "aten.index_select.default": _index_select,
    "aten.index.Tensor": _index,
    "aten.unfold.default": _windows,
    **{f"aten.{name}.default": _filled(None) for name in ("full_like", "new_full")},
    **{f"aten.fill.{form}": _filled(None) for form in ("Scalar", "Tensor")},
    **{f"aten.{name}.default": _filled(0) for name in ("zeros_like", "new_zeros", "zero", "empty_like", "new_empty")},
    **{f"aten.{name}.default": _filled(1) for name in ("ones_like", "new_ones")},
    "aten.pixel_shuffle.default": _pixel_shuffle,
    **{f"aten.masked_fill.{form}": _masked_fill for form in ("Scalar", "Tensor")},
}
