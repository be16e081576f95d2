"""How published binary networks are written, in our own words: what makes signs of weights and activations, and the
blocks around it."""

import math

import torch
import torch.nn.functional as F
from kinds import IMAGE, SEQUENCE, SIGNAL, TOKENS, VECTOR
from torch import nn

import horq
from horq import nn as hn


class SignSte(torch.autograd.Function):
    """torch.sign with a clipped straight-through gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class RoundSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Approximate(nn.Module):
    """The sign with the piecewise polynomial gradient: sign.detach() - soft.detach() + soft."""

    def forward(self, x):
        hard = torch.sign(x)
        below, above = x < -1, x < 1
        rising = x < 0
        first = (-1) * below.float() + (x * x + 2 * x) * (1 - below.float())
        second = first * rising.float() + (2 * x - x * x) * (1 - rising.float())
        soft = second * above.float() + 1 * (1 - above.float())
        return hard.detach() - soft.detach() + soft


class Bias(nn.Module):
    """A learned shift a channel."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.rand(1, channels, 1, 1) - 0.5)

    def forward(self, x):
        return x + self.bias.expand_as(x)


class ScaledBinaryConv(nn.Module):
    """Weights as signs times the mean of their magnitudes a filter, with the identity's gradient."""

    def __init__(self, inputs, outputs, size=3, stride=1):
        super().__init__()
        self.stride, self.padding = stride, size // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size) * 0.1)

    def forward(self, x):
        real = self.weight
        scale = real.abs().mean(3, keepdim=True).mean(2, keepdim=True).mean(1, keepdim=True).detach()
        hard = scale * torch.sign(real)
        clipped = torch.clamp(real, -1.0, 1.0)
        return F.conv2d(x, hard.detach() - clipped.detach() + clipped, stride=self.stride, padding=self.padding)


class BiReal(nn.Module):
    """One convolution with a shortcut; sign, conv, norm, add."""

    def __init__(self, inputs=4, outputs=4, stride=1):
        super().__init__()
        self.act, self.conv, self.norm = Approximate(), ScaledBinaryConv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.down = None
        if stride > 1:
            self.down = nn.Sequential(nn.AvgPool2d(2, stride), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.norm(self.conv(self.act(x)))
        return y + (x if self.down is None else self.down(x))


class React(nn.Module):
    """ReActNet's block: shifted signs, RPReLU, two outputs joined where the channels double."""

    def __init__(self, channels=4, doubled=False):
        super().__init__()
        self.shift1, self.conv1, self.norm1 = Bias(channels), ScaledBinaryConv(channels, channels), nn.BatchNorm2d(channels)
        self.before1, self.slope1, self.after1 = Bias(channels), nn.PReLU(channels), Bias(channels)
        self.shift2, self.doubled = Bias(channels), doubled
        self.conv2 = nn.ModuleList(ScaledBinaryConv(channels, channels, 1) for _ in range(1 + doubled))
        self.norm2 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(1 + doubled))
        wide = channels * (1 + doubled)
        self.before2, self.slope2, self.after2 = Bias(wide), nn.PReLU(wide), Bias(wide)
        self.act, self.pool = Approximate(), nn.AvgPool2d(2, 2)

    def forward(self, x):
        y = self.norm1(self.conv1(self.act(self.shift1(x))))
        y = self.after1(self.slope1(self.before1(x + y)))
        z = self.act(self.shift2(y))
        parts = [norm(conv(z)) + y for conv, norm in zip(self.conv2, self.norm2, strict=True)]
        z = torch.cat(parts, 1) if self.doubled else parts[0]
        return self.after2(self.slope2(self.before2(z)))


class BinaryActive(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mean = torch.mean(x.abs(), 1, keepdim=True)
        return x.sign(), mean

    @staticmethod
    def backward(ctx, gradient, _mean):
        return gradient


class XnorBlock(nn.Module):
    """Norm, signs of activations, a convolution whose weights were replaced by signs times means, ReLU."""

    def __init__(self, inputs=4, outputs=6, mean=False):
        super().__init__()
        self.norm, self.conv, self.mean = nn.BatchNorm2d(inputs, eps=1e-4), nn.Conv2d(inputs, outputs, 3, padding=1), mean
        with torch.no_grad():
            scale = self.conv.weight.abs().mean((1, 2, 3), keepdim=True)
            self.conv.weight.copy_(self.conv.weight.sign() * scale)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        signs, mean = BinaryActive.apply(self.norm(x))
        y = self.conv(signs)
        if self.mean:
            y = y * F.avg_pool2d(mean, 3, 1, 1)
        return self.relu(y)


class ErrorDecay(nn.Conv2d):
    """IR-Net: weights standardized, signs of both, powers of two as scales."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.k, self.t = torch.tensor([10.0]), torch.tensor([0.1])

    def forward(self, x):
        weight = self.weight
        rows = weight.view(weight.size(0), -1)
        weight = weight - rows.mean(-1).view(-1, 1, 1, 1)
        weight = weight / weight.view(weight.size(0), -1).std(-1).view(-1, 1, 1, 1)
        scale = torch.pow(
            torch.tensor([2.0] * weight.size(0)),
            (torch.log(weight.abs().view(weight.size(0), -1).mean(-1)) / math.log(2)).round().float(),
        ).view(-1, 1, 1, 1)
        return F.conv2d(SignSte.apply(x), SignSte.apply(weight) * scale, self.bias, self.stride, self.padding)


class AdaptiveBinary(nn.Module):
    """AdaBin: activations of two learned values, weights centred at their mean with their deviation as the scale."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.8)), nn.Parameter(torch.tensor(0.1))
        self.weight = nn.Parameter(torch.randn(6, 4, 3, 3))

    def forward(self, x):
        signs = torch.sign((x - self.b) / self.a) * self.a + self.b
        weight = self.weight
        mean = weight.mean((1, 2, 3), keepdim=True)
        off = weight - mean
        scale = torch.sqrt(off.pow(2).sum((1, 2, 3), keepdim=True) / off[0].numel())
        return F.conv2d(signs, SignSte.apply(off / scale) * scale + mean, padding=1)


class DoReFa(nn.Module):
    """Weights of k bits by tanh, activations of k bits between 0 and 1."""

    def __init__(self, bits=2):
        super().__init__()
        self.conv, self.bits = nn.Conv2d(4, 6, 3, padding=1), bits

    def forward(self, x):
        steps = 2**self.bits - 1
        x = RoundSte.apply(torch.clamp(x, 0, 1) * steps) / steps
        weight = torch.tanh(self.conv.weight)
        weight = weight / weight.abs().max() / 2 + 0.5
        weight = 2 * RoundSte.apply(weight * steps) / steps - 1
        return F.conv2d(x, weight, self.conv.bias, padding=1)


class Lsq(nn.Module):
    """Learned step sizes of weights and activations."""

    def __init__(self, signed=True):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.step, self.weight_step, self.signed = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(0.05)), signed

    @staticmethod
    def rounded(x):
        return (x.round() - x).detach() + x

    def quantized(self, x, step, low, high):
        gradient = 1.0 / math.sqrt(x.numel() * high)
        step = (step - step * gradient).detach() + step * gradient
        return self.rounded((x / step).clamp(low, high)) * step

    def forward(self, x):
        low, high = (-4, 3) if self.signed else (0, 3)
        return self.conv._conv_forward(self.quantized(x, self.step, low, high), self.quantized(self.conv.weight, self.weight_step, -2, 1), self.conv.bias)


class BinaryConnect(nn.Linear):
    """Real activations, weights of signs alone."""

    def forward(self, x):
        return F.linear(x, SignSte.apply(self.weight), self.bias)


class Stochastic(nn.Module):
    """Signs drawn in training mode, taken in eval mode."""

    def forward(self, x):
        if self.training:
            return torch.where(torch.rand_like(x) < (x + 1) / 2, 1.0, -1.0)
        return torch.where(x >= 0, 1.0, -1.0)


class SeveralBases(nn.Module):
    """ABC-Net: weights and activations as sums of several signs."""

    def __init__(self, bases=3):
        super().__init__()
        self.weight, self.bases = nn.Parameter(torch.randn(6, 4, 3, 3)), bases
        self.shifts, self.gains = nn.Parameter(torch.tensor([-0.5, 0.5])), nn.Parameter(torch.tensor([0.7, 0.4]))

    def forward(self, x):
        mean, deviation = self.weight.mean(), self.weight.std()
        off = self.weight - mean
        spots = [-1 + i * 2 / (self.bases - 1) for i in range(self.bases)]
        signs = torch.stack([torch.sign(off + spot * deviation) for spot in spots])
        flat = signs.flatten(1)
        scales = torch.linalg.solve(flat @ flat.T, flat @ self.weight.flatten())
        total = 0
        for shift, gain in zip(self.shifts, self.gains, strict=True):
            h = torch.where(torch.clamp(x + shift, 0, 1) >= 0.5, 1.0, -1.0)
            total = total + gain * sum(a * F.conv2d(h, b, padding=1) for a, b in zip(scales, signs, strict=True))
        return total


class Residual(nn.Module):
    """HORQ written by hand: the sign, and the sign of what is left."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.tensor(0.8)), nn.Parameter(torch.tensor(0.45))
        self.conv = XnorBlock(4, 6).conv

    def forward(self, x):
        h1 = torch.where(x >= 0, 1.0, -1.0)
        rest = x - self.first * h1
        h2 = torch.where(rest >= 0, 1.0, -1.0)
        return self.conv(self.first * h1 + self.second * h2)


class Excited(nn.Module):
    """A binary block with squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.block = BiReal()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        y = self.block(x)
        s = F.adaptive_avg_pool2d(y, 1).view(y.size(0), -1)
        s = torch.sigmoid(self.up(F.relu(self.down(s), inplace=True)))
        return y * s.view(*s.shape, 1, 1) + x


class BinaryAttention(nn.Module):
    """Attention whose projections have binary weights and signs as inputs."""

    def __init__(self, features=8, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.norm = nn.LayerNorm(features)

    @staticmethod
    def binary(layer, x):
        scale = layer.weight.abs().mean(1, keepdim=True)
        return F.linear(torch.where(x >= 0, 1.0, -1.0), torch.sign(layer.weight) * scale, layer.bias)

    def forward(self, x):
        n, length, features = x.shape
        parts = self.binary(self.qkv, self.norm(x)).view(n, length, 3, self.heads, features // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        share = ((q @ k.transpose(-2, -1)) * (features // self.heads) ** -0.5).softmax(-1)
        return x + self.binary(self.out, (share @ v).transpose(1, 2).reshape(n, length, features))


class Transformer(nn.Module):
    """Tokens to classes: embedding, positions, a block, the mean."""

    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(20, 8), nn.Parameter(torch.randn(1, 7, 8) * 0.1)
        self.attention, self.norm = BinaryAttention(), nn.LayerNorm(8)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 5)

    def forward(self, tokens):
        x = self.attention(self.embedding(tokens) + self.positions)
        return self.head((x + self.mlp(self.norm(x))).mean(1))


class UpPath(nn.Module):
    """U-Net: down, up, joined with what came before, padded where the sizes differ."""

    def __init__(self):
        super().__init__()
        self.first, self.low = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(8, 6, 2, 2), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x):
        kept = F.relu(self.first(x))
        y = self.up(F.relu(self.low(F.max_pool2d(kept, 3, 2))))
        rows, columns = kept.size(2) - y.size(2), kept.size(3) - y.size(3)
        y = F.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.last(torch.cat([kept, y], 1))


class Detector(nn.Module):
    """Two maps of boxes and scores, the coarse one upsampled into the fine one."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = BiReal(), nn.Conv2d(4, 8, 3, 2, 1)
        self.side, self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        fine = self.fine(x)
        coarse = F.leaky_relu(self.coarse(fine), 0.1)
        fine = fine + F.interpolate(self.side(coarse), scale_factor=2, mode="nearest")
        n = x.shape[0]
        boxes = self.boxes(fine).sigmoid().permute(0, 2, 3, 1).reshape(n, -1, 4)
        return boxes, self.scores(fine).permute(0, 2, 3, 1).reshape(n, -1, 3).softmax(-1)


class Temporal(nn.Module):
    """A temporal convolutional block: causal, dilated, with a shortcut."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(4, 6, 3, padding=2), nn.Conv1d(6, 6, 3, padding=4, dilation=2)
        self.side = nn.Conv1d(4, 6, 1)

    def forward(self, x):
        y = F.relu(self.conv1(x)[:, :, :-2])
        y = F.relu(self.conv2(y)[:, :, :-4])
        return F.relu(y + self.side(x)).mean(-1)


class Foreign(nn.Module):
    """Layers of horq.nn inside code that torch.fx cannot trace or the exact road does not know."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = hn.HorqConv2d(4, 6, 3, padding=1, order=2, scale_mode="window"), hn.BatchNorm2d(6)
        self.slope, self.last = hn.RPReLU(6), hn.HorqLinear(6, 5, order=3)

    def forward(self, x):
        y = F.gelu(self.slope(self.norm(self.conv(x))))
        if len(y) < 1000:
            y = y * torch.sigmoid(y)
        return self.last(y.mean((2, 3)))


def ours(layer, *behind):
    """A layer of horq.nn before an activation that the exact road does not know."""
    return lambda: nn.Sequential(layer(), *behind, nn.Mish())


IDIOMS = {
    "sign by an autograd function": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Sign(SignSte.apply)), IMAGE),
    "sign by detach": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Approximate()), IMAGE),
    "sign by where": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Stochastic()), IMAGE),
    "sign by hardtanh and round": (lambda: Sign(lambda x: 2 * torch.round(F.hardtanh(x) / 2 + 0.5) - 1), IMAGE),
    "Bi-Real block": (BiReal, IMAGE),
    "Bi-Real block with stride": (lambda: BiReal(4, 8, 2), IMAGE),
    "ReActNet block": (React, IMAGE),
    "ReActNet block, doubled": (lambda: React(doubled=True), IMAGE),
    "XNOR-Net block": (XnorBlock, IMAGE),
    "XNOR-Net block with means": (lambda: XnorBlock(mean=True), IMAGE),
    "IR-Net": (lambda: nn.Sequential(ErrorDecay(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.Hardtanh()), IMAGE),
    "AdaBin": (AdaptiveBinary, IMAGE),
    "DoReFa": (DoReFa, IMAGE),
    "DoReFa of 1 bit": (lambda: DoReFa(1), IMAGE),
    "LSQ": (Lsq, IMAGE),
    "LSQ of unsigned values": (lambda: Lsq(signed=False), IMAGE),
    "BinaryConnect": (lambda: nn.Sequential(BinaryConnect(12, 8), nn.BatchNorm1d(8), nn.ReLU()), VECTOR),
    "binary MLP": (lambda: nn.Sequential(nn.BatchNorm1d(12), Sign(SignSte.apply), BinaryConnect(12, 16), nn.BatchNorm1d(16), Sign(SignSte.apply), BinaryConnect(16, 5)), VECTOR),
    "ABC-Net": (SeveralBases, IMAGE),
    "HORQ by hand": (Residual, IMAGE),
    "squeeze-and-excite block": (Excited, IMAGE),
    "binary attention": (BinaryAttention, SEQUENCE),
    "transformer of tokens": (Transformer, TOKENS),
    "U-Net up path": (UpPath, IMAGE),
    "detection head": (Detector, IMAGE),
    "TCN": (Temporal, SIGNAL),
    "binary conv of signals": (lambda: Code1d(), SIGNAL),
    "foreign code around our layers": (Foreign, IMAGE),
    "our HorqConv2d": (ours(lambda: hn.HorqConv2d(4, 6, 3, padding=1, padding_mode="one", order=3), hn.BatchNorm2d(6)), IMAGE),
    "our HorqConv2d by image": (ours(lambda: hn.HorqConv2d(4, 6, 3, scale_mode="image", groups=2, bias=True)), IMAGE),
    "our HorqLinear behind a flatten": (lambda: nn.Sequential(nn.Mish(), nn.Flatten(), hn.HorqLinear(192, 5)), IMAGE),
    "our BinaryWeight": (ours(lambda: hn.BinaryWeight(nn.Conv2d(4, 6, 3), bases=2)), IMAGE),
    "our Codebook": (ours(lambda: hn.Codebook(nn.Linear(12, 5), torch.linspace(-0.3, 0.3, 8))), VECTOR),
    "our Int8": (ours(lambda: hn.Int8(nn.Conv2d(4, 6, 3), -3.0, 3.0)), IMAGE),
    "our norms by order": (ours(lambda: hn.HorqConv2d(4, 6, 3, order=2), hn.SwitchableBatchNorm(hn.BatchNorm2d(6), 2)), IMAGE),
    "converted": (lambda: horq.convert(nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.SiLU(), nn.Flatten(), nn.Linear(64, 3)), "horq"), IMAGE),
}  # fmt: skip


class Sign(nn.Module):
    """A function that makes signs, and a convolution with weights that are signs already, where the input is an image."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Code1d(nn.Module):
    """A keyword spotter's block: signs, a binary convolution along the signal, a norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 3, padding=1, bias=False), nn.BatchNorm1d(6)

    def forward(self, x):
        weight = self.conv.weight.abs().mean((1, 2), keepdim=True) * self.conv.weight.sign()
        return self.norm(F.conv1d(SignSte.apply(x), weight, padding=1))


