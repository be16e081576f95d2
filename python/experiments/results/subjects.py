"""What the networks of a data set read and answer, and made-up images of its shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Subject:
    """A data set as a model's notes and card describe it."""

    shape: tuple[int, int, int]
    """Channels, height, width of an image."""
    pixels: str
    classes: str
    credit: str

    @property
    def input(self) -> str:
        """The input of the engine, in words."""
        channels, height, width = self.shape
        return f"[N, {height}, {width}, {channels}] {self.pixels} 0 to 255 as float32; no further preparation"

    @property
    def output(self) -> str:
        """The output of the engine, in words."""
        return f"10 logits: {self.classes}"


SUBJECTS = {
    "mnist": Subject(
        (1, 28, 28),
        "pixel values, ink bright,",
        "digit 0 to digit 9",
        "MNIST (Yann LeCun, Corinna Cortes, Christopher J. C. Burges), CC BY-SA 3.0",
    ),
    "fashion-mnist": Subject(
        (1, 28, 28),
        "pixel values, garment bright,",
        "t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot",
        "Fashion-MNIST (Han Xiao, Kashif Rasul, Roland Vollgraf), MIT",
    ),
    "cifar-10": Subject(
        (3, 32, 32),
        "pixel values, red, green, blue,",
        "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck",
        "CIFAR-10 (Alex Krizhevsky, Vinod Nair, Geoffrey Hinton)",
    ),
}
"""The data sets by the names of `horq.train.data`."""


def doodles(data: str, n: int, seed: int = 0) -> Tensor:
    """Made-up smooth blots, [n, C, H, W] whole pixel values 0 to 255: golden inputs that are no image of the data."""
    channels, height, width = SUBJECTS[data].shape
    coarse = torch.randn(n, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    middle, contrast = (127.0, 120.0) if channels == 3 else (-120.0, 400.0)  # photographs are grey, ink is sparse
    return (smooth * contrast + middle).clamp(0, 255).round()
