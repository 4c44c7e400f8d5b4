"""Which of the user's examples to show in the prompt: many sets are tried, the best is kept.

Worked examples help a base model more than any other words in the prompt, but which ones matters:
four sentences more or less moved the demo's accuracy by ten points. Trying a set costs one run of
its prefix and of some short prompts, so all sets are judged on a few rows and the better ones on
more (successive halving, 1502.07943).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from dsa_edge.errors import ExampleError, UsageError
from dsa_edge.examples import Example, Labels, Row
from dsa_edge.runtime._calibration import fit_bias, softmax
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._random import order

__all__ = ["pick_shots"]

Score = Callable[[Sequence[Example]], tuple[Floats, Ints]]  # → scores (N, K), answers (N,)

ROUNDS = 4, 2, 1  # each judges the sets that are left on the first 1/4, 1/2 and all of the judges
BREVITY = 2  # judges are the shorter one of every so many rows
KEPT = 3  # one set in so many goes on to the next round


def pick_shots(
    labels: Labels,
    rows: Sequence[Row],
    score: Score,
    shots: int,
    tries: int,
    judges: int,
    seed: int,
    on_judged: Callable[[int, int], object],
) -> tuple[Labels, list[Row]]:
    """The labels with the best of `tries` sets of worked examples, and the rows that are left.

    judges: rows that the last sets are measured on, by calibrated loss; no set contains one.
    on_judged: called with how many prompts have been run, and of how many.
    Raises ExampleError when there are too few rows of each label, UsageError for no tries.
    """
    if min(shots, tries, judges) < 1:
        raise UsageError(
            f"shots is {shots}, tries {tries} and judges {judges}, expected at least 1 each."
        )
    shuffled = order(seed, 0, len(rows))
    judges = min(judges, len(rows) // 2)
    judged, pool = _judges(rows, shuffled, judges)
    answers = [labels.example(*row).response for row in rows]
    draws = [_draw(answers, pool, shots, seed, attempt) for attempt in range(tries)]
    live = [_Set(labels, rows, shown) for shown in draws]
    plan = _plan(tries, judges)
    total, done = sum(count * new for count, new in plan), 0
    for count, new in plan:
        live = sorted(live, key=lambda each: each.loss)[:count]
        for each in live:
            each.judge(judged, new, score)
            on_judged(done := done + new, total)
    best = min(live, key=lambda each: each.loss)
    return best.labels, [row for i, row in enumerate(rows) if i not in best.shown]


def _judges(rows: Sequence[Row], shuffled: Ints, count: int) -> tuple[list[Row], Ints]:
    """The shorter ones of some random rows, for they cost less to run, and all other rows."""
    some = sorted(shuffled[: BREVITY * count], key=lambda i: len(rows[i][0]))
    chosen = set(some[:count])
    judged = [i for i in shuffled if i in chosen]  # in random order: each round takes the first
    return [rows[i] for i in judged], np.array([i for i in shuffled if i not in chosen])


def _plan(tries: int, judges: int) -> list[tuple[int, int]]:
    """Per round: sets that are still in it, and further rows that each is judged on."""
    ends = [math.ceil(judges / share) for share in ROUNDS]
    counts = [math.ceil(tries / KEPT**number) for number in range(len(ROUNDS))]
    starts = [0, *ends[:-1]]
    return [(c, end - start) for c, start, end in zip(counts, starts, ends, strict=True)]


class _Set:
    """Worked examples, and how well the base answers other rows after them."""

    def __init__(self, labels: Labels, rows: Sequence[Row], shown: list[int]) -> None:
        self.shown, self.labels = shown, labels.with_shots([rows[i] for i in shown])
        self._scores = np.empty((0, len(labels.names)), dtype=np.float32)
        self._answers = np.empty(0, dtype=np.int64)

    def judge(self, rows: Sequence[Row], count: int, score: Score) -> None:
        """Measure on the next `count` of the rows."""
        if not count:
            return
        done = len(self._answers)
        made = [self.labels.example(*row) for row in rows[done : done + count]]
        scores, answers = score(made)
        self._scores = np.concatenate([self._scores, scores])
        self._answers = np.concatenate([self._answers, answers])

    @property
    def loss(self) -> float:
        """Mean loss in nats after label calibration, 0 where nothing was measured yet."""
        if not len(self._answers):
            return 0.0
        p = softmax(self._scores + fit_bias(self._scores, self._answers))
        return float(-np.log(p[np.arange(len(p)), self._answers] + 1e-9).mean())


def _draw(answers: list[str], pool: Ints, shots: int, seed: int, attempt: int) -> list[int]:
    """A set of rows, by index, in which the labels take turns."""
    queues: dict[str, list[int]] = {}
    for index in pool[order(seed, attempt + 1, len(pool))]:
        queues.setdefault(answers[index], []).append(int(index))
    turns = [queues[answer] for answer in sorted(queues)]
    if len(turns) < 2 or min(len(queue) for queue in turns) * len(turns) < shots:
        raise ExampleError(
            f"{shots} worked examples need some of each label, and {len(pool)} rows to draw from "
            "hold too few: give more examples or fewer shots."
        )
    return [turns[i % len(turns)][i // len(turns)] for i in range(shots)]
