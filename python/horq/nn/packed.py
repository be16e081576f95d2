"""Layers with packed weights: 1-bit weights, codebooks and bytes around a Conv2d or Linear, and 8-bit images."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bases import binarized, check_bases, weight_bases
from .exact import weighted_sum
from .functional import check_count
from .layers import HorqConv2d, HorqLinear
from .norm import Affine
from .subjects import computed


def checked(layer: nn.Module) -> nn.Conv2d | nn.Linear:
    """Returns `layer`; raises `TypeError` or `ValueError` unless it is a Conv2d or Linear that the engine can run."""
    if found := computed(layer):
        by, remedy = found
        raise TypeError(f"its weight is computed at each call ({by}); make it a plain one with {remedy}")
    if type(layer) not in (nn.Conv2d, nn.Linear):
        raise TypeError(f"it goes around a Conv2d or Linear, not a {type(layer).__name__}")
    if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        raise ValueError("only zero padding given as numbers is known; pad with numbers and padding_mode='zeros'")
    return layer


def apply(layer: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What the layer computes with another weight and bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _per_filter(layer: nn.Conv2d | nn.Linear, vector: Tensor) -> Tensor:
    return vector if isinstance(layer, nn.Linear) else vector[:, None, None]


def _scaled(layer: nn.Conv2d | nn.Linear, terms: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of alpha [filters] times value over the terms, and the bias."""
    total = weighted_sum((_per_filter(layer, alpha), y) for alpha, y in terms)
    total = total if layer.bias is None else total + _per_filter(layer, layer.bias)
    return total.to(terms[0][1].dtype)  # under autocast a product's type is not that of the scales


class BinaryWeight(nn.Module):
    """A Conv2d or Linear with 1-bit weights on float activations: y = alpha (x . sign(W)) + bias, alpha = mean|W| (BWN,
    arXiv 1603.05279, section 3.1). It trains as `binarize_weight` says; `layer` holds the float weights.

    Arguments:
        bases, refined: how many weight bases, W ~ sum_l alpha_l B_l, and whether by least squares; see `horq.nn.bases`.
            Several train as `sum_of_bases` says, and a file holds one layer for each.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, bases: int = 1, refined: bool = False) -> None:
        super().__init__()
        self.layer = checked(layer)
        self.bases = check_bases(bases)
        self.refined = refined

    def alpha(self) -> Tensor:
        """The first scale of each filter, rounded once from a double sum: what eval mode uses and a file stores."""
        return self.weight_bases()[0][1]

    def weight_bases(self) -> list[tuple[Tensor, Tensor]]:
        """The bits, as the weight lies, and scales [filters] of each basis: what eval mode uses and a file stores."""
        return weight_bases(self.layer.weight, self.bases, self.refined)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        if self.training:
            return apply(layer, x, binarized(layer.weight, self.bases, self.refined), layer.bias)
        return _scaled(layer, [(alpha, apply(layer, x, b)) for b, alpha in self.weight_bases()])

    def extra_repr(self) -> str:
        return "" if self.bases == 1 else f"bases={self.bases}, refined={self.refined}"


class Codebook(nn.Module):
    """A copy of a trained Conv2d or Linear whose weights are the nearest of at most 32 values (INQ, DQC).

    `codes` has the shape of the weight and says which entry of `codebook` each weight is; `layer` runs with them.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, codebook: Tensor) -> None:
        super().__init__()
        codebook = codebook.detach().float().flatten()
        if not 1 <= len(codebook) <= 32 or not bool(codebook.isfinite().all()):
            raise ValueError(f"a codebook has 1 to 32 finite values; this one has {len(codebook)}")
        self.layer = copy.deepcopy(checked(layer)).requires_grad_(False)
        distances = (self.layer.weight.detach().float().flatten()[:, None] - codebook).abs()
        codes = distances.argmin(1).to(torch.uint8).view(self.layer.weight.shape)
        self.layer.weight.copy_(codebook[codes.long()])
        self.register_buffer("codes", codes)
        self.register_buffer("codebook", codebook)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Int8(nn.Module):
    """A copy of a trained Conv2d or Linear with weights of 8 bits and activations quantized to 8 bits.

    Arguments:
        low, high: the range of the layer's input, as a calibration has seen it; it is widened to hold 0.

    An activation is q = clamp(round(x (1 / scale)) + zero_point, 0, 255); the weights of a filter are integers from
    -127 to 127 times a scale of its own; the sum of (q - zero_point) w is an exact integer, and y = alpha sum + bias.
    `layer` holds the integers. The Rust engine gives the same bits.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, low: float, high: float) -> None:
        super().__init__()
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = torch.tensor((high - low) / 255, dtype=torch.float32)
        if not bool(scale.isfinite()) or scale < torch.finfo(torch.float32).tiny:
            raise ValueError(f"the range of the input, {low} to {high}, must be finite and not empty")
        self.layer = copy.deepcopy(checked(layer)).float().requires_grad_(False)
        weight = self.layer.weight
        largest = weight.abs().flatten(1).amax(1)
        scales = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        weight.copy_((weight / scales.view(-1, *[1] * (weight.dim() - 1))).round().clamp(-127, 127))
        self.zero_point = round(min(max(-low / scale.item(), 0.0), 255.0))
        self.register_buffer("scale", scale)
        self.register_buffer("alpha", scales * scale)

    def forward(self, x: Tensor) -> Tensor:
        steps = (x * (1 / self.scale)).round() + self.zero_point
        levels = steps.clamp(0, 255) - self.zero_point
        # Exact in double: sums of at most 2^16 products below 2^15.
        sums = apply(self.layer, levels.double(), self.layer.weight.double()).float()
        return _scaled(self.layer, [(self.alpha, sums)])

    def extra_repr(self) -> str:
        return f"scale={self.scale.item():.6g}, zero_point={self.zero_point}"


def image8(layer: HorqConv2d | HorqLinear, channels: int, white: float = 255.0) -> nn.Sequential:
    """Puts a HORQ layer of order 8 and scale mode ``fixed`` or ``halving`` on 8-bit images, exactly: x * 510 / white -
    255 makes odd integers from -255 to 255 of them, which the scales 128, 64 .. 1, set and frozen here, represent
    without error.

    Arguments:
        channels: of the image, or the features of a vector.
        white: what the byte 255 is given as: 255, or 1 for fractions.
    """
    if layer.max_order != 8 or layer.scales is None:
        raise ValueError(
            "an 8-bit image takes eight planes: give the layer order=8 and scale_mode='fixed' or 'halving'"
        )
    check_count("channels", channels)
    if not 0 < white < math.inf:
        raise ValueError(f"white must be what the byte 255 is given as, such as 255 or 1, not {white!r}")
    with torch.no_grad():
        layer.scales.copy_(torch.tensor(128.0) if layer.scale_mode == "halving" else 2.0 ** torch.arange(7, -1, -1))
    layer.scales.requires_grad_(False)
    return nn.Sequential(Affine(torch.full((channels,), 510 / white), torch.full((channels,), -255.0)), layer)
