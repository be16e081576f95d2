"""ncnn: f32 and int8. Its parameter text and weight file are written here and read by ncnn from a temporary folder."""

import struct
import tempfile
from pathlib import Path

import ncnn
import numpy as np

from nets import Net, Op, Value, sides

VERSION = ncnn.__version__
VARIANTS = ("f32", "int8")
SETTINGS = [
    "num_threads=1",
    "fp16 and bf16 storage and arithmetic off",
    "Winograd for f32 and int8 3x3 (default)",
    "channel-major operands",
    "int8: s8 x s8 with scales a filter, f32 in and out; consecutive layers hand over int8",
    "a matrix product is a convolution of one tap",
]
BORDER = 0.0

INT8_FLAG = 0x000D4B38
REQUANTIZE = 100
"""Added to `int8_scale_term`: the output is int8 too."""


class _Writer:
    def __init__(self, net: Net, int8: bool):
        self.net, self.int8 = net, int8
        self.lines, self.blobs = [], 0
        self.weights = bytearray()
        self.readers = {}
        for op in net.ops:
            for value in op.inputs:
                self.readers[value.name] = [*self.readers.get(value.name, []), op]
        # A blob may be read once; what is read twice is split.
        self.names = {}

    def line(self, kind, inputs, outputs, arguments=""):
        self.blobs += len(outputs)
        head = f"{kind} l{len(self.lines)} {len(inputs)} {len(outputs)}"
        self.lines.append(" ".join([head, *inputs, *outputs, arguments]).rstrip())

    def made(self, value: Value, name: str):
        readers = len(self.readers.get(value.name, []))
        copies = [f"{name}_{i}" for i in range(readers)] if readers > 1 else [name]
        if readers > 1:
            self.line("Split", [name], copies)
        self.names[value.name] = copies

    def scale(self, value: Value) -> float:
        return 127 / value.limit()

    def requantizes(self, op: Op) -> bool:
        readers = self.readers.get(op.output.name, [])
        return op.kind == "conv" and len(readers) == 1 and readers[0].kind == "conv"

    def parameters(self, op: Op):
        weight = op.channels_first().reshape(len(op.weight), -1)
        scales = 127 / np.abs(weight).max(1)
        if self.int8:
            levels = np.rint(weight * scales[:, None]).astype(np.int8).tobytes()
            self.weights += struct.pack("<I", INT8_FLAG) + levels + bytes(-len(levels) % 4)
        else:
            self.weights += struct.pack("<I", 0) + weight.astype("<f4").tobytes()
        if op.bias is not None:
            self.weights += op.bias.astype("<f4").tobytes()
        if self.int8:
            self.weights += scales.astype("<f4").tobytes() + struct.pack("<f", self.scale(op.inputs[0]))
            if self.requantizes(op):
                self.weights += struct.pack("<f", self.scale(op.output))
        return weight.size

    def op(self, op: Op):
        x = [self.names[value.name].pop() for value in op.inputs]
        y = op.output.name
        product = op.kind == "dense" and op.inputs[0].shape[0] > 1 and len(op.inputs[0].shape) == 2
        if op.kind == "conv" or product:
            int8 = self.int8 * (1 + REQUANTIZE * self.requantizes(op))
            arguments = f"0={len(op.weight)} 1={op.kernel} 3={op.stride} 4={op.pad} 5={int(op.bias is not None)}"
            size = self.parameters(op)
            self.line("Convolution", x, [y], f"{arguments} 6={size} 8={int8} 9={int(op.relu)}")
        elif op.kind == "dense":
            arguments = f"0={len(op.weight)} 1={int(op.bias is not None)} 2={self.parameters(op)}"
            self.line("InnerProduct", x, [y], f"{arguments} 8={int(self.int8)} 9={int(op.relu)}")
        elif op.kind in ("maxpool", "avgpool"):
            mean = int(op.kind == "avgpool")
            self.line("Pooling", x, [y], f"0={mean} 1={op.kernel} 2={op.stride} 3={op.pad} 5=1")
        elif op.kind == "add":
            self.line("BinaryOp", x, [y], "0=0")
        else:
            self.line("Pooling", x, [y], "0=1 4=1")
        if op.relu and op.kind == "add":
            raise ValueError("an add with a ReLU is not written")
        self.made(op.output, y)

    def files(self) -> tuple[str, bytes]:
        h, w, c = pixels(self.net.input)
        self.line("Input", [], [self.net.input.name], f"0={w} 1={h} 2={c}")
        self.made(self.net.input, self.net.input.name)
        for op in self.net.ops:
            self.op(op)
        return f"7767517\n{len(self.lines)} {self.blobs}\n" + "\n".join(self.lines) + "\n", bytes(self.weights)


def pixels(value: Value) -> tuple[int, int, int]:
    """Rows of a matrix are the pixels of an image."""
    return value.shape if len(value.shape) == 3 else (*sides(value.shape[0]), value.shape[1])


class Model:
    def __init__(self, folder: tempfile.TemporaryDirectory, net: Net, _kind: str):
        self.net, self.shape = ncnn.Net(), net
        options = self.net.opt
        options.num_threads = 1
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        path = Path(folder.name) / "net"
        if self.net.load_param(f"{path}.param") != 0 or self.net.load_model(f"{path}.bin") != 0:
            raise RuntimeError("ncnn refuses the model")

    def set(self, x):
        x = np.ascontiguousarray(x.reshape(pixels(self.shape.input)).transpose(2, 0, 1))
        # A Mat borrows what it is made of, and the copy is aligned as ncnn likes it.
        self.x = ncnn.Mat(x).clone()

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input(self.shape.input.name, self.x)
        status, self.y = extractor.extract(self.shape.output.name)
        if status != 0:
            raise RuntimeError(f"ncnn stops with {status}")

    def output(self):
        y = np.array(self.y)
        return y.transpose(1, 2, 0) if y.ndim == 3 else y


def model(net: Net, kind: str) -> tempfile.TemporaryDirectory:
    text, weights = _Writer(net, kind == "int8").files()
    folder = tempfile.TemporaryDirectory()
    (Path(folder.name) / "net.param").write_text(text)
    (Path(folder.name) / "net.bin").write_bytes(weights)
    return folder
