"""MNIST: the files, cheap augmentation, and the two networks of the accuracy table.

Both networks take raw pixel values 0 to 255. While a network is trained its pixels are in units of 256; `finish`
moves that power of two into the first layer's parameters.
"""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nn import Affine, BatchNorm1d, BatchNorm2d, GradientRule, HorqConv2d, HorqLinear, ScaleMode

PIXEL = 256.0
"""Pixel values of one unit of the trained network."""
HELD_OUT = 5000
"""Training images that choices are made on; the test images only report."""


def data_folder(argument: str | None) -> Path:
    """The folder of the four IDX files: the argument, else $HORQ_DATA/mnist."""
    if argument is not None:
        return Path(argument)
    root = os.environ.get("HORQ_DATA")
    if root is None:
        raise SystemExit(
            "pass --data FOLDER (the four gzipped IDX files of MNIST) or set HORQ_DATA to the folder above"
        )
    return Path(root) / "mnist"


def read_idx(path: Path) -> Tensor:
    """Reads a gzipped IDX file of bytes: [n] labels or [n, rows, columns] images, uint8."""
    raw = gzip.decompress(path.read_bytes())
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or raw[3] not in (1, 3):
        raise ValueError(f"{path} is no IDX file of bytes with 1 or 3 dimensions")
    start = 4 + 4 * raw[3]
    sizes = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if len(raw) - start != math.prod(sizes):
        raise ValueError(f"{path} holds {len(raw) - start} values where its header says {sizes}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=start).view(sizes)


def load(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 28, 28] (uint8) and labels [n] of ``train``, ``held-out`` or ``test``."""
    prefix = "t10k" if part == "test" else "train"
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[:, None]
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").long()
    if part != "test":
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        kept = order[-HELD_OUT:] if part == "held-out" else order[:-HELD_OUT]
        images, labels = images[kept], labels[kept]
    return images, labels


def augment(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random rotation, scale, shear, shift and a smooth elastic field; [n, 1, 28, 28] in, the same out, 0 outside.

    At strength 1: up to 12 degrees, 12 % of scale, 0.15 of shear, 2 pixels of shift, 0.8 pixels of elastic deviation.
    """
    n, _, height, width = images.shape

    def uniform(bound: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * bound * strength

    angle, shear = uniform(math.radians(12)), uniform(0.15)
    wide, high = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([wide * cos, wide * (shear * cos - sin), uniform(2 * 2 / width)], 1),
        torch.stack([high * sin, high * (shear * sin + cos), uniform(2 * 2 / height)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    field = torch.randn(n, 2, 6, 6, generator=generator) * (0.8 * strength * 2 / width)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + field.permute(0, 2, 3, 1), align_corners=False)


class LeNet5(nn.Module):
    """LeNet-5 in Caffe's form with channel counts rounded to whole words: [N, 1, 28, 28] pixels to [N, 10] logits.

    float 5x5x32, pool, 5x5x64, pool, 1024 to 512, float 512 to 10; PReLU and batch norm between. At order 0 every
    layer is float.
    """

    def __init__(self, order: int, scale_mode: ScaleMode = "fixed", gradient: GradientRule = "clip") -> None:
        super().__init__()
        horq = {"order": order, "scale_mode": scale_mode, "gradient": gradient}
        self.conv1 = nn.Conv2d(1, 32, 5, bias=False)
        self.act1 = nn.PReLU(32)
        self.norm1 = BatchNorm2d(32)
        self.conv2 = HorqConv2d(32, 64, 5, **horq) if order else nn.Conv2d(32, 64, 5, bias=False)
        self.act2 = nn.PReLU(64)
        self.norm2 = BatchNorm2d(64)
        self.fc1 = HorqLinear(1024, 512, **horq) if order else nn.Linear(1024, 512, bias=False)
        self.act3 = nn.PReLU(512)
        self.norm3 = BatchNorm1d(512)
        self.fc2 = nn.Linear(512, 10)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.act1(self.pool(self.conv1(x))))
        x = self.norm2(self.act2(self.pool(self.conv2(x))))
        x = self.norm3(self.act3(self.fc1(torch.flatten(x, 1))))
        return self.fc2(x)

    @torch.no_grad()
    def finish(self) -> None:
        """Moves the unit of the pixels into the first convolution and rounds its weights to a fixed-point grid.

        The grid is the finest on which 255 times the sum of a filter's magnitudes stays below 2^24: the sums are
        then integers (in units of the grid) that f32 holds exactly, so every order of summation gives the same bits.
        """
        weight = self.conv1.weight / PIXEL
        bits = math.floor(math.log2(2**24 / (255 * weight.abs().flatten(1).sum(1).max().item())))
        while 255 * (weight * 2.0**bits).round().abs().flatten(1).sum(1).max() >= 2**24:
            bits -= 1
        self.conv1.weight.copy_((weight * 2.0**bits).round() / 2.0**bits)


class Mlp(nn.Module):
    """784-1024-1024-1024-10: [N, 784] pixels to [N, 10] logits; the last layer is float, at order 0 every layer is.

    Each pixel has a scale and a shift of its own (a threshold) before the first quantizer; PReLU and batch norm
    stand between the layers.
    """

    def __init__(
        self, order: int, scale_mode: ScaleMode = "fixed", gradient: GradientRule = "clip", width: int = 1024
    ) -> None:
        super().__init__()

        def dense(features: int) -> nn.Module:
            if order:
                return HorqLinear(features, width, order, scale_mode, gradient)
            return nn.Linear(features, width, bias=False)

        self.pixels = Affine(torch.full((784,), 2.0), torch.full((784,), -0.9))
        self.fc1, self.act1, self.norm1 = dense(784), nn.PReLU(width), BatchNorm1d(width)
        self.fc2, self.act2, self.norm2 = dense(width), nn.PReLU(width), BatchNorm1d(width)
        self.fc3, self.act3, self.norm3 = dense(width), nn.PReLU(width), BatchNorm1d(width)
        self.fc4 = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pixels(x)
        x = self.norm1(self.act1(self.fc1(x)))
        x = self.norm2(self.act2(self.fc2(x)))
        x = self.norm3(self.act3(self.fc3(x)))
        return self.fc4(x)

    @torch.no_grad()
    def finish(self) -> None:
        """Moves the unit of the pixels into the first scale, which loses no bit."""
        self.pixels.scale /= PIXEL


def build(net: str, order: int, scale_mode: ScaleMode = "fixed", gradient: GradientRule = "clip") -> nn.Module:
    """The network `net` (``lenet5`` or ``mlp``) at the highest order `order`, 0 for float."""
    if net == "lenet5":
        return LeNet5(order, scale_mode, gradient)
    if net == "mlp":
        return Mlp(order, scale_mode, gradient)
    raise ValueError(f"net must be lenet5 or mlp, not {net!r}")


def shaped(net: str, images: Tensor) -> Tensor:
    """Images [n, 1, 28, 28] as the network takes them."""
    return images if net == "lenet5" else images.flatten(1)
