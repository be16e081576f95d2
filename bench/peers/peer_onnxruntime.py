"""ONNX Runtime: f32 and int8 (QDQ) models, its own thread only, operands bound once."""

import numpy as np
import onnxruntime as ort

import onnx_model
from nets import Net

VERSION = ort.__version__
VARIANTS = ("f32", "int8")
SETTINGS = [
    "CPUExecutionProvider",
    "all graph optimizations",
    "intra_op_num_threads=1",
    "I/O binding",
    "NCHW operands",
    "int8: u8 x s8, QDQ, f32 in and out, output quantized",
    "no Winograd",
]
BORDER = 0.0


class Model:
    def __init__(self, stored: bytes, net: Net, _kind: str):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = ort.InferenceSession(stored, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.y = np.empty(onnx_model.onnx_shape(net.output), np.float32)
        self.binding.bind_output("output", "cpu", 0, np.float32, self.y.shape, self.y.ctypes.data)

    def set(self, x):
        self.x = onnx_model.to_onnx(x)
        self.binding.bind_input("input", "cpu", 0, np.float32, self.x.shape, self.x.ctypes.data)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return onnx_model.from_onnx(self.y)


def model(net: Net, kind: str) -> bytes:
    return onnx_model.model(net, kind == "int8", quantize_output=True)
