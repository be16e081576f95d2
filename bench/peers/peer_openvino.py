"""OpenVINO: f32 and int8 from ONNX, and binary convolutions from its own operations.

A binary layer is FakeQuantize with two levels, then BinaryConvolution (xnor-popcount); an order above 1 is composed:
so many of them over the residuals, each times its constant, in one graph.
"""

import numpy as np
import openvino as ov
from openvino import Shape, Type
from openvino import opset1 as ops
from openvino import opset8 as ops8

import onnx_model
from nets import Net, Op, scales

VERSION = ov.__version__.split("-")[0]
VARIANTS = ("f32", "int8", "binary")
CONFIG = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}
SETTINGS = [
    *(f"{key}={value}" for key, value in CONFIG.items()),
    "operands set once",
    "NCHW operands",
    "int8: u8 x s8, QDQ, f32 in and out",
    "binary: xnor-popcount, padded taps are -1, order above 1 composed of f32 residuals",
]
BORDER = -1.0

_CORE = ov.Core()


def _constant(array) -> ov.Node:
    return ops.constant(np.asarray(array, np.float32))


class Model:
    def __init__(self, stored, _net: Net, _kind: str):
        graph = _CORE.read_model(stored, b"") if isinstance(stored, bytes) else stored.graph
        self.compiled = _CORE.compile_model(graph, "CPU", CONFIG)
        self.request = self.compiled.create_infer_request()
        self.stored = stored

    @property
    def detail(self):
        """Which primitives do the products: what says whether matrix units or Winograd take part."""
        kinds = []
        for op in self.compiled.get_runtime_model().get_ordered_ops():
            info = op.get_rt_info()
            if info["layerType"].astype(str) in ("Convolution", "BinaryConvolution", "FullyConnected", "MatMul"):
                kinds.append(info["primitiveType"].astype(str))
        return ", ".join(dict.fromkeys(kinds))

    def set(self, x):
        self.x = onnx_model.to_onnx(x)
        self.request.set_input_tensor(ov.Tensor(self.x, shared_memory=True))

    def run(self):
        self.request.start_async()
        self.request.wait()

    def output(self):
        return onnx_model.from_onnx(self.request.get_output_tensor(0).data)


class _Binary:
    """A graph of OpenVINO's own operations. Its u1 constants share memory with `kept`."""

    def __init__(self, net: Net):
        self.order, self.kept, values = net.order, [], {}
        parameter = ops.parameter(onnx_model.onnx_shape(net.input), np.float32)
        values[net.input.name] = parameter
        for op in net.ops:
            values[op.output.name] = self.op(op, [values[value.name] for value in op.inputs], bare=len(net.ops) == 1)
        self.graph = ov.Model([ops.result(values[net.output.name])], [parameter], "net")

    def op(self, op: Op, x: list, bare: bool):
        strides, pads, kernel = [op.stride] * 2, [op.pad] * 2, [op.kernel] * 2
        if op.kind == "conv" and op.binary:
            y = self.binary(op, x[0])
            if not bare:
                y = ops.multiply(y, _constant(op.scale.reshape(1, -1, 1, 1)))
        elif op.kind == "conv":
            y = ops.convolution(x[0], _constant(op.channels_first()), strides, pads, pads, [1, 1])
        elif op.kind == "dense":
            flat = ops.constant(np.array([1, -1]))
            y = ops.reshape(x[0], flat, False) if len(op.inputs[0].shape) == 3 else x[0]
            y = ops.matmul(y, _constant(op.channels_first()), False, True)
        elif op.kind == "maxpool":
            y = ops.max_pool(x[0], strides, pads, pads, kernel)
        elif op.kind == "avgpool":
            y = ops.avg_pool(x[0], strides, pads, pads, kernel, True)
        elif op.kind == "add":
            y = ops.add(x[0], x[1])
        else:
            y = ops.reduce_mean(x[0], ops.constant(np.array([2, 3])), False)
        if op.bias is not None:
            y = ops.add(y, _constant(op.bias.reshape((1, -1, 1, 1) if op.kind == "conv" else (1, -1))))
        return ops.relu(y) if op.relu else y

    def binary(self, op: Op, x):
        filters, _, _, channels = op.weight.shape
        if channels % 8:
            raise ValueError(f"its binary convolution is wrong on {channels} channels, right on multiples of 8 only")
        bits = np.packbits((op.channels_first() > 0).reshape(-1).astype(np.uint8), bitorder="little")
        self.kept.append(bits)
        shape = Shape([filters, channels, op.kernel, op.kernel])
        threshold = np.zeros((1, channels, 1, 1))
        low, high = _constant(np.zeros((1, 1, 1, 1))), _constant(np.ones((1, 1, 1, 1)))
        total, rest = None, x
        for plane, scale in enumerate(scales(self.order)):
            sign = ops.fake_quantize(rest, _constant(threshold), _constant(threshold), low, high, 2)
            weight = ov.op.Constant(ov.Tensor(bits, shape, Type.u1))
            pads = [op.pad] * 2
            y = ops.binary_convolution(sign, weight, [op.stride] * 2, pads, pads, [1, 1], "xnor-popcount", -1.0)
            if self.order > 1:
                y = ops.multiply(y, _constant(np.full((1, filters, 1, 1), scale)))
            total = y if total is None else ops8.add(total, y)
            if plane + 1 < self.order:
                rest = ops.subtract(rest, ops.multiply(ops.sign(rest), _constant(scale)))
        return total


def model(net: Net, kind: str):
    return _Binary(net) if kind == "binary" else onnx_model.model(net, kind == "int8", quantize_output=False)
