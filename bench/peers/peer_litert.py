"""LiteRT, once TensorFlow Lite, with its XNNPACK delegate: f32 and int8."""

from importlib.metadata import version

from ai_edge_litert.interpreter import Interpreter

import tflite_model
from nets import Net

VERSION = version("ai-edge-litert")
VARIANTS = ("f32", "int8")
SETTINGS = [
    "XNNPACK delegate (default)",
    "num_threads=1",
    "input set once",
    "NHWC operands",
    "int8: s8 x s8 with scales a filter, f32 in and out (QUANTIZE, DEQUANTIZE)",
    "no Winograd",
]
BORDER = 0.0


class Model:
    def __init__(self, stored: bytes, _net: Net, _kind: str):
        self.interpreter = Interpreter(model_content=stored, num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.outputs = self.interpreter.get_output_details()[0]["index"]

    def set(self, x):
        self.interpreter.set_tensor(self.input["index"], x.reshape(self.input["shape"]))

    def run(self):
        self.interpreter.invoke()

    def output(self):
        return self.interpreter.get_tensor(self.outputs)


def model(net: Net, kind: str) -> bytes:
    return tflite_model.model(net, kind == "int8")
