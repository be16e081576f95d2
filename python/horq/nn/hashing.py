"""BWNH: binary weights trained layer by layer as a hash that keeps inner products.

Source: Hu, Wang and Cheng, AAAI 2018, arXiv 1802.02733. A layer with inputs X [n, m] (m windows of n values) and a
filter w answers t = X^T w. Inside the quantized network it gets the inputs X~ instead, and its filter is to be a b,
with bits b in {-1, +1}^n and a scale a. The error of its answers is

    ||t - a X~^T b||^2 = ||t||^2 - 2 a b.q + a^2 b.G b,   G = X~ X~^T [n, n],   q = X~ t = X~ X^T w [n],

so G, q and ||t||^2, sums over windows, are all that is needed of the data. (Only where the inputs are the float
network's own, X~ = X, is q = G w.) Setting the derivative by a to 0, and comparing both signs of one bit, gives

    a = b.q / b.G b,   b_j = sign(a (q_j - a sum_{i != j} G_ji b_i)),

which are taken in turns, the bits one after another: no step can raise the error. Filters are independent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .functional import sign
from .packed import BinaryWeight, apply
from .running import inputs_seen, modes_kept

_BLOCK = 64
"""Bits that are decided before the sums of all others are brought up to date by one matrix product."""
_ROUNDING = 1e-12
"""Share of the largest |a q_j| below which a bit's gain counts as rounding, so that no bit flips back and forth."""


@dataclass
class Statistics:
    """Sums over windows of a layer's inputs and targets: all that the hash needs of the data."""

    gram: Tensor
    """X~ X~^T, [n, n], float64."""
    products: Tensor
    """X~ T, [n, filters], float64."""
    energy: Tensor
    """||t||^2 of each filter, [filters], float64."""

    @staticmethod
    def empty(inputs: int, filters: int, device: torch.device | None = None) -> Statistics:
        sizes = (inputs, inputs), (inputs, filters), (filters,)
        return Statistics(*(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Adds windows: inputs [m, n] of the quantized network, targets [m, filters] of the float one."""
        self.gram += inputs.T @ inputs
        self.products += inputs.T @ targets
        self.energy += targets.double().square().sum(0)

    def error(self, bits: Tensor, alpha: Tensor) -> float:
        """sum of ||t - a X~^T b||^2 over the filters; bits [n, filters], alpha [filters]."""
        quadratic = (bits * (self.gram @ bits)).sum(0)
        return (self.energy - 2 * alpha * (bits * self.products).sum(0) + alpha**2 * quadratic).sum().item()


def hash_filters(weight: Tensor, statistics: Statistics, passes: int = 50) -> tuple[Tensor, Tensor, list[float]]:
    """The alternating updates on one layer.

    Arguments:
        weight: [filters, n], where to start: b = sign(w), a = mean|w|.
        passes: how often at most to go over all bits; it ends as soon as no bit flips.

    Returns the bits [filters, n], the scales [filters], both float64 and the scales not negative, and the errors: at
    the start and after each pass. A bit that does not matter (its input is always 0) keeps its sign, and a filter
    whose answers are all 0 its scale.
    """
    bits = sign(weight.detach().double()).T.contiguous()
    alpha = weight.detach().double().abs().mean(1)
    errors = [statistics.error(bits, alpha)]
    gram = (statistics.gram + statistics.gram.T) / 2  # a matrix product may round its halves differently
    active = torch.arange(bits.shape[1], device=bits.device)
    for _ in range(passes):
        own, products = bits[:, active], statistics.products[:, active]
        sums = gram @ own
        scale = _best_scale(own, sums, products, alpha[active])
        flipped = _pass(own, sums, gram, products, scale)
        bits[:, active] = own
        alpha[active] = _best_scale(own, gram @ own, products, scale)
        errors.append(statistics.error(bits, alpha))
        active = active[flipped]
        if not len(active):
            break
    turned = torch.where(alpha < 0, -1.0, 1.0).double()
    return (bits * turned).T.contiguous(), alpha * turned, errors


def _best_scale(bits: Tensor, sums: Tensor, products: Tensor, before: Tensor) -> Tensor:
    """b.q / b.G b of each filter; the scale before where b.G b is 0."""
    quadratic = (bits * sums).sum(0)
    return torch.where(quadratic > 0, (bits * products).sum(0) / quadratic, before)


def _pass(bits: Tensor, sums: Tensor, gram: Tensor, products: Tensor, alpha: Tensor) -> Tensor:
    """Decides every bit of [n, filters] once, in place, with `sums` = G B; returns which filters had one flip."""
    least = _ROUNDING * (alpha * products).abs().amax(0)
    flipped = torch.zeros(bits.shape[1], dtype=torch.bool, device=bits.device)
    for start in range(0, len(bits), _BLOCK):
        block = slice(start, start + _BLOCK)
        square, near = gram[block, block], sums[block].clone()
        before = bits[block].clone()
        for j, row in enumerate(bits[block]):
            others = near[j] - square[j, j] * row
            gain = alpha * (products[start + j] - alpha * others) * row
            change = torch.where(gain < -least, -2 * row, 0.0)
            row += change
            near.addr_(square[:, j], change)
        change = bits[block] - before
        if change.any():
            flipped |= change.ne(0).any(0)
            sums.addmm_(gram[:, block], change)
    return flipped


@torch.no_grad()
def set_binary_(layer: BinaryWeight, bits: Tensor, alpha: Tensor) -> None:
    """Gives the layer float weights with sign(W) = bits and mean|W| = alpha; bits of the weight's shape.

    The magnitudes keep their pattern, |w| of each filter times one factor, so that in the fine-tuning that follows the
    weights which were small before can still flip and those that were large stay.
    """
    weight = layer.layer.weight
    magnitudes = weight.double().abs().flatten(1)
    mean = magnitudes.mean(1, keepdim=True)
    # A 0 has no sign to carry a bit: it becomes small instead.
    magnitudes = torch.where(mean > 0, magnitudes.maximum(1e-6 * mean), 1.0)
    magnitudes *= (alpha.double() / magnitudes.mean(1))[:, None]
    weight.copy_(bits.double() * magnitudes.view_as(weight))


@torch.no_grad()
def hash_weights_(
    student: nn.Module,
    teacher: nn.Module,
    batches: Callable[[], Iterable[Tensor]],
    *,
    windows: int = 64,
    passes: int = 50,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Sets the weights of each `BinaryWeight` layer of `student` to the hash of the same layer of `teacher`.

    Layers are taken in the order in which they run. Each gets the inputs that the quantized network gives it, with all
    layers before it hashed already, and the float network's answers as targets. Fine-tune the network afterwards.

    Arguments:
        student: what `convert(teacher, "bwnh")` gives.
        teacher: the float network, with a `Conv2d` or `Linear` of the same name for each of those layers.
        batches: called once a layer, gives the same batches each time; a few thousand images are plenty.
        windows: how many windows of an image a convolution is fitted on, drawn at random; all, if it has fewer.
        passes: how often at most to go over all bits of a layer; see `hash_filters`.
        seed: of the draw of windows.

    Returns for each layer its relative squared error, ||T - X~^T B A||^2 / ||T||^2, at the start and after each pass.
    Both networks run in eval mode and keep the mode that they were in.
    """
    errors = {}
    with modes_kept(student, teacher):
        student.eval()
        teacher.eval()
        for name in _order(student, next(iter(batches()))):
            layer, target = student.get_submodule(name), _target(teacher, name, student)
            generator = torch.Generator().manual_seed(seed)
            groups = _statistics(layer.layer)
            for batch in batches():
                inputs = _input_of(student, layer, batch)
                targets = apply(target, _input_of(teacher, target, batch), target.weight)
                _gather(groups, layer.layer, inputs, targets, windows, generator)
            errors[name] = _hash_layer(layer, groups, passes)
    return errors


class _Reached(Exception):
    """A layer's input has been seen, so the rest of the network need not run."""


def _order(student: nn.Module, batch: Tensor) -> list[str]:
    """The names of the BinaryWeight layers in the order in which they run."""
    names = {layer: name for name, layer in student.named_modules() if isinstance(layer, BinaryWeight)}
    if not names:
        raise ValueError("the student has no BinaryWeight layer; make it with convert(teacher, 'bwnh')")
    for layer, name in names.items():
        if layer.bases > 1:
            raise ValueError(f"layer {name!r} has {layer.bases} weight bases; BWNH is for one")
    seen: dict[str, None] = {}
    with inputs_seen(names, lambda layer, _: seen.setdefault(names[layer])):
        student(batch[:1])
    return list(seen)


def _target(teacher: nn.Module, name: str, student: nn.Module) -> nn.Conv2d | nn.Linear:
    layer = student.get_submodule(name).layer
    target = dict(teacher.named_modules()).get(name)
    if type(target) is not type(layer) or target.weight.shape != layer.weight.shape:
        raise ValueError(f"the teacher has no {type(layer).__name__} {name!r} with weights {list(layer.weight.shape)}")
    return target


def _input_of(net: nn.Module, layer: nn.Module, batch: Tensor) -> Tensor:
    """What `layer` reads when `net` runs on the batch."""
    seen: list[Tensor] = []

    def stop(_layer: nn.Module, input: Tensor) -> None:
        seen.append(input)
        raise _Reached

    with contextlib.suppress(_Reached), inputs_seen([layer], stop):
        net(batch)
    return seen[0]


def _statistics(layer: nn.Conv2d | nn.Linear) -> list[Statistics]:
    """One for each group of the layer."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    filters, *shape = layer.weight.shape
    size = torch.Size(shape).numel(), filters // groups, layer.weight.device
    return [Statistics.empty(*size) for _ in range(groups)]


def _gather(
    groups: list[Statistics],
    layer: nn.Conv2d | nn.Linear,
    inputs: Tensor,
    targets: Tensor,
    windows: int,
    generator: torch.Generator,
) -> None:
    """Adds a batch's windows to the statistics of each group."""
    if isinstance(layer, nn.Linear):
        groups[0].add(inputs.flatten(0, -2), targets.flatten(0, -2))
        return
    targets = targets.flatten(2)
    drawn = torch.randperm(targets.shape[2], generator=generator)[:windows].to(inputs.device)
    columns = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)[:, :, drawn]
    parts = zip(columns.chunk(len(groups), 1), targets[:, :, drawn].chunk(len(groups), 1), strict=True)
    for statistics, (own, answers) in zip(groups, parts, strict=True):
        statistics.add(own.transpose(1, 2).flatten(0, 1), answers.transpose(1, 2).flatten(0, 1))


def _hash_layer(layer: BinaryWeight, groups: list[Statistics], passes: int) -> list[float]:
    """Hashes a layer group by group and returns its relative errors."""
    weight = layer.layer.weight
    rows = weight.flatten(1).chunk(len(groups))
    hashed = [hash_filters(own, statistics, passes) for own, statistics in zip(rows, groups, strict=True)]
    bits, alpha = torch.cat([bits for bits, _, _ in hashed]), torch.cat([alpha for _, alpha, _ in hashed])
    set_binary_(layer, bits.view_as(weight), alpha)
    energy = sum(statistics.energy.sum().item() for statistics in groups)
    longest = max(len(errors) for _, _, errors in hashed)
    padded = [errors + errors[-1:] * (longest - len(errors)) for _, _, errors in hashed]
    return [sum(column) / energy if energy else 0.0 for column in zip(*padded, strict=True)]
