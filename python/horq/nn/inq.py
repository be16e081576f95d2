"""INQ: incremental network quantization to powers of two and zero.

Source: Zhou, Yao, Guo, Xu and Chen, ICLR 2017, arXiv 1702.03044. The codebook of b bits is 0 and +-2^k for
n1 - 2^(b-2) < k <= n1, with n1 = floor(log2(4 max|W| / 3)) of the trained float weights (section 2.1: one bit of the
code is for 0). A weight becomes sign(w) 2^k where 3/4 2^k <= |w| < 3/2 2^k; the lowest k takes over half-way to 0, from
1/2 2^k on. Weights are frozen at their values in growing shares, the largest first, and the others trained on.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .packed import apply, checked
from .powers import LOWEST, check_bits, nearest_exponent, powers_of_two, signed_powers

INQ_SHARES = (0.5, 0.75, 0.875, 1.0)
"""The shares of frozen weights, one training stage after each but the last (section 3.1, for ImageNet)."""


class Inq(nn.Module):
    """A trained Conv2d or Linear whose weights are frozen, a share after the other, at powers of two or zero.

    Arguments:
        bits: of a weight's code, 2 to 5: 2^(bits - 2) powers, their negatives and 0.

    `layer` holds the float weights. Where the buffer `frozen` is set the layer computes with the buffer `fixed`
    instead, so that no optimizer, momentum or weight decay can move a frozen weight, and it gets no gradient. The
    state dict carries both and n1, the buffer `top`.
    """

    top: Tensor
    frozen: Tensor
    fixed: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, bits: int = 5) -> None:
        super().__init__()
        self.layer = checked(layer)
        self.bits = check_bits(bits)
        weight = layer.weight.detach()
        self.register_buffer("top", nearest_exponent(weight.float().abs().max()).clamp(min=LOWEST))
        self.register_buffer("frozen", torch.zeros_like(weight, dtype=torch.bool))
        self.register_buffer("fixed", torch.zeros_like(weight))

    @property
    def count(self) -> int:
        """How many exponents the codebook has."""
        return 2 ** (self.bits - 2)

    @property
    def share(self) -> float:
        """The share of the weights that is frozen, 0 to 1."""
        return self.frozen.double().mean().item()

    @torch.no_grad()
    def freeze(self, share: float) -> None:
        """Freezes the largest of the free weights until `share` of all, rounded to a whole number, is frozen.

        Raises `ValueError` if more is frozen already.
        """
        weight, total = self.layer.weight, self.frozen.numel()
        wanted, present = round(share * total), int(self.frozen.sum())
        if not present <= wanted <= total:
            raise ValueError(f"share must be from {present / total:g}, what is frozen already, to 1, not {share}")
        # Frozen weights come first, being infinite here.
        magnitudes = torch.where(self.frozen, torch.inf, weight.abs()).flatten()
        chosen = torch.zeros_like(self.frozen).flatten()
        chosen[magnitudes.topk(wanted).indices] = True
        fresh = chosen.view_as(self.frozen) & ~self.frozen
        values = powers_of_two(weight, self.top, self.count, zero_below=0.5)
        self.fixed.copy_(torch.where(fresh, values.to(weight.dtype), self.fixed))
        self.frozen |= fresh
        weight.copy_(self.quantized())

    def quantized(self) -> Tensor:
        """The weights that the layer computes with: fixed where they are frozen, else as they are; differentiable."""
        return torch.where(self.frozen, self.fixed, self.layer.weight)

    def codebook(self) -> Tensor:
        """The values that a frozen weight can have, in increasing order, f32."""
        return signed_powers(self.top, self.count, zero=True)

    def codes(self) -> Tensor:
        """Which value of `codebook` each weight is: uint8, as the weight lies. Raises `ValueError` if one is free."""
        if not bool(self.frozen.all()):
            raise ValueError(f"only {self.share:.1%} of the weights are frozen; call freeze(1) first")
        return torch.searchsorted(self.codebook(), self.fixed.float()).to(torch.uint8)

    def forward(self, x: Tensor) -> Tensor:
        return apply(self.layer, x, self.quantized(), self.layer.bias)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, share={self.share:g}"


def inq_layers(module: nn.Module) -> Iterator[Inq]:
    """The layers of INQ of `module`, in the order of `module.modules()`."""
    return (layer for layer in module.modules() if isinstance(layer, Inq))


def freeze_(module: nn.Module, share: float) -> None:
    """Freezes `share` of the weights of each `Inq` layer of `module`; the usual shares are `INQ_SHARES`.

    Raises `ValueError` if there is no such layer, or if one has more frozen already.
    """
    layers = list(inq_layers(module))
    if not layers:
        raise ValueError("the module has no Inq layer; make them with convert(model, 'inq')")
    for layer in layers:
        layer.freeze(share)
