"""What a trace by torch.fx does not show: each an `ExportError` that says where and what to do."""

import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusing import IMAGE, VECTOR, Net, doubled, nhwc, refused
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import horq
from horq import nn as hn
from horq.exporting.answers import Reference

LAYERS = {
    "conv": (lambda: nn.Conv2d(2, 2, 3, padding=1), IMAGE),
    "linear": (lambda: nn.Linear(8, 4), VECTOR),
    "horq": (lambda: hn.HorqConv2d(2, 2, 3, padding=1), IMAGE),
    "norm": (lambda: hn.BatchNorm2d(2), IMAGE),
    "inner": (lambda: hn.Codebook(nn.Conv2d(2, 2, 1), torch.tensor([-1.0, 1.0])), IMAGE),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("hook", ["hook", "pre_hook"])
def test_hooks_on_layers_are_refused_by_name(kind, hook, tmp_path):
    make, example = LAYERS[kind]
    net = nn.Sequential(nn.Sequential(make()))
    layer = net[0][0].layer if kind == "inner" else net[0][0]
    name = "0.0.layer" if kind == "inner" else "0.0"
    handle = getattr(layer, f"register_forward_{hook}")(doubled)
    word = hook.replace("_", "-")
    refused(net, rf"cannot export `{name}` .*forward {word}, `doubled`.*remove it", tmp_path, example)
    handle.remove()
    horq.export(net, example, tmp_path / "net.horq")


def test_hooks_on_the_whole_module_and_on_all_modules_are_refused(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    handle = net.register_forward_hook(doubled)
    refused(net, r"cannot export the torch.*Sequential: it has a forward hook, `doubled`", tmp_path)
    handle.remove()
    for register in (torch_module.register_module_forward_hook, torch_module.register_module_forward_pre_hook):
        handle = register(doubled)
        try:
            refused(net, r"a hook on all modules.*remove it", tmp_path)
        finally:
            handle.remove()


def test_hooks_on_modules_that_a_trace_goes_into_are_in_the_file(tmp_path):
    net = nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 1)))
    net[0].register_forward_hook(lambda module, inputs, output: output.relu())
    horq.export(net, IMAGE, tmp_path / "net.horq")
    answers = horq.Model(tmp_path / "net.horq").run(nhwc(IMAGE))
    with torch.no_grad():
        assert np.allclose(answers, nhwc(net(IMAGE)), atol=1e-6)
    assert answers.min() == 0


def test_a_forward_replaced_on_the_object_is_refused(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    plain = net[0].forward
    net[0].forward = lambda x: 2 * plain(x)
    refused(net, r"`0` \(torch.*Conv2d\): its forward was replaced.*del layer.forward", tmp_path)
    whole = nn.Conv2d(2, 2, 1)
    whole.forward = lambda x: x
    refused(whole, "its forward was replaced", tmp_path)


class Louder(nn.Conv2d):
    def forward(self, x):
        return 3 * super().forward(x)


class LouderBinary(hn.HorqConv2d):
    def forward(self, x):
        return 3 * super().forward(x)


@pytest.mark.parametrize(("kind", "base"), [(Louder, "Conv2d"), (LouderBinary, "HorqConv2d")])
def test_a_subclass_of_a_layer_is_refused_by_name(kind, base, tmp_path):
    words = rf"node `0` \(.*{kind.__name__}\): it is a subclass of .*{base} and may compute something else; use"
    refused(nn.Sequential(kind(2, 2, 1)), words, tmp_path)


COMPUTED = {
    "weight_norm": (lambda layer: weight_norm(layer), "remove_weight_norm"),
    "spectral_norm": (lambda layer: spectral_norm(layer), "remove_spectral_norm"),
    "prune": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), r"prune.remove\(layer, 'weight'\)"),
    "weight_norm parametrization": (lambda layer: parametrizations.weight_norm(layer), "remove_parametrizations"),
    "spectral_norm parametrization": (lambda layer: parametrizations.spectral_norm(layer), "remove_parametrizations"),
    "own parametrization": (
        lambda layer: parametrize.register_parametrization(layer, "weight", nn.Softplus()),
        r"\(Softplus\).*remove_parametrizations\(layer, 'weight'\)",
    ),
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_parameters_computed_at_each_call_are_refused_with_the_way_out(kind, norm, tmp_path):
    change, words = COMPUTED[kind]
    layer = nn.Conv2d(2, 2, 3)
    change(layer)
    net = nn.Sequential(layer, *([nn.BatchNorm2d(2)] if norm else [])).eval()
    refused(net, rf"cannot export `0` .*computed at each call.*{words}", tmp_path)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_the_ways_out_lead_out(tmp_path):
    for kind in COMPUTED:
        layer = nn.Conv2d(2, 2, 3)
        COMPUTED[kind][0](layer)
        net = nn.Sequential(layer).eval()
        text = refused(net, "computed at each call", tmp_path)
        exec(re.search(r"torch\.nn\.utils\.\S+\(.*\)$", text)[0], {"torch": torch, "layer": layer})
        horq.export(net, IMAGE, tmp_path / "net.horq")
        (tmp_path / "net.horq").unlink()


def view_before_a_change(module, x):
    y = x.flatten(1)
    r = F.relu(x, inplace=True)
    return module.one(y) + module.two(r.flatten(1))


def reshaped_before_a_change(module, x):
    y = x.view(x.size(0), -1)
    x.add_(torch.relu(x))
    return module.one(y)


def kept_by_an_identity(module, x):
    y = F.dropout(x, training=False)
    F.relu(x, inplace=True)
    return y


def changed_through_a_view(module, x):
    F.relu(x.flatten(1), inplace=True)
    return x


def a_layer_in_place(module, x):
    y = x.contiguous()
    return module.relu(x) + y


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (view_before_a_change, r"node `one` .*reads `flatten`, which `relu` changed in place"),
        (reshaped_before_a_change, r"node `one` .*reads `view`, which `add_` changed in place"),
        (kept_by_an_identity, r"returns|reads `dropout`, which `relu` changed in place"),
        (changed_through_a_view, r"reads `conv`, which `relu` changed in place"),
        (a_layer_in_place, r"node `add` .*reads `contiguous`, which `relu` changed in place"),
    ],
)
def test_views_of_what_is_changed_in_place_are_not_read(after, words, tmp_path):
    net = Net(after, one=nn.Linear(50, 3), two=nn.Linear(50, 3), relu=nn.ReLU(inplace=True))
    refused(net, words, tmp_path)


def test_views_may_be_changed_where_the_rest_is_not_read(tmp_path):
    net = Net(lambda module, x: module.one(F.relu(x.flatten(1), inplace=True)), one=nn.Linear(50, 3))
    horq.export(net, IMAGE, tmp_path / "net.horq")


class Counting(nn.Module):
    """Leaves something for its next call."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.conv(x)
        return x if self.calls % 2 else x.relu()


class Averaging(nn.Module):
    """Overwrites a buffer when it is called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x):
        x = self.conv(x)
        self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 2, 3))
        return x


class Stubborn(nn.BatchNorm2d):
    """Stays in training mode."""

    def train(self, mode=True):
        return super().train(True)


def test_state_that_one_call_leaves_for_the_next_is_refused(tmp_path):
    refused(Counting(), "second call otherwise than the first", tmp_path)
    refused(Averaging(), r"node `mean` \(mean\) at .*test_unseen.py:\d+: its value has the shape \[2\]", tmp_path)


class StubbornBlock(nn.Sequential):
    """Its layers do."""

    def train(self, mode=True):
        return super().train(True)


def test_what_stays_in_training_mode_is_refused(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1), Stubborn(2))
    refused(net, "Stubborn.*subclass of .*BatchNorm2d", tmp_path)
    refused(StubbornBlock(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), "layer that stays in training mode", tmp_path)


def test_training_mode_is_left_as_it_is_and_eval_mode_exported(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    net(IMAGE)
    horq.export(net, IMAGE, tmp_path / "net.horq")
    assert net.training
    with torch.no_grad():
        answers = nhwc(net.eval()(IMAGE))
    assert np.allclose(horq.Model(tmp_path / "net.horq").run(nhwc(IMAGE)), answers, atol=1e-5)


def test_layers_shared_under_two_names_are_exported(tmp_path):
    conv, norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
    net = nn.Sequential(conv, norm, nn.ReLU(), conv, nn.PReLU(), norm)
    net(IMAGE)
    horq.export(net.eval(), IMAGE, tmp_path / "net.horq")
    with torch.no_grad():
        answers = nhwc(net(IMAGE))
    assert np.allclose(horq.Model(tmp_path / "net.horq").run(nhwc(IMAGE)), answers, atol=1e-5)


# What the engine answers beside the module: seen here by leaving the refusals by name out.


def test_a_file_that_leaves_something_out_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("horq.exporting.folding.check_unseen", lambda module, is_leaf: None)
    for make, example in LAYERS.values():
        net = nn.Sequential(make())
        layer = getattr(net[0], "layer", net[0])
        layer.register_forward_hook(doubled)
        refused(net, r"at order 1 the engine's answer to sample \d of the example lies .* off", tmp_path, example)
    net = nn.Sequential(nn.Linear(8, 4))
    net[0].forward = lambda x: F.linear(x, net[0].weight)
    nn.init.ones_(net[0].bias)
    refused(net, "the engine's answer", tmp_path, VECTOR)


def test_a_difference_at_one_order_only_is_found(tmp_path, monkeypatch):
    """The engine is asked at every order of the dial, not only at the highest."""
    monkeypatch.setattr("horq.exporting.folding.check_unseen", lambda module, is_leaf: None)
    net = nn.Sequential(hn.HorqLinear(8, 4, order=3))
    net[0].register_forward_hook(lambda layer, inputs, output: output + (layer.order == 2))
    refused(net, "at order 2 the engine's answer", tmp_path, VECTOR)


def test_the_file_is_what_the_self_test_of_the_command_takes(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), hn.HorqConv2d(8, 4, 3, order=2)).eval()
    horq.export(net, IMAGE, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    given, expected = model.golden()
    assert np.abs(model.run(given) - expected).max() <= 1e-4 * np.abs(expected).max()


def on_the_edge():
    """A network whose first layer makes values at the threshold of the next one's signs, and an input for it."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(200, 64, bias=False), hn.HorqLinear(64, 16, 1, "none"), nn.Linear(16, 3)).eval()
    x = torch.randn(1, 200, dtype=torch.float64)
    rows = net[0].weight.detach().double()[:20]
    x = x - x @ rows.T @ torch.linalg.pinv(rows @ rows.T) @ rows  # twenty outputs are 0 but for rounding
    return net, x.float()


def test_what_hangs_on_the_last_bit_is_no_difference(tmp_path):
    """Signs of values that are 0 but for rounding are anybody's; the self-test then stores the engine's answer."""
    net, x = on_the_edge()
    horq.export(net, x, tmp_path / "net.horq")
    model = horq.Model(tmp_path / "net.horq")
    given, expected = model.golden()
    assert np.array_equal(given, x.numpy())
    assert np.abs(model.run(given) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_last_bits_do_not_hide_a_difference(tmp_path):
    """Nudged, the same network moves by rounding alone on other inputs, so nothing more is allowed there."""
    net, edge = on_the_edge()
    x = torch.cat([torch.randn(3, 200, generator=torch.Generator().manual_seed(5)), edge])
    with torch.no_grad():
        moved = Reference(copy.deepcopy(net), x)._sensitivity(1)
    assert (moved[:3] < 1e-4).all()
    assert moved[3] > 1e-2


# What cannot be expressed, by the line of the user's code.
