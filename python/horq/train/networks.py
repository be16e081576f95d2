"""The networks of the results, as plain float modules of [N, C, H, W] pixel values 0 to 255.

`horq.convert` puts a method into them. Every convolution and dense layer is followed by a PReLU and a batch norm, in
that order, so that what the next layer quantizes is normalized and a high order has a nonlinearity of its own; but for
`ResNet` and `ConvNet`, which have the order of float networks. Pixels
are centred and scaled by powers of two, so that `finish` can make the first layer exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..nn import Affine, BatchNorm1d, BatchNorm2d, MaxPool2d, PReLU, RPReLU
from ..nn.conversion import OWN
from . import users

CENTRE = (125.0, 123.0, 114.0)
"""The means of CIFAR-10's pixels as integers: red, green, blue."""
UNIT = 64.0
"""Pixel values of one unit, a power of two near their deviation."""


def pixels(channels: int) -> Affine:
    """The layer that gives pixel values zero mean and unit size, without rounding; it is not trained."""
    shift = torch.tensor([-value / UNIT for value in CENTRE]) if channels == 3 else torch.full((channels,), -0.5)
    scale = 1 / UNIT if channels == 3 else 1 / 256
    layer = Affine(torch.full((channels,), scale), shift)
    return layer.requires_grad_(False)


def _conv(inputs: int, filters: int, size: int, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    return nn.Conv2d(inputs, filters, size, stride, size // 2 if padding is None else padding, bias=False)


class VggSmall(nn.Module):
    """VGG-small (LQ-Nets, arXiv 1807.10029, section 5.1, without its wide dense layers): [N, 3, 32, 32] to [N, 10].

    3x3 convolutions of 128, 128, pool, 256, 256, pool, 512, 512, pool channels times `width`, and one dense layer.
    `activation` makes the nonlinearity behind a convolution from its channel count.
    """

    def __init__(self, width: float = 1.0, activation: Callable[[int], nn.Module] = PReLU) -> None:
        super().__init__()
        self.pixels = pixels(3)
        before, blocks = 3, []
        for index, filters in enumerate(_widths((128, 128, 256, 256, 512, 512), width)):
            pool: list[nn.Module] = [MaxPool2d()] if index % 2 else []
            blocks.append(nn.Sequential(_conv(before, filters, 3), *pool, activation(filters), BatchNorm2d(filters)))
            before = filters
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(16 * before, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.blocks(self.pixels(x)), 1))


def _widths(channels: tuple[int, ...], width: float) -> list[int]:
    scaled = [round(count * width) for count in channels]
    if min(scaled) < 1:
        raise ValueError(f"a width of {width} leaves no channels")
    return scaled


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, filters, 3, stride), nn.BatchNorm2d(filters)
        self.conv2, self.norm2 = _conv(filters, filters, 3), nn.BatchNorm2d(filters)
        same = inputs == filters and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(_conv(inputs, filters, 1, stride), nn.BatchNorm2d(filters))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """The residual network of He et al. (arXiv 1512.03385, section 4.2) for CIFAR-10: [N, 3, 32, 32] to [N, 10].

    `depth` is 6 n + 2: 20, 32, 44, 56. 1x1 convolutions stand in the shortcuts that change the shape (their option B,
    since the engine joins no zero channels).
    """

    def __init__(self, depth: int = 20, width: float = 1.0) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1, such as 20, not {depth}")
        first, second, third = _widths((16, 32, 64), width)
        self.pixels = pixels(3)
        self.conv, self.norm = _conv(3, first, 3), nn.BatchNorm2d(first)
        blocks, before = [], first
        for filters, stride in ((first, 1), (second, 2), (third, 2)):
            for index in range((depth - 2) // 6):
                blocks.append(_ResidualBlock(before, filters, stride if index == 0 else 1))
                before = filters
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(self.pixels(x))))
        return self.classifier(self.blocks(x).mean((2, 3)))


class Nin(nn.Module):
    """Network in network as XNOR-Net's authors trained it on CIFAR-10: [N, 3, 32, 32] to [N, 10].

    5x5x192, 1x1x160, 1x1x96, pool, 5x5x192, 1x1x192, 1x1x192, pool, 3x3x192, 1x1x192, 1x1x10, mean over the image.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        counts = _widths((192, 160, 96, 192, 192, 192, 192, 192), width)
        self.pixels = pixels(3)
        blocks, before = [], 3
        for index, (filters, size) in enumerate(zip(counts, (5, 1, 1, 5, 1, 1, 3, 1), strict=True)):
            after: list[nn.Module] = []
            if index == 2:
                after = [nn.MaxPool2d(3, 2, 1)]
            elif index == 5:
                after = [nn.AvgPool2d(3, 2, 1, count_include_pad=False)]
            blocks.append(nn.Sequential(_conv(before, filters, size), *after, PReLU(filters), BatchNorm2d(filters)))
            before = filters
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Conv2d(before, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.pixels(x))).mean((2, 3))


class LeNet5(nn.Module):
    """LeNet-5 in Caffe's form with channel counts rounded to whole words: [N, 1, 28, 28] to [N, 10].

    5x5x32, pool, 5x5x64, pool, dense 1024 to 512, dense 512 to 10.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        first, second, third = _widths((32, 64, 512), width)
        self.pixels = pixels(1)
        self.conv1, self.act1, self.norm1 = _conv(1, first, 5, padding=0), PReLU(first), BatchNorm2d(first)
        self.conv2, self.act2, self.norm2 = _conv(first, second, 5, padding=0), PReLU(second), BatchNorm2d(second)
        self.fc1, self.act3, self.norm3 = nn.Linear(16 * second, third, bias=False), PReLU(third), BatchNorm1d(third)
        self.classifier = nn.Linear(third, 10)
        self.pool = MaxPool2d()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.act1(self.pool(self.conv1(self.pixels(x)))))
        x = self.norm2(self.act2(self.pool(self.conv2(x))))
        x = self.norm3(self.act3(self.fc1(torch.flatten(x, 1))))
        return self.classifier(x)


class Mlp(nn.Module):
    """784, three hidden layers of 1024 times `width`, 10: [N, 1, 28, 28] to [N, 10].

    Each pixel has a scale and a shift of its own, a threshold, since the first hidden layer is quantized as well.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        (hidden,) = _widths((1024,), width)
        self.pixels = Affine(torch.full((784,), 2 / 256), torch.full((784,), -0.9))
        blocks, before = [], 784
        for _ in range(3):
            blocks.append(nn.Sequential(nn.Linear(before, hidden, bias=False), PReLU(hidden), BatchNorm1d(hidden)))
            before = hidden
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.pixels(torch.flatten(x, 1))))


class ConvNet(nn.Module):
    """A small network in the order of most float ones, convolution, batch norm, ReLU: [N, 1, 28, 28] to [N, 10].

    3x3 convolutions of 16, pool, 32 (stride 2) and 32 channels times `width`, dense 64 times `width`, dense 10.
    `activation` makes the nonlinearity behind a batch norm from its channel count.
    """

    def __init__(self, width: float = 1.0, activation: Callable[[int], nn.Module] = lambda _: nn.ReLU()) -> None:
        super().__init__()
        first, second, hidden = _widths((16, 32, 64), width)
        self.pixels = pixels(1)
        blocks, before = [], 1
        for filters, stride in ((first, 1), (second, 2), (second, 1)):
            norm = nn.BatchNorm2d(filters)
            blocks.append(nn.Sequential(_conv(before, filters, 3, stride), norm, activation(filters)))
            before = filters
        blocks[0].append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*blocks)
        self.fc, self.norm, self.act = nn.Linear(49 * before, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
        self.classifier = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.blocks(self.pixels(x)), 1)
        return self.classifier(self.act(self.norm(self.fc(x))))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    "convnet-prelu": lambda width=1.0: ConvNet(width, PReLU),
    "lenet5": LeNet5,
    "mlp": Mlp,
    "nin": Nin,
    "resnet20": lambda width=1.0: ResNet(20, width),
    "resnet32": lambda width=1.0: ResNet(32, width),
    "resnet44": lambda width=1.0: ResNet(44, width),
    "resnet56": lambda width=1.0: ResNet(56, width),
    "vgg-small": VggSmall,
    "vgg-small-relu": lambda width=1.0: VggSmall(width, lambda _: nn.ReLU()),
    "vgg-small-rprelu": lambda width=1.0: VggSmall(width, RPReLU),
}


GREY = ("convnet", "convnet-prelu", "lenet5", "mlp")
"""The networks that read grey images of 28x28 pixels; the others read colours, 32x32."""


def build(name: str, width: float = 1.0) -> nn.Module:
    """The float network of that name, its channels times `width`; or the one that a reference names (`users`)."""
    if users.is_reference(name):
        return users.made(name, width)
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {name!r}")
    return NETWORKS[name](width=width)


@torch.no_grad()
def finish(module: nn.Module) -> None:
    """Rounds the weights of a float first convolution to a fixed-point grid, so that it is exact on pixels.

    What `pixels` gives is at most 144 steps of a power of two. The grid is the finest on which 144 times the sum of a
    filter's magnitudes stays below 2^24 of its steps: the sums are then integers that f32 holds exactly, so every
    order of summation gives the same bits, and PyTorch and the engine agree on every later sign.
    """
    first = next(layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear, *OWN)))
    if type(first) is not nn.Conv2d:
        return
    largest = 144 * first.weight.abs().flatten(1).sum(1).max().item()
    if largest == 0:
        return
    bits = math.floor(math.log2(2**24 / largest))
    grid = 2.0**bits
    first.weight.copy_((first.weight * grid).round() / grid)
