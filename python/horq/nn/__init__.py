"""Layers for PyTorch whose eval mode is what the horq engine computes."""

from .activations import PReLU, RPReLU, Shift
from .bases import weight_bases
from .centring import Centre, Centred, Report, explain
from .conversion import convert
from .functional import GradientRule, Padding, ScaleMode, WeightScale, binarize_weight, residual_quantize, sign
from .hashing import hash_weights_
from .inq import INQ_SHARES, Inq, freeze_
from .layers import HorqConv2d, HorqLinear
from .norm import Affine, AffineByOrder, BatchNorm1d, BatchNorm2d, SwitchableBatchNorm, switch_norms_
from .packed import BinaryWeight, Codebook, Int8, image8
from .pooling import MaxPool2d
from .powers import PowerOfTwo
from .tools import clip_weights_, horq_layers, set_order, start_scales_, take_statistics_

__all__ = [
    "INQ_SHARES",
    "Affine",
    "AffineByOrder",
    "BatchNorm1d",
    "BatchNorm2d",
    "BinaryWeight",
    "Centre",
    "Centred",
    "Codebook",
    "GradientRule",
    "HorqConv2d",
    "HorqLinear",
    "Inq",
    "Int8",
    "MaxPool2d",
    "PReLU",
    "Padding",
    "PowerOfTwo",
    "RPReLU",
    "Report",
    "ScaleMode",
    "Shift",
    "SwitchableBatchNorm",
    "WeightScale",
    "binarize_weight",
    "clip_weights_",
    "convert",
    "explain",
    "freeze_",
    "hash_weights_",
    "horq_layers",
    "image8",
    "residual_quantize",
    "set_order",
    "sign",
    "start_scales_",
    "switch_norms_",
    "take_statistics_",
    "weight_bases",
]
