"""What the peers run: small graphs with seeded random weights, free of any engine, and their reference in numpy.

A value is height x width x channels (NHWC, one sample); weights are [filter][row][column][channel]. Activations that an
int8 engine sees are never negative (images in [0, 4), rectified values), so that every engine may use its fastest form.
"""

from dataclasses import dataclass, field

import numpy as np

SUMS = 0.5
"""The mean product of two rectified values over the product of their sizes: 1 / pi at first, more deeper down."""


@dataclass
class Value:
    """A tensor of the graph; `moment` is the mean square that its random weights lead to, which sets int8 scales."""

    name: str
    shape: tuple[int, ...]
    moment: float = 1.0
    signed: bool = False

    def limit(self) -> float:
        """The largest value that int8 represents."""
        return 5.0 * float(np.sqrt(self.moment))


@dataclass
class Op:
    """conv, dense, maxpool, avgpool, add or mean; `binary` convolutions take signs and are followed by an affine."""

    kind: str
    inputs: list[Value]
    output: Value
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    relu: bool = False
    binary: bool = False
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    scale: np.ndarray | None = None

    def channels_first(self) -> np.ndarray:
        """The weights where channels lie before rows and columns, also of an image that a dense layer flattens."""
        shape = self.weight.shape if self.kind == "conv" else (len(self.weight), *self.inputs[0].shape)
        if len(shape) < 4:
            return self.weight
        weight = np.ascontiguousarray(self.weight.reshape(shape).transpose(0, 3, 1, 2))
        return weight if self.kind == "conv" else weight.reshape(len(weight), -1)


@dataclass
class Net:
    """A graph in order of execution; its last operation makes the output."""

    name: str
    input: Value
    ops: list[Op] = field(default_factory=list)
    order: int = 0
    """Planes of the activations of binary convolutions; 0 where there are none."""

    @property
    def output(self) -> Value:
        return self.ops[-1].output


class Builder:
    """Grows a graph. `order` 0 makes every layer float."""

    def __init__(self, name: str, shape: tuple[int, ...], order: int = 0, signed: bool = False):
        self.net = Net(name, Value("input", shape, 1.0, signed), order=order)
        self.rng = np.random.default_rng(1)

    def _emit(self, kind, inputs, shape, moment, **rest) -> Value:
        signed = not rest.get("relu", False) and any(value.signed for value in inputs)
        signed = signed or (kind in ("conv", "dense") and not rest.get("relu", False))
        value = Value(f"v{len(self.net.ops)}", shape, moment, signed)
        self.net.ops.append(Op(kind, inputs, value, **rest))
        return value

    def conv(self, x, filters, kernel, stride=1, pad=None, relu=True, bias=True, binary=False) -> Value:
        """A convolution; a binary one (where the net has an order) has signs for weights and a scale a filter."""
        pad = kernel // 2 if pad is None else pad
        h, w, c = x.shape
        shape = ((h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1, filters)
        weight = self.rng.standard_normal((filters, kernel, kernel, c)).astype(np.float32)
        fan = kernel * kernel * c
        scale = None
        moment = x.moment if relu else 2.0 * x.moment
        if binary and self.net.order:
            weight = np.where(weight < 0, np.float32(-1), np.float32(1))
            scale = self.rng.uniform(0.5, 1.5, filters).astype(np.float32) / np.float32(np.sqrt(fan))
            relu, moment = False, 1.0
        else:
            binary = False
            weight *= np.float32(np.sqrt(2.0 / fan))
        shift = (self.rng.standard_normal(filters) * 0.05).astype(np.float32) if bias else None
        rest = dict(kernel=kernel, stride=stride, pad=pad, relu=relu, binary=binary, weight=weight)
        return self._emit("conv", [x], shape, moment, bias=shift, scale=scale, **rest)

    def dense(self, x, outputs, relu=False, bias=True) -> Value:
        """A matrix product; an input of two dimensions is rows x depth, any other is flattened."""
        rows, depth = x.shape if len(x.shape) == 2 else (1, int(np.prod(x.shape)))
        weight = self.rng.standard_normal((outputs, depth)).astype(np.float32) * np.float32(np.sqrt(2.0 / depth))
        shift = (self.rng.standard_normal(outputs) * 0.05).astype(np.float32) if bias else None
        moment = x.moment if relu else 2.0 * x.moment
        return self._emit("dense", [x], (rows, outputs), moment, relu=relu, weight=weight, bias=shift)

    def pool(self, x, kind="maxpool", kernel=2, stride=2, pad=0) -> Value:
        h, w, c = x.shape
        shape = ((h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1, c)
        grows = 2.0 if kind == "maxpool" else 1.0
        return self._emit(kind, [x], shape, grows * x.moment, kernel=kernel, stride=stride, pad=pad)

    def add(self, x, y, relu=False) -> Value:
        together = 0.0 if x.signed or y.signed else 2.0 * np.sqrt(x.moment * y.moment) * SUMS
        return self._emit("add", [x, y], x.shape, x.moment + y.moment + together, relu=relu)

    def mean(self, x) -> Value:
        return self._emit("mean", [x], (1, x.shape[-1]), x.moment)


def lenet5(order):
    b = Builder("lenet5", (28, 28, 1), order)
    x = b.pool(b.conv(b.net.input, 20, 5, pad=0))
    x = b.pool(b.conv(x, 50, 5, pad=0, binary=True))
    # A binary dense layer is a convolution whose window is the image.
    x = b.conv(x, 500, 4, pad=0, binary=True) if order else b.dense(x, 500, relu=True)
    b.dense(x, 10)
    return b.net


def vgg_small(order):
    b = Builder("vgg-small", (32, 32, 3), order)
    x = b.conv(b.net.input, 128, 3)
    x = b.pool(b.conv(x, 128, 3, binary=True))
    for filters in (256, 512):
        x = b.conv(x, filters, 3, binary=True)
        x = b.pool(b.conv(x, filters, 3, binary=True))
    b.dense(x, 10)
    return b.net


def bireal18(order):
    """Bi-Real-Net-18; with order 0 the same topology in floats, each convolution followed by a ReLU."""
    b = Builder("bireal18", (224, 224, 3), order)
    x = b.pool(b.conv(b.net.input, 64, 7, stride=2, pad=3), kernel=3, stride=2, pad=1)
    for filters, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1, 1, 1):
            shortcut = x
            if stride == 2:
                shortcut = b.conv(b.pool(x, "avgpool"), filters, 1, relu=False)
            x = b.add(b.conv(x, filters, 3, stride=stride, binary=True), shortcut)
    b.dense(b.mean(x), 1000)
    return b.net


NETWORKS = {"lenet5": lenet5, "vgg-small": vgg_small, "bireal18": bireal18}


def build(case: dict, order: int) -> Net:
    """The graph of a case as the program sends it: a convolution, a matrix product or a network, or nothing at all."""
    kind = case["kind"]
    if kind == "conv":
        b = Builder(case["name"], (case["height"], case["width"], case["channels"]), order, signed=order > 0)
        window = dict(kernel=case["kernel"], stride=case["stride"])
        b.conv(b.net.input, case["filters"], **window, relu=False, bias=False, binary=True)
    elif kind == "product" and order:
        # A binary product is a convolution of one tap over as many pixels as there are rows.
        b = Builder(case["name"], (*sides(case["rows"]), case["depth"]), order, signed=True)
        b.conv(b.net.input, case["columns"], 1, relu=False, bias=False, binary=True)
    elif kind == "product":
        b = Builder(case["name"], (case["rows"], case["depth"]), 0)
        b.dense(b.net.input, case["columns"], bias=False)
    elif kind == "network":
        return NETWORKS[case["network"]](order)
    elif kind == "empty":
        b = Builder(case["name"], (1, 1, 1), 0)
        b.pool(b.net.input, kernel=1, stride=1)
    else:
        raise ValueError(f"a case of an unknown kind: {kind}")
    return b.net


def sides(pixels: int) -> tuple[int, int]:
    """The most square image of so many pixels."""
    height = next(side for side in range(int(pixels**0.5), 0, -1) if pixels % side == 0)
    return height, pixels // height


def image(value: Value) -> np.ndarray:
    """The input of a graph: [0, 4), or of both signs where the graph takes those."""
    x = np.random.default_rng(3).standard_normal(value.shape).astype(np.float32)
    return np.clip(x if value.signed else np.abs(x), -4.0, 3.99).astype(np.float32)


def reference(net: Net, x: np.ndarray, border: float) -> np.ndarray:
    """The answer of a graph in float64; `border` is what a binary convolution's padded taps stand for."""
    values = {net.input.name: x.astype(np.float64)}
    bare = len(net.ops) == 1
    for op in net.ops:
        inputs = [values[value.name] for value in op.inputs]
        values[op.output.name] = _apply(op, inputs, net.order, border, bare)
    return values[net.output.name]


def _apply(op: Op, inputs: list, order: int, border: float, bare: bool) -> np.ndarray:
    x = inputs[0]
    if op.kind == "conv" and op.binary:
        rest, y = x, 0.0
        for scale in scales(order):
            sign = np.where(rest > 0, 1.0, -1.0)
            y = y + scale * _conv(sign, op, border)
            # As the composition has it, where 0 has no sign.
            rest = rest - scale * np.sign(rest)
        y = y if bare else y * op.scale
    elif op.kind == "conv":
        y = _conv(x, op, 0.0)
    elif op.kind == "dense":
        y = (x if x.ndim == 2 else x.reshape(1, -1)) @ op.weight.T.astype(np.float64)
    elif op.kind == "maxpool":
        y = np.max(list(_taps(x, op, -np.inf)), axis=0)
    elif op.kind == "avgpool":
        y = np.mean(list(_taps(x, op, 0.0)), axis=0)
    elif op.kind == "add":
        y = x + inputs[1]
    else:
        y = x.mean((0, 1))[None]
    if op.bias is not None:
        y = y + op.bias
    return np.maximum(y, 0.0) if op.relu else y


def scales(order: int) -> list[float]:
    """The constants that an order composed from binary convolutions multiplies its planes by; order 1 has none."""
    return [1.0] if order == 1 else [0.8 / 2**k for k in range(order)]


def _taps(x: np.ndarray, op: Op, border: float):
    """What each tap of the windows sees, row by row."""
    p, s = op.pad, op.stride
    x = np.pad(x, ((p, p), (p, p), (0, 0)), constant_values=border)
    h, w = op.output.shape[:2]
    for i in range(op.kernel):
        for j in range(op.kernel):
            yield x[i : i + s * h : s, j : j + s * w : s][:h, :w]


def _conv(x: np.ndarray, op: Op, border: float) -> np.ndarray:
    taps = op.weight.reshape(len(op.weight), -1, op.weight.shape[-1]).astype(np.float64)
    return sum(tap @ taps[:, i].T for i, tap in enumerate(_taps(x, op, border)))
