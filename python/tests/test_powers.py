"""Weights that are signed powers of two against the rule in plain loops, and through the engine."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import horq
from horq import nn as hn


def coded(w, top, bits, zero):
    """DQC's value of one weight, by its definition: the intervals one after another."""
    count = 2 ** (bits - 1) - int(zero)
    lowest = top - count + 1
    s = -1.0 if w < 0 else 1.0
    if abs(w) < 0.75 * 2.0**lowest:
        return 0.0 if zero else s * 2.0**lowest
    for k in range(lowest, top + 1):
        if 0.75 * 2.0**k <= abs(w) < 1.5 * 2.0**k:
            return s * 2.0**k
    return s * 2.0**top


def highest(values):
    return math.floor(math.log2(max(abs(w) for w in values)))


def linear(values):
    layer = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values]))
    return layer


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.037, 1e-30])
def test_every_weight_has_its_value(bits, zero, scale):
    edges = [m * 2.0**k for k in range(-20, 2) for m in (0.75, 1.0, 1.5)]
    near = [float(np.nextafter(np.float32(e), np.float32(side))) for e in edges for side in (0, 9)]
    drawn = torch.randn(300, generator=torch.Generator().manual_seed(1)).tolist()
    values = [float(np.float32(s * w * scale)) for w in [*edges, *near, *drawn, 0.0] for s in (1, -1)]
    layer = hn.PowerOfTwo(linear(values), bits, zero)
    expected = [coded(w, highest(values), bits, zero) for w in values]
    assert layer.quantized().flatten().tolist() == expected
    codebook = layer.codebook()
    assert len(codebook) == 2**bits - int(zero)
    assert torch.all(codebook.diff() > 0)
    assert codebook[layer.codes().long()].flatten().tolist() == expected


def test_a_worked_example():
    values = [0.9, -0.7, 0.375, 0.374, 0.2, -0.1, 0.09, 0.0]
    layer = hn.PowerOfTwo(linear(values), 3)
    assert layer.quantized().flatten().tolist() == [0.5, -0.5, 0.5, 0.25, 0.25, -0.125, 0.0625, 0.0625]
    layer = hn.PowerOfTwo(linear(values), 3, zero=True)
    assert layer.quantized().flatten().tolist() == [0.5, -0.5, 0.5, 0.25, 0.25, -0.125, 0.0, 0.0]


def test_the_exponent_follows_the_weights_or_does_not():
    dynamic, static = (hn.PowerOfTwo(linear([0.9, -0.3, 0.1]), 3, dynamic=d) for d in (True, False))
    for layer in (dynamic, static):
        assert layer.codebook().max() == 0.5
        with torch.no_grad():
            layer.layer.weight.mul_(5)
    assert dynamic.codebook().max() == 4
    assert dynamic.quantized().flatten().tolist() == [4.0, -2.0, 0.5]
    assert static.codebook().max() == 0.5
    assert static.quantized().flatten().tolist() == [0.5, -0.5, 0.5]
    assert set(dynamic.state_dict()) == {"layer.weight"}
    assert set(static.state_dict()) == {"layer.weight", "top"}
    other = hn.PowerOfTwo(linear([0.01, 0.02, 0.03]), 3, dynamic=False)
    other.load_state_dict(static.state_dict())
    assert torch.equal(other.quantized(), static.quantized())


def test_the_gradient_passes_straight_through():
    layer = hn.PowerOfTwo(nn.Linear(8, 3), 3, zero=True)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    layer(x).square().sum().backward()
    weight = layer.quantized().detach().clone().requires_grad_(True)
    F.linear(x, weight, layer.layer.bias).square().sum().backward()
    assert torch.allclose(layer.layer.weight.grad, weight.grad)
    assert (layer.quantized() == 0).any()


def test_it_compiles_whole_and_keeps_f32_under_autocast():
    torch.manual_seed(3)
    layer, x = hn.PowerOfTwo(nn.Conv2d(4, 6, 3), 4), torch.randn(2, 4, 5, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), layer(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.quantized().dtype == torch.float32
        y = compiled(x)
    assert y.dtype == torch.bfloat16
    expected = F.conv2d(x.bfloat16(), layer.quantized().bfloat16(), layer.layer.bias.bfloat16())
    assert torch.equal(y, expected)
    y.float().sum().backward()
    assert layer.layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("bits", "zero"), [(3, False), (4, True), (5, False)])
def test_files_hold_the_codes(bits, zero, dynamic, tmp_path):
    torch.manual_seed(4)
    net = nn.Sequential(
        hn.PowerOfTwo(nn.Conv2d(3, 9, 3, padding=1, stride=(1, 2)), bits, zero, dynamic),
        nn.BatchNorm2d(9),
        nn.ReLU(),
        nn.Flatten(),
        hn.PowerOfTwo(nn.Linear(9 * 15, 4), bits, zero, dynamic),
    ).eval()
    x = torch.randn(3, 3, 5, 6)
    horq.export(net, x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    assert [node["op"] for node in model.graph["nodes"]] == [
        *("codebook_conv2d", "affine", "relu", "flatten", "codebook_dense")
    ]
    answers = torch.from_numpy(model.run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())))
    with torch.no_grad():
        expected = net.double()(x.double()).float()
    assert torch.allclose(answers, expected, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="bits must be an integer from 2 to 5, not 6"):
        hn.PowerOfTwo(nn.Linear(2, 2), 6)
    with pytest.raises(TypeError, match="not a ReLU"):
        hn.PowerOfTwo(nn.ReLU(), 3)
