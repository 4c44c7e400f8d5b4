"""What `methods.py` compares: kinds of adapters, estimators, and first order beside them.

A row is a way to learn. All zeroth-order rows get the same forward tokens: those that ask fewer
lanes a step get more steps. Radius and rate of each are chosen on other examples than those that
are reported, with the same number of trials for every row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from _tasks import TASKS

from dsa_edge.adapter import AdapterSpec
from dsa_edge.kinds import KINDS
from dsa_edge.runtime._hyperparameters import ESTIMATORS, Hyperparameters
from dsa_edge.runtime.estimators import Space, make_estimator

__all__ = ["WHOLE", "Row", "rows", "settings", "steps_of"]

WHOLE = "lora-whole"  # first order on whole sentences, all layers: what others do
QUERIES = {"antithetic": 16, "one-sided": 16}  # of a row that names none
LANES = 32  # of a step of the default; a row with others gets more or fewer steps
FACTORS = (0.1, 0.3, 3.0, 10.0)  # of the rate, and then of the radius, that are tried
CHOICES = tuple(task for task in TASKS if task != "posts")  # posts take fifty times as long
LONG = ("news", "mails")  # whose prompts are most of what a fit costs
LONGER = 5  # times the tokens of a step, where steps are nearly free beside the prompts


@dataclass(frozen=True)
class Row:
    """One way to learn. targets: of the adapter, none for the kind's own; queries: 0 for its own.

    published: the method that the row follows, where it follows one closely. tasks: where it is
    run. times: how many times the forward tokens of other rows its steps may take.
    """

    kind: str
    estimator: str = "antithetic"
    optimizer: str = "adam"
    rank: int = 0
    targets: tuple[str, ...] = ()
    queries: int = 0
    published: str = ""
    tasks: tuple[str, ...] = TASKS
    times: int = 1

    @property
    def name(self) -> str:
        """As tables show it."""
        rank = f" {self.rank}" if self.rank else ""
        queries = f" q{self.queries}" if self.queries else ""
        times = f" × {self.times}" if self.times > 1 else ""
        return f"{self.kind}{rank} · {self.estimator}{queries} · {self.optimizer}{times}"

    @property
    def tuned(self) -> Row:
        """The row whose tuning serves this one."""
        return replace(self, tasks=TASKS, times=1)

    @property
    def spec(self) -> AdapterSpec:
        """The adapter."""
        return AdapterSpec(self.kind, self.rank, self.targets)

    def hyper(self, choices: bool) -> Hyperparameters:
        """Settings before they are tuned."""
        made = Hyperparameters.suited(choices, self.estimator, self.optimizer)
        return replace(made, queries=self.queries or QUERIES.get(self.estimator, made.queries))


FEW = ("diagonal", "bias", "scale", "parallel", "kron")  # kinds that did best with two-sided lanes
QV = ("q", "v")  # what LoRA and its descendants adapt
SHAPES = {"lora": (8, QV), "lora-frozen": (16, QV)}  # rank and targets as published


def rows(kinds: tuple[str, ...], estimators: tuple[str, ...]) -> list[Row]:
    """All rows of these kinds and estimators; those whose lanes run two at a time come last."""
    wanted = [
        Row("core"),
        *(_row(kind) for kind in KINDS if kind != "core"),
        *(_row(kind, "exact") for kind in KINDS),
        *(
            Row("core", e, tasks=CHOICES if e == "axes" else TASKS)
            for e in ESTIMATORS if e not in ("antithetic", "exact")
        ),
        *(Row("core", "antithetic", how, tasks=CHOICES) for how in ("sgd", "normalized")),
        *(Row(kind, "one-sided") for kind in FEW),
        *(Row("core", "antithetic", queries=q) for q in (4, 8)),
        *(Row("core", "one-sided", queries=q) for q in (4, 8)),
        *(Row(kind, "one-sided", queries=8) for kind in FEW),
        *(Row(kind, queries=4) for kind in ("parallel", "scale")),
        *(
            Row(kind, e, tasks=LONG, times=LONGER)
            for kind in ("core", *FEW) for e in ("antithetic", "one-sided")
        ),
        *(
            Row(kind, "one-sided", queries=8, tasks=LONG, times=LONGER)
            for kind in ("core", *FEW)
        ),
        Row("core", queries=8, tasks=LONG, times=LONGER),
        _row("lora", "mezo", "sgd", 1, "MeZO"),
        _row("lora-frozen", "antithetic", "sgd", 4, "MobiZO"),
        _row("lora", "one-sided", "sgd", 0, "FZOO"),
        _row("lora", "quzo", "sgd", 0, "QuZO"),
        _row("lora", "lowrank", "sgd", 0, "LOZO"),
        _row("lora", "sparse", "sgd", 0, "Sparse-MeZO"),
        _row("scale", "antithetic", "sgd", 4, "QZO"),
        Row("diagonal", "axes", tasks=CHOICES),
    ]  # fmt: skip
    chosen = [row for row in wanted if row.kind in kinds and row.estimator in estimators]
    return sorted(chosen, key=lambda row: row.estimator == "mezo")


def _row(
    kind: str, estimator: str = "antithetic", optimizer: str = "adam", queries: int = 0,
    published: str = "",
) -> Row:  # fmt: skip
    rank, targets = SHAPES.get(kind, (0, ()))
    tasks = CHOICES if published else TASKS
    return Row(kind, estimator, optimizer, rank, targets, queries, published, tasks)


def lanes_of(hyper: Hyperparameters, size: int) -> int:
    """Lanes of a step on an adapter of so many numbers."""
    # Some estimators want matrices; how many lanes they take does not depend on it.
    space = Space(np.zeros(size, np.float32), ((size, 1),))
    return make_estimator(hyper, 0, space).lanes


def steps_of(hyper: Hyperparameters, size: int, steps: int) -> int:
    """Steps for the forward tokens of `steps` steps of the default; exact gradients get `steps`."""
    if hyper.estimator == "exact":
        return steps
    return max(1, round(steps * LANES / lanes_of(hyper, size)))


def settings(hyper: Hyperparameters, best: dict[float, float]) -> list[Hyperparameters]:
    """What to try next: rates, then, given the losses of each (factor → loss), radii.

    Nine trials for every row: the settings that suit, four other rates, four other radii. Exact
    gradients have no radius: they get four rates between.
    """
    if not best:
        return [replace(hyper, rate=hyper.rate * factor) for factor in (1.0, *FACTORS)]
    chosen = min(best, key=lambda factor: best[factor])
    tuned = replace(hyper, rate=hyper.rate * chosen)
    if hyper.estimator == "exact":
        between = (0.45, 0.65, 1.5, 2.2)
        return [replace(tuned, rate=tuned.rate * factor) for factor in between]
    return [replace(tuned, epsilon=tuned.epsilon * factor) for factor in FACTORS]
