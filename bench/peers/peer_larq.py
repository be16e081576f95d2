"""Larq Compute Engine: binary networks, converted from Keras. Its fast kernels are for Arm.

Layers of order 1 only: it knows no residual planes.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from importlib.metadata import version

import numpy as np

from nets import Net, Op

VERSION = version("larq-compute-engine")
VARIANTS = ("binary",)
SETTINGS = [
    "num_threads=1",
    "use_indirect_bgemm=True",
    "NHWC operands",
    "padded taps are +1",
    "its x86 kernels are not optimized",
    "a call copies input and output",
]
BORDER = 1.0


def _keras(net: Net):
    """The graph in Keras and larq, with the weights of the graph."""
    import larq
    import tensorflow as tf

    layers = tf.keras.layers
    values = {net.input.name: layers.Input(net.input.shape)}
    first = values[net.input.name]
    weights = []

    def conv(op: Op, x):
        binary = dict(input_quantizer="ste_sign", kernel_quantizer="ste_sign", pad_values=1.0) if op.binary else {}
        kind = larq.layers.QuantConv2D if op.binary else layers.Conv2D
        padding = "same" if op.pad else "valid"
        act = "relu" if op.relu else None
        bias = op.bias is not None and not op.binary
        layer = kind(len(op.weight), op.kernel, op.stride, padding, activation=act, use_bias=bias, **binary)
        y = layer(x)
        weights.append((layer, [op.weight.transpose(1, 2, 3, 0)] + ([op.bias] if bias else [])))
        if op.binary and op.bias is not None:
            # Mean 0 and variance 1, but for what keeps the variance from 0: scale and shift remain.
            layer = layers.BatchNormalization(epsilon=0.0)
            y = layer(y)
            zero, one = np.zeros_like(op.bias), np.ones_like(op.bias)
            weights.append((layer, [op.scale, op.bias, zero, one]))
        return y

    for op in net.ops:
        x = [values[value.name] for value in op.inputs]
        if op.kind == "conv":
            y = conv(op, x[0])
        elif op.kind == "dense":
            flat = layers.Flatten()(x[0]) if len(op.inputs[0].shape) == 3 else x[0]
            layer = layers.Dense(len(op.weight), activation="relu" if op.relu else None, use_bias=op.bias is not None)
            y = layer(flat)
            weights.append((layer, [op.weight.T] + ([] if op.bias is None else [op.bias])))
        elif op.kind == "maxpool":
            y = layers.MaxPool2D(op.kernel, op.stride, "same" if op.pad else "valid")(x[0])
        elif op.kind == "avgpool":
            y = layers.AveragePooling2D(op.kernel, op.stride)(x[0])
        elif op.kind == "add":
            y = layers.Add()(x)
        else:
            y = layers.GlobalAveragePooling2D()(x[0])
        values[op.output.name] = y
    keras = tf.keras.Model(first, values[net.output.name])
    for layer, arrays in weights:
        layer.set_weights(arrays)
    return keras


class Model:
    def __init__(self, stored: bytes, _net: Net, _kind: str):
        from larq_compute_engine.tflite.python.interpreter import Interpreter

        self.interpreter = Interpreter(stored, num_threads=1, use_indirect_bgemm=True).interpreter

    def set(self, x):
        self.x = [np.ascontiguousarray(x[None])]

    def run(self):
        self.y = self.interpreter.predict(self.x)

    def output(self):
        return self.y[0]


def model(net: Net, _kind: str) -> bytes:
    import larq_compute_engine as lce

    if net.order > 1:
        raise ValueError("Larq Compute Engine knows no order above 1")
    return lce.convert_keras_model(_keras(net))
