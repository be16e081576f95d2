"""`horq.convert`: which layers become what, and that the engine runs them."""

import numpy as np
import pytest
import torch
from torch import nn

import horq
from horq import nn as hn


class Net(nn.Module):
    """Four layers with weights, one in a block, one grouped."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = hn.BatchNorm2d(8)
        self.block = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, bias=False), hn.PReLU(16), hn.BatchNorm2d(16))
        self.conv2 = nn.Conv2d(16, 16, (3, 1), padding=(1, 0), groups=4)
        self.norm2 = hn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.norm2(self.conv2(self.block(self.norm1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


def net():
    torch.manual_seed(0)
    return Net()


KINDS = {
    "horq": (hn.HorqConv2d, False),
    "xnor": (hn.HorqConv2d, False),
    "bnn": (hn.HorqConv2d, False),
    "bwn": (hn.BinaryWeight, False),
    "bwnh": (hn.BinaryWeight, False),
    "dqc": (hn.PowerOfTwo, True),
    "sqc": (hn.PowerOfTwo, True),
    "inq": (hn.Inq, True),
}


@pytest.mark.parametrize("method", KINDS)
def test_layers_and_names(method):
    kind, ends = KINDS[method]
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    new = horq.convert(model, method)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in ("block.0", "conv2"):
        assert type(new.get_submodule(name)) is kind
    assert (type(new.conv1) is kind) == ends
    assert type(new.fc) in ((kind,) if ends else (nn.Linear,))
    inner = "" if kind is hn.HorqConv2d else "layer."
    state = new.state_dict()
    assert torch.equal(state[f"block.0.{inner}weight"], before["block.0.weight"])
    assert torch.equal(state[f"conv2.{inner}weight"], before["conv2.weight"])
    assert torch.equal(state[f"conv2.{inner}bias"], before["conv2.bias"])
    assert f"block.0.{inner}bias" not in state
    assert ("block.0.scales" in state) == (method == "horq")


@pytest.mark.parametrize("method", KINDS)
def test_the_engine_agrees(method, tmp_path):
    new = horq.convert(net(), method, skip=())
    x = torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(1))
    new.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in new.parameters())
    if method == "inq":
        hn.freeze_(new, 1)
    new.eval()
    horq.export(new, x, tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, new(x).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", KINDS)
def test_depthwise_layers(method, tmp_path):
    torch.manual_seed(2)
    layers = (
        nn.Conv2d(3, 8, 1),
        hn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, groups=8),
        hn.BatchNorm2d(16),
        nn.Conv2d(16, 4, 1),
    )
    new = horq.convert(nn.Sequential(*layers), method).eval()
    assert type(new[2]) is KINDS[method][0]
    if method == "inq":
        hn.freeze_(new, 1)
    x = torch.randn(2, 3, 6, 6)
    horq.export(new, x, tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, new(x).permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-5)


def test_skip_and_options():
    new = horq.convert(net().eval(), "horq", skip=["block"], order=3, scale_mode="image", padding_mode="one")
    assert type(new.block[0]) is nn.Conv2d
    assert type(new.fc) is hn.HorqLinear
    assert (new.conv2.max_order, new.conv2.scale_mode, new.conv2.padding_mode) == (3, "image", "one")
    assert (new.conv2.groups, new.conv2.kernel_size, new.conv2.padding) == (4, (3, 1), (1, 0))
    assert not new.conv2.training
    new = horq.convert(net(), "dqc", bits=3, zero=True)
    assert (new.fc.bits, new.fc.zero, new.fc.dynamic) == (3, True, True)
    assert not horq.convert(net(), "sqc").fc.dynamic


def test_halving_scales_start_from_the_data():
    x = torch.randn(8, 3, 9, 8, generator=torch.Generator().manual_seed(1))
    guessed = horq.convert(net(), "horq", order=3, scale_mode="halving", own_scales=True, skip=())
    found = horq.convert(net(), "horq", order=3, scale_mode="halving", own_scales=True, skip=(), data=x)
    assert guessed.conv1.scales.tolist() == pytest.approx([0.798, 0.996, 1.172])
    expected = x.abs().mean() / 0.798 * guessed.conv1.scales
    assert torch.allclose(found.conv1.scales, expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"cannot convert 'conv1': own_scales .* not 'fixed'"):
        horq.convert(net(), "horq", own_scales=True, skip=())


def test_the_first_order_has_the_scale_of_xnor_net():
    new = horq.convert(net(), "xnor")
    assert (new.conv2.max_order, new.conv2.scale_mode) == (1, "window")


def test_the_layers_of_bnn_have_no_scales():
    new = horq.convert(net(), "bnn")
    assert (new.conv2.max_order, new.conv2.scale_mode, new.conv2.weight_scale) == (1, "none", "none")
    assert torch.equal(new.conv2.alpha(), torch.ones(16))


def test_several_bases():
    for method, kind in [("horq", hn.HorqConv2d), ("bwn", hn.BinaryWeight)]:
        new = horq.convert(net(), method, bases=3, refined=True)
        assert type(new.conv2) is kind
        assert (new.conv2.bases, new.conv2.refined) == (3, True)


def test_weights_of_binary_layers_are_clipped():
    model = net()
    with torch.no_grad():
        model.conv2.weight.mul_(20)
    for method in ("horq", "bwn"):
        state = horq.convert(model, method).state_dict()
        name = "conv2.weight" if method == "horq" else "conv2.layer.weight"
        assert torch.equal(state[name], model.conv2.weight.clamp(-1, 1))
    assert torch.equal(horq.convert(model, "dqc").conv2.layer.weight, model.conv2.weight)


def test_one_part_after_another():
    new = horq.convert(net(), "bwn", skip=["conv1", "conv2", "fc"])
    new = horq.convert(new, "dqc")
    kinds = [type(layer) for layer in (new.conv1, new.block[0], new.conv2, new.fc)]
    assert kinds == [hn.PowerOfTwo, hn.BinaryWeight, hn.PowerOfTwo, hn.PowerOfTwo]


def test_a_layer_used_twice_stays_one():
    layer = nn.Linear(4, 4)
    new = horq.convert(nn.Sequential(layer, nn.ReLU(), layer), "bwn", skip=())
    assert new[0] is new[2]
    assert type(horq.convert(layer, "bwn", skip=())) is hn.BinaryWeight
    assert type(horq.convert(layer, "float")) is nn.Linear


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (net(), {"method": "abc"}, "method must be one of horq, xnor.*not 'abc'"),
        (net(), {"method": "horq", "bits": 3}, "method 'horq' has no option 'bits'; it has order, scale_mode"),
        (net(), {"method": "bwnh", "order": 3}, "'bwnh' has no option 'order'; it has none"),
        (net(), {"method": "bwn", "skip": ["conv9"]}, "skip names 'conv9'"),
        (net(), {"method": "bwn", "skip": "conv1"}, "a list of names"),
        (net(), {"method": "horq", "order": 9}, "cannot convert 'block.0': order must be an integer from 1 to 8"),
        (nn.Linear(2, 2), {"method": "bwn"}, "Linear has no layer left to convert"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 3, padding="same")),
            {"method": "dqc"},
            "cannot convert '1': only zero padding",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(model, options, words):
    with pytest.raises(ValueError, match=words):
        horq.convert(model, **options)


def test_unknown_layers_with_weights_are_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(1, 2, 3), nn.Linear(4, 4))
    with pytest.raises(TypeError, match="cannot convert '1': it goes around a Conv2d or Linear, not a Conv1d"):
        horq.convert(model, "bwn")
    assert type(horq.convert(model, "bwn", skip=["1"])[0]) is hn.BinaryWeight
