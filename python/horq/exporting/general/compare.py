"""What a module answers beside what its file answers, for several inputs and outputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..._core import Error, Model
from ...errors import ExportError
from ...nn import horq_layers, set_order
from ..answers import NUDGE, NUDGES, ORIGINS, TOLERANCE
from ..lines import line_of
from ..unfit import not_finite
from .modules import Example

Rows = list[np.ndarray]
"""An answer [N, values of one] for each output."""


@dataclass(frozen=True)
class Port:
    """How the values of an input or output of the module lie in the engine's."""

    name: str
    shape: tuple[int, ...]
    """In the module, with the batch of one."""
    order: tuple[int, ...]
    """The order of those axes in the engine's memory, outermost first."""
    engine_shape: tuple[int, ...]

    def engine(self, value: np.ndarray) -> np.ndarray:
        """A batch of the module's values as the engine has them."""
        samples = value.reshape(len(value), *self.shape[1:]) if self.shape[:1] == (1,) else value
        if samples.ndim == len(self.order):
            samples = samples.transpose(self.order)
        return np.ascontiguousarray(samples.reshape(len(value), *self.engine_shape), dtype=np.float32)


@dataclass(frozen=True)
class Comparison:
    """How near the file's answers came."""

    samples: int
    largest: float
    """The largest difference that rounding cannot turn, as a share of the largest value of an answer."""
    ties: int
    """Samples whose answer differs by more, since it hangs on the last bit of a value at a threshold."""


class Answers:
    """A module's own answers at each order that its binary layers have."""

    def __init__(self, module: nn.Module, example: Example) -> None:
        self.module, self.example = module, example
        self.orders = range(1, 1 + max((layer.max_order for layer in horq_layers(module)), default=1))
        self.rows = {order: self._run(module, example, order) for order in self.orders}
        for order, outputs in self.rows.items():
            if not all(np.isfinite(rows).all() for rows in outputs):
                where = not_finite(module, lambda order=order: self._run(module, example, order))
                raise ExportError(
                    f"the module's own answer to the example is NaN or infinite at order {order}; {where}"
                )
        again = self._run(module, example, 1)
        if not all(np.array_equal(a, b) for a, b in zip(again, self.rows[1], strict=True)):
            raise ExportError(
                "the module answers a second call otherwise than the first: it draws at random, or keeps state that "
                "one call leaves for the next; take that out of its eval mode"
            )

    def tensors(self) -> Rows:
        """The answers at the highest order."""
        return self.rows[self.orders[-1]]

    @staticmethod
    def _run(module: nn.Module, example: Example, order: int) -> Rows:
        set_order(module, order)
        given = example.changed(Tensor.clone)
        try:
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                answer = module(*given.arguments, **given.keywords)
        except Exception as error:  # the user's module runs here
            raise ExportError(f"the module does not run on the example{line_of(error)}: {error}") from error
        found = [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]
        if not found:
            raise ExportError(f"the module must return tensors, not {type(answer).__qualname__}")
        for leaf in found:
            if not leaf.dim() or len(leaf) != example.samples:
                given = ", ".join(str(list(tensor.shape)) for tensor in example.tensors)
                raise ExportError(
                    f"the module's answer has the shape {list(leaf.shape)} for a batch of {example.samples}; keep the "
                    f"batch first, so that each sample has an answer of its own, also in the example, which is {given} "
                    "(one sample becomes a batch by example[None])"
                )
        return [leaf.detach().float().numpy() for leaf in found]

    def check(self, model: Model, inputs: list[Port], outputs: list[Port]) -> Comparison:
        """Compares the file's answers at every order.

        A difference above `TOLERANCE` is accepted if the module's own answer to that sample moves at least half as far
        when its parameters and inputs change in their last bits; see `horq.exporting.answers`. Raises `ExportError` for
        any other.
        """
        session = model.session(batch=self.example.samples)
        given = [port.engine(value.numpy()) for port, value in zip(inputs, self.example.tensors, strict=True)]
        largest, tied = 0.0, np.zeros(self.example.samples, dtype=bool)
        # The highest order comes first, by a session that has not been told any: signs of three values are layers of
        # order 2 in the file, whatever the order of the module's own layers.
        for order in reversed(self.orders):
            try:
                if order != self.orders[-1]:
                    session.set_order(order)
                answer = session.run(*given)
            except Error as error:
                raise ExportError(f"the engine cannot answer the example at order {order}: {error}") from error
            answers = answer if isinstance(answer, tuple) else (answer,)
            far = [
                _shares(port.engine(own), found)
                for port, own, found in zip(outputs, self.rows[order], answers, strict=True)
            ]
            share = np.max(far, 0)
            allowed = np.full(len(share), TOLERANCE)
            if (share > allowed).any():
                allowed = np.maximum(allowed, 2 * self._sensitivity(order))
            if (share > allowed).any():
                sample = int((share - allowed).argmax())
                raise ExportError(
                    f"at order {order} the engine's answer to sample {sample} of the example lies {share[sample]:.2g} "
                    f"of its largest value off the module's own, where {allowed[sample]:.2g} may come of rounding: "
                    f"answers that hang on the other samples of the batch, or {ORIGINS}; if the module has none of "
                    "these, please report it"
                )
            close = share <= TOLERANCE
            largest = max(largest, float(share[close].max(initial=0.0)))
            tied |= ~close
        return Comparison(self.example.samples, largest, int(tied.sum()))

    def _sensitivity(self, order: int) -> np.ndarray:
        """How far the answer to each sample moves at most when parameters, statistics and inputs change in their last
        bits, as a share of its largest value."""
        generator = torch.Generator().manual_seed(0)

        def nudged(value: Tensor) -> Tensor:
            if not value.is_floating_point():
                return value.clone()
            return value * (1 + NUDGE * (2 * torch.rand(value.shape, generator=generator) - 1))

        farthest = np.zeros(self.example.samples)
        for _ in range(NUDGES):
            try:
                module = copy.deepcopy(self.module)
            except Exception:  # a module that cannot be copied has its inputs nudged alone
                module = self.module
            else:
                with torch.no_grad():
                    for value in (*module.parameters(), *module.buffers()):
                        value.copy_(nudged(value))
            moved = self._run(module, self.example.changed(nudged), order)
            shares = [_shares(own, other) for own, other in zip(self.rows[order], moved, strict=True)]
            farthest = np.maximum(farthest, np.max(shares, 0))
        return farthest


def _shares(own: np.ndarray, other: Any) -> np.ndarray:
    """The largest difference of each sample as a share of its largest value, or of a hundredth of the batch's if that
    is larger: an answer near 0 need not be that exact."""
    own = own.reshape(len(own), -1).astype(np.float64)
    gap = np.abs(np.asarray(other).reshape(own.shape) - own).max(1, initial=0.0)
    size = np.abs(own).max(1, initial=0.0)
    size = np.maximum(size, max(size.max() / 100, np.finfo(np.float32).tiny))
    return gap / size
