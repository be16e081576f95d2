"""Small networks of several kinds with binary parts: attention, tokens, up paths, detectors, signals."""

import torch
import torch.nn.functional as F
from blocks import BiReal
from torch import nn

from horq import nn as hn


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
