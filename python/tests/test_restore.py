"""Modules from the files that were exported from them."""

import contextlib
import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from made_up import call
from torch import nn

import horq
import horq.nn as hn
from experiments.results import __main__ as command
from experiments.results import restore as restoring
from experiments.results.evaluate import evaluate
from experiments.results.keep import keep
from horq.exporting.fields import channels_last
from horq.train import ConfigError, read, runs
from horq.train import __main__ as train
from horq.train.loop import Trainer
from horq.train.networks import GREY, NETWORKS, build, finish

METHODS = {
    "float": {},
    "horq": {"order": 3},
    "xnor": {},
    "bnn": {},
    "bwn": {},
    "dqc": {"bits": 4},
    "sqc": {"bits": 4, "zero": True},
    "inq": {"bits": 5},
}


def trained(net, example):
    """A module as if it were trained: statistics, gains, slopes and scales that are no defaults."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 1 and not name.endswith("alpha"):
                parameter.add_(0.3 * torch.rand(parameter.shape, generator=generator))
    if any(isinstance(layer, hn.Inq) for layer in net.modules()):
        hn.freeze_(net, 1.0)
    net.train()(example)
    return net.eval()


def tensors(path):
    """Every tensor that the graph of a file names, and its answers."""
    model = horq.Model(path)
    found = {}

    def gather(value):
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            gather(part)
        if isinstance(value, str):
            with contextlib.suppress(horq.Error):  # no tensor's name
                found[value] = model.tensor(value)

    for node in model.graph["nodes"]:
        gather(node)
    return model, found


def same(first, second):
    (ours, mine), (theirs, found) = tensors(first), tensors(second)
    assert ours.graph == theirs.graph
    assert len(mine) > 1
    assert mine.keys() == found.keys()
    for name, value in mine.items():
        assert value.dtype == found[name].dtype
        assert np.array_equal(value, found[name]), name


def goes_round(make, example, tmp_path):
    """Exports a module, restores the file into a fresh one, and exports that: the tensors must be equal."""
    torch.manual_seed(3)
    net = trained(make(), example)
    horq.export(net, example, tmp_path / "first.horq")
    torch.manual_seed(4)
    fresh = make()
    assert horq.restore(fresh, tmp_path / "first.horq") is fresh
    horq.export(fresh, example, tmp_path / "second.horq")
    same(tmp_path / "first.horq", tmp_path / "second.horq")
    return net, fresh.eval()


def alike(net, fresh, example, within=1e-5):
    """Whether two modules answer the same but for a share of the largest answer."""
    with torch.no_grad():
        answers, expected = fresh(example), net(example)
    return torch.allclose(answers, expected, rtol=0, atol=within * expected.abs().max().item())


def images(name, count=6):
    size = (1, 28, 28) if name in GREY else (3, 32, 32)
    return torch.randint(0, 256, (count, *size), generator=torch.Generator().manual_seed(4)).float()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("resnet32", "resnet44", "resnet56")])
@pytest.mark.parametrize("method", METHODS)
def test_every_network_and_method_goes_round(name, method, tmp_path):
    def make():
        net = hn.convert(build(name, 1 / 8), method, **METHODS[method])
        return hn.switch_norms_(net, 3) if method == "horq" and name not in ("resnet20", "convnet-prelu") else net

    example = images(name)
    assert alike(*goes_round(make, example, tmp_path), example, within=1e-4)


class Permuted(nn.Module):
    """Vectors in the engine's order before weights and elementwise steps, one slope for all, biases, groups."""

    def __init__(self, binary=True):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.folded = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.slope = nn.PReLU()
        self.groups = hn.HorqConv2d(8, 12, 3, padding=1, groups=2, order=2, bias=True)
        self.norm = hn.BatchNorm1d(12 * 20)
        self.shift = hn.Shift(12 * 20)
        self.hidden = hn.HorqLinear(12 * 20, 9, 2, bias=True) if binary else nn.Linear(12 * 20, 9)
        self.act = hn.RPReLU(9)
        self.head = nn.Linear(9, 4)

    def forward(self, x):
        x = self.slope(self.deep(self.folded(self.stem(x))))
        return self.head(self.act(self.hidden(self.shift(self.norm(torch.flatten(self.groups(x), 1))))))


@pytest.mark.parametrize("own_scales", [True, False])
def test_halving_scales_come_back(own_scales, tmp_path):
    def make(own_scales=own_scales):
        halving = {"scale_mode": "halving", "own_scales": own_scales}
        norm = hn.BatchNorm1d(5 * 12)
        return nn.Sequential(
            hn.HorqConv2d(3, 5, 3, order=3, **halving), nn.Flatten(), norm, hn.HorqLinear(5 * 12, 4, 2, **halving)
        )

    example = torch.randn(5, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    net, fresh = goes_round(make, example, tmp_path)
    assert alike(net, fresh, example)
    assert torch.equal(net[0].scales, fresh[0].scales)
    if own_scales:
        with pytest.raises(
            horq.RestoreError, match="one b for all orders, the file one for each; build it with own_sca"
        ):
            horq.restore(make(own_scales=False), tmp_path / "first.horq")
    else:
        wider = horq.restore(make(own_scales=True), tmp_path / "first.horq")
        assert torch.equal(wider[0].scales, net[0].scales.expand(3))


@pytest.mark.parametrize("binary", [True, False])
def test_vectors_in_the_engines_order_come_back(binary, tmp_path):
    example = torch.randn(5, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    assert alike(*goes_round(lambda: Permuted(binary), example, tmp_path), example)


def test_a_single_layer_comes_back(tmp_path):
    example = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    goes_round(lambda: nn.Linear(10, 3), example, tmp_path)
    goes_round(lambda: hn.HorqLinear(10, 3, 2), example, tmp_path)


def test_what_is_not_of_the_module_is_refused_and_nothing_changes(tmp_path):
    example = torch.randn(3, 3, 8, 8)

    def make(filters=4, **options):
        return nn.Sequential(nn.Conv2d(3, filters, 3), hn.HorqConv2d(filters, 5, 3, **options), hn.MaxPool2d())

    horq.export(make(), example, tmp_path / "file.horq")
    for other, words in {
        make(8): "node `0` .* in filters",
        make(order=3): "node `1` .binary_conv2d. differs from the module's `1` .* in order",
        nn.Sequential(*list(make())[:2]): "it has 3 nodes and the output `2`, the module's 2 and `1`",
        nn.Sequential(
            nn.Conv2d(2, 4, 3)
        ): "which reads 8 x 8 x 3, is not of this module: cannot export node `0` .*does not run",
        nn.Sequential(nn.Linear(16, 3)): "which reads 8 x 8 x 3, is not of this module",
        nn.Sequential(nn.ReLU(), *make()): "node `0` .conv2d. differs from the module's `0` .relu.",
    }.items():
        before = copy.deepcopy(other.state_dict())
        with pytest.raises(horq.RestoreError, match=words):
            horq.restore(other, tmp_path / "file.horq")
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_what_no_weights_can_be_told_from_is_refused(tmp_path):
    example = torch.randn(3, 16)
    twice = nn.Sequential(hn.HorqLinear(16, 5, bases=2))
    horq.export(twice, example, tmp_path / "twice.horq")
    with pytest.raises(horq.RestoreError, match="`0`: it has several weight bases"):
        horq.restore(twice, tmp_path / "twice.horq")
    coded = nn.Sequential(hn.Codebook(nn.Linear(16, 5), torch.linspace(-1, 1, 8)))
    horq.export(coded, example, tmp_path / "coded.horq")
    with pytest.raises(horq.RestoreError, match=r"cannot restore `0` \(Codebook\)"):
        horq.restore(coded, tmp_path / "coded.horq")
    slopes = nn.Sequential(nn.Linear(16, 5), nn.PReLU(5))
    with torch.no_grad():
        slopes[1].weight.copy_(torch.linspace(0, 1, 5))
    horq.export(slopes, example, tmp_path / "slopes.horq")
    with pytest.raises(horq.RestoreError, match="one slope for all channels"):
        horq.restore(nn.Sequential(nn.Linear(16, 5), nn.PReLU()), tmp_path / "slopes.horq")
    with pytest.raises(horq.Error, match=r"none\.horq"):
        horq.restore(slopes, tmp_path / "none.horq")


class Folding(nn.Module):
    """Batch norms that export folds into what is before them, or not, for each way there is."""

    def __init__(self, bias):
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4))
        self.behind = nn.Sequential(nn.Conv2d(4, 5, 3, bias=bias), nn.Dropout(), nn.Identity(), nn.BatchNorm2d(5))
        self.twice = nn.Sequential(nn.Conv2d(5, 6, 1, bias=bias), nn.BatchNorm2d(6), nn.BatchNorm2d(6))
        self.kept = nn.Conv2d(6, 6, 1, bias=bias)
        self.norm = nn.BatchNorm2d(6)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = torch.relu(self.twice(torch.relu(self.behind(torch.relu(self.near(x))))))
        x = self.kept(x)
        return self.pool(x + self.norm(x))


@pytest.mark.parametrize("bias", [True, False])
def test_folded_batch_norms_come_back(bias, tmp_path):
    example = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert alike(*goes_round(lambda: Folding(bias), example, tmp_path), example)
    goes_round(lambda: nn.BatchNorm2d(3), example, tmp_path)


class Shared(nn.Module):
    """One batch norm behind two layers: in a file each has its own weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.second(torch.relu(self.norm(self.first(x)))))


def test_what_the_module_cannot_hold_is_refused(tmp_path):
    example, file = torch.randn(6, 4), tmp_path / "net.horq"
    horq.export(trained(Shared(), example), example, file)
    with pytest.raises(horq.RestoreError, match=r"node `first` .* that several layers share"):
        horq.restore(Shared(), file)
    net = nn.Sequential(nn.Linear(4, 4))
    horq.export(net, example, file)
    with pytest.raises(horq.RestoreError, match=r"node `0` .* float32"):
        horq.restore(copy.deepcopy(net).half(), file)
    assert torch.equal(horq.restore(copy.deepcopy(net).double(), file)[0].weight.float(), net[0].weight)
    four = nn.Sequential(hn.Codebook(nn.Linear(4, 4), torch.linspace(-1, 1, 8)))
    horq.export(four, example, file)
    with pytest.raises(horq.RestoreError, match=r"node `0` \(codebook_dense\) would be exported with another"):
        horq.restore(nn.Sequential(hn.PowerOfTwo(nn.Linear(4, 4), 3)), file)
    norm = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4, affine=False))
    horq.export(norm.eval(), example, file)
    with pytest.raises(horq.RestoreError, match="build it with affine=True"):
        horq.restore(norm, file)


@pytest.mark.parametrize("method", METHODS)
def test_a_module_that_went_astray_comes_back(method, tmp_path):
    def make():
        return hn.convert(build("lenet5", 1 / 8), method, **METHODS[method])

    example, file = images("lenet5"), tmp_path / "net.horq"
    horq.export(trained(make(), example), example, file)
    astray = make()
    with torch.no_grad():
        for parameter in astray.parameters():
            parameter.fill_(float("nan"))
    horq.export(horq.restore(astray, file), example, tmp_path / "again.horq")
    same(file, tmp_path / "again.horq")


def test_folded_modules_are_restored_as_they_are(tmp_path):
    example = images("vgg-small")

    def make():
        torch.manual_seed(1)
        return trained(hn.switch_norms_(hn.convert(build("vgg-small", 1 / 8), "horq", order=2), 2), example)

    horq.export(make(), example, tmp_path / "first.horq")
    plain = horq.fold(make())
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.fill_(0.25)
    horq.export(horq.restore(plain, tmp_path / "first.horq"), example, tmp_path / "second.horq")
    same(tmp_path / "first.horq", tmp_path / "second.horq")


def test_tensors_of_a_model(tmp_path):
    net = nn.Sequential(hn.Int8(nn.Linear(6, 3), -1, 1))
    horq.export(net, torch.randn(2, 6), tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    weight = model.tensor("0.weight")
    assert weight.dtype == np.int8
    assert np.array_equal(weight.reshape(3, 6), net[0].layer.weight.numpy())
    assert np.array_equal(model.tensor("0.input_scale"), [net[0].scale.item()])
    with pytest.raises(horq.Error, match='no node of the graph names a tensor "0"'):
        model.tensor("0")


def test_a_damaged_weight_is_noticed(tmp_path):
    net, file = nn.Sequential(nn.Linear(16, 5)), tmp_path / "net.horq"
    horq.export(net, torch.randn(2, 16), file)
    whole = bytearray(file.read_bytes())
    start = whole.index(net[0].weight.detach().numpy()[0, 0].tobytes())
    whole[start] ^= 1
    file.write_bytes(bytes(whole))
    with pytest.raises(horq.Error, match="was changed after it was written"):
        horq.restore(net, file)


@pytest.mark.parametrize("own", [True, False])
def test_statistics_change_no_answer_and_fit_what_is_read(own, tmp_path):
    example = images("vgg-small", 40)

    def make():
        net = hn.convert(build("vgg-small", 1 / 8), "horq", order=2)
        return hn.switch_norms_(net, 2) if own else net

    _, net = goes_round(make, example, tmp_path)
    answers = {}
    for order in (1, 2):
        hn.set_order(net, order)
        with torch.no_grad():
            answers[order] = net(example)
    hn.take_statistics_(net, example.split(20), (1, 2))
    assert not net.training
    assert all(layer.order == 2 for layer in hn.horq_layers(net))
    for order in (1, 2):
        hn.set_order(net, order)
        with torch.no_grad():
            largest = answers[order].abs().max().item()
            # A sign near 0 may change with the last bit: most answers, not all, are equal.
            close = (net(example) - answers[order]).abs().amax(1) <= 1e-3 * largest
        assert close.double().mean() >= 0.9
    norm = net.blocks[0][-1].norms[0] if own else net.blocks[0][-1]
    read = []
    handle = norm.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    hn.set_order(net, 1)
    with torch.no_grad():
        net(example)
    handle.remove()
    mean, variance = read[0].mean((0, 2, 3)), read[0].var((0, 2, 3), unbiased=False)
    assert torch.allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-4 * variance.sqrt().max().item())
    assert torch.allclose(norm.running_var, variance, rtol=1e-3)


def test_statistics_refuse_what_they_cannot_take():
    net, batch = nn.Sequential(nn.BatchNorm1d(4), hn.HorqLinear(4, 3, order=2)), torch.randn(3, 4)
    with pytest.raises(ValueError, match="affine=True"):
        hn.take_statistics_(nn.Sequential(nn.BatchNorm1d(4, affine=False)), [batch])
    with pytest.raises(ValueError, match="no batches"):
        hn.take_statistics_(net, iter([]))
    with pytest.raises(ValueError, match="order must be"):
        hn.take_statistics_(net, [batch], (1, 9))
    assert net[1].order == 2


def test_statistics_leave_modes_alone():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.frozen = nn.BatchNorm1d(4), nn.Dropout()

        def forward(self, x):
            return self.frozen(self.norm(input=x))

    net, batch = Named().train(), torch.randn(50, 4)
    net.frozen.eval()
    hn.take_statistics_(net, [batch])
    assert (net.training, net.norm.training, net.frozen.training) == (True, True, False)
    assert torch.allclose(net.norm.running_mean, batch.mean(0), atol=1e-6)


def test_runs_come_back_from_their_models(evaluated, monkeypatch, capsys, tmp_path):
    out = tmp_path / "out"
    for name in ("net-dial", "net-order1"):
        file = evaluated.out / name / f"{name}.horq"
        call(monkeypatch, command, "restore", file, "--out", out, "--data", evaluated.data)
        assert capsys.readouterr().out.splitlines() == [str(out / name)]
        net, config = runs.load(out / name)
        assert config == runs.load_config(evaluated.out / name)
        assert runs.result(out / name)["restored"] == horq.Model(file).digest
        images_of = torch.randint(0, 256, (20, 1, 28, 28), generator=torch.Generator().manual_seed(2)).float()
        expected = torch.from_numpy(horq.Model(file).run(channels_last(images_of)))
        with torch.no_grad():
            close = (net(images_of) - expected).abs().amax(1) <= 1e-3 * expected.abs().max()
        assert close.double().mean() >= 0.9
        with pytest.raises(SystemExit, match=f"{name} is a run already"):
            call(monkeypatch, command, "restore", file, "--out", out, "--data", evaluated.data)
        figures = evaluate(out / name, evaluated.data)
        for order, found in figures["orders"].items():
            assert abs(found["accuracy"] - evaluated.found[name]["orders"][order]["accuracy"]) <= 0.02
        with pytest.raises(SystemExit, match="was restored from a model; hand that one out"):
            call(monkeypatch, command, "card", out / name, "--to", tmp_path / "models")
        assert (keep(out / name, tmp_path / "kept") / "result.json").exists()


def test_training_goes_on_from_a_run_that_came_back(evaluated, tmp_path):
    out, file = tmp_path / "out", evaluated.out / "net-dial" / "net-dial.horq"
    restoring.restore_run(file, out, evaluated.data)
    configs = read(evaluated.recipe)
    config = configs["net-dial"]
    further = dataclasses.replace(config, name="further", init="net-dial", teacher="net-dial", epochs=1)
    result = Trainer(further, evaluated.data, out, progress=False).go()
    assert result["sources"] == {"net-dial": runs.digest(out / "net-dial")}
    for order, found in result["accuracy"].items():
        assert found >= runs.result(out / "net-dial")["accuracy"][order] - 0.1, "nothing was lost by the way"


@pytest.mark.parametrize(
    "note",
    [
        None,
        "{",
        "{}",
        "[]",
        "[" * 5000,
        {"name": 1},
        {"name": "../above"},
        {"name": ""},
        {"name": "/tmp/elsewhere"},
        {"name": "a\\b"},
        {"options": None},
        {"options": {"colour": 1}},
        {"options": {"order": 99}},
        {"seed": 1.5},
        {"seed": None},
        {"held_out": "x"},
        {"augment": None},
        {"init": 7},
        {"colour": "red"},
    ],
)
def test_a_model_that_does_not_say_how_it_was_trained_is_refused(note, evaluated, tmp_path):
    file, whole = tmp_path / "bare.horq", runs.plain(read(evaluated.recipe)["net-dial"])
    text = json.dumps({**whole, **note}) if note and isinstance(note, dict) else note
    horq.export(nn.Linear(4, 2), torch.randn(2, 4), file, notes={} if text is None else {"training": text})
    with pytest.raises(ConfigError, match=r"bare\.horq does not say how it was trained"):
        restoring.restore_run(file, tmp_path / "out", evaluated.data)
    assert not (tmp_path / "out").exists()


def test_a_damaged_config_is_named(evaluated, tmp_path):
    shutil.copytree(evaluated.out / "net-dial", tmp_path / "net-dial")
    file = tmp_path / "net-dial" / "config.json"
    for text, words in (
        ("{", r"config\.json is damaged"),
        ('{"name": "x", "lr": "fast"}', r"config\.json: lr must be"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            runs.load(tmp_path / "net-dial")


def test_finished_first_layers_come_back_exactly(tmp_path):
    example = images("lenet5")
    net = hn.convert(build("lenet5", 1 / 4), "horq", order=2)
    finish(net)
    horq.export(trained(net, example), example, tmp_path / "net.horq")
    fresh = horq.restore(hn.convert(build("lenet5", 1 / 4), "horq", order=2), tmp_path / "net.horq")
    assert torch.equal(fresh.conv1.weight, net.conv1.weight)


def test_what_a_finished_run_was_made_from_is_not_trained_again(made, tmp_path):
    configs = read(made.recipe)
    configs["middle"] = dataclasses.replace(configs["net-dial"], name="middle", init="net-float")
    configs["further"] = dataclasses.replace(configs["net-dial"], name="further", init="middle", teacher="middle")

    def wanted():
        return [config.name for config in train._wanted(configs, ["further"], tmp_path)]

    assert wanted() == ["net-float", "middle", "further"]
    shutil.copytree(made.out / "net-dial", tmp_path / "middle")
    assert wanted() == ["middle", "further"]
