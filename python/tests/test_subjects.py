"""What users really pass: modules in every state, and what is none. Each becomes a file that answers as it does, or is
refused with the cause and what to do."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.utils as utils
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import horq
from horq import nn as hn

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
FLAT = X.reshape(4, -1)[:, :6].contiguous()


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 4, 3)


def net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).eval()


def normed(first: nn.Module | None = None, **norm) -> nn.Sequential:
    return net(first or conv(), nn.BatchNorm2d(4, **norm))


def binary(change=lambda layer: layer) -> nn.Sequential:
    return net(conv(), nn.BatchNorm2d(4), change(hn.HorqConv2d(4, 4, 3)), nn.BatchNorm2d(4))


def trained(module: nn.Module, x: torch.Tensor = X) -> nn.Module:
    """After a step of training, when computed parameters hold a graph and statistics are those of data."""
    module.train()(x).sum().backward()
    return module


def changed(module: nn.Module, name: str, value: float, index: int | None = None) -> nn.Module:
    tensor = module.get_parameter(name) if name in dict(module.named_parameters()) else module.get_buffer(name)
    with torch.no_grad():
        (tensor if index is None else tensor.view(-1)[index : index + 1]).fill_(value)
    return module


class Sign(nn.Module):
    def forward(self, weight):
        return weight.sign()


class Noisy(nn.Module):
    def forward(self, weight):
        return weight + 0.1 * torch.randn_like(weight)


def parametrized(layer: nn.Module, by: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", by)


class Answers(nn.Module):
    """Returns what a function makes of a convolution's values."""

    def __init__(self, make) -> None:
        super().__init__()
        self.conv, self.make = conv(), make

    def forward(self, x):
        return self.make(self.conv(x))


class Stored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        self.last = self.conv(x)
        return self.last


def hooked(before: bool) -> nn.Module:
    module = net(conv(), nn.ReLU())
    if before:
        module[0].register_forward_pre_hook(lambda layer, given: (given[0] * 2,))
    else:
        module[0].register_forward_hook(lambda layer, given, answer: answer * 2)
    return module


def tied() -> nn.Module:
    module = net(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    module[2].weight = module[0].weight
    return module


def lazy_and_called() -> nn.Module:
    module = net(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    module(X)
    return module


def some_batch_norms_train(module: nn.Sequential) -> nn.Module:
    module[1].train()
    return module


WORK = {
    "weight_norm, old": lambda: (normed(utils.weight_norm(conv())), X),
    "weight_norm, new": lambda: (normed(parametrizations.weight_norm(conv())), X),
    "weight_norm, old, trained": lambda: (trained(normed(utils.weight_norm(conv()))), X),
    "weight_norm, new, trained": lambda: (trained(normed(parametrizations.weight_norm(conv()))), X),
    "weight_norm, old, binary": lambda: (binary(utils.weight_norm), X),
    "weight_norm, new, binary": lambda: (binary(parametrizations.weight_norm), X),
    "weight_norm, new, binary, trained": lambda: (trained(binary(parametrizations.weight_norm)), X),
    "weight_norm, linear": lambda: (net(parametrizations.weight_norm(nn.Linear(6, 4)), nn.BatchNorm1d(4)), FLAT),
    "spectral_norm, old": lambda: (trained(normed(utils.spectral_norm(conv()))), X),
    "spectral_norm, new": lambda: (trained(normed(parametrizations.spectral_norm(conv()))), X),
    "spectral_norm, new, binary": lambda: (binary(parametrizations.spectral_norm), X),
    "orthogonal": lambda: (net(parametrizations.orthogonal(nn.Linear(6, 6))), FLAT),
    "sign parametrization": lambda: (net(parametrized(nn.Linear(6, 6), Sign())), FLAT),
    "sign parametrization, binary": lambda: (binary(lambda layer: parametrized(layer, Sign())), X),
    "pruned": lambda: (normed(prune.l1_unstructured(conv(), "weight", 0.5)), X),
    "pruned, trained": lambda: (trained(normed(prune.l1_unstructured(conv(), "weight", 0.5))), X),
    "pruned, binary": lambda: (binary(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)), X),
    "no affine": lambda: (normed(affine=False), X),
    "momentum None": lambda: (trained(normed(momentum=None)), X),
    "eps 0, values vary": lambda: (trained(normed(eps=1e-5)), X),
    "training mode": lambda: (trained(normed()), X),
    "one norm in training mode": lambda: (some_batch_norms_train(normed()), X),
    "SyncBatchNorm": lambda: (net(conv(), nn.SyncBatchNorm(4)), X),
    "lazy, called": lambda: (lazy_and_called(), X),
    "GroupNorm": lambda: (net(conv(), nn.GroupNorm(2, 4)), X),
    "GroupNorm, no affine": lambda: (net(conv(), nn.GroupNorm(2, 4, affine=False)), X),
    "InstanceNorm": lambda: (net(conv(), nn.InstanceNorm2d(4)), X),
    "InstanceNorm, affine": lambda: (net(conv(), nn.InstanceNorm2d(4, affine=True)), X),
    "InstanceNorm, statistics": lambda: (net(conv(), nn.InstanceNorm2d(4, track_running_stats=True)), X),
    "DataParallel": lambda: (nn.DataParallel(normed()), X),
    "torch.compile": lambda: (torch.compile(normed()), X),
    "torch.compile, a part": lambda: (net(torch.compile(conv()), nn.BatchNorm2d(4)), X),
    "half": lambda: (normed().half(), X.half()),
    "bfloat16": lambda: (normed().bfloat16(), X.bfloat16()),
    "double": lambda: (normed().double(), X.double()),
    "tied weights": lambda: (tied(), FLAT),
    "hook": lambda: (hooked(before=False), X),
    "pre-hook": lambda: (hooked(before=True), X),
    "dict of answers": lambda: (Answers(lambda y: {"out": y}).eval(), X),
    "an attribute with a graph": lambda: (trained(Stored()), X),
    "AveragedModel": lambda: (torch.optim.swa_utils.AveragedModel(normed()).eval(), X),
    "channels_last": lambda: (normed().to(memory_format=torch.channels_last), X),
    "example with gradients": lambda: (normed(), X.clone().requires_grad_()),
    "numpy example": lambda: (normed(), X.numpy()),
}


@pytest.mark.parametrize("case", WORK)
def test_what_works(case, tmp_path):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weight_norm of old is deprecated
        module, example = WORK[case]()
        modes = [layer.training for layer in module.modules()]
        horq.export(module, example, tmp_path / "m.horq")
        assert modes == [layer.training for layer in module.modules()], "the module is as it was"
        inner = getattr(module, "_orig_mod", getattr(module, "module", module))
        if isinstance(module, torch.optim.swa_utils.AveragedModel):
            inner = module
        with torch.no_grad():
            expected = inner.float().eval()(torch.as_tensor(example).detach().float())
    expected = expected["out"] if isinstance(expected, dict) else expected
    found = torch.from_numpy(
        horq.Model(tmp_path / "m.horq").run(torch.as_tensor(example).detach().float().numpy(), layout="nchw")
    )
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def quantized_dynamically() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(net(nn.Linear(6, 4)), {nn.Linear})


def quantized_statically() -> nn.Module:
    module = net(torch.ao.quantization.QuantStub(), conv(), torch.ao.quantization.DeQuantStub())
    module.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    prepared = torch.ao.quantization.prepare(module)
    prepared(X)
    return torch.ao.quantization.convert(prepared)


def without_statistics(layer: nn.Sequential) -> nn.Sequential:
    layer[1].running_mean = layer[1].running_var = None
    return layer


NO_STATISTICS = ["`1`", "BatchNorm", "keeps no running statistics", "set track_running_stats"]
VARIANCE = ["`1`", "BatchNorm2d", "channel 2", "eps 0", "larger eps"]
CLASS = ["give the object that was made from its class"]
INTEGERS = ["`0`", "integers that torch.ao made", "give the float module", "horq.convert"]

REFUSED = {
    "no statistics": (lambda: (normed(track_running_stats=False), X), NO_STATISTICS),
    "no statistics, 1d": (
        lambda: (net(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False)), FLAT),
        NO_STATISTICS,
    ),
    "no statistics, no affine": (lambda: (normed(affine=False, track_running_stats=False), X), NO_STATISTICS),
    "statistics taken away": (lambda: (without_statistics(normed()), X), NO_STATISTICS),
    "eps 0 and variance 0": (lambda: (changed(normed(eps=0), "1.running_var", 0, 2), X), VARIANCE),
    "eps 0 and variance 0, after a ReLU": (
        lambda: (changed(net(nn.ReLU(), nn.BatchNorm2d(3, eps=0)), "1.running_var", 0, 2), X),
        VARIANCE,
    ),
    "negative variance": (
        lambda: (changed(normed(), "1.running_var", -1, 2), X),
        ["`1`", "channel 2", "running variance -1.0", "larger eps"],
    ),
    "NaN mean": (
        lambda: (changed(normed(), "1.running_mean", float("nan"), 1), X),
        ["`1`", "running_mean", "diverged"],
    ),
    "NaN weight": (lambda: (changed(normed(), "0.weight", float("nan"), 1), X), ["`0`", "weight", "diverged"]),
    "infinite bias": (lambda: (changed(normed(), "0.bias", float("inf"), 1), X), ["`0`", "bias", "diverged"]),
    "NaN binary weight": (lambda: (changed(binary(), "2.weight", float("nan"), 1), X), ["`2`", "weight", "diverged"]),
    "too large": (lambda: (changed(normed(), "0.weight", 3e38), X), ["`0`", "too large for float32"]),
    "GroupNorm, eps 0": (
        lambda: (changed(net(conv(), nn.Threshold(9, 1), nn.GroupNorm(2, 4, eps=0)), "0.bias", 0), X),
        ["`2`", "GroupNorm", "eps is 0"],
    ),
    "wrong channels": (lambda: (net(conv(), nn.BatchNorm2d(5)), X), ["`1`|does not run on the example"]),
    "meta": (lambda: (normed().to("meta"), X), ["`0`", "weight is on the device meta", "assign=True"]),
    "meta, binary": (lambda: (binary().to("meta"), X), ["`0`", "device meta", "assign=True"]),
    "lazy": (lambda: (net(nn.LazyConv2d(4, 3)), X), ["`0`", "LazyConv2d", "no weights yet; call the module"]),
    "lazy norm": (lambda: (net(conv(), nn.LazyBatchNorm2d()), X), ["`1`", "no weights yet; call the module"]),
    "noise on binary weights": (lambda: (binary(lambda layer: parametrized(layer, Noisy())), X), ["second call"]),
    "quantized dynamically": (lambda: (quantized_dynamically(), FLAT), INTEGERS),
    "quantized statically": (lambda: (quantized_statically(), X), INTEGERS),
    "scripted": (lambda: (torch.jit.script(net(conv())), X), [*CLASS, "before torch.jit"]),
    "traced": (lambda: (torch.jit.trace(net(conv()), X), X), [*CLASS, "before torch.jit"]),
    "exported program": (lambda: (torch.export.export(net(conv()), (X,)), X), [*CLASS, "before torch.export"]),
    "module of a program": (
        lambda: (torch.export.export(net(conv()), (X,)).module(), X),
        ["GraphModule", "takes one size alone", "before torch.export"],
    ),
    "state_dict": (
        lambda: (net(conv()).state_dict(), X),
        ["OrderedDict", "state_dict holds no code", "load_state_dict"],
    ),
    "checkpoint": (
        lambda: ({"model": net(conv()).state_dict(), "epoch": 3}, X),
        ["dict", "state_dict holds no code", "load_state_dict"],
    ),
    "dict with a module": (lambda: ({"net": net(conv())}, X), ["give the module in it, ['net']"]),
    "class": (lambda: (nn.Conv2d, X), ["that is the class", "Conv2d(...)"]),
    "path": (lambda: ("model.pt", X), ["that is a path", "torch.load"]),
    "function": (lambda: (torch.relu, X), ["call it in the forward"]),
    "optimizer": (lambda: (torch.optim.SGD(conv().parameters(), 0.1), X), ["SGD", "give the module"]),
    "tensor": (lambda: (X, X), ["Tensor", "the module comes first"]),
    "None": (lambda: (None, X), ["NoneType", *CLASS]),
    "ModuleList": (lambda: (nn.ModuleList([conv()]), X), ["does not run on the example", "forward"]),
    "no answer": (lambda: (Answers(lambda y: None), X), ["must return tensors, not NoneType"]),
    "no batch": (lambda: (net(conv()), X[0]), ["keep the batch first", "[3, 8, 8]", "example[None]"]),
    "channels last example": (lambda: (net(conv()), X.permute(0, 2, 3, 1)), ["to have 3 channels"]),
    "complex module": (lambda: (net(nn.Linear(6, 4).to(torch.complex64)), FLAT), ["ComplexFloat"]),
    "too many inputs": (lambda: (net(conv()), (X, X)), ["does not run on the example", "3 were given"]),
    "no inputs": (lambda: (net(conv()), ()), ["not tuple without any", "give a batch"]),
    "sizes": (lambda: (net(conv()), (1, 3, 8, 8)), ["if these are its sizes", "torch.rand(1, 3, 8, 8)"]),
    "torch.Size": (lambda: (net(conv()), X.shape), ["if these are its sizes"]),
    "loader": (
        lambda: (net(conv()), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X))),
        ["DataLoader", "next(iter(loader))"],
    ),
    "example by path": (lambda: (net(conv()), "x.npy"), ["load what is at that path"]),
    "empty batch": (lambda: (net(conv()), X[:0]), ["N >= 1"]),
    "sparse example": (lambda: (net(nn.Linear(6, 4)), FLAT.to_sparse()), ["dense tensors"]),
    "meta example": (lambda: (net(conv()), X.to("meta")), ["dense tensors", "meta"]),
    "NaN example": (lambda: (net(conv()), X / 0 * 0), ["holds NaN or infinity", "what prepares it"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, tmp_path):
    torch.manual_seed(0)
    make, words = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, example = make()
        with pytest.raises(horq.ExportError) as caught:
            horq.export(module, example, tmp_path / "m.horq")
    text = str(caught.value)
    for word in words:
        assert any(part in text for part in word.split("|")), f"{word!r} is missing in {text!r}"
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize("case", ["state_dict", "checkpoint", "class", "path", "None", "optimizer", "function"])
@pytest.mark.parametrize("call", ["convert", "set_order", "restore"])
def test_other_calls_that_take_a_module(call, case):
    given = REFUSED[case][0]()[0]
    calls = {
        "convert": lambda: horq.convert(given, "horq"),
        "set_order": lambda: hn.set_order(given, 1),
        "restore": lambda: horq.restore(given, "absent.horq"),
    }
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, not .*; "):
        calls[call]()


CONVERT = {
    "weight_norm, old": (lambda: utils.weight_norm(conv()), TypeError, "remove_weight_norm"),
    "weight_norm, new": (lambda: parametrizations.weight_norm(conv()), TypeError, "remove_parametrizations"),
    "spectral_norm, old": (lambda: utils.spectral_norm(conv()), TypeError, "remove_spectral_norm"),
    "pruned": (lambda: prune.l1_unstructured(conv(), "weight", 0.5), TypeError, "prune.remove"),
    "lazy": (lambda: nn.LazyConv2d(4, 3), ValueError, "no weights yet"),
    "meta": (lambda: conv().to("meta"), ValueError, "device meta"),
    "half": (lambda: conv().half(), ValueError, "does not run on data"),
    "wrong shape": (lambda: nn.Conv2d(5, 4, 3), ValueError, "does not run on data"),
}


@pytest.mark.parametrize("case", CONVERT)
def test_what_cannot_be_converted(case):
    make, kind, words = CONVERT[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kind, match=words):
            horq.convert(net(make(), nn.BatchNorm2d(4)), "horq", skip=(), data=X)


def test_a_norm_with_eps_0_cannot_be_trained():
    with pytest.raises(ValueError, match=r"'1' has eps 0.*larger eps"):
        horq.convert(normed(eps=0), "horq", skip=(), data=X)


@pytest.mark.parametrize("road", ["fold", "export"])
def test_wrong_channels_are_named_on_the_exact_road(road, tmp_path):
    module = net(conv(), nn.BatchNorm2d(5))
    roads = {
        "fold": lambda: horq.fold(module),
        "export": lambda: horq.export(module, X, tmp_path / "m.horq", general=False),
    }
    with pytest.raises(horq.ExportError, match=r"`1` .*made for 5 channels, but reads the 4 .*BatchNorm2d\(4\)"):
        roads[road]()
