"""Small modules of many kinds, as people write them: layers, functions, code in place."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune


def random(*shape, seed=0):
    """Values of the normal distribution, a batch of them."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGE = random(3, 4, 8, 6)
VECTOR = random(3, 12)
SEQUENCE = random(3, 10, 8)
SIGNAL = random(3, 4, 16)
TOKENS = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(0))


class Code(nn.Module):
    """A convolution and what a function makes of its answer."""

    def __init__(self, function, layer=None, **parts):
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1) if layer is None else layer
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, self.layer(x))


def code(function, layer=None, **parts):
    """The making of a `Code` whose function reads the value alone."""
    return lambda: Code(lambda _, x: function(x), layer, **parts)


def own(function, layer=None, **parts):
    """The making of a `Code` whose function also reads the module."""
    return lambda: Code(function, layer, **{name: part() for name, part in parts.items()})


def put(x):
    x[:, 0] = 0
    return x


def put_part(x):
    x[:, 1:3, ::2] = x[:, 0:2, ::2] * 2
    return x


def no_gradient(x):
    with torch.no_grad():
        return x.abs() + 1


def dead_branch(x):
    x.sin().cos()
    return x + 1


def named(x):
    return {"first": x + 1, "second": x.mean((2, 3))}


def in_place(x):
    x += 1
    x.mul_(0.5).clamp_(-1, 1)
    return F.relu_(x)


def same_name(x):
    y = x
    y += torch.relu(x)
    return x + y


def windows(x):
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, 4, c)


def shuffled(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def space_to_depth(x):
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x, mask=None, *, scale: float | None = None):
        y = self.layer(x)
        y = y if mask is None else y * mask
        return y if scale is None else y * scale


class Uncopied(nn.Module):
    """Holds what cannot be copied."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.generator = (i for i in range(3))

    def forward(self, x):
        return F.gelu(self.layer(x))


class Louder(nn.Conv2d):
    def forward(self, x):
        return 3 * super().forward(x)


class Standardized(nn.Conv2d):
    """Weights standardized at each call."""

    def forward(self, x):
        mean, deviation = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (deviation + 1e-5), self.bias)


def hooked(kind):
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    if kind == "hook":
        net[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    else:
        net[0].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return net


def changed(change):
    layer = nn.Conv2d(4, 6, 3)
    change(layer)
    return nn.Sequential(layer, nn.ReLU())


def replaced():
    net = nn.Sequential(nn.Conv2d(4, 4, 1))
    plain = net[0].forward
    net[0].forward = lambda x: 2 * plain(x)
    return net


def by_groups(x):
    first, second = x.chunk(2, 1)
    return torch.cat([second, first.relu()], 1)


ACTIVATIONS = {
    kind.__name__: kind
    for kind in (
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softsign, nn.Tanhshrink),
        *(nn.Hardshrink, nn.Softshrink, nn.PReLU, nn.RReLU, nn.Identity),
    )
}

LAYERS = {
    **{
        name: (lambda kind=kind: nn.Sequential(nn.Conv2d(4, 4, 1), kind()), IMAGE) for name, kind in ACTIVATIONS.items()
    },
    "GELU by tanh": (lambda: nn.Sequential(nn.Linear(12, 5), nn.GELU("tanh")), VECTOR),
    "Threshold": (lambda: nn.Sequential(nn.Linear(12, 5), nn.Threshold(0.1, 2.0)), VECTOR),
    "GLU": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.GLU(1)), IMAGE),
    "Softmax": (lambda: nn.Sequential(nn.Linear(12, 5), nn.Softmax(-1)), VECTOR),
    "Softmax over rows": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Softmax(2)), IMAGE),
    "Softmax2d": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Softmax2d()), IMAGE),
    "Softmin": (lambda: nn.Sequential(nn.Linear(12, 5), nn.Softmin(-1)), VECTOR),
    "LogSoftmax": (lambda: nn.Sequential(nn.Linear(12, 5), nn.LogSoftmax(-1)), VECTOR),
    "Conv2d padding same": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")), IMAGE),
    "Conv2d padding same, even": (lambda: nn.Sequential(nn.Conv2d(4, 4, 4, padding="same")), IMAGE),
    "Conv2d padding valid": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding="valid")), IMAGE),
    **{
        f"Conv2d padding {mode}": (
            lambda mode=mode: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode)),
            IMAGE,
        )
        for mode in ("reflect", "replicate", "circular")
    },
    "Conv2d in groups": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=2, dilation=2, groups=2)), IMAGE),
    "Conv2d by channel": (lambda: nn.Sequential(nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4)), IMAGE),
    "Conv1d": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.ReLU()), SIGNAL),
    "Conv1d padding same": (lambda: nn.Sequential(nn.Conv1d(4, 6, 5, padding="same", dilation=2)), SIGNAL),
    "ConvTranspose2d": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 3, 3, 2, 1, 1)), IMAGE),
    "ConvTranspose2d in groups": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2, groups=2)), IMAGE),
    "ConvTranspose1d": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 3, 4, 2, 1)), SIGNAL),
    "Linear without bias": (lambda: nn.Sequential(nn.Linear(12, 5, bias=False)), VECTOR),
    "Linear over positions": (lambda: nn.Sequential(nn.Linear(8, 5), nn.ReLU()), SEQUENCE),
    "Linear over columns": (lambda: nn.Sequential(nn.Linear(6, 5)), IMAGE),
    "BatchNorm2d": (lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), IMAGE),
    "BatchNorm2d without gains": (lambda: nn.Sequential(nn.BatchNorm2d(4, affine=False)), IMAGE),
    "BatchNorm1d of signals": (lambda: nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)), SIGNAL),
    "SyncBatchNorm": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.SyncBatchNorm(4)), IMAGE),
    "LayerNorm": (lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5)), SEQUENCE),
    "LayerNorm of vectors": (lambda: nn.Sequential(nn.LayerNorm(12)), VECTOR),
    "LayerNorm of images": (lambda: nn.Sequential(nn.LayerNorm([4, 8, 6])), IMAGE),
    "RMSNorm": (lambda: nn.Sequential(nn.RMSNorm(8)), SEQUENCE),
    "GroupNorm": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU()), IMAGE),
    "InstanceNorm2d": (lambda: nn.Sequential(nn.InstanceNorm2d(4, affine=True)), IMAGE),
    "InstanceNorm1d": (lambda: nn.Sequential(nn.InstanceNorm1d(4)), SIGNAL),
    "LocalResponseNorm": (lambda: nn.Sequential(nn.LocalResponseNorm(3)), IMAGE),
    "MaxPool2d": (lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1)), IMAGE),
    "MaxPool2d ceil": (lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), IMAGE),
    "MaxPool2d dilated": (lambda: nn.Sequential(nn.MaxPool2d(2, 1, dilation=2)), IMAGE),
    "MaxPool1d": (lambda: nn.Sequential(nn.MaxPool1d(3, 2)), SIGNAL),
    "AvgPool2d padded": (lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1)), IMAGE),
    "AvgPool2d valid taps": (lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False)), IMAGE),
    "AvgPool2d ceil": (lambda: nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True)), IMAGE),
    "AvgPool2d divisor": (lambda: nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), IMAGE),
    "AvgPool1d": (lambda: nn.Sequential(nn.AvgPool1d(4, 2)), SIGNAL),
    "LPPool2d": (lambda: nn.Sequential(nn.LPPool2d(2, 2)), IMAGE),
    "AdaptiveAvgPool2d to one": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE),
    "AdaptiveAvgPool2d dividing": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((4, 3))), IMAGE),
    "AdaptiveAvgPool2d same": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d((8, 6))), IMAGE),
    "AdaptiveAvgPool2d other": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((3, 4))), IMAGE),
    "AdaptiveMaxPool2d": (lambda: nn.Sequential(nn.AdaptiveMaxPool2d((3, 4))), IMAGE),
    "AdaptiveAvgPool1d": (lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten()), SIGNAL),
    "ZeroPad2d": (lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(4, 4, 3)), IMAGE),
    "ConstantPad2d": (lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5)), IMAGE),
    "ReflectionPad2d": (lambda: nn.Sequential(nn.ReflectionPad2d(2)), IMAGE),
    "ReplicationPad2d": (lambda: nn.Sequential(nn.ReplicationPad2d((1, 0, 2, 1))), IMAGE),
    "ReflectionPad1d": (lambda: nn.Sequential(nn.ReflectionPad1d(3)), SIGNAL),
    "Upsample nearest": (lambda: nn.Sequential(nn.Upsample(scale_factor=2)), IMAGE),
    "Upsample bilinear": (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")), IMAGE),
    "Upsample corners": (lambda: nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=3)), IMAGE),
    "PixelShuffle": (lambda: nn.Sequential(nn.PixelShuffle(2)), IMAGE),
    "PixelUnshuffle": (lambda: nn.Sequential(nn.PixelUnshuffle(2)), IMAGE),
    "ChannelShuffle": (lambda: nn.Sequential(nn.ChannelShuffle(2)), IMAGE),
    "Flatten and Linear": (lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(72, 5)), IMAGE),
    "Unflatten": (lambda: nn.Sequential(nn.Linear(12, 24), nn.Unflatten(1, (4, 3, 2)), nn.Conv2d(4, 2, 1)), VECTOR),
    "Dropouts": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout2d(), nn.AlphaDropout(), nn.Dropout()), IMAGE),
    "Embedding": (lambda: nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 5)), TOKENS),
    "EmbeddingBag": (lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 5)), TOKENS),
    "Bilinear": (lambda: Code(lambda m, x: m.pair(x, x), nn.Linear(12, 5), pair=nn.Bilinear(5, 5, 3)), VECTOR),
    "CosineSimilarity": (lambda: Code(lambda m, x: nn.CosineSimilarity(1)(x, x.relu() + 0.1)), IMAGE),
    "Fold": (lambda: nn.Sequential(nn.Unfold(2, stride=2), nn.Fold((8, 6), 2, stride=2)), IMAGE),
    "Unfold": (lambda: nn.Sequential(nn.Unfold(3, padding=1)), IMAGE),
    "MultiheadAttention": (
        lambda: Code(
            lambda m, x: m.attention(x, x, x)[0],
            nn.Linear(8, 8),
            attention=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        SEQUENCE,
    ),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), SEQUENCE),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
        ),
        SEQUENCE,
    ),
    "LSTM": (
        lambda: Code(lambda m, x: m.memory(x)[0][:, -1], nn.Linear(8, 8), memory=nn.LSTM(8, 5, batch_first=True)),
        SEQUENCE,
    ),
    "GRU": (
        lambda: Code(lambda m, x: m.memory(x)[0][:, -1], nn.Linear(8, 8), memory=nn.GRU(8, 5, batch_first=True)),
        SEQUENCE,
    ),
    "GRUCell": (lambda: Code(lambda m, x: m.cell(x), nn.Linear(12, 8), cell=nn.GRUCell(8, 5)), VECTOR),
    "Conv3d": (lambda: nn.Sequential(nn.Conv3d(2, 3, 3, padding=1)), random(2, 2, 4, 5, 6)),
}

FUNCTIONS = {
    "x + 1": code(lambda x: x + 1),
    "1 - x": code(lambda x: 1 - x),
    "x * 0.5": code(lambda x: x * 0.5),
    "x / 3": code(lambda x: x / 3),
    "1 / x": code(lambda x: 1 / (x.abs() + 1)),
    "x ** 2": code(lambda x: x**2),
    "x ** 3": code(lambda x: x**3),
    "x ** 0.5": code(lambda x: x.abs() ** 0.5),
    "-x": code(lambda x: -x),
    "x // 1": code(lambda x: x // 1),
    "x % 1": code(lambda x: x % 1),
    "abs": code(torch.abs),
    "exp": code(torch.exp),
    "log": code(lambda x: torch.log(x.abs() + 1)),
    "log1p": code(lambda x: torch.log1p(x.abs())),
    "sqrt": code(lambda x: torch.sqrt(x.abs() + 1)),
    "rsqrt": code(lambda x: torch.rsqrt(x.abs() + 1)),
    "sin and cos": code(lambda x: torch.sin(x) + torch.cos(x)),
    "erf": code(torch.erf),
    "floor and ceil": code(lambda x: torch.floor(x) + torch.ceil(2 * x)),
    "round": code(lambda x: torch.round(3 * x)),
    "trunc": code(lambda x: torch.trunc(3 * x)),
    "sign": code(torch.sign),
    "clamp": code(lambda x: x.clamp(-0.5, 0.7)),
    "clamp from below": code(lambda x: x.clamp(min=0.1)),
    "clamp by tensors": code(lambda x: torch.clamp(x, torch.tensor(-0.5), torch.tensor(0.5))),
    "maximum": code(lambda x: torch.maximum(x, x.flip(1))),
    "minimum with a constant": code(lambda x: torch.minimum(x, torch.full((4, 1, 1), 0.2))),
    "where": code(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "where of constants": code(lambda x: torch.where(x >= 0, 1.0, -1.0)),
    "masked_fill": code(lambda x: x.masked_fill(x < 0.1, 0.5)),
    "comparisons as numbers": code(lambda x: (x > 0).float() - (x < -0.5).to(x.dtype)),
    "not equal and or": code(lambda x: ((x > 0.3) | (x < -0.3)).float() + (x != 0).float()),
    "constant tensor": code(lambda x: x + torch.linspace(0, 1, 4).view(4, 1, 1)),
    "parameter": own(lambda m, x: x * m.gain + m.gain.sum(), gain=lambda: nn.Parameter(torch.rand(4, 1, 1))),
    "buffer": own(
        lambda m, x: (x - m.mean[:, None, None]) / 2,
        norm=lambda: nn.BatchNorm2d(4),
        mean=lambda: nn.Buffer(torch.rand(4)),
    ),
    "parameters of a norm": own(lambda m, x: m.norm(x) * m.norm.weight[:, None, None], norm=lambda: nn.BatchNorm2d(4)),
    "weights used twice": own(lambda m, x: F.conv2d(x, m.layer.weight.relu(), None, padding=1)),
    "two values": code(lambda x: x * x.sigmoid() - x.relu() / 2),
    "broadcast over channels": code(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()),
    "broadcast over places": code(lambda x: x * x.mean(1, keepdim=True)),
    "squeeze and excite": own(
        lambda m, x: x * m.up(F.relu(m.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid(),
        down=lambda: nn.Conv2d(4, 2, 1),
        up=lambda: nn.Conv2d(2, 4, 1),
    ),
    "chunk": code(by_groups),
    "split": code(lambda x: torch.split(x, [1, 3], 1)[1]),
    "unbind": code(lambda x: sum(x.unbind(1))[:, None]),
    "slice of channels": code(lambda x: x[:, 1:3]),
    "slice with steps": code(lambda x: x[:, :, ::2, 1::2]),
    "a channel": code(lambda x: x[:, 0]),
    "an index list": code(lambda x: x[:, [2, 0, 3]]),
    "index_select": code(lambda x: x.index_select(1, torch.tensor([3, 1]))),
    "narrow": code(lambda x: x.narrow(2, 1, 4)),
    "cat of channels": code(lambda x: torch.cat([x, x.relu()], 1)),
    "cat of rows": code(lambda x: torch.cat([x, x.relu()], 2)),
    "cat of one": code(lambda x: torch.cat([x], 1)),
    "stack and sum": code(lambda x: torch.stack([x, x.relu(), -x]).sum(0)),
    "flip": code(lambda x: x.flip(3)),
    "roll": code(lambda x: x.roll((1, 2), (2, 3))),
    "pad": code(lambda x: F.pad(x, (1, 2, 3, 0))),
    "pad by reflection": code(lambda x: F.pad(x, (1, 1, 2, 2), mode="reflect")),
    "pad channels": code(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))),
    "crop by negative pads": code(lambda x: F.pad(x, (-1, 0, 0, -2))),
    "repeat": code(lambda x: x.repeat(1, 2, 1, 1)),
    "repeat_interleave": code(lambda x: x.repeat_interleave(2, 1)),
    "expand": code(lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 5, 5)),
    "view": own(lambda m, x: m.last(x.view(x.size(0), -1)), last=lambda: nn.Linear(192, 3)),
    "flatten by words": own(lambda m, x: m.last(torch.flatten(input=x, start_dim=1)), last=lambda: nn.Linear(192, 3)),
    "squeeze": own(
        lambda m, x: m.last(x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1)), last=lambda: nn.Linear(4, 3)
    ),
    "unsqueeze": code(lambda x: x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1) + x),
    "permute": code(lambda x: x.permute(0, 2, 3, 1)),
    "transpose of rows and columns": code(lambda x: x.transpose(2, 3)),
    "windows": code(windows),
    "channel shuffle": code(shuffled),
    "space to depth": code(space_to_depth),
    "flattened to positions": code(lambda x: x.flatten(2).transpose(1, 2)),
    "mean": code(lambda x: x.mean((2, 3))),
    "mean over channels": code(lambda x: x.mean(1)),
    "mean of all": code(lambda x: x.mean((1, 2, 3))),
    "sum": code(lambda x: x.sum(dim=(2, 3), keepdim=True)),
    "amax": code(lambda x: x.amax((2, 3))),
    "max of a dim": code(lambda x: x.max(1)[0]),
    "min over rows": code(lambda x: x.min(dim=2, keepdim=True).values),
    "variance": code(lambda x: x.var((2, 3))),
    "standard deviation": code(lambda x: x.std(1, keepdim=True, unbiased=False)),
    "norm": code(lambda x: x.norm(dim=1, keepdim=True)),
    "normalize": code(lambda x: F.normalize(x, dim=1)),
    "logsumexp": code(lambda x: x.logsumexp(1)),
    "argmax": code(lambda x: x.argmax(1).float()),
    "topk": code(lambda x: x.mean((2, 3)).topk(2, 1)[0]),
    "softmax": code(lambda x: F.softmax(x, 1)),
    "matmul": code(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2)),
    "bmm": code(lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2))),
    "matmul with a constant": own(lambda m, x: x @ m.weight, weight=lambda: nn.Parameter(random(6, 5))),
    "einsum": code(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)),
    "attention": code(lambda x: F.scaled_dot_product_attention(x, x, x)),
    "causal attention": code(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "interpolate to a size": code(lambda x: F.interpolate(x, size=(5, 9))),
    "interpolate bilinear": code(lambda x: F.interpolate(x, size=(13, 11), mode="bilinear", align_corners=False)),
    "interpolate nearest-exact": code(lambda x: F.interpolate(x, size=(5, 9), mode="nearest-exact")),
    "interpolate bicubic": code(lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
    "interpolate by an odd factor": code(lambda x: F.interpolate(x, scale_factor=1.3)),
    "max_pool2d": code(lambda x: F.max_pool2d(x, 2)),
    "avg_pool2d": code(lambda x: F.avg_pool2d(x, 2, ceil_mode=True)),
    "grid_sample": code(lambda x: F.grid_sample(x, torch.zeros(x.size(0), 3, 3, 2), align_corners=False)),
    "cumsum": code(lambda x: x.cumsum(1)),
    "sort": code(lambda x: x.sort(1)[0]),
    "clone and detach": code(lambda x: x.clone().detach().contiguous() + 1),
    "float and double": code(lambda x: (x.double() * 2).float()),
    "half": code(lambda x: x.half().float()),
    "in place": code(in_place),
    "the same value by two names": code(same_name),
    "put by index": code(put),
    "put a part": code(put_part),
    "no_grad": code(no_gradient),
    "a dead branch": code(dead_branch),
    "two outputs": code(lambda x: (x + 1, x.mean((2, 3)))),
    "outputs by name": code(named),
    "zeros_like": code(lambda x: torch.maximum(x, torch.zeros_like(x)) + torch.ones(x.shape)),
    "arange": code(lambda x: x + torch.arange(x.shape[-1], dtype=x.dtype)),
    "dropout without training": code(lambda x: F.dropout(x, 0.5, training=False) + 1),
    "dropout in eval mode": code(lambda x: F.dropout(x, 0.5)),
    "control flow": code(lambda x: x if x.sum() > 0 else -x),
    "numpy inside": code(lambda x: torch.from_numpy(x.numpy() * 2)),
    "mixing the batch": code(lambda x: x - x.mean(0, keepdim=True)),
}

MODULES = {
    "optional arguments": (Optional, VECTOR),
    "optional arguments given": (Optional, (VECTOR, random(3, 5))),
    "two inputs": (lambda: Two(), (IMAGE, VECTOR)),
    "does not deepcopy": (Uncopied, VECTOR),
    "subclass": (lambda: nn.Sequential(Louder(4, 4, 3)), IMAGE),
    "standardized weights": (lambda: nn.Sequential(Standardized(4, 4, 3)), IMAGE),
    "hook": (lambda: hooked("hook"), IMAGE),
    "pre-hook": (lambda: hooked("pre_hook"), IMAGE),
    "forward replaced": (replaced, IMAGE),
    "weight_norm": (lambda: changed(parametrizations.weight_norm), IMAGE),
    "spectral_norm": (lambda: changed(parametrizations.spectral_norm), IMAGE),
    "pruned": (lambda: changed(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)), IMAGE),
    "parametrized": (
        lambda: changed(lambda layer: parametrize.register_parametrization(layer, "weight", nn.Softplus())),
        IMAGE,
    ),
    "channels last": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.GELU()),
        IMAGE.to(memory_format=torch.channels_last),
    ),
    "a numpy example": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.GELU()), IMAGE.numpy()),
}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.vector = nn.Conv2d(4, 5, 3), nn.Linear(12, 5)

    def forward(self, image, vector):
        return self.image(image).mean((2, 3)) * self.vector(vector).sigmoid()


KINDS = {**LAYERS, **{name: (make, IMAGE) for name, make in FUNCTIONS.items()}, **MODULES}
"""The making of each small module, and an example for it."""
