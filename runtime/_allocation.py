"""A budget that shrinks: the numbers that matter least are taken away while the others learn.

AdaLoRA (2303.10512, equations 8 to 12) for adapters whose other factors are frozen. With g the
step's gradient, each number w of the adapter has

    I = |w g|    Ī ← 0.85 Ī + 0.15 I    U ← 0.85 U + 0.15 |I − Ī|    s = Ī U

and every `keep_every` steps all but the b(t) numbers of largest s, over all layers together, are
set to zero. They may come back: steps move them as before, and the next look finds what that was
worth. b falls by the cubic schedule from all of them to `keep` of them, from step `keep_from` to
`keep_until`; from then on those that were left stay the same.

Of a `diagonal` adapter a number is a singular direction. The graph never changes, and all of it
comes of what is journalled, so a replay takes the same numbers away.
"""

from __future__ import annotations

import numpy as np

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = ["Allocation", "budget_at", "check_budget"]

DECAY = np.float32(0.85)
REST = np.float32(0.15)


class Allocation:
    """How much each of an adapter's numbers matters, step by step."""

    def __init__(self, size: int) -> None:
        self._mean = np.zeros(size, dtype=np.float32)
        self._spread = np.zeros(size, dtype=np.float32)
        self._gone: Ints | None = None  # for good

    def observe(self, theta: Floats, gradient: Floats) -> None:
        """Take in a step's gradient (n,) at θ (n,)."""
        importance = np.abs(theta * gradient)
        self._mean = DECAY * self._mean + REST * importance
        self._spread = DECAY * self._spread + REST * np.abs(importance - self._mean)

    def kept(self, theta: Floats, step: int, hyper: Hyperparameters) -> Floats:
        """θ (n,) after a step, less what its budget does not allow; ties go to the lower index."""
        budget, ended = budget_at(step, theta.size, hyper), step >= hyper.keep_until
        if budget == theta.size or not (ended or (step + 1) % hyper.keep_every == 0):
            return theta
        gone = self._gone
        if gone is None:
            gone = np.argsort(-(self._mean * self._spread), kind="stable")[budget:]
        self._gone = gone if ended else None
        left = theta.copy()
        left[gone] = 0
        return left


def budget_at(step: int, size: int, hyper: Hyperparameters) -> int:
    """How many of `size` numbers are left at a step: the cubic schedule."""
    least = max(1, round(hyper.keep * size))
    if step <= hyper.keep_from:
        return size
    if step >= hyper.keep_until:
        return least
    left = 1 - (step - hyper.keep_from) / (hyper.keep_until - hyper.keep_from)
    return least + round((size - least) * left**3)


def check_budget(hyper: Hyperparameters, size: int, steps: int) -> None:
    """Refuse a budget below one number, or one that is not reached; raises UsageError."""
    if hyper.keep * size < 1:
        raise UsageError(
            f"keep is {hyper.keep:g} of an adapter of {size} numbers, which is less than one: take "
            f"{1 / size:.2g} or more."
        )
    if hyper.keep < 1 and steps <= hyper.keep_until:
        raise UsageError(
            f"numbers are taken away until step {hyper.keep_until} of at most {steps}: allow more "
            "steps, or lower `keep_until`."
        )
