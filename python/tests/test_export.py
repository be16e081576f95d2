"""Networks through `horq.export` and the Rust engine against PyTorch, and what export refuses."""

import operator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import horq
from horq import nn as hn
from horq.exporting.handlers import MODULES
from horq.train.networks import GREY, NETWORKS, build, finish


def settled(module, example):
    """Random parameters, batch statistics from two passes, eval mode."""
    torch.manual_seed(7)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.PReLU):
                layer.weight.uniform_(-0.3, 0.5)
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
        module.train()
        for _ in range(2):
            module(example)
    return module.eval()


def engine(module, example, tmp_path, **options):
    """The module's file, opened."""
    path = tmp_path / "net.horq"
    horq.export(module, example, path, **options)
    return horq.Model(path)


def channels_last(x):
    return np.ascontiguousarray((x.permute(0, 2, 3, 1) if x.dim() == 4 else x).numpy())


def agree(module, example, tmp_path, exact=False):
    """The engine's answers equal PyTorch's, of the folded and of the plain module."""
    module = settled(module, example)
    model = engine(module, example, tmp_path)
    answers = torch.from_numpy(model.run(channels_last(example)))
    answers = answers.permute(0, 3, 1, 2) if answers.dim() == 4 else answers
    with torch.no_grad():
        folded, plain = horq.fold(module)(example), module(example)
    if exact:
        assert torch.equal(answers, folded)
        assert torch.equal(answers, plain)
    else:
        assert torch.allclose(answers, folded, rtol=1e-4, atol=1e-4 * folded.abs().max().item())
        assert torch.allclose(answers, plain, rtol=1e-4, atol=1e-4 * folded.abs().max().item())
    given, expected = model.golden()
    assert np.allclose(model.run(given), expected, rtol=1e-4, atol=1e-4)
    return model


MODES = ["window", "image", "fixed", "none", "halving"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
def test_binary_convolutions_are_equal_to_the_bit(mode, padding_mode, tmp_path):
    options = {"scale_mode": mode, "padding_mode": padding_mode, "order": 3}
    net = nn.Sequential(
        hn.HorqConv2d(5, 12, 3, padding=1, bias=True, **options),
        nn.PReLU(12),
        hn.BatchNorm2d(12),
        hn.HorqConv2d(12, 20, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        hn.BatchNorm2d(20),
    )
    agree(net, torch.randn(3, 5, 9, 11, generator=torch.Generator().manual_seed(0)), tmp_path, exact=True)


@pytest.mark.parametrize("mode", MODES)
def test_binary_dense_layers_are_equal_to_the_bit(mode, tmp_path):
    net = nn.Sequential(
        hn.HorqLinear(70, 40, 4, mode), nn.PReLU(), hn.BatchNorm1d(40), hn.HorqLinear(40, 9, 2, mode, bias=True)
    )
    agree(net, torch.randn(5, 70, generator=torch.Generator().manual_seed(1)), tmp_path, exact=True)


class Branches(nn.Module):
    """Every operation without weights, some of them as functions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.right = nn.Conv2d(8, 8, 1)
        self.norm_after_add = nn.BatchNorm2d(8)
        self.slope = nn.PReLU(16)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(16 * 16, 12)
        self.norm_flat = nn.BatchNorm1d(12)
        self.affine = hn.Affine(torch.linspace(0.5, 2, 12), torch.linspace(-1, 1, 12))
        self.head = nn.Linear(28, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.norm_after_add(self.left(x) + self.right(x))
        x = self.slope(torch.cat([F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)], 1))
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        flat = self.dropout(x).view(x.size(0), -1)
        hidden = self.affine(torch.relu(self.norm_flat(self.hidden(flat))))
        return F.softmax(self.head(torch.cat([hidden, pooled], dim=1)), dim=1)


def test_every_operation(tmp_path):
    example = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    model = agree(Branches(), example, tmp_path)
    ops = {node["op"] for node in model.graph["nodes"]}
    expected = {"conv2d", "dense", "affine", "relu", "prelu", "max_pool", "average_pool", "global_average_pool"}
    assert ops == expected | {"add", "concat", "flatten", "softmax"}
    assert not any(node["name"] == "norm" for node in model.graph["nodes"]), "folded into the stem"


class Flattened(nn.Module):
    """Vectors in PyTorch's order and the engine's, elementwise steps and joins before the weights undo it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(60)
        self.slope = nn.PReLU(60)
        self.binary = hn.HorqLinear(60 + 3, 7, 2, "fixed")

    def forward(self, x):
        flat = self.slope(self.norm(torch.flatten(x, 1)))
        return self.binary(torch.cat([flat, x.mean((2, 3))], 1))


ACTIVATIONS = [kind for kind in MODULES if kind.__module__ == "torch.nn.modules.activation" and kind is not nn.Softmax]


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_each_activation_alone_and_behind_a_layer(kind, tmp_path):
    torch.manual_seed(3)
    example = 4 * torch.randn(16, 24)
    agree(nn.Sequential(kind()), example, tmp_path, exact=True)
    agree(nn.Sequential(nn.Linear(24, 24), kind()), example, tmp_path)


def test_vectors_flattened_from_images_are_permuted(tmp_path):
    agree(Flattened(), torch.randn(4, 3, 4, 5, generator=torch.Generator().manual_seed(3)), tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("order", [0, 3])
def test_the_networks_of_the_results(name, order, tmp_path):
    torch.manual_seed(5)
    size = (1, 28, 28) if name in GREY else (3, 32, 32)
    example = torch.randint(0, 256, (6, *size), generator=torch.Generator().manual_seed(4)).float()
    net = build(name, 1 / 8)
    net = settled(hn.convert(net, "horq", order=order) if order else net, example)
    finish(net)
    net.train()(example)
    model = engine(net.eval(), example, tmp_path)
    for k in range(1, order + 1) if order else [None]:
        if k:
            hn.set_order(net, k)
        with torch.no_grad():
            expected = net(example).numpy()
        assert np.allclose(model.run(channels_last(example), order=k), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image", [True, False])
def test_switchable_norms_follow_the_dial(image, tmp_path):
    """To the bit at every order, before the first quantizer, between two, and behind the last."""
    norm = hn.BatchNorm2d if image else hn.BatchNorm1d
    layer = (
        (lambda a, b: hn.HorqConv2d(a, b, 3, padding=1, order=3)) if image else (lambda a, b: hn.HorqLinear(a, b, 3))
    )
    net = nn.Sequential(norm(12), layer(12, 20), nn.PReLU(20), norm(20), layer(20, 17), norm(17))
    example = torch.randn(6, 12, *([5, 7] if image else []), generator=torch.Generator().manual_seed(1))
    net = settled(hn.switch_norms_(net, 3), example)
    assert [type(net[i]) for i in (0, 3, 5)] == 3 * [hn.SwitchableBatchNorm]
    with torch.no_grad():
        for order in (1, 2):  # statistics of their own; those of order 3 are there already
            hn.set_order(net.train(), order)
            net(example * order)
    session = engine(net.eval(), example, tmp_path).session(batch=6)
    answers = {}
    for order in (3, 1, 2):
        hn.set_order(net, order)
        session.set_order(order)
        with torch.no_grad():
            answers[order] = channels_last(net(example))
        assert np.array_equal(session.run(channels_last(example)), answers[order])
        assert not any(np.allclose(answers[order], answers[other]) for other in answers if other != order)
    with torch.no_grad():
        assert np.array_equal(channels_last(horq.fold(net)(example)), answers[3])


def test_a_switchable_norm_needs_a_layer_of_as_many_orders(tmp_path):
    net = nn.Sequential(hn.HorqLinear(4, 6, 2), hn.SwitchableBatchNorm(hn.BatchNorm1d(6), 3), hn.HorqLinear(6, 5, 3))
    model = engine(net.eval(), torch.randn(2, 4), tmp_path)  # goes by the layer behind it
    assert model.output_shape == (5,)
    with pytest.raises(horq.ExportError, match=r"node `1` .*each of 3 orders, but no binary layer has that many"):
        horq.export(net[:2], torch.randn(2, 4), tmp_path / "net.horq", general=False)


def test_a_switchable_norm_beside_the_binary_layers_goes_by_the_first(tmp_path):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.binary, self.plain = hn.HorqLinear(4, 6, 2), nn.Linear(4, 6)
            self.norm = hn.SwitchableBatchNorm(hn.BatchNorm1d(6), 2)

        def forward(self, x):
            return self.binary(x) + self.norm(self.plain(x))

    example = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    net = settled(Beside(), example)
    net.norm.norms[0].weight.data.fill_(3.0)
    model = engine(net, example, tmp_path)
    for order in (1, 2):
        hn.set_order(net, order)
        with torch.no_grad():
            assert np.allclose(model.run(example.numpy(), order=order), net(example).numpy(), rtol=1e-5, atol=1e-5)


def test_only_norms_of_ours_can_be_switched_and_only_once():
    with pytest.raises(ValueError, match="has no BatchNorm1d or BatchNorm2d of horq"):
        hn.switch_norms_(nn.Sequential(nn.BatchNorm1d(3)), 2)
    norm = hn.BatchNorm1d(3)
    net = hn.switch_norms_(nn.Sequential(norm, nn.Sequential(norm)).eval(), 2)
    assert net[0] is net[1][0]
    assert not any(module.training for module in net.modules())
    with pytest.raises(ValueError, match="switched already"):
        hn.switch_norms_(net, 2)
    with pytest.raises(TypeError, match="must be a BatchNorm1d or BatchNorm2d of horq"):
        hn.SwitchableBatchNorm(nn.BatchNorm1d(3), 2)
    net[0].order = 3
    with pytest.raises(ValueError, match="order must be an integer from 1 to 2, not 3"):
        net(torch.zeros(1, 3))


def test_export_is_deterministic_and_carries_notes(tmp_path):
    net, example = nn.Sequential(hn.HorqLinear(8, 3)), torch.randn(5, 8)
    for name in ("a", "b"):
        horq.export(net, example, tmp_path / name, notes={"input": "anything"}, golden=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = horq.Model(tmp_path / "a")
    assert model.notes == {"input": "anything"}
    assert model.producer.startswith("horq ")
    assert model.golden()[0].shape == (2, 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"], "no temporary file is left"


def test_fold_leaves_the_module_alone():
    net = settled(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), torch.randn(2, 2, 3, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    horq.fold(net.train())
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def calls(function):
    class Calls(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return function(self.layer(x))

    return Calls()


def added_under_a_second_name(x):
    y = x
    y += torch.relu(x)
    return x + y


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.GELU()), r"node `1` \(torch.*GELU\).*no such layer"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), r"node `0` .*ceil_mode"),
        (nn.Sequential(nn.AvgPool2d(2, padding=1)), r"node `0` .*count_include_pad=False"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(2)), r"node `0` .*output size of 1"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")), r"node `0` .*padding given as numbers"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")), r"node `0` .*zero padding"),
        (nn.Sequential(nn.Linear(4, 2)), r"node `0` .*flatten it first"),
        (nn.Sequential(nn.Softmax(dim=3)), r"node `0` .*dim=1"),
        (calls(torch.sigmoid), r"node `sigmoid` .*no such operation"),
        (calls(lambda x: x + 1), r"node `add` .*reads 1"),
        (calls(lambda x: torch.cat([x, x], 2)), r"node `cat` .*dim=1"),
        (calls(lambda x: x.view(-1)), r"node `view` .*keep the batch first"),
        (calls(lambda x: x.view(-1, 4, 8)), r"node `view` .*keep the batch first"),
        (calls(lambda x: torch.flatten(input=x, start_dim=1)), r"node `flatten` .*not known"),
        (calls(lambda x: F.dropout(x, 0.5)), r"node `dropout` .*drops values in eval mode"),
        (calls(lambda x: F.relu(x, inplace=True) + x), r"node `add` .*reads `layer`, which `relu` changed in place"),
        (calls(lambda x: x.add_(x.relu()) + x), r"node `add` .*reads `layer`, which `add_` changed in place"),
        (calls(added_under_a_second_name), r"trace by torch.fx answers otherwise than the module itself.*in place"),
        (calls(lambda x: F.dropout(x, training=False).add_(x) + x), r"reads `layer`, which `add_` changed in place"),
        (calls(lambda x: x.mean(1)), r"node `mean` .*keep the batch first"),
        (calls(lambda x: (x, x)), r"must return one tensor"),
        (calls(lambda x: x.flatten(1)), r"returns a flattened image"),
        (calls(lambda x: x if x.sum() > 0 else -x), r"torch.fx cannot trace Calls.*control flow"),
        (nn.Sequential(nn.Identity()), r"returns its input"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), r"does not run on the example"),
    ],
)
def test_export_refuses_by_name(module, words, tmp_path):
    path = tmp_path / "net.horq"
    with pytest.raises(horq.Error, match=words):
        horq.export(module, torch.randn(2, 2, 4, 4), path, general=False)
    assert not path.exists()


def test_code_in_place_is_exported_where_nobody_reads_what_it_changed(tmp_path):
    module = calls(lambda x: F.relu(operator.iadd(F.dropout(x, training=False), torch.relu(x)), inplace=True))
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    horq.export(module, x, tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        assert np.allclose(answers, module(x).permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)


def test_export_refuses_examples_without_a_batch(tmp_path):
    with pytest.raises(horq.ExportError, match=r"example must be \[N, C, H, W\]"):
        horq.export(hn.HorqLinear(4, 4), torch.randn(4), tmp_path / "x", general=False)
