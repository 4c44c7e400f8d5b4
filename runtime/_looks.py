"""Which of a fit's looks at the held-out examples to keep, and whether it is an improvement.

A fit changes two things: label biases, fitted once at its start, and numbers, step by step. What
each of them gains is judged by all the examples that can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_edge.gate import Gate
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._objective import Scores

__all__ = ["Look", "Looks", "mean_loss"]

Doubles = NDArray[np.float64]


@dataclass
class Look:
    """Scores of the H held-out examples with an adapter (n,) after `kept` steps.

    bias: (K,) label biases that belong to it, None without choices. gate: where the fit learns it.
    """

    scores: Scores
    adapter: Floats
    kept: int
    bias: Floats | None
    gate: Gate | None = None


class Looks:
    """The looks of one fit.

    The best one may owe its loss to luck, and the last one has seen most: the latest that is no
    worse than the best within one standard error is kept (Breiman et al. 1984, section 3.4.3).
    A few dozen held-out examples are too few to tell a gain from luck. But in the first pass every
    batch is scored before anything was learned from it, so these losses count as well
    (prequential, Dawid 1984); and so does what each other example gains by biases that were fitted
    without it.

    before: held-out scores with what was active. start: the same with label biases fitted.
    levelled: (N,) nats that training examples gain by biases of the others.
    """

    def __init__(self, before: Scores, start: Look, levelled: Floats) -> None:
        self._start = self._best = self._latest = start
        self._levelled = np.concatenate([_gains(before, start.scores), levelled.astype(np.float64)])
        self._early: list[Doubles] = []
        self.worse = 0  # looks in a row that were clearly worse than the best

    def see(self, losses: Floats, start: Floats) -> None:
        """Take in losses (B,) of a batch that nothing was learned from yet, now and at the start.

        Losses that are not finite are left out.
        """
        known = np.isfinite(losses)
        self._early.append(start[known].astype(np.float64) - losses[known])

    def add(self, look: Look) -> None:
        """Take in a look after some steps."""
        if mean_loss(look.scores) < mean_loss(self._best.scores):
            self._best = look
        clearly = _better(look.scores, self._best.scores)
        self.worse = self.worse + 1 if clearly else 0
        if not clearly:
            self._latest = look

    def verdict(self) -> Look | None:
        """The look to keep, if it beats both the calibrated start and what was there before.

        Where none does, the start itself if it beats what was there: label biases alone, which a
        handful of examples tells before any step can be told from luck.
        """
        biases = float(self._levelled.mean())
        for look in (self._latest, self._best):
            steps = np.concatenate([_gains(self._start.scores, look.scores), *self._early]).mean()
            if look is not self._start and steps > 0 and biases + steps > 0:
                return look
        return self._start if biases > 0 else None


def mean_loss(scores: Scores) -> float:
    """In nats, over the examples of one lane."""
    return float(scores.losses[0].astype(np.float64).mean())


def _gains(old: Scores, new: Scores) -> Doubles:
    return old.losses[0].astype(np.float64) - new.losses[0]


def _better(old: Scores, new: Scores) -> bool:
    """Whether the loss fell by more than the standard error of the examples' gains."""
    gain = _gains(old, new)
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)) and gain.mean() > 0)
