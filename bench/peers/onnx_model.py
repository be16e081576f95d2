"""A graph as an ONNX model: f32, or int8 as pairs of QuantizeLinear and DequantizeLinear (u8 x s8, scales a filter)."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from nets import Net, Op, Value

OPSET, IR = 17, 8


class _Writer:
    def __init__(self, net: Net, int8: bool, quantize_output: bool):
        self.net, self.int8, self.quantize_output = net, int8, quantize_output
        self.nodes, self.constants = [], []
        self.names = {}
        self.flat = set()

    def constant(self, array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind, inputs, **attributes) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def activation_scale(self, value: Value) -> np.float32:
        return np.float32(value.limit() * (2 if value.signed else 1) / 255)

    def quantized(self, name: str, value: Value) -> str:
        """The value through 8 bits and back, which engines fuse with what stands around it."""
        if not self.int8:
            return name
        pair = [self.constant(self.activation_scale(value)), self.constant(np.uint8(128 if value.signed else 0))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [name, *pair]), *pair])

    def weights(self, op: Op) -> list[str]:
        array = op.channels_first()
        if not self.int8:
            return [self.constant(array)] + ([] if op.bias is None else [self.constant(op.bias)])
        scale = (np.abs(array).reshape(len(array), -1).max(1) / 127).astype(np.float32)
        levels = np.rint(array / scale.reshape(-1, *[1] * (array.ndim - 1))).astype(np.int8)
        zeros = self.constant(np.zeros(len(array), np.int8))
        inputs = [self.node("DequantizeLinear", [self.constant(levels), self.constant(scale), zeros], axis=0)]
        if op.bias is not None:
            scale = scale * self.activation_scale(op.inputs[0])
            zeros = self.constant(np.zeros(len(array), np.int32))
            bias = self.constant(np.rint(op.bias / scale).astype(np.int32))
            inputs.append(self.node("DequantizeLinear", [bias, self.constant(scale), zeros], axis=0))
        return inputs

    def op(self, op: Op) -> str:
        x = [self.names[value.name] for value in op.inputs]
        window = dict(kernel_shape=[op.kernel] * 2, strides=[op.stride] * 2, pads=[op.pad] * 4)
        if op.kind == "conv":
            y = self.node("Conv", x + self.weights(op), **window)
        elif op.kind == "dense":
            x = [self.node("Flatten", x, axis=1)] if len(op.inputs[0].shape) == 3 else x
            y = self.node("Gemm", x + self.weights(op), transB=1)
        elif op.kind == "maxpool":
            y = self.node("MaxPool", x, **window)
        elif op.kind == "avgpool":
            y = self.node("AveragePool", x, **window)
        elif op.kind == "add":
            y = self.node("Add", x)
        else:
            y = self.node("Flatten", [self.node("GlobalAveragePool", x)], axis=1)
        return self.node("Relu", [y]) if op.relu else y

    def bytes(self) -> bytes:
        net = self.net
        self.names[net.input.name] = self.quantized("input", net.input)
        for op in net.ops:
            name = self.op(op)
            ends = op is net.ops[-1] and not self.quantize_output
            self.names[op.output.name] = name if ends else self.quantized(name, op.output)
        self.nodes.append(helper.make_node("Identity", [self.names[net.output.name]], ["output"]))
        shapes = [helper.make_tensor_value_info("input", TensorProto.FLOAT, onnx_shape(net.input))]
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, onnx_shape(net.output))]
        graph = helper.make_graph(self.nodes, "net", shapes, outputs, self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR).SerializeToString()


def onnx_shape(value: Value) -> list[int]:
    """Channels first, and a batch of one before an image."""
    if len(value.shape) == 2:
        return list(value.shape)
    height, width, channels = value.shape
    return [1, channels, height, width]


def to_onnx(array: np.ndarray) -> np.ndarray:
    """A value in the layout that ONNX has."""
    return array if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1)[None])


def from_onnx(array: np.ndarray) -> np.ndarray:
    """The other way."""
    return array if array.ndim == 2 else array[0].transpose(1, 2, 0)


def model(net: Net, int8: bool, quantize_output: bool) -> bytes:
    """The serialized model. Engines that fuse an operation only between two pairs want the output quantized too."""
    return _Writer(net, int8, quantize_output).bytes()
