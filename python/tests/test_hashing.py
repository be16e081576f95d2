"""BWNH against its formulas in plain loops, and a network hashed layer by layer."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import horq
from horq import nn as hn
from horq.nn.hashing import Statistics, hash_filters, set_binary_


def case(windows, inputs, filters, seed, noise=0.3):
    """Correlated inputs, the quantized network's differing from the float one's, and targets: X~ [m, n], T, W."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=g, dtype=torch.float64)
    x = torch.randn(windows, inputs, generator=g, dtype=torch.float64) @ mix
    quantized = x + noise * torch.randn(windows, inputs, generator=g, dtype=torch.float64) @ mix
    weight = torch.randn(filters, inputs, generator=g, dtype=torch.float64)
    return quantized, x @ weight.T, weight


def gathered(x, targets):
    statistics = Statistics.empty(x.shape[1], targets.shape[1])
    for rows in torch.arange(len(x)).chunk(3):
        statistics.add(x[rows], targets[rows])
    return statistics


def direct_error(x, target, bits, alpha):
    """||t - a X~^T b||^2 of one filter from the data itself."""
    answers = [alpha * sum(v * b for v, b in zip(row, bits, strict=True)) for row in x]
    return sum((t - y) ** 2 for t, y in zip(target, answers, strict=True))


def by_loops(x, target, weight):
    """The alternating updates of one filter: bits, scale and error after each pass."""
    x, target, weight = x.tolist(), target.tolist(), weight.tolist()
    n = len(weight)
    gram = [[sum(row[i] * row[j] for row in x) for j in range(n)] for i in range(n)]
    q = [sum(row[i] * t for row, t in zip(x, target, strict=True)) for i in range(n)]
    bits = [-1.0 if w < 0 else 1.0 for w in weight]
    alpha = sum(abs(w) for w in weight) / n
    errors = [direct_error(x, target, bits, alpha)]

    def best():
        quadratic = sum(bits[i] * gram[i][j] * bits[j] for i in range(n) for j in range(n))
        return sum(b * v for b, v in zip(bits, q, strict=True)) / quadratic

    while True:
        alpha, before = best(), list(bits)
        for j in range(n):
            rest = sum(gram[j][i] * bits[i] for i in range(n) if i != j)
            bits[j] = -1.0 if alpha * (q[j] - alpha * rest) < 0 else 1.0
        alpha = best()
        errors.append(direct_error(x, target, bits, alpha))
        if bits == before:
            return bits, alpha, errors


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_alternating_updates(seed):
    x, targets, weight = case(40, 9, 5, seed)
    bits, alpha, errors = hash_filters(weight, gathered(x, targets))
    loops = [by_loops(x, targets[:, f], weight[f]) for f in range(5)]
    for f, (own, scale, _) in enumerate(loops):
        turned = -1.0 if scale < 0 else 1.0
        assert bits[f].tolist() == [b * turned for b in own]
        assert alpha[f].item() == pytest.approx(scale * turned)
    longest = max(len(trace) for _, _, trace in loops)
    assert len(errors) == longest
    for i, error in enumerate(errors):
        assert error == pytest.approx(sum(trace[min(i, len(trace) - 1)] for _, _, trace in loops))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_no_pass_raises_the_error_and_no_flip_lowers_it(noise):
    x, targets, weight = case(300, 150, 7, 5, noise)  # more bits than two blocks
    statistics = gathered(x, targets)
    bits, alpha, errors = hash_filters(weight, statistics)
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.9 * errors[0]
    assert errors[-1] == pytest.approx((targets - x @ bits.T * alpha).square().sum().item())
    assert torch.all(alpha > 0)
    for j in range(150):
        other = bits.clone()
        other[:, j] *= -1
        assert statistics.error(other.T, alpha) >= errors[-1] * (1 - 1e-12)


def test_the_targets_are_the_float_networks():
    x, targets, weight = case(60, 12, 1, 6, noise=1.5)
    statistics = gathered(x, targets)
    assert torch.allclose(statistics.products, x.T @ targets)
    assert not torch.allclose(statistics.products, statistics.gram @ weight.T, rtol=0.1)
    # One bit, by hand: G = 5, q = 1 * 3 - 2 * 1 = 1, so a = .2 and the error 10 - .2.
    statistics = gathered(torch.tensor([[1.0], [-2.0]]).double(), torch.tensor([[3.0], [1.0]]).double())
    bits, alpha, errors = hash_filters(torch.tensor([[-0.5]]), statistics)
    assert (bits.item(), alpha.item()) == (1.0, pytest.approx(0.2))
    assert errors == [pytest.approx(12.25), pytest.approx(9.8), pytest.approx(9.8)][: len(errors)]


def test_inputs_that_are_always_zero_keep_their_bits():
    x, targets, weight = case(30, 6, 3, 7)
    x[:, 2] = 0
    bits, _, _ = hash_filters(weight, gathered(x, targets))
    assert torch.equal(bits[:, 2], torch.where(weight[:, 2] < 0, -1.0, 1.0).double())
    bits, alpha, _ = hash_filters(weight, gathered(0 * x, targets))
    assert torch.equal(bits, torch.where(weight < 0, -1.0, 1.0).double())
    assert torch.allclose(alpha, weight.abs().mean(1))


def test_weights_carry_bits_scales_and_their_own_magnitudes():
    layer = hn.BinaryWeight(nn.Conv2d(2, 3, 2))
    with torch.no_grad():
        layer.layer.weight[0, 0, 0, 0] = 0
        layer.layer.weight[1] = 0
    before = layer.layer.weight.detach().clone()
    bits = torch.where(torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(8)) < 0.5, -1.0, 1.0)
    alpha = torch.tensor([0.5, 0.25, 2.0])
    set_binary_(layer, bits, alpha)
    weight = layer.layer.weight.detach()
    assert torch.equal(hn.sign(weight), bits)
    assert torch.allclose(layer.alpha(), alpha)
    ratio = weight[2].abs() / before[2].abs()
    assert torch.allclose(ratio, ratio[0, 0, 0].expand_as(ratio))


class Net(nn.Module):
    """Layers that run in another order than they are named, one of two groups."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.grouped = nn.Conv2d(6, 8, 3, stride=2, groups=2)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.grouped(x))
        return self.fc(x.mean((2, 3)))


def outputs(net, names, x):
    """What the named layers answer, their biases taken off."""
    seen = {}

    def keep(name):
        def hook(module, _, y):
            bias = getattr(module, "layer", module).bias.detach()
            seen[name] = y.detach() - (bias if y.dim() == 2 else bias[:, None, None])

        return hook

    hooks = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def relative(own, target):
    return ((own - target).square().sum() / target.square().sum()).item()


def test_a_network_layer_by_layer(tmp_path):
    torch.manual_seed(9)
    teacher, x = Net().eval(), torch.randn(24, 3, 7, 7)
    names = ["first", "grouped", "fc"]
    targets = outputs(teacher, names, x)
    student = horq.convert(teacher, "bwnh", skip=())
    plain = outputs(student, names, x)
    student.train()
    errors = hn.hash_weights_(student, teacher, lambda: x.split(8))
    assert list(errors) == names
    assert student.training
    assert not teacher.training
    hashed = outputs(student.eval(), names, x)
    for name in names:
        assert errors[name][-1] == pytest.approx(relative(hashed[name], targets[name]), rel=1e-4)
        assert errors[name][-1] < relative(plain[name], targets[name])
    assert errors["first"][0] == pytest.approx(relative(plain["first"], targets["first"]), rel=1e-4)
    horq.export(student, x, tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, student(x).numpy(), rtol=1e-4, atol=1e-5)


def test_windows_are_drawn():
    torch.manual_seed(10)
    teacher, x = Net().eval(), torch.randn(4, 3, 7, 7)
    student = horq.convert(teacher, "bwnh", skip=())
    some, same, all_ = (
        hn.hash_weights_(horq.convert(student, "float"), teacher, lambda: [x], windows=n) for n in (5, 5, 49)
    )
    assert some == same
    assert some != all_


def test_what_does_not_match_is_named():
    teacher = Net()
    with pytest.raises(ValueError, match="no BinaryWeight layer"):
        hn.hash_weights_(teacher, teacher, lambda: [torch.randn(1, 3, 7, 7)])
    student = horq.convert(teacher, "bwnh", skip=())
    teacher.grouped = nn.Conv2d(6, 8, 3, stride=2)
    with pytest.raises(ValueError, match=r"no Conv2d 'grouped' with weights \[8, 3, 3, 3\]"):
        hn.hash_weights_(student, teacher, lambda: [torch.randn(1, 3, 7, 7)])
