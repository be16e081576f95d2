"""Activations against torch's own and through the engine."""

import numpy as np
import pytest
import torch
from torch import nn

import horq
from horq import nn as hn


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("channels", "shape"), [(5, (3, 5, 4, 2)), (1, (3, 5, 4, 2)), (7, (4, 7)), (1, (4, 7))])
def test_prelu_is_torchs(channels, shape):
    ours, theirs = hn.PReLU(channels), nn.PReLU(channels)
    with torch.no_grad():
        ours.weight.copy_(random(channels, seed=1))
    theirs.load_state_dict(ours.state_dict())
    x = random(*shape)
    x[0] = 0
    inputs = [x.clone().requires_grad_(True) for _ in range(2)]
    for layer, value in zip((ours, theirs), inputs, strict=True):
        (layer(value) * random(*shape, seed=2)).sum().backward()
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(inputs[0].grad, inputs[1].grad)
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x.bfloat16()).dtype == torch.bfloat16
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), ours(x))


def test_prelu_is_exported(tmp_path):
    net = nn.Sequential(hn.PReLU(3), nn.Flatten(), hn.PReLU(24), nn.Linear(24, 2))
    with torch.no_grad():
        net[0].weight.copy_(random(3, seed=1))
        net[2].weight.copy_(random(24, seed=2))
    x = random(2, 3, 4, 2)
    horq.export(net, x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    assert [node["op"] for node in model.graph["nodes"]] == ["prelu", "flatten", "prelu", "dense"]
    answers = model.run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, net(x).numpy(), rtol=1e-5, atol=1e-5)


def moved(layer):
    """The layer with parameters that are not where it starts."""
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(random(*parameter.shape, seed=10 + i))
    return layer


def test_rprelu_and_shift_by_their_definition():
    layer, shift, x = moved(hn.RPReLU(5)), moved(hn.Shift(5)), random(3, 5, 4, 2)
    y, shifted = layer(x), shift(x)
    for n, c, i, j in np.ndindex(3, 5, 4, 2):
        gamma, beta, zeta = -layer.before[c].item(), layer.weight[c].item(), layer.after[c].item()
        v = x[n, c, i, j].item()
        assert y[n, c, i, j].item() == pytest.approx((v - gamma if v > gamma else beta * (v - gamma)) + zeta, abs=1e-6)
        assert shifted[n, c, i, j].item() == pytest.approx(v + shift.shift[c].item(), abs=1e-6)
    assert set(layer.state_dict()) == {"before", "weight", "after"}
    assert torch.equal(hn.RPReLU(5)(x), nn.functional.prelu(x, torch.tensor([0.25])))
    assert torch.equal(hn.Shift(5)(x), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.bfloat16()).dtype == shift(x.bfloat16()).dtype == torch.bfloat16


class Residual(nn.Module):
    """A block of ReActNet: shift, sign, convolution, batch norm, shortcut, shift-PReLU-shift; twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.norm = hn.BatchNorm2d(8)
        self.shifts = nn.ModuleList(moved(hn.Shift(8)) for _ in range(2))
        self.convs = nn.ModuleList(hn.HorqConv2d(8, 8, 3, padding=1, order=2) for _ in range(2))
        self.norms = nn.ModuleList(hn.BatchNorm2d(8) for _ in range(2))
        self.slopes = nn.ModuleList(moved(hn.RPReLU(8)) for _ in range(2))
        self.flat = moved(hn.RPReLU(8 * 20))
        self.fc = hn.HorqLinear(8 * 20, 3)

    def forward(self, x):
        x = self.norm(x)
        for shift, conv, norm, slope in zip(self.shifts, self.convs, self.norms, self.slopes, strict=True):
            x = slope(norm(conv(shift(x))) + x)
        return self.fc(self.flat(x.flatten(1)))


def test_reactnet_blocks_are_equal_to_the_bit(tmp_path):
    net, x = Residual(), random(6, 8, 4, 5)
    for _ in range(3):
        net.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    horq.export(net.eval(), x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    names = [node["name"] for node in model.graph["nodes"]]
    assert len(set(names)) == len(names)
    assert {"slopes.0.before", "slopes.0", "slopes.0.after", "flat.before"} <= set(names)
    ops = [node["op"] for node in model.graph["nodes"]]
    assert (ops.count("prelu"), ops.count("affine")) == (3, 1 + 2 + 2 + 3 * 2)
    with torch.no_grad():
        expected = net(x).numpy()
    assert np.array_equal(model.run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())), expected)
