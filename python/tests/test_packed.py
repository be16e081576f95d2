"""1-bit weights, codebooks, bytes and 8-bit images through `horq.export` and the engine."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import horq
from horq import nn as hn


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exported(module, example, tmp_path):
    """The engine's answers on the example, channels first, and the operations of the file."""
    path = tmp_path / "net.horq"
    horq.export(module, example, path)
    model = horq.Model(path)
    x = example.permute(0, 2, 3, 1) if example.dim() == 4 else example
    answers = torch.from_numpy(model.run(np.ascontiguousarray(x.numpy())))
    answers = answers.permute(0, 3, 1, 2) if answers.dim() == 4 else answers
    return answers, [node["op"] for node in model.graph["nodes"]]


def convolution(**options):
    torch.manual_seed(3)
    return nn.Conv2d(6, 20, (3, 2), stride=(2, 1), padding=(2, 1), **options)


CONVOLUTIONS = [{}, {"groups": 2}, {"dilation": (1, 2), "bias": False}]


def network(wrap):
    """A convolution, a norm and two dense layers behind a flatten, whose columns change their order."""
    torch.manual_seed(4)
    return nn.Sequential(
        wrap(nn.Conv2d(3, 9, 3, padding=1)),
        hn.BatchNorm2d(9),
        nn.ReLU(),
        nn.Flatten(),
        wrap(nn.Linear(9 * 30, 17)),
        wrap(nn.Linear(17, 4, bias=False)),
    ).eval()


def close(answers, module, example):
    """The engine's answers are those of float64 arithmetic."""
    with torch.no_grad():
        expected = module.double()(example.double()).float()
    assert torch.allclose(answers, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_binary_weights_on_floats(options, tmp_path):
    layer, x = hn.BinaryWeight(convolution(**options)).eval(), random(2, 6, 7, 9)
    answers, ops = exported(layer, x, tmp_path)
    assert ops == ["binary_weight_conv2d"]
    weight = layer.layer.weight
    alpha = weight.double().abs().mean((1, 2, 3))[:, None, None, None].float().double()
    signs = torch.where(weight < 0, -1.0, 1.0).double()
    c = layer.layer
    bias = None if c.bias is None else c.bias.double()
    expected = F.conv2d(x.double(), alpha * signs, bias, c.stride, c.padding, c.dilation, c.groups)
    assert torch.allclose(answers, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("entries", [3, 16, 32])
def test_codebooks(options, entries, tmp_path):
    conv, x = convolution(**options), random(2, 6, 7, 9)
    codebook = torch.linspace(-0.2, 0.25, entries)
    layer = hn.Codebook(conv, codebook).eval()
    assert torch.equal(layer.layer.weight, codebook[layer.codes.long()])
    nearest = (conv.weight[..., None] - codebook).abs().amin(-1)
    assert torch.equal((conv.weight - layer.layer.weight).abs(), nearest)
    answers, ops = exported(layer, x, tmp_path)
    assert ops == ["codebook_conv2d"]
    close(answers, layer, x)


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.0, 3.0), (-4.0, 0.0)])
def test_bytes_are_equal_to_the_bit(options, low, high, tmp_path):
    conv, x = convolution(**options), random(2, 6, 7, 9)
    layer = hn.Int8(conv, low, high).eval()
    assert layer.layer.weight.abs().amax((1, 2, 3)).tolist() == [127.0] * 20
    answers, ops = exported(layer, x, tmp_path)
    assert ops == ["int8_conv2d"]
    assert torch.equal(answers, layer(x))
    # What was quantized stands for what it was, half a step of input and weights off at most.
    with torch.no_grad():
        float_answers = conv(x.clamp(low, high))
    depth = conv.weight[0].numel()
    step = layer.scale.item() * conv.weight.abs().max().item() + conv.weight.abs().max().item() / 127 * max(-low, high)
    assert (answers - float_answers).abs().max().item() <= 0.51 * depth * step


def test_bytes_are_rounded_to_even_and_held():
    layer, x = hn.Int8(nn.Linear(1, 1), -1.5, 2.5), 3 * random(4000, 1)
    layer.layer.weight.fill_(1)
    layer.layer.bias.fill_(0)
    layer.alpha.fill_(1)
    inverse = np.float32(1) / layer.scale.numpy()
    steps = np.rint(x.numpy() * inverse) + layer.zero_point
    assert (steps < 0).any()
    assert (steps > 255).any()
    assert np.array_equal(layer(x).numpy(), np.clip(steps, 0, 255) - layer.zero_point)


@pytest.mark.parametrize(
    ("wrap", "op"),
    [
        (hn.BinaryWeight, "binary_weight"),
        (lambda layer: hn.Codebook(layer, torch.linspace(-0.3, 0.3, 15)), "codebook"),
        (lambda layer: hn.Int8(layer, -3, 3), "int8"),
    ],
)
def test_networks(wrap, op, tmp_path):
    net, x = network(wrap), random(3, 3, 5, 6)
    answers, ops = exported(net, x, tmp_path)
    assert ops == [f"{op}_conv2d", "affine", "relu", "flatten", f"{op}_dense", f"{op}_dense"]
    if op == "int8":
        assert torch.equal(answers, net(x).detach())
    else:
        close(answers, net, x)


def test_binary_weights_train():
    layer = hn.BinaryWeight(nn.Linear(8, 3))
    x = random(5, 8)
    layer(x).square().sum().backward()
    assert layer.layer.weight.grad.abs().sum() > 0
    assert torch.allclose(layer(x), layer.eval()(x), atol=1e-6)


@pytest.mark.parametrize("white", [255.0, 1.0])
@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
@pytest.mark.parametrize("mode", ["fixed", "halving"])
def test_images_of_bytes_are_exact(white, padding_mode, mode, tmp_path):
    torch.manual_seed(5)
    layer = hn.HorqConv2d(3, 10, 3, stride=2, padding=1, order=8, scale_mode=mode, padding_mode=padding_mode)
    net = hn.image8(layer, 3, white).eval()
    image = torch.randint(0, 256, (2, 3, 9, 8), generator=torch.Generator().manual_seed(6))
    answers, ops = exported(net, image.float() / 255 * white, tmp_path)
    assert ops == ["affine", "binary_conv2d"]
    odd = F.pad((2 * image - 255).double(), (1, 1, 1, 1), value=255 if padding_mode == "one" else 0)
    sums = F.conv2d(odd, torch.where(layer.weight < 0, -1.0, 1.0).double(), stride=2).float()
    assert torch.equal(answers, layer.alpha().detach()[:, None, None] * sums)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(TypeError, match="not a ReLU"):
        hn.BinaryWeight(nn.ReLU())
    with pytest.raises(ValueError, match="zero padding"):
        hn.Int8(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 0, 1)
    with pytest.raises(ValueError, match="1 to 32"):
        hn.Codebook(nn.Linear(2, 2), torch.zeros(33))
    with pytest.raises(ValueError, match="must be finite and not empty"):
        hn.Int8(nn.Linear(2, 2), 0, 0)
    with pytest.raises(ValueError, match="eight planes"):
        hn.image8(hn.HorqLinear(4, 2, order=2), 4)
    with pytest.raises(horq.ExportError, match="flatten it first"):
        horq.export(hn.Int8(nn.Linear(5, 2), 0, 1), random(2, 3, 4, 5), tmp_path / "x")


def test_the_builder_names_what_is_wrong():
    builder = horq.Builder("x", (4,))
    weight, alpha = np.ones((2, 4), np.int8), np.ones(2, np.float32)
    fields = {"filters": 2, "alpha": alpha, "input_scale": 0.5, "zero_point": 3}
    with pytest.raises(horq.Error, match="takes i8 values of `weight`, but f32 values"):
        builder.add("a", ["x"], "int8_dense", weight=weight.astype(np.float32), **fields)
    with pytest.raises(horq.Error, match="-127 to 127"):
        builder.add("a", ["x"], "int8_dense", weight=np.full((2, 4), -128, np.int8), **fields)
    with pytest.raises(horq.Error, match="zero_point"):
        builder.add("a", ["x"], "int8_dense", weight=weight, **{**fields, "zero_point": 256})
    with pytest.raises(horq.Error, match="needs the field codes"):
        builder.add("a", ["x"], "codebook_dense", filters=2, codebook=alpha)
    with pytest.raises(horq.Error, match="takes u8 values of `codes`, but i8 values"):
        builder.add("a", ["x"], "codebook_dense", filters=2, codebook=alpha, codes=weight)
    builder.add("a", ["x"], "int8_dense", weight=weight, **fields)
    x = np.array([[0.0, 1.0, 2.0, -1.0]], np.float32)
    assert horq.Model.from_bytes(builder.to_bytes("a")).run(x).tolist() == [[4.0, 4.0]]
