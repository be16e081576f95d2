"""How published binary networks are written: each of `blocks` and `networks`, and layers of horq.nn in foreign code."""

import torch
from blocks import (
    AdaptiveBinary,
    Approximate,
    BinaryConnect,
    BiReal,
    Clamping,
    Code1d,
    DataConv,
    DoReFa,
    ErrorDecay,
    Excited,
    Lsq,
    React,
    Residual,
    SeveralBases,
    Sign,
    SignSte,
    Stochastic,
    XnorBlock,
)
from kinds import IMAGE, SEQUENCE, SIGNAL, TOKENS, VECTOR
from networks import BinaryAttention, Detector, Foreign, Temporal, Transformer, UpPath
from torch import nn
from torch.nn import functional as F

import horq
from horq import nn as hn


def ours(layer, *behind):
    """A layer of horq.nn before an activation that the exact road does not know."""
    return lambda: nn.Sequential(layer(), *behind, nn.Mish())


IDIOMS = {
    "sign by an autograd function": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Sign(SignSte.apply)), IMAGE),
    "sign by detach": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Approximate()), IMAGE),
    "sign by where": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Stochastic()), IMAGE),
    "sign by hardtanh and round": (lambda: Sign(lambda x: 2 * torch.round(F.hardtanh(x) / 2 + 0.5) - 1), IMAGE),
    "Bi-Real block": (BiReal, IMAGE),
    "Bi-Real block with stride": (lambda: BiReal(4, 8, 2), IMAGE),
    "ReActNet block": (React, IMAGE),
    "ReActNet block, doubled": (lambda: React(doubled=True), IMAGE),
    "XNOR-Net block": (XnorBlock, IMAGE),
    "XNOR-Net block with means": (lambda: XnorBlock(mean=True), IMAGE),
    "XNOR-Net, norms clamped in forward": (Clamping, IMAGE),
    "BinaryNet": (lambda: nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), DataConv(8, 6, 3, padding=1)), IMAGE),
    "IR-Net": (
        lambda: nn.Sequential(ErrorDecay(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.Hardtanh()),
        IMAGE,
    ),
    "AdaBin": (AdaptiveBinary, IMAGE),
    "DoReFa": (DoReFa, IMAGE),
    "DoReFa of 1 bit": (lambda: DoReFa(1), IMAGE),
    "LSQ": (Lsq, IMAGE),
    "LSQ of unsigned values": (lambda: Lsq(signed=False), IMAGE),
    "BinaryConnect": (lambda: nn.Sequential(BinaryConnect(12, 8), nn.BatchNorm1d(8), nn.ReLU()), VECTOR),
    "binary MLP": (
        lambda: nn.Sequential(
            nn.BatchNorm1d(12),
            Sign(SignSte.apply),
            BinaryConnect(12, 16),
            nn.BatchNorm1d(16),
            Sign(SignSte.apply),
            BinaryConnect(16, 5),
        ),
        VECTOR,
    ),
    "ABC-Net": (SeveralBases, IMAGE),
    "HORQ by hand": (Residual, IMAGE),
    "squeeze-and-excite block": (Excited, IMAGE),
    "binary attention": (BinaryAttention, SEQUENCE),
    "transformer of tokens": (Transformer, TOKENS),
    "U-Net up path": (UpPath, IMAGE),
    "detection head": (Detector, IMAGE),
    "TCN": (Temporal, SIGNAL),
    "binary conv of signals": (lambda: Code1d(), SIGNAL),
    "foreign code around our layers": (Foreign, IMAGE),
    "our HorqConv2d": (
        ours(lambda: hn.HorqConv2d(4, 6, 3, padding=1, padding_mode="one", order=3), hn.BatchNorm2d(6)),
        IMAGE,
    ),
    "our HorqConv2d by image": (ours(lambda: hn.HorqConv2d(4, 6, 3, scale_mode="image", groups=2, bias=True)), IMAGE),
    "our HorqConv2d with halving scales": (
        ours(lambda: hn.HorqConv2d(4, 6, 3, order=3, scale_mode="halving", own_scales=True), hn.BatchNorm2d(6)),
        IMAGE,
    ),
    "our HorqLinear behind a flatten": (lambda: nn.Sequential(nn.Mish(), nn.Flatten(), hn.HorqLinear(192, 5)), IMAGE),
    "our BinaryWeight": (ours(lambda: hn.BinaryWeight(nn.Conv2d(4, 6, 3), bases=2)), IMAGE),
    "our Codebook": (ours(lambda: hn.Codebook(nn.Linear(12, 5), torch.linspace(-0.3, 0.3, 8))), VECTOR),
    "our Int8": (ours(lambda: hn.Int8(nn.Conv2d(4, 6, 3), -3.0, 3.0)), IMAGE),
    "our norms by order": (
        ours(lambda: hn.HorqConv2d(4, 6, 3, order=2), hn.SwitchableBatchNorm(hn.BatchNorm2d(6), 2)),
        IMAGE,
    ),
    "converted": (
        lambda: horq.convert(
            nn.Sequential(
                nn.Conv2d(4, 8, 3),
                nn.BatchNorm2d(8),
                nn.SiLU(),
                nn.Conv2d(8, 8, 3),
                nn.SiLU(),
                nn.Flatten(),
                nn.Linear(64, 3),
            ),
            "horq",
        ),
        IMAGE,
    ),
}
