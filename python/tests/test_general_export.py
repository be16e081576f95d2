"""Small modules of many kinds through `horq.export`, whichever road they take: each answers as PyTorch does, or is
refused by name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from idioms import IDIOMS
from kinds import IMAGE, KINDS, VECTOR, Code, Two, random
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import horq
from horq import nn as hn

ALL = {**KINDS, **IDIOMS}
REFUSED = {
    "EmbeddingBag": r"`0` \(torch\S*EmbeddingBag\).*no such operation",
    "Bilinear": r"`pair` \(torch\S*Bilinear\).*no such operation",
    "Fold": r"`1` \(torch\S*Fold\).*no such operation",
    "Conv3d": r"`0`.*",
    "grid_sample": r"`grid_sampler`.*no such operation",
    "cumsum": r"`cumsum`.*no such operation",
    "sort": r"`sort`.*no such operation",
    "topk": r"`topk` \(topk\) at .*kinds.py:\d+: TopK: ",
    "half": r"float16, but the engine computes float32",
    "dropout in eval mode": r"drops values in eval mode|answers a second call otherwise",
    "control flow": r"cannot capture Code at .*kinds.py:\d+: .*control flow",
    "numpy inside": r"cannot capture Code at .*kinds.py:\d+: .*numpy",
    "mixing the batch": r"off the module's own.*other samples of the batch",
}
"""The kinds that no file can express, and how export says so."""


def settled(make):
    """The module with random statistics, in eval mode."""
    torch.manual_seed(1)
    module = make()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.running_var is not None:
            layer.running_mean.uniform_(-0.3, 0.3)
            layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


def answers(module, example):
    """The module's answers, each [N, ..]."""
    given = example if isinstance(example, tuple) else (example,)
    with torch.no_grad():
        answer = module(*(torch.as_tensor(value).clone() for value in given))
    return [leaf.float().numpy() for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]


def engine(model, example):
    """The file's answers in the module's order of axes."""
    given = [np.asarray(value, np.float32) for value in (example if isinstance(example, tuple) else (example,))]
    if "onnx.inputs" not in model.notes:  # the exact road: images [N, H, W, C]
        answer = model.run(np.ascontiguousarray(given[0].transpose(0, 2, 3, 1) if given[0].ndim == 4 else given[0]))
        return [answer.transpose(0, 3, 1, 2) if answer.ndim == 4 else answer]
    ports = [json.loads(model.notes[f"onnx.{kind}"]) for kind in ("inputs", "outputs")]
    inputs = [
        np.ascontiguousarray(value.transpose(port["order"]).reshape(len(value), *port["engine_shape"]))
        for port, value in zip(ports[0], given, strict=True)
    ]
    found = model.run(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    back = []
    for port, value in zip(ports[1], found, strict=True):
        sizes = [port["shape"][axis] for axis in port["order"]]
        back.append(value.reshape(len(value), *sizes[1:]).transpose(np.argsort(port["order"])))
    return back


@pytest.mark.parametrize("name", [name for name in ALL if name not in REFUSED])
@pytest.mark.filterwarnings("ignore")
def test_a_kind_of_module_answers_as_pytorch_does(name, tmp_path):
    make, example = ALL[name]
    module = settled(make)
    report = horq.export(module, example, tmp_path / "net.horq")
    expected, found = answers(module, example), engine(horq.Model(tmp_path / "net.horq"), example)
    assert len(expected) == len(found)
    for own, other in zip(expected, found, strict=True):
        assert own.shape == other.shape
        near = np.abs(own - other).reshape(len(own), -1).max(1) <= 1e-4 * np.abs(own).max()
        assert (~near).sum() <= report.ties
    assert report.ties == 0


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_a_kind_of_module_is_refused_by_name(name, tmp_path):
    make, example = ALL[name]
    with pytest.raises(horq.ExportError, match=re.compile(REFUSED[name], re.DOTALL)):
        horq.export(settled(make), example, tmp_path / "net.horq")
    assert not list(tmp_path.iterdir())


def test_there_are_many_kinds_and_most_are_accepted():
    assert len(ALL) >= 149
    assert len(ALL) - len(REFUSED) >= 130
    assert REFUSED.keys() <= ALL.keys()


def bad(_, x):
    x = x.cumsum(1)
    return x.sort(1)[0] + 1


def test_check_lists_everything_with_its_line_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = horq.check(Code(bad), IMAGE)
    assert not found
    assert [re.search(r"`(cumsum|sort)`", text)[1] for text in found.refusals] == ["cumsum", "sort"]
    assert all(re.search(r"kinds.py:\d+", text) for text in found.refusals)
    assert "2 refused" in str(found)
    found = horq.check(IDIOMS["ReActNet block"][0](), IMAGE)
    assert found
    assert "binary_conv2d" in str(found)
    assert not list(tmp_path.iterdir())


BINARY = {
    "ReActNet block": 2,
    "ReActNet block, doubled": 3,
    "XNOR-Net block": 1,
    "binary MLP": 2,
    "our HorqConv2d": 1,
}
"""How many layers run on binary kernels in some kinds. A `torch.sign` that may see a 0 has three values, which go into
bytes."""


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.filterwarnings("ignore")
def test_binary_layers_of_foreign_code_run_on_binary_kernels(name, tmp_path):
    make, example = ALL[name]
    report = horq.export(settled(make), example, tmp_path / "net.horq")
    assert sum(row["kind"].startswith("binary order") for row in report.layers) == BINARY[name]


@pytest.mark.filterwarnings("ignore")
def test_the_dial_works_in_foreign_code(tmp_path):
    module = settled(IDIOMS["foreign code around our layers"][0])
    horq.export(module, IMAGE, tmp_path / "net.horq")
    model, rows = horq.Model(tmp_path / "net.horq"), np.ascontiguousarray(IMAGE.permute(0, 2, 3, 1).numpy())
    for order in (1, 2, 3):
        horq.nn.set_order(module, order)
        with torch.no_grad():
            assert np.allclose(model.run(rows, order=order), module(IMAGE).numpy(), rtol=1e-4, atol=1e-5)


def test_several_inputs_are_called_as_the_arguments(tmp_path):
    horq.export(Two(), (IMAGE, VECTOR), tmp_path / "net.horq")
    assert list(horq.Model(tmp_path / "net.horq").inputs) == ["image", "vector"]
    horq.export(Two(), {"vector": VECTOR, "image": IMAGE}, tmp_path / "named.horq")
    assert set(horq.Model(tmp_path / "named.horq").inputs) == {"image", "vector"}


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ((IMAGE, random(2, 12)), r"same batch of N >= 1 first, not \[3, 4, 8, 6\], \[2, 12\]"),
        ("image", "must be a tensor.*not str"),
        ((), "must be a tensor"),
        (IMAGE / 0, "must be finite"),
    ],
)
def test_examples_that_no_module_takes_are_refused(example, words, tmp_path):
    with pytest.raises(horq.ExportError, match=words):
        horq.export(Two(), example, tmp_path / "net.horq")


def test_the_script_of_the_page_runs_from_training_to_answers(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parent.parent.parent / "docs" / "bring-your-network.md"
    scripts = re.findall(r"```python\n(import numpy.*?)```", page.read_text(), re.DOTALL)
    assert len(scripts) == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(scripts[0], page, "exec"), {"__name__": "__main__"})
    shares = [float(share) for share in re.findall(r"order \d: ([\d.]+)% right", capsys.readouterr().out)]
    assert len(shares) == 3
    assert shares[2] > 90
    assert min(shares) > 60


def test_a_layer_of_ours_may_be_the_whole_module(tmp_path):
    """By the general road: the exact one refuses hooks."""
    torch.manual_seed(5)
    layer = hn.HorqConv2d(3, 8, 3, padding=1, order=2).eval()
    layer.register_forward_hook(lambda module, inputs, y: y.permute(0, 2, 3, 1).relu())
    report = horq.export(layer, torch.randn(3, 3, 6, 6), tmp_path / "net.horq")
    assert report.road == "general"
    assert [row["became"] for row in report.layers].count("binary_conv2d") == 1
