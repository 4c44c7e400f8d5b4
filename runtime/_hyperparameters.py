"""What a run is made of, besides its seed and its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from dsa_edge.errors import UsageError

__all__ = ["ESTIMATORS", "GATES", "OPTIMIZERS", "SLOPES", "Hyperparameters", "Value"]

Value = float | int | str  # what a journal holds of a hyper-parameter
ESTIMATORS = ("antithetic", "axes", "exact", "lowrank", "mezo", "one-sided", "quzo", "sparse")
SLOPES = ("batch", "blocks")
GATES = ("clusters", "learned", "scratch")
PAIRED = ("antithetic", "lowrank", "mezo", "quzo", "sparse")  # along random directions
OPTIMIZERS = ("adam", "momentum", "normalized", "sgd")
# What runs did before a journal said so.
ALWAYS = {"estimator": "antithetic", "optimizer": "adam", "slopes": "batch"}
USUAL_LANES = 3200  # of a fit that is told no number of steps, whatever a step costs
USUAL_GRADIENTS = 100  # steps of one by exact gradients, each worth more than its lanes
KEPT = 0.2, 0.7  # shares of such a fit between which numbers are taken away


@dataclass(frozen=True)
class Hyperparameters:
    """What a run is made of, besides its seed and its examples; the defaults suit choices.

    queries: directions a step, q; most estimators run 2q lanes, one-sided q + 1.
    batch: examples a step. epsilon: radius of the perturbation. rate: the learning rate.
    smoothing: share of each choice's target that all choices share (1512.00567, section 7); a few
    hundred examples otherwise make the adapter overconfident long before it is accurate.
    beta1, beta2: decay of the optimizer's first and second moment.
    cooldown: last part of the run over which the rate falls linearly to zero; 0 keeps it.
    estimator: how a gradient comes of losses, one of `ESTIMATORS` (`runtime/estimators/`).
    optimizer: what is done with it, one of `OPTIMIZERS`.
    slopes: what a direction's scalars are measured on, one of `SLOPES`: the whole `batch`, or for
    each of an adapter's `blocks` the examples that it serves. Only estimators of pairs along
    random directions can tell blocks apart (`estimators/_base.py`).

    gate: of several blocks, one of `GATES`: kept as it is, or made of `clusters` of the prompts by
    the first fit; `learned` from there; or from one without meaning, from `scratch`. draws: routes
    that a step draws for each example to learn it, which share the queries. gate_rate: how fast,
    in logarithms of odds for a gradient of 1 (`_explorer.py`).

    share: of the numbers that `sparse` learns. mask: which ones, as `mask_of` writes it; empty
    takes those that are smallest at the start. rank: of `lowrank`; refresh: steps for which it
    keeps its subspace. grid: step between the numbers of `quzo` at least, a power of two.

    keep: share of the numbers that are left in the end, the others being zero (`_allocation.py`);
    from step `keep_from` to `keep_until` they become fewer, at every `keep_every`th.

    along: directions of the bundle's learned start that are learned along; the numbers that the
    estimator and the optimizer see are then the coordinates. 0 learns the whole adapter.
    """

    queries: int = 8
    batch: int = 16
    epsilon: float = 0.1
    rate: float = 0.01
    smoothing: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.99
    cooldown: float = 1.0
    estimator: str = "antithetic"
    optimizer: str = "adam"
    share: float = 0.25
    mask: str = ""
    rank: int = 1
    refresh: int = 50
    grid: float = 2**-7
    keep: float = 1.0
    keep_from: int = 40
    keep_until: int = 140
    keep_every: int = 10
    slopes: str = "blocks"
    along: int = 0
    gate: str = "clusters"
    draws: int = 2
    gate_rate: float = 8.0

    def __post_init__(self) -> None:
        """Refuse values that cannot learn."""
        for name in ("queries", "batch", "rank", "refresh", "keep_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1.")
        if not (
            self.epsilon > 0 and self.rate > 0 and np.isfinite([self.epsilon, self.rate]).all()
        ):
            raise UsageError(
                f"epsilon is {self.epsilon} and rate is {self.rate}, expected positive numbers."
            )
        shares = {name: getattr(self, name) for name in ("beta1", "beta2", "smoothing")}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise UsageError(f"{name} is {value}, expected 0 ≤ {name} < 1.")
        if not 0 <= self.cooldown <= 1:
            raise UsageError(f"cooldown is {self.cooldown}, expected 0 ≤ cooldown ≤ 1.")
        self._check_method()
        self._check_gate()

    def _check_method(self) -> None:
        """Refuse unknown methods, what is not theirs, and pairs that undo each other."""
        _check_name("estimator", self.estimator, ESTIMATORS)
        _check_name("optimizer", self.optimizer, OPTIMIZERS)
        _check_name("slopes", self.slopes, SLOPES)
        if not 0 < self.share <= 1:
            raise UsageError(f"share is {self.share}, expected 0 < share ≤ 1.")
        if not (0 < self.keep <= 1 and 0 <= self.keep_from < self.keep_until):
            raise UsageError(
                f"keep is {self.keep} from step {self.keep_from} to {self.keep_until}, expected "
                "0 < keep ≤ 1, and steps one after the other."
            )
        if self.along < 0 or (self.along and self.keep < 1):
            raise UsageError(
                f"along is {self.along} with keep {self.keep}, expected 0 or more, and with "
                "directions to learn along keep 1: leave one of them out."
            )
        if self.mask and self.estimator != "sparse":
            raise UsageError(
                f"a mask belongs to estimator sparse, got {self.estimator}: leave out one of them."
            )
        if not (0 < self.grid < 1e30 and np.frexp(self.grid)[0] == 0.5):
            raise UsageError(f"grid is {self.grid}, expected a power of two, as 0.0078125 is.")
        if self.estimator == "one-sided" and self.queries < 2:
            raise UsageError(
                "one-sided divides by the spread of its losses, expected at least 2 queries, got "
                "1: raise --queries."
            )
        if (self.estimator, self.optimizer) == ("one-sided", "normalized"):
            raise UsageError(
                "one-sided divides by the spread of the losses already, expected an optimizer that "
                "does not, got normalized: use sgd, momentum or adam."
            )

    def _check_gate(self) -> None:
        """Refuse what cannot learn a gate."""
        _check_name("gate", self.gate, GATES)
        if not 0 < self.gate_rate < float("inf"):
            raise UsageError(f"gate_rate is {self.gate_rate}, expected a number more than 0.")
        if not self.learns_gate:
            return
        if self.estimator not in PAIRED or self.slopes != "blocks":
            raise UsageError(
                f"gate {self.gate} learns from pairs of lanes and slopes of blocks, got estimator "
                f"{self.estimator} and slopes of {self.slopes}: use slopes blocks and one of "
                f"{', '.join(PAIRED)}, or gate clusters."
            )
        if self.along:
            raise UsageError(
                f"gate {self.gate} learns from slopes of blocks, and the {self.along} directions "
                "to learn along move all blocks together: leave one of the two out."
            )
        if self.draws < 2 or self.queries % self.draws:
            raise UsageError(
                f"draws is {self.draws} for {self.queries} queries, expected at least 2 that "
                "divide them: routes are compared with each other; correct one of the two."
            )

    @property
    def groups(self) -> int:
        """Stretches of a step's lanes in which examples have routes of their own."""
        return self.draws if self.learns_gate else 1

    @property
    def learns_gate(self) -> bool:
        """Whether the fit moves the gate."""
        return self.gate != "clusters"

    @classmethod
    def suited(
        cls, choices: bool, estimator: str = "antithetic", optimizer: str = "adam", along: int = 0
    ) -> Hyperparameters:
        """Defaults for examples with choices, or for free responses, which want smaller radii.

        along: directions, whose coordinates are about 1 whatever the examples are.

        docs/decisions.md tells where the numbers for each estimator and optimizer come from.
        """
        _check_name("estimator", estimator, ESTIMATORS)
        _check_name("optimizer", optimizer, OPTIMIZERS)
        epsilon, rate = (0.1, 0.01) if choices else _free(estimator, optimizer)
        epsilon *= RADII.get(estimator, 1.0)
        rate *= RATES.get((estimator, optimizer), RATES["any", optimizer])
        if along:
            epsilon, rate = ALONG
        made = cls(
            queries=QUERIES.get(estimator, 16),
            epsilon=epsilon,
            rate=rate,
            smoothing=0.2 if choices else 0.0,
            estimator=estimator,
            optimizer=optimizer,
            along=along,
        )
        return made.within(made.usual_steps)

    def within(self, steps: int) -> Hyperparameters:
        """The same, taking numbers away over the same part of a run of so many steps."""
        first, last = (round(share * steps) for share in KEPT)
        return replace(self, keep_from=first, keep_until=max(last, first + 1))

    @property
    def lanes(self) -> int:
        """Lanes that a step costs, where the adapter has as many numbers as there are queries."""
        if self.estimator == "exact":
            return 4
        return self.queries + 1 if self.estimator == "one-sided" else 2 * self.queries

    @property
    def usual_steps(self) -> int:
        """Steps of a fit that is told no number of them."""
        if self.estimator == "exact":
            return USUAL_GRADIENTS
        return max(1, round(USUAL_LANES / self.lanes))

    @classmethod
    def from_dict(cls, values: Mapping[str, Value]) -> Hyperparameters:
        """What a journal recorded: whole numbers are whole again."""
        values = {**ALWAYS, **values}
        kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(cls)}
        return cls(**{name: kinds[name](value) for name, value in values.items()})

    def rate_at(self, progress: float) -> float:
        """Learning rate when a share `progress` (0 … 1) of the run is over."""
        left = 1.0 - progress
        return self.rate * min(1.0, left / self.cooldown) if self.cooldown else self.rate


# What suits an estimator, as factors of what suits antithetic and adam.
QUERIES = {"antithetic": 8, "axes": 64}
RADII = {"axes": 5.0}
# Radius and rate under adam for free responses, before the factors (docs/results/methods.md).
FREE = {
    "antithetic": (0.03, 9e-3),
    "axes": (0.03, 3e-3),
    "exact": (0.03, 0.02),
    "mezo": (9e-3, 9e-3),
    "sparse": (0.03, 3e-3),
}
FREE_OTHERS = 9e-3, 3e-3
ALONG = 0.3, 0.1  # along directions, in the standard deviations of users
RATES = {
    ("any", "adam"): 1.0,
    ("any", "momentum"): 10.0,
    ("any", "normalized"): 4.0,
    ("any", "sgd"): 10.0,
    ("axes", "momentum"): 100.0,
    ("axes", "sgd"): 100.0,
    ("exact", "adam"): 0.3,
    ("lowrank", "adam"): 2.0,
    ("one-sided", "momentum"): 4.0,
    ("one-sided", "sgd"): 4.0,
    ("sparse", "adam"): 3.0,
    ("sparse", "momentum"): 30.0,
    ("sparse", "normalized"): 12.0,
    ("sparse", "sgd"): 30.0,
}


def _free(estimator: str, optimizer: str) -> tuple[float, float]:
    epsilon, rate = FREE.get(estimator, FREE_OTHERS)
    return epsilon, rate if optimizer == "adam" else 3e-3


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UsageError(f"{what} is {name!r}, expected one of {', '.join(known)}: correct it.")
