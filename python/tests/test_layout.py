"""How answers lie in memory: as those of PyTorch's own layers, so that `view` works behind every layer."""

import itertools

import pytest
import torch
from torch import nn

from horq import nn as hn

FORMATS = [torch.contiguous_format, torch.channels_last]
IMAGE_LAYERS = {
    "PReLU": lambda: hn.PReLU(4),
    "Shift": lambda: hn.Shift(4),
    "RPReLU": lambda: hn.RPReLU(4),
    "BatchNorm2d": lambda: hn.BatchNorm2d(4),
    "SwitchableBatchNorm": lambda: hn.SwitchableBatchNorm(hn.BatchNorm2d(4), 2),
    "Affine": lambda: hn.Affine(torch.ones(4), torch.ones(4)),
    "MaxPool2d": hn.MaxPool2d,
    "BinaryWeight": lambda: hn.BinaryWeight(nn.Conv2d(4, 6, 3), bases=2),
    "Codebook": lambda: hn.Codebook(nn.Conv2d(4, 6, 3), torch.tensor([-0.1, 0.1])),
    "Int8": lambda: hn.Int8(nn.Conv2d(4, 6, 3), -1, 1),
    "PowerOfTwo": lambda: hn.PowerOfTwo(nn.Conv2d(4, 6, 3), 4),
    "Inq": lambda: hn.Inq(nn.Conv2d(4, 6, 3)),
    "image8": lambda: hn.image8(hn.HorqConv2d(4, 6, 3, order=8), 4),
}
"""The other layers of horq.nn that read images of four channels."""


@pytest.mark.parametrize("mode", ["window", "image", "fixed", "none", "halving"])
@pytest.mark.parametrize("gradient", ["clip", "per-order", "recursion"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_convolutions_answer_as_conv2d_lies(mode, gradient, order, memory_format):
    options = {"order": order, "scale_mode": mode, "gradient": gradient, "bias": True}
    x = torch.randn(2, 4, 5, 7).to(memory_format=memory_format).requires_grad_()
    for groups, size, training, bases in itertools.product((1, 2), (1, 3), (True, False), (1, 2)):
        plain = nn.Conv2d(4, 6, size, padding=size // 2, groups=groups).to(memory_format=memory_format)
        layer = hn.HorqConv2d(4, 6, size, padding=size // 2, groups=groups, bases=bases, **options).train(training)
        y = layer.to(memory_format=memory_format)(x)
        assert y.stride() == plain(x).stride()
        if memory_format is torch.contiguous_format:
            y = y.view(2, -1)
        if training:
            y.square().sum().backward()
            assert x.grad.isfinite().all()
            assert x.grad.any()
            assert layer.weight.grad.any()


def test_channels_last_weights_decide_as_in_conv2d():
    x = torch.randn(2, 4, 5, 7)
    plain = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    for mode in ("window", "fixed"):
        layer = hn.HorqConv2d(4, 6, 3, scale_mode=mode).to(memory_format=torch.channels_last)
        assert layer(x).stride() == layer.eval()(x).stride() == plain(x).stride()


@pytest.mark.parametrize("mode", ["window", "image", "fixed", "none", "halving"])
@pytest.mark.parametrize("training", [True, False])
def test_dense_layers_answer_row_by_row(mode, training):
    layer = hn.HorqLinear(6, 5, scale_mode=mode, bias=True).train(training)
    for x in (torch.randn(3, 6), torch.randn(6, 3).t()):
        assert layer(x).view(-1).shape == (15,)


@pytest.mark.parametrize("name", IMAGE_LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_the_other_layers_keep_images_as_they_lie(name, training):
    layer = IMAGE_LAYERS[name]().train(training)
    x = torch.randn(2, 4, 6, 6)
    assert layer(x).view(2, -1).shape[0] == 2
    y = layer(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
