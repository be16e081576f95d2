"""HorqConv2d and HorqLinear: residual-quantized activations times binary weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import exact
from .bases import binarized, check_bases, weight_bases
from .functional import (
    GAUSSIAN_HALVING,
    GAUSSIAN_SCALES,
    GradientRule,
    Padding,
    ScaleMode,
    WeightScale,
    binarize_weight,
    check_choice,
    check_count,
    check_order,
    residual_quantize,
    sign,
)


class _HorqLayer(nn.Module):
    """What both layers share: order, scales, weights and the sum over planes."""

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        order: int,
        scale_mode: ScaleMode,
        gradient: GradientRule,
        bias: bool,
        weight_scale: WeightScale,
        bases: int,
        refined: bool,
        own_scales: bool,
    ) -> None:
        super().__init__()
        check_choice("scale_mode", scale_mode, ScaleMode)
        check_choice("gradient", gradient, GradientRule)
        check_choice("weight_scale", weight_scale, WeightScale)
        if weight_scale == "none" and check_bases(bases) > 1:
            raise ValueError("weights without scales have one basis; leave bases at 1 or weight_scale at 'mean'")
        if own_scales and scale_mode != "halving":
            raise ValueError(
                f"own_scales gives each order a b of its own, which scale_mode 'halving' has, not {scale_mode!r}"
            )
        self.max_order = check_order(order)
        self.order = order
        self.scale_mode = scale_mode
        self.gradient = gradient
        self.weight_scale = weight_scale
        self.bases = check_bases(bases)
        self.refined = refined
        self.weight = nn.Parameter(torch.empty(weight_shape))
        nn.init.xavier_uniform_(self.weight)
        self.bias = nn.Parameter(torch.zeros(weight_shape[0])) if bias else None
        self.own_scales = own_scales
        start = {
            "fixed": GAUSSIAN_SCALES[:order],
            "halving": GAUSSIAN_HALVING[0 if own_scales else order - 1 : order],
        }.get(scale_mode)
        self.scales = None if start is None else nn.Parameter(torch.tensor(start))

    def b(self) -> Tensor:
        """The b of the running order in mode ``halving``."""
        assert self.scales is not None
        return self.scales[self._order() - 1 if self.own_scales else 0]

    def _constants(self) -> Tensor | None:
        """b_1..b_K of the modes that take no mean, at least those of the running order."""
        if self.scale_mode == "none":
            return self.weight.new_ones(self.max_order)
        if self.scale_mode == "halving":
            return torch.stack([self.b() * 2.0**-k for k in range(self._order())])
        return self.scales

    def _quantized(self, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The values of training mode and what a +1 in every plane stands for; means run over `dims`."""
        if self.scale_mode == "halving":
            return residual_quantize(x, self._order(), halving=self.b(), rule=self.gradient)
        return residual_quantize(x, self._order(), scales=self._constants(), dims=dims, rule=self.gradient)

    def _weighted(self, products: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """The sum of the planes' scales times products in eval mode; where scales halve, the whole number S."""
        if self.scale_mode == "halving":
            return exact.whole_sum(product for _, product in products)
        return exact.weighted_sum(products)

    def _factor(self, alpha: Tensor) -> Tensor:
        """What that sum is multiplied by for each filter: alpha, or alpha (b 2^(1-K)), b 2^(1-K) being exact."""
        return alpha * (self.b() * 2.0 ** (1 - self._order())) if self.scale_mode == "halving" else alpha

    def _order(self) -> int:
        return check_order(self.order, self.max_order)

    def alpha(self) -> Tensor:
        """The first scale of each filter, rounded once from a double sum: what eval mode uses and a file stores."""
        return self.weight_bases()[0][1]

    def weight_bases(self) -> list[tuple[Tensor, Tensor]]:
        """The bits, as the weight lies, and scales [filters] of each basis: what eval mode uses and a file stores."""
        if self.weight_scale == "none":
            return [(sign(self.weight.detach()), self.weight.new_ones(len(self.weight)))]
        return weight_bases(self.weight, self.bases, self.refined)

    def _binarized(self) -> Tensor:
        """The weights of training mode with their scales in them, differentiable."""
        if self.weight_scale == "none":
            return binarize_weight(self.weight)[0]
        return binarized(self.weight, self.bases, self.refined)

    def extra_repr(self) -> str:
        order = f"order={self.order}" + (f" of {self.max_order}" if self.order != self.max_order else "")
        order += "" if self.weight_scale == "mean" else f", weight_scale={self.weight_scale!r}"
        order += "" if self.bases == 1 else f", bases={self.bases}, refined={self.refined}"
        order += ", own_scales=True" if self.own_scales else ""
        return f"{order}, scale_mode={self.scale_mode!r}, gradient={self.gradient!r}, bias={self.bias is not None}"


class HorqLinear(_HorqLayer):
    """A matrix product of residual-quantized inputs with binary weights.

    y = alpha (sum_k b_k (H_k . B)) + bias with B = sign(W) and alpha = mean|W| of each output feature (HORQ, arXiv
    1708.08687, section 3; order 1 is XNOR-Net).

    Shapes: input [N, in_features], weight [out_features, in_features], output [N, out_features].

    Arguments:
        order: the highest order K, 1 to 8. The attribute `order` may be set lower at any time (the order dial).
        scale_mode: over what b_k is a mean: ``window`` and ``image`` both mean one sample here; ``fixed``: parameters;
            ``none``: b_k = 1; ``halving``: b_k = b 2^(1-k) with one parameter b, a uniform quantizer
            (`horq.nn.start_scales_` starts it from data).
        gradient: the straight-through rule: ``clip``, ``per-order`` or ``recursion``; see `horq.nn.functional`.
        bias: whether to add one parameter an output feature.
        weight_scale: ``mean``, or ``none``: alpha = 1 (with order 1 and scale mode ``none`` that is BNN, whose batch
            norm and sign the engine folds into integer thresholds).
        bases, refined: how many weight bases, W ~ sum_l alpha_l B_l, and whether by least squares; see
            `horq.nn.bases`.
        own_scales: with scale mode ``halving``, whether each order has a b of its own, since the best b grows with the
            order. With one b the first planes of a high order are those of a lower one.

    In training mode the planes are summed first and multiplied once. In eval mode each plane's product is taken on its
    own (an integer, exact in f32) and the scaled sums are added in the engine's order, so that the Rust engine gives
    the same bits; gradients are not defined there. Where scales halve, y = (alpha (b 2^(1-K))) S with the whole number
    S = sum_k 2^(K-k) (H_k . B).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        order: int = 2,
        scale_mode: ScaleMode = "fixed",
        gradient: GradientRule = "per-order",
        bias: bool = False,
        weight_scale: WeightScale = "mean",
        bases: int = 1,
        refined: bool = False,
        own_scales: bool = False,
    ) -> None:
        shape = (check_count("out_features", out_features), check_count("in_features", in_features))
        super().__init__(shape, order, scale_mode, gradient, bias, weight_scale, bases, refined, own_scales)
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"HorqLinear takes [N, {self.in_features}], not {list(x.shape)}")
        if self.training:
            value, _ = self._quantized(x, (1,))
            y = F.linear(value, self._binarized()).to(x.dtype)
        else:
            constants = self._constants()
            y = exact.weighted_sum(
                (self._factor(alpha), self._eval(x, b, constants)) for b, alpha in self.weight_bases()
            )
        return y if self.bias is None else y + self.bias

    def _eval(self, x: Tensor, weight: Tensor, constants: Tensor | None) -> Tensor:
        """sum_k b_k (H_k . B), each product and sum rounded on its own."""

        def mean(magnitudes: Tensor) -> Tensor:
            return (exact.tree(exact.lane_sums(magnitudes)) / self.in_features)[:, None]

        return self._weighted((b, F.linear(h, weight)) for h, b in exact.planes(x, self._order(), constants, mean))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, " + super().extra_repr()


class HorqConv2d(_HorqLayer):
    """A convolution of residual-quantized inputs with binary weights.

    y = alpha (sum_k b_k (H_k * B)) + bias with B = sign(W) and alpha = mean|W| of each filter (HORQ, arXiv 1708.08687,
    section 3; order 1 is XNOR-Net).

    Shapes: input [N, in_channels, H, W], weight [out_channels, in_channels / groups, kh, kw], output
    [N, out_channels, H', W'] as `torch.nn.Conv2d` has it.

    Arguments:
        kernel_size, stride, padding, dilation: one number or (vertical, horizontal). padding may also be ``"valid"``
            (0), or ``"same"`` where the stride is 1 and the padding comes out alike on both sides.
        groups: divides both channel counts.
        order: the highest order K, 1 to 8. The attribute `order` may be set lower at any time (the order dial).
        scale_mode: over what b_k is a mean: ``window``: one receptive field (of one group), valid taps only, the
            paper's choice; ``image``: one sample; ``fixed``: parameters; ``none``: b_k = 1; ``halving``:
            b_k = b 2^(1-k), b a parameter.
        gradient: the straight-through rule: ``clip``, ``per-order`` or ``recursion``; see `horq.nn.functional`.
        padding_mode: what a padded tap stands for: ``valid-taps``: nothing, it adds 0 and is left out of the means;
            ``one``: +1 in every plane, likewise left out of the means.
        bias: whether to add one parameter a filter.
        weight_scale, bases, refined, own_scales: as in `HorqLinear`.

    Training and eval mode differ as `HorqLinear` says. The answer lies in memory as that of `torch.nn.Conv2d`:
    contiguous, or channels last where input or weight lie so.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | Literal["valid", "same"] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        order: int = 2,
        scale_mode: ScaleMode = "fixed",
        gradient: GradientRule = "per-order",
        padding_mode: Padding = "valid-taps",
        bias: bool = False,
        weight_scale: WeightScale = "mean",
        bases: int = 1,
        refined: bool = False,
        own_scales: bool = False,
    ) -> None:
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            check_count(name, value)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups} groups do not divide {in_channels} input and {out_channels} output channels")
        check_choice("padding_mode", padding_mode, Padding)
        kernel = check_pair("kernel_size", kernel_size)
        stride, dilation = check_pair("stride", stride), check_pair("dilation", dilation)
        shape = (out_channels, in_channels // groups, *kernel)
        super().__init__(shape, order, scale_mode, gradient, bias, weight_scale, bases, refined, own_scales)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel
        self.stride = stride
        self.padding = check_padding(padding, kernel, stride, dilation)
        self.dilation = dilation
        self.groups = groups
        self.padding_mode = padding_mode

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"HorqConv2d takes [N, {self.in_channels}, H, W], not {list(x.shape)}")
        if not self.training:
            constants = self._constants()
            y = exact.weighted_sum(
                (self._factor(alpha)[:, None, None], self._eval(x, b, constants)) for b, alpha in self.weight_bases()
            )
        elif self.scale_mode == "window":
            y = self._train_windows(x)
        else:
            value, total = self._quantized(x, (1, 2, 3))
            y = self._convolve(value, self._binarized(), total).to(x.dtype)
        y = y.contiguous(memory_format=_format(x, self.weight))
        return y if self.bias is None else y + self.bias[:, None, None]

    def _convolve(self, value: Tensor, weight: Tensor, fill: Tensor | float) -> Tensor:
        """The plain convolution; padded taps are 0, or `fill` (broadcastable to value) in padding mode ``one``."""
        padding, (vertical, horizontal) = self.padding, self.padding
        if self.padding_mode == "one" and (vertical or horizontal):
            margins = (horizontal, horizontal, vertical, vertical)
            outside = F.pad(value.new_zeros(value.shape[2:]), margins, value=1.0)
            value, padding = F.pad(value, margins) + outside * fill, (0, 0)
        return F.conv2d(value, weight, None, self.stride, padding, self.dilation, self.groups)

    def _columns(self, x: Tensor, fill: float) -> Tensor:
        """im2col, tap before channel: [N, groups, taps, channels / groups, L]; padded taps hold `fill`."""
        vertical, horizontal = self.padding
        padded = F.pad(x, (horizontal, horizontal, vertical, vertical), value=fill)
        columns = F.unfold(padded, self.kernel_size, self.dilation, 0, self.stride)
        taps = self.kernel_size[0] * self.kernel_size[1]
        return columns.unflatten(1, (self.groups, self.in_channels // self.groups, taps)).transpose(2, 3)

    def _valid(self, x: Tensor) -> Tensor:
        """Which taps of each window lie in the image: [1, 1, taps, 1, L], 0 or 1."""
        vertical, horizontal = self.padding
        inside = F.pad(x.new_ones(1, 1, *x.shape[2:]), (horizontal, horizontal, vertical, vertical))
        return F.unfold(inside, self.kernel_size, self.dilation, 0, self.stride)[:, None, :, None, :]

    def _output_size(self, x: Tensor) -> tuple[int, int]:
        height, width = (
            (x.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel_size[i] - 1) - 1) // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return height, width

    def _rows(self, weight: Tensor) -> Tensor:
        """Weights in the order of the columns: [groups, filters / groups, taps * channels / groups]."""
        return weight.flatten(2).transpose(1, 2).flatten(1).unflatten(0, (self.groups, -1))

    def _train_windows(self, x: Tensor) -> Tensor:
        """Each window quantized with its own means.

        Two shortcuts spare most of the work. In order 1 all windows see the same signs, so that one convolution and a
        map of the means do. Under the rule ``clip`` the gate of a value is the same in all windows, so that its
        gradient is that of a plain convolution.
        """
        b = self._binarized()
        data, clip = x.detach(), self.gradient == "clip"
        straight = (data.abs() <= 1) * (x - data)  # 0, and carries the gradient
        if self._order() == 1:
            h = sign(data) if clip else sign(data) + straight
            y = self._convolve(h, b, 1.0) * self._first_means(data).repeat_interleave(
                self.out_channels // self.groups, 1
            )
        else:
            y = self._product_of_windows(data if clip else x, b)
        if clip:
            y = y + self._convolve(straight, b.detach(), 0.0)
        return y.to(x.dtype)

    def _first_means(self, x: Tensor) -> Tensor:
        """b_1 of each window: [N, groups, H', W']."""
        magnitudes = x.abs().unflatten(1, (self.groups, -1)).mean(2)
        valid = self._windows(torch.ones_like(x[:1, :1]), 1)
        return (self._windows(magnitudes).sum((3, 5)) / valid.sum((3, 5)).clamp(min=1)).permute(0, 3, 1, 2)

    def _product_of_windows(self, x: Tensor, weight: Tensor) -> Tensor:
        """Windows as rows, [N, H', W', taps, groups, channels / groups]: means and products run along memory."""
        rows, valid = self._windows(x), self._windows(torch.ones_like(x[:1, :1]), 1)
        value, total = residual_quantize(rows, self._order(), dims=(3, 5), rule=self.gradient, valid=valid)
        value = value * valid
        if self.padding_mode == "one":
            value = value + (1 - valid) * total
        weight = weight.unflatten(0, (self.groups, -1)).flatten(3).transpose(2, 3)
        return torch.einsum("nhwtgc,gftc->ngfhw", value, weight).flatten(1, 2)

    def _windows(self, x: Tensor, groups: int | None = None) -> Tensor:
        """The windows of x as `_product_of_windows` has them; padded taps are 0."""
        vertical, horizontal = self.padding
        padded = F.pad(x, (horizontal, horizontal, vertical, vertical)).permute(0, 2, 3, 1)
        (height, width), (down, right) = self._output_size(x), self.stride
        taps = [
            padded[:, i : i + down * (height - 1) + 1 : down, j : j + right * (width - 1) + 1 : right]
            for i in range(0, self.dilation[0] * self.kernel_size[0], self.dilation[0])
            for j in range(0, self.dilation[1] * self.kernel_size[1], self.dilation[1])
        ]
        return torch.stack(taps, 3).unflatten(4, (groups or self.groups, -1))

    def _eval(self, x: Tensor, weight: Tensor, constants: Tensor | None) -> Tensor:
        """sum_k b_k (H_k * B), each product and sum rounded on its own."""
        if self.scale_mode == "window":
            return self._eval_windows(x, weight, 1.0 if self.padding_mode == "one" else 0.0)
        planes = exact.planes(x, self._order(), constants, self._image_mean)
        return self._weighted((b, self._convolve(h, weight, 1.0)) for h, b in planes)

    @staticmethod
    def _image_mean(magnitudes: Tensor) -> Tensor:
        return exact.image_mean(magnitudes.permute(0, 2, 3, 1))[:, None, None, None]

    def _eval_windows(self, x: Tensor, weight: Tensor, fill: float) -> Tensor:
        columns, valid = self._columns(x, 0.0), self._valid(x)
        count = valid.sum((2, 3)) * (self.in_channels // self.groups)

        def mean(magnitudes: Tensor) -> Tensor:
            taps = (magnitudes * valid).permute(0, 1, 4, 2, 3)
            return exact.window_mean(taps, count)[:, :, None, None, :]

        rows = self._rows(weight)

        def product(h: Tensor) -> Tensor:
            return torch.einsum("gfk,ngkl->ngfl", rows, (h * valid + (1 - valid) * fill).flatten(2, 3))

        planes = exact.planes(columns, self._order(), None, mean)
        total = exact.weighted_sum((b[:, :, 0], product(h)) for h, b in planes)
        return total.flatten(1, 2).unflatten(2, self._output_size(x))

    def extra_repr(self) -> str:
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        rest = f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}"
        return f"{shape}, {rest}, padding_mode={self.padding_mode!r}, " + super().extra_repr()


def _format(x: Tensor, weight: Tensor) -> torch.memory_format:
    """How `torch.nn.Conv2d` lays out its answer: channels last where input or weight lie so, else row by row."""
    last = torch.channels_last
    lies_so = any(t.is_contiguous(memory_format=last) and not t.is_contiguous() for t in (x, weight))
    return last if lies_so else torch.contiguous_format


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """A number as the pair (vertical, horizontal), a pair as it is."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def check_pair(name: str, value: int | tuple[int, int], least: int = 1) -> tuple[int, int]:
    """`value` as the pair (vertical, horizontal); raises `ValueError` unless it is one or two integers of at least
    `least`."""
    if isinstance(value, tuple | list) and len(value) != 2:
        raise ValueError(f"{name} must be one number or (vertical, horizontal), not {value!r}")
    vertical, horizontal = value if isinstance(value, tuple | list) else (value, value)
    return check_count(name, vertical, least), check_count(name, horizontal, least)


def check_padding(
    padding: int | tuple[int, int] | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """The padding at top and bottom, and at left and right; raises `ValueError` where a word is no such pair."""
    if not isinstance(padding, str):
        return check_pair("padding", padding, 0)
    if padding == "valid":
        return 0, 0
    whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if padding != "same" or stride != (1, 1) or whole[0] % 2 or whole[1] % 2:
        raise ValueError(
            f"padding must be numbers, 'valid', or 'same' with stride 1 and an odd kernel, not {padding!r} with stride "
            f"{stride}, kernel {kernel} and dilation {dilation}; give it as (vertical, horizontal)"
        )
    return whole[0] // 2, whole[1] // 2
