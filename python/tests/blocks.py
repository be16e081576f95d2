"""What published binary networks make signs of weights and activations with, and the blocks around it, in our own
words."""

import math

import torch
import torch.nn.functional as F
from torch import nn


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
        self.act, self.conv, self.norm = (
            Approximate(),
            ScaledBinaryConv(inputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
        )
        self.down = None
        if stride > 1:
            self.down = nn.Sequential(
                nn.AvgPool2d(2, stride), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.norm(self.conv(self.act(x)))
        return y + (x if self.down is None else self.down(x))


class React(nn.Module):
    """ReActNet's block: shifted signs, RPReLU, two outputs joined where the channels double."""

    def __init__(self, channels=4, doubled=False):
        super().__init__()
        self.shift1, self.conv1, self.norm1 = (
            Bias(channels),
            ScaledBinaryConv(channels, channels),
            nn.BatchNorm2d(channels),
        )
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
        self.norm, self.conv, self.mean = (
            nn.BatchNorm2d(inputs, eps=1e-4),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            mean,
        )
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


class Clamping(nn.Module):
    """A forward that changes the weights of its norm, as XNOR-Net's NIN does: calls after the first change nothing."""

    def __init__(self):
        super().__init__()
        self.block = XnorBlock()

    def forward(self, x):
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.clamp_(min=0.7)
        return self.block(x)


class DataConv(nn.Conv2d):
    """BinaryNet: signs are put into the data of the input and of the weights, which are made anew from a copy."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.register_buffer("original", self.weight.detach().clone())

    def forward(self, x):
        x.data = x.data.sign()
        self.weight.data = self.original.sign()
        return F.conv2d(x, self.weight, None, self.stride, self.padding)


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
        self.step, self.weight_step, self.signed = (
            nn.Parameter(torch.tensor(0.4)),
            nn.Parameter(torch.tensor(0.05)),
            signed,
        )

    @staticmethod
    def rounded(x):
        return (x.round() - x).detach() + x

    def quantized(self, x, step, low, high):
        gradient = 1.0 / math.sqrt(x.numel() * high)
        step = (step - step * gradient).detach() + step * gradient
        return self.rounded((x / step).clamp(low, high)) * step

    def forward(self, x):
        low, high = (-4, 3) if self.signed else (0, 3)
        return self.conv._conv_forward(
            self.quantized(x, self.step, low, high),
            self.quantized(self.conv.weight, self.weight_step, -2, 1),
            self.conv.bias,
        )


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


class Sign(nn.Module):
    """A function that makes signs."""

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
