"""MNIST, Fashion-MNIST and CIFAR-10 from their original files, whole in memory, and cheap augmentation."""

from __future__ import annotations

import gzip
import lzma
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = 10
EVAL_BATCH = 250
"""Images that a network in eval mode takes at once."""
SHAPES = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar-10": (3, 32, 32)}
"""Channels, height and width of the images."""
SETS = tuple(SHAPES)

_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True)
class Part:
    """Images [n, channels, height, width] (uint8), or samples of another shape, and labels [n] (int64)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Part:
        """The part in the memory of `device`."""
        return Part(self.images.to(device), self.labels.to(device))

    def batches(self, size: int = EVAL_BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in float32 with their labels, `size` at a time."""
        for images, labels in zip(self.images.split(size), self.labels.split(size), strict=True):
            yield images.float(), labels


def data_root(argument: str | None) -> Path:
    """The folder above the data sets' own: the argument, else $HORQ_DATA.

    Raises `FileNotFoundError` if neither names a folder.
    """
    root = argument or os.environ.get("HORQ_DATA")
    if not root or not Path(root).is_dir():
        raise FileNotFoundError(
            f"no folder of data sets at {root!r}: pass --data FOLDER or set HORQ_DATA to the folder that holds "
            f"{', '.join(SETS)}"
        )
    return Path(root)


def load(name: str, root: Path, part: str, held_out: int = 0) -> Part:
    """One part of a data set: ``train`` (less the held-out images), ``held-out`` or ``test``.

    `held_out` images, the last of a permutation that is always the same, are taken from the training images: choices
    are judged on them and test images only report.
    """
    if name not in SETS:
        raise ValueError(f"data must be one of {', '.join(SETS)}, not {name!r}")
    if part not in ("train", "held-out", "test"):
        raise ValueError(f"part must be train, held-out or test, not {part!r}")
    whole = _cifar(root / name, part == "test") if name == "cifar-10" else _idx(root / name, part == "test")
    if part == "test":
        return whole
    if not 0 <= held_out < len(whole):
        raise ValueError(f"held_out must be 0 to {len(whole) - 1}, not {held_out}")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    split = len(whole) - held_out
    kept = order[split:] if part == "held-out" else order[:split]
    return Part(whole.images[kept], whole.labels[kept])


def _idx(folder: Path, test: bool) -> Part:
    prefix = "t10k" if test else "train"
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[:, None]
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").long()
    if len(images) != len(labels):
        raise ValueError(f"{folder} holds {len(images)} images and {len(labels)} labels in its {prefix} files")
    return Part(images, labels)


def read_idx(path: Path) -> Tensor:
    """Reads a gzipped IDX file of bytes: [n] labels or [n, rows, columns] images, uint8."""
    raw = _unpacked(path, gzip.decompress)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or raw[3] not in (1, 3):
        raise ValueError(f"{path} is no IDX file of bytes with 1 or 3 dimensions")
    start = 4 + 4 * raw[3]
    sizes = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if len(raw) - start != math.prod(sizes):
        raise ValueError(f"{path} holds {len(raw) - start} values where its header says {sizes}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=start).view(sizes)


def _unpacked(path: Path, unpack: Callable[[bytes], bytes]) -> bytes:
    """The content of a packed file; raises `ValueError` if it is cut short or no such file."""
    try:
        return unpack(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or not what its name says ({error}); download it again") from error


def _cifar(folder: Path, test: bool) -> Part:
    """The binary version: `*.bin`, or the same files packed as `*.bin.xz`."""
    raw = b""
    for name in ["test_batch"] if test else [f"data_batch_{i}" for i in range(1, 6)]:
        plain, packed = folder / f"{name}.bin", folder / f"{name}.bin.xz"
        if not plain.exists() and not packed.exists():
            raise FileNotFoundError(f"{plain} (or .bin.xz) is missing; it is part of CIFAR-10's binary version")
        content = plain.read_bytes() if plain.exists() else _unpacked(packed, lzma.decompress)
        if len(content) == 0 or len(content) % _RECORD:
            raise ValueError(f"{folder / name} holds {len(content)} bytes, which are no records of {_RECORD} bytes")
        raw += content
    records = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, _RECORD)
    return Part(records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long())


def augmented(name: str, images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A batch for training: uint8 [n, C, H, W] to float pixel values 0 to 255, in channels-last memory, on its device.

    CIFAR-10: a random crop out of the image padded by 4 black pixels times `strength`, mirrored half of the time. The
    digits and garments: `warped`. Strength 0 changes nothing. `generator` is the CPU's: every device draws alike.
    """
    pixels = images.float()
    if strength > 0:
        pixels = (
            _crop_and_flip(pixels, round(4 * strength), generator)
            if name == "cifar-10"
            else warped(pixels, strength, generator)
        )
    return pixels.to(memory_format=torch.channels_last)


def _crop_and_flip(pixels: Tensor, margin: int, generator: torch.Generator) -> Tensor:
    n, channels, height, width = pixels.shape
    padded = F.pad(pixels, (margin,) * 4)
    top = torch.randint(0, 2 * margin + 1, (n, 1), generator=generator)
    left = torch.randint(0, 2 * margin + 1, (n, 1), generator=generator)
    columns = torch.arange(width).expand(n, -1)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns) + left
    rows = torch.arange(height) + top
    index = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)
    index = index.to(pixels.device)
    return padded.flatten(2).gather(2, index).view(n, channels, height, width)


def warped(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random rotation, scale, shear, shift and a smooth elastic field; [n, 1, 28, 28] in, the same out, 0 outside.

    At strength 1: up to 12 degrees, 12 % of scale, 0.15 of shear, 2 pixels of shift, 0.8 pixels of elastic deviation.
    """
    n, _, height, width = images.shape

    def uniform(bound: float) -> Tensor:
        return ((torch.rand(n, generator=generator) * 2 - 1) * bound * strength).to(images.device)

    angle, shear = uniform(math.radians(12)), uniform(0.15)
    wide, high = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([wide * cos, wide * (shear * cos - sin), uniform(2 * 2 / width)], 1),
        torch.stack([high * sin, high * (shear * sin + cos), uniform(2 * 2 / height)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    field = torch.randn(n, 2, 6, 6, generator=generator).to(images.device) * (0.8 * strength * 2 / width)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + field.permute(0, 2, 3, 1), align_corners=False)
