"""What a file cannot express: each an `ExportError` that says where and what to do."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusing import IMAGE, Net, line_in, nhwc, refused
from torch import nn

import horq
from horq import nn as hn


def scaled(module, x):
    return x * module.scale


def split(module, x):
    first, second = x.chunk(2, 1)
    return first + second


def split_by_function(module, x):
    return torch.split(x, 1, 1)[0]


def borrowed(module, x):
    return F.prelu(module.norm(x), module.norm.weight)


def borrowed_in_part(module, x):
    return module.norm(x) * module.norm.weight[:, None, None]


def constant(module, x):
    return x + torch.ones(2, 5, 5)


def sliced(module, x):
    return x[:, :1]


def set_by_index(module, x):
    x[:, 0] = 0
    return x


def into_out(module, x):
    y = torch.relu(x)
    torch.add(x, y, out=y)
    return y


def joined_into_out(module, x):
    y = torch.cat([x, x], 1)
    torch.cat([x, torch.relu(x)], 1, out=y)
    return y


def halved(module, x):
    return torch.relu(x.half())


def mixed(module, x):
    with torch.autocast("cpu", torch.bfloat16):
        return module.one(x.flatten(1))


def unused(module, x):
    torch.relu(x)
    return x + x


def unused_layer(module, x):
    module.relu(x)
    return x + x


def branching(module, x):
    return x if x.sum() > 0 else -x


def mismatched(module, x):
    return module.one(x)


def windowed_by_the_image(module, x):
    return F.avg_pool2d(x, "all")


@pytest.mark.parametrize(
    ("after", "code", "words"),
    [
        (
            scaled,
            "x * module.scale",
            r"node `scale` at .*parameters and constants in layers only.*such as horq.nn.Affine",
        ),
        (constant, "torch.ones", r"node `_tensor_constant0` at .*such as horq.nn.Affine"),
        (borrowed_in_part, "module.norm.weight", r"node `norm.weight` at .*such as horq.nn.Affine"),
        (split, "x.chunk", r"node `chunk` .*no such operation"),
        (split_by_function, "torch.split", r"node `split` .*no such operation"),
        (borrowed, "module.norm.weight", r"node `norm.weight` at .*reads weight of a layer.*such as horq.nn.Affine"),
        (sliced, "x[:, :1]", r"node `getitem` .*no such operation"),
        (set_by_index, "x[:, 0] = 0", r"cannot trace Net at .*item assignment"),
        (into_out, "out=y", r"node `add.*` .*called in a way that is not known.*out"),
        (joined_into_out, "out=y", r"node `cat_1` .*called in a way that is not known.*out"),
        (halved, "x.half()", r"node `half` .*no such operation|node `half` .*float16"),
        (mixed, "module.one(x.flatten(1))", r"node `flatten` .*under torch.autocast.*keep that out"),
        (unused, "torch.relu(x)", r"node `relu` .*nothing reads its value"),
        (unused_layer, "module.relu(x)", r"node `relu` .*nothing reads its value"),
        (branching, "x.sum() > 0", r"cannot trace Net at .*control flow"),
        (mismatched, "module.one(x)", r"node `one` .*does not run on the example: .*shapes"),
        (windowed_by_the_image, "avg_pool2d", r"cannot trace Net at .*kernel_size"),
    ],
)
def test_refusals_name_the_line_of_the_users_code(after, code, words, tmp_path):
    parts = {"scale": nn.Parameter(torch.ones(1)), "norm": nn.BatchNorm2d(2), "one": nn.Linear(50, 3)}
    text = refused(Net(after, relu=nn.ReLU(), **parts), words, tmp_path)
    assert line_in(after, code) in text


def test_a_layer_in_a_sequential_is_called_from_no_line_of_the_users(tmp_path):
    text = refused(nn.Sequential(nn.GELU()), r"cannot export node `0` \(torch\S*GELU\): the format", tmp_path)
    assert __file__ not in text


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (nn.BatchNorm2d(2, track_running_stats=False), r"node `1` .*keeps no running statistics.*track_running_stats"),
        (nn.BatchNorm2d(2, eps=0.0), r"node `1` .*running variance is 0.0 and eps 0.0; give it a larger eps"),
    ],
)
@pytest.mark.parametrize("layer", [nn.Conv2d(2, 2, 1), nn.ReLU()])
def test_norms_that_divide_by_nothing_are_named(norm, words, layer, tmp_path):
    if norm.running_var is not None:
        norm.running_var.zero_()
    refused(nn.Sequential(layer, norm).eval(), words, tmp_path)


def test_weights_that_are_not_finite_are_named(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    net[0].weight.data[1, 1] = float("nan")
    refused(net, "weight.* of node `0` is NaN", tmp_path)
    net[0].weight.data[1, 1] = 1e38
    net.append(nn.Conv2d(2, 2, 1))
    nn.init.constant_(net[1].weight, 1e38)
    refused(net, "own answer to the example is NaN or infinite at order 1", tmp_path)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ((IMAGE, IMAGE), "takes one tensor"),
        (None, "not NoneType"),
        ("image", "must be a tensor, a numpy array, or a tuple of them for several inputs, not str"),
        (IMAGE[0], r"must be \[N, C, H, W\]"),
        (IMAGE[:0], r"same batch of N >= 1 first, not \[0, 2, 5, 5\]"),
        (IMAGE.to(torch.complex64), "dense tensors of real numbers"),
        (IMAGE.to_sparse(), "dense tensors of real numbers"),
        (IMAGE.to("meta"), "dense tensors of real numbers, not .* on meta"),
        (IMAGE / 0, "must be finite"),
    ],
)
def test_examples_of_the_wrong_kind_are_refused(example, words, tmp_path):
    refused(nn.Sequential(nn.Conv2d(2, 2, 1)), words, tmp_path, example)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"golden": 0}, "at least 1 sample, not 0"),
        ({"golden": -1}, "not -1"),
        ({"golden": 2.0}, "not 2.0"),
        ({"golden": True}, "not True"),
        ({"notes": {"accuracy": 0.9}}, "notes must be text.*'accuracy': 0.9"),
        ({"notes": {"\ud800": "x"}}, "notes must be text"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(options, words, tmp_path):
    refused(nn.Sequential(nn.Conv2d(2, 2, 1)), words, tmp_path, **options)


def test_what_is_no_module_is_refused(tmp_path):
    refused(nn.Conv2d, "not torch.nn.modules.conv.Conv2d; that is the class; give an object of it", tmp_path)
    refused(lambda x: x, "not builtins.function", tmp_path)
    refused(torch.compile(nn.Conv2d(2, 2, 1)), "OptimizedModule.*_orig_mod", tmp_path)
    refused(nn.DataParallel(nn.Conv2d(2, 2, 1)), "DataParallel spreads .* its .module", tmp_path)
    refused(nn.Sequential(nn.LazyConv2d(2, 1)), "`0` .*no weights yet; call the module", tmp_path)
    refused(Net(lambda module, x: (x, x)), "must return one tensor", tmp_path)
    refused(Two(), r"takes 2 inputs \(x, y\); a .horq file has one", tmp_path)


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


def test_what_does_not_belong_to_the_module_does_not_change_the_file(tmp_path):
    """Casting contexts, default types, examples in other types and strides, inference mode."""
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), hn.HorqConv2d(8, 4, 3, order=2)).eval()
    horq.export(net, IMAGE, tmp_path / "plain")
    plain = (tmp_path / "plain").read_bytes()
    with torch.autocast("cpu", torch.bfloat16):
        horq.export(net, IMAGE, tmp_path / "autocast")
    with torch.inference_mode():
        horq.export(net, IMAGE, tmp_path / "inference")
    torch.set_default_dtype(torch.float64)
    try:
        horq.export(net, IMAGE, tmp_path / "default")
    finally:
        torch.set_default_dtype(torch.float32)
    horq.export(net, IMAGE.double(), tmp_path / "double")
    horq.export(net, IMAGE.to(memory_format=torch.channels_last).requires_grad_(), tmp_path / "strided")
    horq.export(copy.deepcopy(net).double(), IMAGE, tmp_path / "double net")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == plain, path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_modules_of_half_precision_are_exported_as_float32(dtype, tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval().to(dtype)
    horq.export(net, IMAGE, tmp_path / "net.horq")
    with torch.no_grad():
        answers = nhwc(copy.deepcopy(net).float()(IMAGE))
    assert np.allclose(horq.Model(tmp_path / "net.horq").run(nhwc(IMAGE)), answers, atol=1e-5)


def test_an_earlier_file_survives_a_refusal_and_a_missing_folder_is_an_os_error(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    horq.export(net, IMAGE, tmp_path / "net.horq")
    before = (tmp_path / "net.horq").read_bytes()
    with pytest.raises(horq.ExportError):
        horq.export(nn.Sequential(nn.GELU()), IMAGE, tmp_path / "net.horq", general=False)
    assert (tmp_path / "net.horq").read_bytes() == before
    with pytest.raises(FileNotFoundError) as caught:
        horq.export(net, IMAGE, tmp_path / "nowhere" / "net.horq")
    assert isinstance(caught.value, horq.Error)
