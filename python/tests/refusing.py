"""Modules that a file cannot express, and the check that export refuses them."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import horq

IMAGE = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
VECTOR = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


def refused(module, words, tmp_path, example=IMAGE, **options):
    """Checks that the exact road refuses in those words and leaves nothing behind."""
    options = {"general": False, **options}
    with pytest.raises(horq.ExportError, match=words) as caught:
        horq.export(module, example, tmp_path / "net.horq", **options)
    assert not list(tmp_path.iterdir())
    return str(caught.value)


def line_in(function, code):
    """Where `code` stands in a function, as an error names it."""
    lines, first = inspect.getsourcelines(function)
    number = first + next(i for i, line in enumerate(lines) if code in line)
    return f"{inspect.getsourcefile(function)}:{number}"


class Net(nn.Module):
    """A convolution, and what `after` makes of it and of the whole module."""

    def __init__(self, after, layer=None, **parts):
        super().__init__()
        self.conv = layer or nn.Conv2d(2, 2, 1)
        self.after = after
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.after(self, self.conv(x))


def doubled(*arguments):
    """A hook that doubles the answer, or the input where it comes before the call."""
    value = arguments[-1]
    return tuple(2 * part for part in value) if isinstance(value, tuple) else 2 * value


def nhwc(x):
    """Images as the engine reads them."""
    return np.ascontiguousarray(x.detach().permute(0, 2, 3, 1).numpy())
