"""Max pooling against torch's own, under torch.compile and through the engine; what a compiled batch norm computes."""

import numpy as np
import pytest
import torch
from torch import nn

import horq
from horq import nn as hn


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 5, 6, 4), (2, 3, 7, 5), (1, 1, 2, 2)])
def test_max_pooling_is_torchs_compiled_or_not(shape):
    ours, theirs = hn.MaxPool2d(), nn.MaxPool2d(2)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    x = random(*shape).to(memory_format=torch.channels_last)
    expected = theirs(x)
    for layer in (ours, compiled):
        inputs = [x.clone().requires_grad_(True) for _ in range(2)]
        given = [f(value) for f, value in zip((layer, theirs), inputs, strict=True)]
        assert torch.equal(given[0], expected)
        for value in given:
            (value * random(*expected.shape, seed=2)).sum().backward()
        assert torch.equal(inputs[0].grad, inputs[1].grad)  # no two values of x are equal


def test_max_pooling_is_exported(tmp_path):
    net = nn.Sequential(hn.MaxPool2d(), nn.Flatten(), nn.Linear(12, 2))
    x = random(2, 3, 4, 5)
    horq.export(net, x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    assert [node["op"] for node in model.graph["nodes"]] == ["max_pool", "flatten", "dense"]
    answers = model.run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, net(x).numpy(), rtol=1e-5, atol=1e-5)


def test_a_compiled_batch_norm_is_the_plain_one_but_for_rounding():
    norm = hn.BatchNorm2d(4)
    norm(random(8, 4, 3, 3, seed=1) * 2 + 1)
    norm.eval()
    x = random(2, 4, 3, 3, seed=2)
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), norm(x), rtol=1e-6, atol=1e-6)
    assert torch.equal(
        norm(x), x * hn.norm.affine_of(norm)[0].view(-1, 1, 1) + hn.norm.affine_of(norm)[1].view(-1, 1, 1)
    )
