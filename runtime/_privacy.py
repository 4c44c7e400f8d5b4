"""Differential privacy: what one example may at most reveal through all that is learned.

Zeroth-order steps need the losses of every example under every lane anyway, and release nothing
but q scalars: clipping and noising those is all that DP-SGD (Abadi et al. 2016, algorithm 1) asks
for, with q numbers an example in place of a gradient. The whole vector of q is clipped, for
clipping each scalar would make the sensitivity √q times as large.

Noise and the choice of examples come from the system's randomness, never from the journal's.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import PrivacyError, UsageError
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = ["Mechanism", "Privacy", "Spent", "check_covered", "noisy_sums"]

Doubles = NDArray[np.float64]
CENTRE_SHARE = 0.2  # of the privacy of a step, for the mean residual; the rest is for the slopes
FRACTION_WEIGHT = 0.5  # of "was not clipped" beside the slopes: 3 % more noise on them
# The bound follows this quantile of the norms, so fast (1905.03871). The median would be the usual
# choice; here it turns a loss into a vote of all examples: accuracy 0.75 where this gives 0.80.
CLIP_RATE, CLIP_QUANTILE = 0.5, 0.9


@dataclass(frozen=True)
class Privacy:
    """(ε, δ): of one example more or less, over every fit of a store together.

    epsilon: at most; 8 is weak, 1 strong. delta: chance that the bound fails; below 1 / examples.
    batch: examples a step, on average; more of them hide each other better, and take longer.
    """

    epsilon: float
    delta: float = 1e-5
    batch: int = 32

    def __post_init__(self) -> None:
        """Refuse what is no guarantee."""
        if not 0 < self.epsilon < float("inf"):
            raise UsageError(f"epsilon is {self.epsilon}, expected a number more than 0.")
        if not 0 < self.delta < 1:
            raise UsageError(f"delta is {self.delta}, expected 0 < delta < 1, as 1e-5.")
        if self.batch < 1:
            raise UsageError(f"the batch of privacy is {self.batch}, expected at least 1.")


def check_covered(hyper: Hyperparameters) -> None:
    """Refuse what is not clipped and noised here: other estimators' scalars, a gate's gradients.

    Raises PrivacyError.
    """
    if hyper.learns_gate:
        raise PrivacyError(
            f"the guarantee does not cover what a gate learns of prompts, got gate {hyper.gate}: "
            "use gate clusters with a gate that is there, or learn without privacy."
        )
    if hyper.estimator != "antithetic":
        raise PrivacyError(
            f"the guarantee covers the scalars of estimator antithetic, got {hyper.estimator}: "
            "leave out the estimator, or learn without privacy."
        )


@dataclass(frozen=True)
class Spent:
    """What one fit took: `steps` releases with `noise`, of a random `share` of the examples.

    noise: standard deviation over sensitivity. verdict: ε of the verdict, on held-out examples.
    epsilon: spent by all fits of the store up to this one, at `delta`, as `accountant` counts:
        "pld" here; "rdp", of the native runner, which counts some more.
    """

    noise: float
    share: float
    steps: int
    verdict: float
    epsilon: float
    delta: float
    accountant: str = "pld"


@dataclass
class Mechanism:
    """Clips, sums and noises what the examples of one step say.

    noise: σ of the whole step over its sensitivity. expected: examples a step on average.
    bound: at which the norm of an example's slopes is clipped; it follows a quantile of them.
    """

    noise: float
    expected: float
    bound: float = 1.0
    source: random.Random = field(default_factory=random.SystemRandom)

    def sample(self, count: int) -> Ints:
        """Positions of the examples of a step: each by chance, on its own (Poisson sampling)."""
        share = self.expected / count
        chosen = [i for i in range(count) if self.source.random() < share]
        return np.array(chosen, dtype=np.int64)

    def centre(self, residuals: Doubles) -> Doubles:
        """The mean (K,) of residuals (B, K), each of norm 1 at most."""
        spread = self.noise / np.sqrt(CENTRE_SHARE)
        total = _clipped(residuals, 1.0).sum(0) + self._normal(residuals.shape[1], spread)
        return np.asarray(total / self.expected)

    def slopes(self, slopes: Doubles, centred: bool) -> Floats:
        """The mean (q,) of the slopes (B, q) of a batch.

        centred: the same step also releases a `centre`, which takes its share.
        """
        spread = self.noise / np.sqrt(1 - CENTRE_SHARE if centred else 1.0)
        inside = np.linalg.norm(slopes, axis=1, keepdims=True) <= self.bound
        each = np.hstack([_clipped(slopes / self.bound, 1.0), FRACTION_WEIGHT * (inside - 0.5)])
        spread *= np.hypot(1, FRACTION_WEIGHT / 2)  # the norm of a row of `each` at most
        *sums, fraction = each.sum(0) + self._normal(each.shape[1], spread)
        mean = self.bound * np.array(sums) / self.expected
        above = fraction / FRACTION_WEIGHT / self.expected + 0.5 - CLIP_QUANTILE
        self.bound *= math.exp(-CLIP_RATE * min(1.0, max(-1.0, float(above))))
        return mean.astype(np.float32)

    def _normal(self, count: int, spread: float) -> Doubles:
        return np.array([self.source.gauss(0, spread) for _ in range(count)])


def noisy_sums(values: Doubles, bounds: Doubles, epsilon: float, source: random.Random) -> Doubles:
    """Sums (K,) over examples of values (B, K), clipped to ± bounds (K,), with ε between them.

    Laplace noise (Dwork et al. 2006): each column gets the same part of ε.
    """
    sums = np.clip(values, -bounds, bounds).sum(0)
    scales = bounds * len(bounds) / epsilon
    draws = [source.choice((-1, 1)) * source.expovariate(1 / scale) for scale in scales]
    return np.asarray(sums + np.array(draws))


def _clipped(rows: Doubles, bound: float) -> Doubles:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows * np.minimum(1, bound / np.maximum(norms, 1e-30)))
