"""Fits in Python on the known function of runtime/native/learn/tests/known_engine.h.

Examples are contents [prompt, response, choices, ends], as a store has them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.gate import Gate
from dsa_edge.runtime._calibration import ABSENT
from dsa_edge.runtime._course import OpenCourse
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._objective import Objective, Scores
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._random import gaussians
from dsa_edge.runtime._report import Progress
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._trainer import Outcome
from dsa_edge.runtime.estimators import Served, Shapes, Space, make_estimator

Content = list[Any]


# A fit that improves, for tests to which it does not matter.
HYPER = Hyperparameters.suited(False)
EXAMPLES: list[Content] = [[str(i % 7), str(i % 7 / 10), [], False] for i in range(40)]
THETA = np.zeros(30, np.float32)


def asked(**more: Any) -> dict[str, Any]:
    given = {"theta": THETA.tolist(), "hyper": asdict(HYPER), "examples": EXAMPLES, "seed": 3}
    return {**given, "steps": 24, **more}


class Known(Objective):
    """What C++ calls the known engine, as the objective that a trainer sees."""

    def __init__(
        self, examples: Sequence[Content], theta: Floats, shapes: Shapes, blocks: int
    ) -> None:
        space = Space(theta, shapes, blocks)
        self._words = np.array([int(prompt) for prompt, *_ in examples])
        z = np.stack([gaussians(99, int(word), 0, 0, space.size) for word in self._words])
        own = space.block == (self._words % blocks)[:, None]
        self._directions = np.where(own, z, 0).astype(np.float64)
        self._offer([(tuple(c), c.index(r) if c else 0) for _, r, c, _ in examples])
        self._own = [tuple(choices) for _, _, choices, _ in examples]
        self._wanted = np.array([0.0 if c else float(r) for _, r, c, _ in examples])
        self.bias, self.subspace = None, None
        self._known_shapes, self._known_blocks = shapes, blocks

    def __len__(self) -> int:
        return len(self._words)

    def __call__(self, batch: Ints, lanes: Floats) -> Scores:
        if self.choices:
            return self.scored(batch, self.choice_scores(batch, lanes))
        losses = ((self._margins(batch, lanes) - self._wanted[batch]) ** 2).astype(np.float32)
        return Scores(losses, np.full_like(losses, np.nan))

    def choice_scores(self, batch: Ints, lanes: Floats) -> Floats:
        scores = np.full((len(lanes), len(batch), len(self.choices)), ABSENT, dtype=np.float32)
        for at, margins in enumerate(self._margins(batch, lanes).T):
            own = self._own[batch[at]]
            k = np.arange(len(own))
            scores[:, at, self._columns[own]] = margins[:, None] * (1.0 - k) + 0.3 * k
        return scores

    def _margins(self, batch: Ints, lanes: Floats) -> np.ndarray:
        terms = lanes[:, None].astype(np.float64) * self._directions[batch]
        return np.add.accumulate(terms, axis=-1)[..., -1] * 8 / lanes.shape[1]

    def tokens(self, batch: Ints) -> int:
        return len(batch)

    def served(self, batch: Ints) -> Served | None:
        blocks = self._known_blocks
        return None if blocks == 1 else (self._words[batch] % blocks)[:, None] == np.arange(blocks)

    @property
    def shapes(self) -> Shapes:
        return self._known_shapes

    @property
    def blocks(self) -> int:
        return self._known_blocks


def fit(
    store: Store, examples: Sequence[Content], theta: Floats, hyper: Hyperparameters, steps: int,
    seed: int, shapes: Shapes = (), blocks: int = 1,
) -> tuple[Outcome, list[Progress]]:  # fmt: skip
    """What `Learner.fit` does between the prompts and the report."""
    parent = store.newest_whole().version
    begin = store.adapter(parent) if parent else Adapter(theta)
    objective = Known(examples, begin.vector, shapes, blocks)
    objective.bias = objective.bias_of(begin)
    course = OpenCourse(objective, begin.vector, hyper, seed)
    ids = [store.example_id(json.dumps(content, ensure_ascii=False)) for content in examples]
    width = make_estimator(course.hyper, seed, Space(begin.vector, shapes, blocks)).width
    run = store.start_run(parent, seed, asdict(course.hyper), ids, None, width)
    seen: list[Progress] = []
    outcome = course.run(
        begin.vector, lambda step: store.append(run, step), seen.append, Pace(steps, Budget())
    )
    made = None
    if outcome.verdict == "improved":
        biases = (
            ()
            if outcome.bias is None
            else zip(objective.choices, outcome.bias.tolist(), strict=True)
        )
        gate = None if blocks == 1 else Gate.read(np.zeros((blocks, 2), np.float32))
        adapter = Adapter(outcome.adapter, {**begin.labels, **dict(biases)}, gate)
        made = (
            adapter,
            outcome.kept,
            {"before": asdict(outcome.before), "after": asdict(outcome.after)},
        )
    store.end_run(run, outcome.verdict, made)
    return outcome, seen
