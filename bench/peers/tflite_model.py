"""A graph as a TensorFlow Lite model: f32, or int8 between QUANTIZE and DEQUANTIZE, so both take and give f32."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nets import Net, Op, Value

_KINDS = schema.BuiltinOperator
_TYPES = schema.TensorType
_NUMPY = {np.dtype(np.float32): _TYPES.FLOAT32, np.dtype(np.int8): _TYPES.INT8, np.dtype(np.int32): _TYPES.INT32}
VERSION = 3


class _Writer:
    def __init__(self, net: Net, int8: bool):
        self.net, self.int8 = net, int8
        self.tensors, self.operators, self.codes = [], [], []
        self.buffers = [schema.BufferT()]
        self.ids = {}

    def tensor(self, name, shape, kind, data=None, scale=None, zero=0, axis=0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), kind
        if scale is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = [float(value) for value in np.atleast_1d(scale)]
            quantization.zeroPoint = [zero] * len(quantization.scale)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, array, scale=None) -> int:
        return self.tensor(f"c{len(self.tensors)}", array.shape, _NUMPY[array.dtype], array, scale)

    def scale(self, value: Value) -> tuple[float, int]:
        """Scale and zero point: int8 holds [0, limit] or [-limit, limit]."""
        if value.signed:
            return value.limit() * 2 / 255, 0
        return value.limit() / 255, -128

    def value(self, value: Value) -> int:
        shape = value.shape if len(value.shape) == 2 else (1, *value.shape)
        if not self.int8:
            return self.tensor(value.name, shape, _TYPES.FLOAT32)
        scale, zero = self.scale(value)
        return self.tensor(value.name, shape, _TYPES.INT8, scale=scale, zero=zero)

    def operator(self, kind, inputs, outputs, options, **fields):
        """Adds an operation with `fields` in its options, which the schema calls `options`Options."""
        if kind not in self.codes:
            self.codes.append(kind)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(kind)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
        operator.builtinOptions = getattr(schema, f"{options}OptionsT")()
        vars(operator.builtinOptions).update(fields)
        self.operators.append(operator)

    def weights(self, op: Op) -> list[int]:
        bias = np.zeros(len(op.weight), np.float32) if op.bias is None else op.bias
        if not self.int8:
            return [self.constant(op.weight), self.constant(bias)]
        scale = np.abs(op.weight).reshape(len(op.weight), -1).max(1) / 127
        levels = np.rint(op.weight / scale.reshape(-1, *[1] * (op.weight.ndim - 1))).astype(np.int8)
        both = scale * self.scale(op.inputs[0])[0]
        return [self.constant(levels, scale), self.constant(np.rint(bias / both).astype(np.int32), both)]

    def padded(self, op: Op, x: int) -> int:
        """SAME pads what the graph asks for at stride 1; elsewhere a PAD does (of what stands for 0)."""
        value = op.inputs[0]
        height, width, channels = value.shape
        shape = (1, height + 2 * op.pad, width + 2 * op.pad, channels)
        grown = Value(f"{op.output.name}-padded", shape[1:], value.moment, value.signed)
        y = self.value(grown)
        pads = self.constant(np.array([[0, 0], [op.pad] * 2, [op.pad] * 2, [0, 0]], np.int32))
        self.operator(_KINDS.PAD, [x, pads], [y], "Pad")
        return y

    def op(self, op: Op):
        x = [self.ids[value.name] for value in op.inputs]
        act = schema.ActivationFunctionType.RELU if op.relu else schema.ActivationFunctionType.NONE
        # Pools keep the scale of what they pool.
        keeps = op.kind in ("maxpool", "avgpool")
        if keeps:
            op.output.moment = op.inputs[0].moment
        y = self.ids[op.output.name] = self.value(op.output)
        same = op.pad > 0 and op.stride == 1
        if op.pad and not same:
            x = [self.padded(op, x[0])]
        padding = schema.Padding.SAME if same else schema.Padding.VALID
        window = dict(padding=padding, strideH=op.stride, strideW=op.stride)
        if op.kind == "conv":
            window |= dict(dilationHFactor=1, dilationWFactor=1)
            self.operator(_KINDS.CONV_2D, x + self.weights(op), [y], "Conv2D", fusedActivationFunction=act, **window)
        elif op.kind == "dense":
            kind = _KINDS.FULLY_CONNECTED
            self.operator(kind, x + self.weights(op), [y], "FullyConnected", fusedActivationFunction=act)
        elif keeps:
            kind = _KINDS.MAX_POOL_2D if op.kind == "maxpool" else _KINDS.AVERAGE_POOL_2D
            self.operator(kind, x, [y], "Pool2D", filterHeight=op.kernel, filterWidth=op.kernel, **window)
        elif op.kind == "add":
            self.operator(_KINDS.ADD, x, [y], "Add", fusedActivationFunction=act)
        else:
            axes = self.constant(np.array([1, 2], np.int32))
            self.operator(_KINDS.MEAN, [*x, axes], [y], "Reducer")

    def end(self, value: Value, name: str) -> int:
        shape = value.shape if len(value.shape) == 2 else (1, *value.shape)
        return self.tensor(name, shape, _TYPES.FLOAT32)

    def bytes(self) -> bytes:
        net = self.net
        first = self.ids[net.input.name] = self.value(net.input)
        if self.int8:
            first = self.end(net.input, "input-f32")
            self.operator(_KINDS.QUANTIZE, [first], [self.ids[net.input.name]], "Quantize")
        for op in net.ops:
            self.op(op)
        last = self.ids[net.output.name]
        if self.int8:
            self.operator(_KINDS.DEQUANTIZE, [last], [self.end(net.output, "output-f32")], "Dequantize")
            last = len(self.tensors) - 1
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [first], [last]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers, model.description = VERSION, [graph], self.buffers, net.name
        model.operatorCodes = [self.code(kind) for kind in self.codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def code(self, kind):
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = kind, min(kind, 127)
        # int8 came with version 2 of most operations, scales a filter with 3 of CONV_2D and 4 of FULLY_CONNECTED.
        newest = {_KINDS.CONV_2D: 3, _KINDS.FULLY_CONNECTED: 5}
        code.version = newest.get(kind, 2) if self.int8 else 1
        return code


def model(net: Net, int8: bool) -> bytes:
    """The serialized model."""
    return _Writer(net, int8).bytes()
