"""Binary layers behind ReLUs: what `convert` puts before them, what it says, and that the engine runs it."""

import copy
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import horq
from horq import nn as hn


def conv_norm(inputs, filters, **options):
    return nn.Conv2d(inputs, filters, 3, padding=1, bias=False, **options), nn.BatchNorm2d(filters)


class Residual(nn.Module):
    """Convolution, batch norm, ReLU, as a function, as one module of several places, behind a sum and a pool."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv1, self.norm1 = conv_norm(1, 8)
        self.conv2, self.norm2 = conv_norm(8, 8)
        self.conv3, self.norm3 = conv_norm(8, 8)
        self.relu = nn.ReLU(inplace=True)
        self.fc1, self.fc2 = nn.Linear(8 * 16, 16), nn.Linear(16, classes)

    def forward(self, x):
        x = F.max_pool2d(self.relu(self.norm1(self.conv1(x))), 2)
        y = self.relu(self.norm2(self.conv2(x)))
        x = self.relu(self.norm3(self.conv3(y)) + x)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


METHODS = {"bnn": {}, "xnor": {}, "horq": {"order": 1}}
WRAPPED = ["conv2", "conv3", "fc1"]


def net():
    torch.manual_seed(0)
    return Residual()


def images(n=32):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [None, images()])
def test_answers_depend_on_the_image(method, data):
    new = horq.convert(net(), method, data=data, **METHODS[method])
    for training in (True, False):
        y = new.train(training)(images())
        assert (y[0] - y[1]).abs().max() > 1e-2 * y.abs().max()
    with pytest.warns(UserWarning, match="the signs before 'conv2', 'conv3', 'fc1' are constant"):
        new = horq.convert(net(), method, centre="none", **METHODS[method])
    y = new.eval()(images())
    assert torch.equal(y[0], y[1]) == (method != "xnor")  # the means of XNOR-Net's windows still say something


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("centre", ["norm", "shift"])
def test_the_engine_agrees(method, centre, tmp_path):
    new = horq.convert(net(), method, centre=centre, data=images(), **METHODS[method])
    for name in WRAPPED:
        assert type(new.get_submodule(name)) is hn.Centred
    new.train()(images()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in new.parameters())
    horq.export(new.eval(), images(), tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(np.ascontiguousarray(images().permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, new(images()).numpy(), rtol=1e-4, atol=1e-4)


def test_a_file_is_restored_into_it(tmp_path):
    new = horq.convert(net(), "horq", data=images()).eval()
    horq.export(new, images(), tmp_path / "net.horq")
    again = horq.restore(horq.convert(net(), "horq"), tmp_path / "net.horq").eval()
    with torch.no_grad():
        assert torch.allclose(again(images()), new(images()), atol=1e-5)


def test_names_and_start_values():
    model = net()
    with torch.no_grad():
        model.norm2.bias.copy_(torch.linspace(-1, 1, 8))
    before = model.state_dict()
    state = horq.convert(model, "horq").state_dict()
    assert torch.equal(state["conv3.layer.weight"], before["conv3.weight"])
    assert set(before) - {f"{name}.weight" for name in WRAPPED} - {"fc1.bias"} <= set(state)
    x = torch.randn(200_000, 8, generator=torch.Generator().manual_seed(1)) + before["norm2.bias"]
    assert torch.allclose(state["conv3.before.running_mean"], x.relu().mean(0), atol=0.01)
    assert torch.allclose(state["conv3.before.running_var"], x.relu().var(0), atol=0.01)
    shifted = horq.convert(model, "horq", centre="shift", skip=["conv1", "fc1", "fc2"]).state_dict()
    assert torch.allclose(shifted["conv3.before.shift"], -state["conv3.before.running_mean"])


def test_data_set_the_statistics_of_the_copy():
    new = horq.convert(net(), "horq", data=[images()[:16], images()[16:]])
    seen = []
    new.conv2.layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    assert new.training
    new.eval()(images())
    gain = new.conv2.before.weight.detach()
    assert (seen[0].mean((0, 2, 3)) / gain).abs().max() < 0.05
    assert (seen[0].var((0, 2, 3)) / gain.square() - 1).abs().max() < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_layers_that_read_both_signs_stay_as_they_were(method):
    """XNOR-Net's order, our own (activation, then batch norm), and GELU, whose signs are those of its input."""
    torch.manual_seed(1)
    for behind in (
        (hn.BatchNorm2d(4),),
        (nn.ReLU(), nn.BatchNorm2d(4)),
        (hn.PReLU(4), nn.MaxPool2d(2)),
        (nn.GELU(),),
        (hn.BatchNorm2d(4), hn.Shift(4)),
    ):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), *behind, nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(2))
        model(images())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new = horq.convert(model, method)
            plain = horq.convert(model, method, centre="none")
        state = new.state_dict()
        assert list(state) == list(plain.state_dict())
        assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
        assert not any(isinstance(part, hn.Centred) for part in new.modules())


class Branch(nn.Module):
    """What torch.fx cannot trace."""

    def __init__(self, function):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
        self.function = function

    def forward(self, x):
        if x.sum() > -1e9:
            x = self.function(self.conv1(x))
        return self.fc(self.conv2(x).mean((2, 3)))


def test_data_tell_where_the_code_does_not():
    with pytest.warns(UserWarning, match=r"cannot tell what values these layers read: 'conv2' \(torch.fx cannot trace"):
        new = horq.convert(Branch(F.relu), "bnn")
    assert type(new.conv2) is hn.HorqConv2d
    for function, kind in ((F.relu, hn.Centred), (torch.tanh, hn.HorqConv2d)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new = horq.convert(Branch(function), "bnn", data=torch.randn(8, 1, 8, 8))
        assert type(new.conv2) is kind


def test_a_first_layer_on_pixels():
    """Images of 0 to 1 have one sign; what is fed in only data can tell."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    with pytest.warns(UserWarning, match=r"these layers read: '0' \(the input\); .* pass data="):
        assert type(horq.convert(model, "bnn", skip=["2"])[0]) is hn.HorqConv2d
    assert type(horq.convert(model, "bnn", skip=["2"], data=images())[0]) is hn.Centred
    assert type(horq.convert(model, "bnn", skip=["2"], data=images() - 0.5)[0]) is hn.HorqConv2d


def test_constant_signs_in_the_data_are_told():
    """A learned shift counts as what centres, but one of 0 behind a softplus does not."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), hn.Shift(4), nn.Conv2d(4, 4, 3), nn.Flatten())
    model.append(nn.Linear(64, 2))
    with pytest.warns(UserWarning, match="over the data all signs of plane 1 before '3' are constant"):
        horq.convert(model, "horq", data=images())


def test_a_shift_needs_a_mean():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ValueError, match=r"cannot convert '2': no batch norm tells the mean .* pass data"):
        horq.convert(model, "horq", centre="shift")
    new = horq.convert(model, "horq", centre="shift", data=images())
    with torch.no_grad():
        assert torch.allclose(new[2].before.shift, -model[:2](images()).mean((0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"centre": "median"}, "centre must be one of norm, shift, none, not 'median'"),
        ({"data": images(1)}, "data must be a batch of at least two samples"),
        ({"data": []}, "data must be a batch of at least two samples"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        horq.convert(net(), "bnn", **options)
    with pytest.raises(ValueError, match=f"method 'bwn' has no option '{next(iter(options))}'; it has bases, refined"):
        horq.convert(net(), "bwn", **options)


def test_the_report():
    new = horq.convert(net(), "horq")
    report = hn.explain(new, images())
    assert [row.layer for row in report] == WRAPPED
    assert [row.centred for row in report] == ["BatchNorm2d", "BatchNorm2d", "BatchNorm1d"]
    assert [row.reads for row in report] == [
        "0 and above: relu (ReLU)",
        "0 and above: relu (ReLU)",
        "0 and above: relu (ReLU)",
    ]
    assert report[0].channels == 8
    assert all(len(row.constant) == 2 and max(row.constant) < row.channels for row in report)
    lines = str(report).splitlines()
    assert len(lines) == 4
    assert lines[1].split("  ")[0] == "conv2"
    assert "give data" in str(hn.explain(new))
    assert [layer.order for layer in hn.horq_layers(new)] == [2, 2, 2]
    with pytest.warns(UserWarning, match="are constant"):
        bad = hn.explain(horq.convert(net(), "horq", centre="none"), images())
    assert bad[0].constant[0] == bad[0].channels == 8
    assert bad[0].centred == "-"


def inverted_residuals(blocks=12):
    """As in MnasNet: every second layer reads a ReLU, and a batch norm follows each layer."""
    layers = [*conv_norm(1, 8), nn.ReLU()]
    for _ in range(blocks):
        layers += [nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [*conv_norm(16, 16, groups=16), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def test_no_batch_norm_reads_a_constant():
    """Constant signs make constant answers, and a batch norm behind one multiplies gradients by 1 / sqrt(eps) = 316: in
    networks as deep as MnasNet they overflow with the first step."""

    def least_variance(new):
        found = []
        for norm in new.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].var((0, 2, 3)).max().item()))
        F.cross_entropy(new(images()), torch.arange(32) % 4).backward()
        assert all(parameter.grad.isfinite().all() for parameter in new.parameters())
        return min(found[1:])  # of the binary layers

    torch.manual_seed(0)
    model = inverted_residuals(4)
    assert least_variance(horq.convert(model, "bnn")) > 0.1
    with pytest.warns(UserWarning, match="are constant"):
        assert least_variance(horq.convert(model, "bnn", centre="none")) == 0


@pytest.mark.parametrize(("method", "options"), [("bnn", {}), ("horq", {"order": 1}), ("horq", {"order": 2})])
def test_it_learns_behind_relus(method, options):
    """Four patterns in noise; what reads constant signs is left with one class in four."""
    generator = torch.Generator().manual_seed(5)
    patterns = (torch.rand(4, 1, 8, 8, generator=generator) > 0.5).float()
    labels = torch.randint(0, 4, (512,), generator=generator)
    x = (patterns[labels] + 0.5 * torch.randn(512, 1, 8, 8, generator=generator)).clamp(0, 1)

    def accuracy(new):
        optimizer = torch.optim.Adam(new.parameters(), 3e-3)
        for i in range(48):
            part = slice(64 * (i % 6), 64 * (i % 6 + 1))
            loss = F.cross_entropy(new.train()(x[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hn.clip_weights_(new)
        return (new.eval()(x[384:]).argmax(1) == labels[384:]).float().mean().item()

    model = net()
    assert accuracy(copy.deepcopy(model)) > 0.9
    assert accuracy(horq.convert(model, method, **options)) > 0.85
    if options.get("order") != 2:
        with pytest.warns(UserWarning, match="are constant"):
            assert accuracy(horq.convert(model, method, centre="none", **options)) < 0.5
