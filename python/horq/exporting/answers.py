"""What a module answers, at every order of the dial: what its trace and the engine must answer, too."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, fx, nn

from .._core import Error, Model
from ..errors import ExportError
from ..nn import horq_layers, set_order
from .fields import channels_last
from .lines import line_of
from .unfit import not_finite

TOLERANCE = 1e-4
"""How far an answer of the engine may lie from the module's, as a share of the sample's largest: what the self-test of
a file allows (`horq verify --selftest`)."""
NUDGE = 2.0**-18
"""By this share parameters and inputs are changed to see how much an answer hangs on their last bits. The engine adds
the products of a float layer in another order than PyTorch. A sum of n products in f32, in whatever order, is the exact
sum for weights changed by shares of some sqrt(n) 2^-24 (the backward error of a dot product: Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1), so this is at least as much for n up to 4096."""
NUDGES = 8
"""How often that is done: a value that lies within the engine's rounding of a threshold crosses it about every other
time."""

ORIGINS = (
    "a value changed in place (such as x += y) that is read again under another name, state that one call leaves for "
    "the next, a draw at random, or a layer that stays in training mode"
)


class Reference:
    """A module's own answers to `inputs` at each order that its binary layers have.

    `module` is a copy in eval mode, which is called as its user would: with all its code.
    """

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self.module = module
        self.inputs = inputs
        self.orders = range(1, 1 + max((layer.max_order for layer in horq_layers(module)), default=1))
        self.answers = {order: self._run(module, inputs, order) for order in self.orders}
        for order, answer in self.answers.items():
            if not bool(answer.isfinite().all()):
                where = not_finite(module, lambda order=order: self._run(module, inputs, order))
                raise ExportError(
                    f"the module's own answer to the example is NaN or infinite at order {order}; {where}"
                )
        again = self._run(module, inputs, 1)
        if not _same(again, self.answers[1]):
            raise ExportError(
                "the module answers a second call otherwise than the first: it draws at random, or keeps state that "
                "one call leaves for the next; take that out of its eval mode"
            )

    @staticmethod
    def _run(module: nn.Module, inputs: Tensor, order: int) -> Tensor:
        set_order(module, order)
        try:
            answer = module(inputs.clone())
        except Exception as error:  # the user's module runs here
            raise ExportError(f"the module does not run on the example{line_of(error)}: {error}") from error
        if not isinstance(answer, Tensor):
            raise ExportError(
                f"the module must return one tensor, not {type(answer).__qualname__}; return only the one that is the "
                "answer"
            )
        return answer

    def check_trace(self, traced: fx.GraphModule) -> None:
        """Raises `ExportError` unless a trace, whose binary layers stand at their highest order, gives the same bits as
        the module: the two are the same operations."""
        given = self._run(traced, self.inputs, self.orders[-1])
        if not _same(given, self.answers[self.orders[-1]]):
            raise ExportError(
                f"the module's trace by torch.fx answers otherwise than the module itself, which may have {ORIGINS}; "
                "write x = x + y"
            )

    def check_engine(self, model: Model, stored: np.ndarray) -> np.ndarray:
        """Raises `ExportError` unless the engine's answers are the module's. Returns what to store for a self-test:
        `stored`, or the engine's own answers to samples that hang on the last bit.

        The engine computes a binary layer to the bit, but rounds the sums of a float layer otherwise. Where such a
        value lies at the threshold of a quantizer, a sign may flip, and the layers behind can make any difference of
        that, so no fixed bound fits every network. A difference above `TOLERANCE` is accepted if the module's own
        answer to that sample moves at least half as far when its parameters and inputs change in their last bits
        (`NUDGE`). What a file leaves out, such as a hook, moves also answers that do not hang on last bits.
        """
        inputs = channels_last(self.inputs)
        session, answer = model.session(batch=len(inputs)), stored
        for order in self.orders:
            try:
                session.set_order(order)
                answer = session.run(inputs).reshape(len(inputs), -1)
            except Error as error:
                raise ExportError(f"the engine cannot answer the example at order {order}: {error}") from error
            expected = rows(self.answers[order])
            gap = _distance(answer, expected)
            allowed = TOLERANCE * np.abs(expected).max(1)
            if (gap > allowed).any():
                allowed = np.maximum(allowed, 2 * self._sensitivity(order))
            if (gap > allowed).any():
                sample = int((gap - allowed).argmax())
                raise ExportError(
                    f"at order {order} the engine's answer to sample {sample} of the example lies {gap[sample]:.2g} "
                    f"off the module's own, where {allowed[sample]:.2g} may come of rounding: the file would leave out "
                    f"something that the module does, such as {ORIGINS}; if it has none of these, please report it"
                )
        close = _distance(answer, stored) <= TOLERANCE * np.abs(stored).max(1)
        return np.where(close[:, None], stored, answer)

    def _sensitivity(self, order: int) -> np.ndarray:
        """How far the answer to each sample moves at most when parameters, statistics and inputs change in their last
        bits. A share of itself never moves a weight past 0, so binary weights keep their signs."""
        generator = torch.Generator().manual_seed(0)

        def nudged(value: Tensor) -> Tensor:
            return value * (1 + NUDGE * (2 * torch.rand(value.shape, generator=generator) - 1))

        farthest = np.zeros(len(self.inputs))
        for _ in range(NUDGES):
            module = copy.deepcopy(self.module)
            for value in (*module.parameters(), *module.buffers()):
                if value.is_floating_point():
                    value.copy_(nudged(value))
            moved = self._run(module, nudged(self.inputs), order)
            farthest = np.maximum(farthest, _distance(rows(moved), rows(self.answers[order])))
        return farthest


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def rows(answer: Tensor) -> np.ndarray:
    """Answers as the engine gives them, [N, values of one]."""
    return channels_last(answer).reshape(len(answer), -1)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The largest difference in each row."""
    return np.abs(a.astype(np.float64) - b).max(1)
