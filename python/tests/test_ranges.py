"""What the code of a network tells of the values that a layer reads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from horq import nn as hn
from horq.nn.ranges import read_by


class Of(nn.Module):
    """A convolution, a batch norm, a function of the two, and the layer that is asked about."""

    def __init__(self, function, *parts):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.parts = nn.ModuleList(parts)
        self.function = function
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.last(self.function(self.norm(self.conv(x)), *self.parts))


def bounds(net):
    return read_by(net, [net.last])[net.last].bounds()


def call(x, *parts):
    for part in parts:
        x = part(x)
    return x


def relu_in_place(x):
    y = x
    F.relu(x, inplace=True)
    return y


FUNCTIONS = {
    "batch norm": ("both signs", call),
    "relu": ("0 and above", call, nn.ReLU()),
    "relu6": ("0 to 6", call, nn.ReLU6()),
    "F.relu": ("0 and above", F.relu),
    "torch.relu": ("0 and above", torch.relu),
    "x.relu": ("0 and above", lambda x: x.relu()),
    "x.relu_": ("0 and above", lambda x: x.relu_()),
    "relu in place": ("0 and above", relu_in_place),
    "F.relu6": ("0 to 6", F.relu6),
    "clamp": ("0 to 1", lambda x: x.clamp(0, 1)),
    "clamp by keyword": ("0 and above", lambda x: torch.clamp(x, min=0)),
    "signed clamp": ("both signs", lambda x: x.clamp(-1, 1)),
    "hardtanh": ("both signs", call, nn.Hardtanh()),
    "hardtanh from 0": ("0 to 1", call, nn.Hardtanh(0, 1)),
    "sigmoid": ("0 to 1", call, nn.Sigmoid()),
    "softmax": ("0 to 1", lambda x: x.softmax(1)),
    "hardsigmoid": ("0 to 1", F.hardsigmoid),
    "tanh": ("both signs", torch.tanh),
    "gelu": ("both signs", call, nn.GELU()),
    "silu": ("both signs", call, nn.SiLU()),
    "hardswish": ("both signs", F.hardswish),
    "softplus": ("0 and above", F.softplus),
    "elu": ("both signs", F.elu),
    "leaky relu": ("both signs", call, nn.LeakyReLU()),
    "prelu": ("both signs", call, hn.PReLU(4)),
    "prelu that is a relu": ("0 and above", call, nn.PReLU(4, 0.0)),
    "threshold": ("0 and above", call, nn.Threshold(0.0, 0.0)),
    "square": ("0 and above", lambda x: x**2),
    "x times itself": ("0 and above", lambda x: x * x),
    "abs": ("0 and above", abs),
    "minus relu": ("0 and below", lambda x: -F.relu(x)),
    "relu minus a number": ("both signs", lambda x: F.relu(x) - 1),
    "a number minus sigmoid": ("0 to 1", lambda x: 1 - torch.sigmoid(x)),
    "max pool": ("0 and above", call, nn.ReLU(), nn.MaxPool2d(2)),
    "max pool without relu": ("both signs", call, nn.MaxPool2d(2)),
    "F.max_pool2d": ("0 and above", lambda x: F.max_pool2d(F.relu(x), 2)),
    "average pool": ("0 and above", call, nn.ReLU(), nn.AvgPool2d(2)),
    "adaptive pool": ("0 and above", call, nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    "mean": ("0 and above", lambda x: F.relu(x).mean((2, 3), keepdim=True)),
    "dropout": ("0 and above", call, nn.ReLU(), nn.Dropout(), nn.Dropout2d()),
    "pad": ("0 and above", lambda x: F.pad(F.relu(x), (1, 1, 1, 1))),
    "view": ("0 and above", lambda x: F.relu(x).view(x.shape).contiguous()),
    "upsample": ("0 and above", call, nn.ReLU(), nn.Upsample(scale_factor=2)),
    "cubic upsample": ("both signs", call, nn.ReLU(), nn.Upsample(scale_factor=2, mode="bicubic")),
    "sum of relus": ("0 and above", lambda x: F.relu(x) + torch.relu(x)),
    "relu plus signed": ("both signs", lambda x: F.relu(x) + x),
    "signed in-place sum, then relu": ("0 and above", lambda x: F.relu(x.add_(1))),
    "relu times sigmoid": ("0 and above", lambda x: F.relu(x) * torch.sigmoid(x)),
    "signed times sigmoid": ("both signs", lambda x: x * torch.sigmoid(x)),
    "half the channels": ("0 and above; both signs", lambda x: torch.cat([F.relu(x)[:, :2], x[:, 2:]], 1)),
    "cat": ("0 and above", lambda x: torch.cat([F.relu(x)[:, :2], F.relu(x)[:, 2:]], dim=1)),
    "chunks": ("0 and above", lambda x: torch.cat(F.relu(x).chunk(2, 1), 1)),
    "norm behind relu": ("both signs", call, nn.ReLU(), hn.BatchNorm2d(4)),
    "shift behind relu": ("both signs", call, nn.ReLU(), hn.Shift(4)),
    "rprelu": ("both signs", call, hn.RPReLU(4)),
    "fft": ("not known", lambda x: torch.fft.fft(x).real),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bounds(name):
    expected, function, *parts = FUNCTIONS[name]
    net = Of(function, *parts).eval()
    assert bounds(net) == expected
    assert not any(part.training for part in net.modules())
    if expected.startswith(("0", "-")) and ";" not in expected:  # what is told must be so
        seen = []
        net.last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        net(torch.randn(4, 3, 6, 6))
        assert seen[0].min() >= (0 if "above" in expected or "to" in expected else -1e9) - (expected[0] == "-")
        assert expected != "0 and below" or seen[0].max() <= 0


def test_a_relu_that_changes_its_input_counts_for_later_readers():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
            self.first, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.norm(x)
            return self.first(self.relu(x)) + self.last(x)

    assert bounds(Block()) == "0 and above"


def test_calls_of_one_layer_are_joined():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.relu, self.last = nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.last(self.relu(self.last(self.norm(x))))

    assert bounds(Twice()) == "0 and above; both signs"


def test_moments_are_those_of_the_batch_norm_behind_the_relu():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 0.5, 2.0]))
        net[0].bias.copy_(torch.tensor([0.0, -0.3, 1.0]))
    mean, variance = read_by(net, [net[2]])[net[2]].moments
    y = torch.relu(net[0](torch.randn(200, 3, 32, 32))).transpose(0, 1).flatten(1)
    assert torch.allclose(mean.float(), y.mean(1), atol=5e-3)
    assert torch.allclose(variance.float(), y.var(1), atol=2e-2)


def test_what_torch_fx_cannot_trace_is_not_known():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.last(F.relu(x)) if x.sum() > 0 else x

    net = Branch()
    values = read_by(net, [net.last])[net.last]
    assert values.ranges is None
    assert values.source.startswith("torch.fx cannot trace Branch: ")
