"""Weight bases against the recursion in plain loops, layers with them and without scales, and the engine."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import horq
from horq import nn as hn
from horq.nn.bases import sum_of_bases


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def residual_bases(values, count):
    """One filter's bits and scales by the definition."""
    out, residual = [], list(values)
    for _ in range(count):
        bits = [-1.0 if r < 0 else 1.0 for r in residual]
        scale = sum(abs(r) for r in residual) / len(residual)
        residual = [r - scale * b for r, b in zip(residual, bits, strict=True)]
        out.append((bits, scale))
    return out


def refined_bases(values, count):
    """Refined bases by numpy's least squares on the bits so far."""
    w, residual, columns = np.array(values), np.array(values), []
    for _ in range(count):
        columns.append(np.where(residual < 0, -1.0, 1.0))
        matrix = np.stack(columns, 1)
        scales = np.linalg.lstsq(matrix, w, rcond=None)[0]
        residual = w - matrix @ scales
    return list(zip([c.tolist() for c in columns], scales.tolist(), strict=True))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("refined", [False, True])
def test_bases_by_their_definition(count, refined):
    weight = random(6, 3, 2, 2).double()
    bases = hn.weight_bases(weight, count, refined)
    by_loops = refined_bases if refined else residual_bases
    for f in range(6):
        expected = by_loops(weight[f].flatten().tolist(), count)
        for (bits, scales), (own, scale) in zip(bases, expected, strict=True):
            assert bits[f].flatten().tolist() == own
            assert scales[f].item() == pytest.approx(scale)


def test_a_worked_example():
    weight = torch.tensor([[-1.1, 0.9, 0.8, 0.5]]).double()
    bases = hn.weight_bases(weight, 4)
    assert [scales.item() for _, scales in bases] == pytest.approx([0.825, 0.175, 0.125, 0.025])
    assert [b.flatten().tolist() for b, _ in bases] == [[-1, 1, 1, 1], [-1, 1, -1, -1], [-1, -1, 1, -1], [1, 1, 1, -1]]
    assert torch.allclose(sum_of_bases(weight, 4), weight)


def error(weight, count, refined):
    return (weight - sum_of_bases(weight, count, refined)).square().sum((1, 2, 3))


def test_more_bases_and_better_scales_lower_the_error():
    weight = random(5, 4, 3, 3, seed=1).double()
    for refined in (False, True):
        errors = [error(weight, count, refined) for count in range(1, 6)]
        assert all(torch.all(after < before) for before, after in itertools.pairwise(errors))
    assert torch.all(error(weight, 2, True) < error(weight, 2, False))


def test_bases_that_coincide():
    bases = hn.weight_bases(torch.full((1, 4), 0.5), 3, refined=True)
    assert sum(b * a for b, a in bases).tolist() == [pytest.approx([0.5] * 4)]


def test_the_gradient_passes_straight_through_inside_the_bound():
    weight = (2 * random(3, 8, seed=2)).requires_grad_(True)
    factors = random(3, 8, seed=3)
    (sum_of_bases(weight, 2) * factors).sum().backward()
    assert torch.equal(weight.grad, factors * (weight.abs() <= 1))


def engine(net, x, tmp_path):
    horq.export(net, x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    return model, np.ascontiguousarray((x.permute(0, 2, 3, 1) if x.dim() == 4 else x).numpy())


@pytest.mark.parametrize("mode", ["window", "image", "fixed", "none", "halving"])
@pytest.mark.parametrize("refined", [False, True])
def test_the_engine_gives_the_same_bits(mode, refined, tmp_path):
    torch.manual_seed(4)
    rules = {"scale_mode": mode, "bases": 3, "refined": refined, "order": 2}
    net = nn.Sequential(
        hn.HorqConv2d(5, 12, 3, padding=1, bias=True, **rules),
        hn.BatchNorm2d(12),
        hn.HorqConv2d(12, 8, 3, groups=2, **rules),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        hn.HorqLinear(8, 3, **rules),
    )
    x = random(3, 5, 6, 7, seed=5)
    net.train()(x).sum().backward()
    model, images = engine(net.eval(), x, tmp_path)
    assert all(len(layer.weight_bases()) == 3 for layer in hn.horq_layers(net))
    with torch.no_grad():
        first = net[:3](x).permute(0, 2, 3, 1).numpy()
        expected = net(x).numpy()
    assert np.array_equal(engine(net[:3], x, tmp_path)[0].run(images), first)
    assert np.allclose(model.run(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [hn.HorqConv2d, hn.BinaryWeight])
def test_layers_compute_with_the_sum(kind, training):
    torch.manual_seed(6)
    if kind is hn.HorqConv2d:
        layer = hn.HorqConv2d(4, 6, 3, order=2, scale_mode="fixed", bases=2)
        x = random(2, 4, 5, 5, seed=7)
        value, _ = hn.residual_quantize(x, 2, scales=layer.scales.detach())
    else:
        layer = hn.BinaryWeight(nn.Conv2d(4, 6, 3, bias=False), bases=2)
        x = value = random(2, 4, 5, 5, seed=7)
    weight = sum(b * a[:, None, None, None] for b, a in layer.weight_bases())
    assert torch.allclose(layer.train(training)(x), F.conv2d(value, weight), rtol=1e-4, atol=1e-5)


def test_binary_weights_with_several_bases_are_several_layers(tmp_path):
    torch.manual_seed(8)
    net = nn.Sequential(
        hn.BinaryWeight(nn.Conv2d(3, 7, 3), bases=2),
        nn.PReLU(7),
        nn.Flatten(),
        hn.BinaryWeight(nn.Linear(7 * 12, 5), bases=3, refined=True),
    ).eval()
    x = random(2, 3, 5, 6, seed=9)
    model, images = engine(net, x, tmp_path)
    ops = [node["op"] for node in model.graph["nodes"]]
    assert ops.count("binary_weight_conv2d") == 2
    assert ops.count("binary_weight_dense") == 3
    assert ops.count("add") == 3
    with torch.no_grad():
        assert np.allclose(model.run(images), net(x).numpy(), rtol=1e-4, atol=1e-4)


def bnn():
    return {"order": 1, "scale_mode": "none", "weight_scale": "none"}


@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
def test_bnn_is_integers_and_thresholds(padding_mode, tmp_path):
    torch.manual_seed(10)
    rules = {**bnn(), "padding_mode": padding_mode}
    net = nn.Sequential(
        hn.HorqConv2d(8, 16, 3, padding=1, **rules),
        hn.BatchNorm2d(16),
        hn.HorqConv2d(16, 32, 3, padding=1, **rules),
        hn.BatchNorm2d(32),
        hn.HorqConv2d(32, 16, 3, **rules),
    )
    x = random(4, 8, 7, 6, seed=11)
    with torch.no_grad():
        for _ in range(20):
            net.train()(x)
    model, images = engine(net.eval(), x, tmp_path)
    answers = model.run(images)
    assert np.array_equal(answers, np.round(answers)), "no scale anywhere"
    with torch.no_grad():
        assert np.array_equal(answers, net(x).permute(0, 2, 3, 1).numpy())
        # The definition: signs of batch norms of sums of signs, in float64.
        value = x.double()
        for layer in net.double():
            if isinstance(layer, hn.HorqConv2d):
                fill = 1.0 if padding_mode == "one" else 0.0
                sides = (layer.padding[1],) * 2 + (layer.padding[0],) * 2
                signs = [torch.where(v < 0, -1.0, 1.0).double() for v in (value, layer.weight)]
                value = F.conv2d(F.pad(signs[0], sides, value=fill), signs[1])
            else:
                mean, deviation = layer.running_mean, (layer.running_var + layer.eps).sqrt()
                value = (value - mean[:, None, None]) / deviation[:, None, None]
        agree = (torch.from_numpy(answers).permute(0, 3, 1, 2) == value).double().mean()
    assert agree > 0.99, "but for signs of values next to 0"
    session = model.session(profile=True)
    session.run(images[:1])
    layers = [layer for layer in session.profile() if "binary" in str(layer)]
    assert [layer["packed"] for layer in layers] == [True, True, False]


def test_training_without_scales():
    torch.manual_seed(12)
    layer = hn.HorqLinear(6, 3, **bnn())
    x = random(4, 6, seed=13)
    y = layer(x)
    assert torch.equal(y, torch.where(x < 0, -1.0, 1.0) @ torch.where(layer.weight < 0, -1.0, 1.0).T)
    assert torch.equal(y, layer.eval()(x))
    g = random(4, 3, seed=14)
    (layer.train()(x) * g).sum().backward()
    assert torch.allclose(layer.weight.grad, g.T @ torch.where(x < 0, -1.0, 1.0), atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="bases must be an integer from 1 to 8, not 9"):
        hn.BinaryWeight(nn.Linear(2, 2), bases=9)
    with pytest.raises(ValueError, match="weights without scales have one basis"):
        hn.HorqLinear(2, 2, weight_scale="none", bases=2)
    with pytest.raises(ValueError, match="weight_scale must be one of mean, none"):
        hn.HorqLinear(2, 2, weight_scale="max")
