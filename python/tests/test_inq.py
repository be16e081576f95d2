"""INQ against its rule in plain loops, what a step may move, and the engine."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import horq
from horq import nn as hn


def values(bits, largest):
    """The positive part of the codebook with 0, increasing: section 2.1 of the paper."""
    n1 = math.floor(math.log2(4 * largest / 3))
    n2 = n1 + 1 - 2 ** (bits - 1) // 2
    return [0.0, *(2.0**k for k in range(n2, n1 + 1))]


def coded(w, codebook):
    """The value of one weight: beta where (alpha + beta) / 2 <= |w| < 3 beta / 2 for neighbours alpha < beta."""
    for below, value in itertools.pairwise(codebook):
        if (below + value) / 2 <= abs(w) < 1.5 * value:
            return math.copysign(value, w)
    return 0.0


def linear(weights):
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("scale", [1.0, 0.04])
def test_every_weight_has_its_value(bits, scale):
    drawn = torch.randn(400, generator=torch.Generator().manual_seed(bits)) * scale
    drawn = torch.cat([drawn, drawn * 0.01, torch.zeros(1)])
    layer = hn.Inq(linear(drawn.tolist()), bits)
    layer.freeze(1)
    codebook = values(bits, drawn.abs().max().item())
    expected = [coded(w, codebook) for w in drawn.tolist()]
    assert layer.quantized().flatten().tolist() == expected
    assert layer.codebook().tolist() == [-v for v in codebook[:0:-1]] + codebook
    assert layer.codebook()[layer.codes().long()].flatten().tolist() == expected


def test_a_worked_example():
    layer = hn.Inq(linear([0.8, -0.7, 0.3, -0.2, 0.13, 0.12]), 3)
    assert layer.codebook().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    layer.freeze(0.5)
    assert layer.quantized().flatten().tolist() == pytest.approx([1.0, -0.5, 0.5, -0.2, 0.13, 0.12])
    layer.freeze(1)
    assert layer.quantized().flatten().tolist() == [1.0, -0.5, 0.5, 0.0, 0.0, 0.0]


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 6, 4))


def step(module, optimizer, seed):
    x = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    module(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_no_optimizer_moves_what_is_frozen(make):
    model = horq.convert(net(), "inq", bits=4)
    rules = {"momentum": 0.9} if make is torch.optim.SGD else {}
    optimizer = make(model.parameters(), lr=0.02, weight_decay=0.1, **rules)
    layers = [model[0], model[3]]
    tops = [layer.top.item() for layer in layers]
    for share in hn.INQ_SHARES:
        for i in range(3):
            step(model, optimizer, i)
        before = [(layer.quantized().detach().clone(), layer.frozen.clone()) for layer in layers]
        hn.freeze_(model, share)
        held = [(layer.frozen.clone(), layer.fixed.clone()) for layer in layers]
        for layer, (weight, earlier), (frozen, fixed) in zip(layers, before, held, strict=True):
            assert torch.all(frozen[earlier])
            assert int(frozen.sum()) == round(share * frozen.numel())
            if share < 1:
                assert weight.abs()[frozen & ~earlier].min() >= weight.abs()[~frozen].max()
            assert set(fixed[frozen].tolist()) <= set(layer.codebook().tolist())
            assert torch.equal(layer.quantized()[~frozen], weight[~frozen])
        for i in range(3):
            step(model, optimizer, i)
        for layer, (frozen, fixed) in zip(layers, held, strict=True):
            assert torch.equal(layer.quantized()[frozen], fixed[frozen])
            assert torch.all(layer.layer.weight.grad[frozen] == 0)
            if share < 1:
                assert (layer.quantized()[~frozen] != layer.fixed[~frozen]).any()
    assert [layer.top.item() for layer in layers] == tops


def test_the_first_share_is_the_largest_and_the_rest_stays():
    layer = hn.Inq(nn.Linear(10, 7), 5)
    weight = layer.layer.weight.detach().clone()
    layer.freeze(0.3)
    assert int(layer.frozen.sum()) == 21
    assert weight.abs()[layer.frozen].min() >= weight.abs()[~layer.frozen].max()
    assert layer.share == pytest.approx(0.3)
    kept = layer.fixed[layer.frozen].clone(), layer.frozen.clone()
    layer.freeze(0.6)
    assert torch.equal(layer.fixed[kept[1]], kept[0])


def test_training_resumes_from_a_state_dict():
    model = horq.convert(net(), "inq")
    hn.freeze_(model, 0.5)
    other = horq.convert(net(seed=1), "inq")
    other.load_state_dict(model.state_dict())
    hn.freeze_(model, 1)
    hn.freeze_(other, 1)
    assert torch.equal(model[3].quantized(), other[3].quantized())
    assert model[3].top == other[3].top


def test_it_compiles_whole():
    layer, x = hn.Inq(nn.Linear(6, 4)), torch.randn(3, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    first = compiled(x)
    layer.freeze(0.5)
    assert torch.equal(compiled(x), layer(x))
    assert not torch.equal(compiled(x), first)


def test_files_hold_what_is_frozen_whole(tmp_path):
    model, x = horq.convert(net(), "inq").eval(), torch.randn(3, 3, 4, 5)
    hn.freeze_(model, 0.75)
    with pytest.raises(horq.ExportError, match=r"`0` .*only 75\.\d% of the weights are frozen; call freeze\(1\)"):
        horq.export(model, x, tmp_path / "net.horq")
    hn.freeze_(model, 1)
    horq.export(model, x, tmp_path / "net.horq")
    file = horq.Model(tmp_path / "net.horq")
    assert [node["op"] for node in file.graph["nodes"]] == ["codebook_conv2d", "relu", "flatten", "codebook_dense"]
    answers = file.run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, model(x).numpy(), rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused():
    layer = hn.Inq(nn.Linear(4, 4))
    layer.freeze(0.5)
    with pytest.raises(ValueError, match=r"share must be from 0\.5.*not 0\.25"):
        layer.freeze(0.25)
    with pytest.raises(ValueError, match="to 1, not 1"):
        layer.freeze(1.5)
    with pytest.raises(ValueError, match="no Inq layer"):
        hn.freeze_(nn.Linear(2, 2), 1)
