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
