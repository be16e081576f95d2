"""What modules hold as the fields of the engine's operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from ..nn.layers import pair


def array(value: Tensor, dtype: type = np.float32) -> np.ndarray:
    """A tensor as numpy has it, in C order."""
    return np.ascontiguousarray(value.detach().numpy().astype(dtype, copy=False))


def channels_last(value: Tensor) -> np.ndarray:
    """A batch as the engine has it: NHWC, float32, C order."""
    return array(value.permute(0, 2, 3, 1) if value.dim() == 4 else value)


def weights(value: Tensor, order: Tensor | None, dtype: type = np.float32) -> np.ndarray:
    """Weights as the engine has them: channels last, columns in the order of the engine's vector."""
    if value.dim() == 4:
        return array(value.permute(0, 2, 3, 1), dtype)
    return array(value if order is None else value[:, order], dtype)


def window(kernel: Any, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    vertical, horizontal = pair(padding)
    return {
        "kernel": pair(kernel),
        "stride": pair(stride or kernel),
        "dilation": pair(dilation),
        "padding": (vertical, horizontal, vertical, horizontal),
    }


def bias(layer: nn.Module) -> dict[str, Any]:
    return {} if layer.bias is None else {"bias": array(layer.bias)}


def shape(layer: nn.Conv2d | nn.Linear) -> dict[str, Any]:
    """Everything about a layer but its weights: window, filters, groups, bias."""
    if isinstance(layer, nn.Linear):
        return {"filters": layer.out_features, **bias(layer)}
    fields = window(layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return {**fields, "filters": layer.out_channels, "groups": layer.groups, **bias(layer)}
