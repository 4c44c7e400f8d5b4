"""How the gate of a fit learns, from lanes that are run anyway.

The pairs of a step fall into a few groups, and in each every example has a route of its own that is
drawn from the gate's policy (`dsa_edge/policy.py`). The mean loss over a group's lanes is what its
route cost, with perturbations of both signs cancelling; the difference within a pair trains the
cores as ever, of the blocks that the route took. As many rows of lanes and examples are run as
without this, in one run of the engine for each group, for graphs have a route per example and not
per lane.

A cost of each active block would be the same for every route, as many blocks serve every prompt;
it is for gates that choose how many (`docs/decisions.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dsa_edge.clusters import differences, features
from dsa_edge.gate import Gate, Route
from dsa_edge.policy import Doubles, LearnedGate, advantages, drawn, pull, temperature
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._learned_gate import gate_pace
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._random import ROUTE, uniforms
from dsa_edge.runtime.estimators import Served

__all__ = ["Explorer"]

SURE = {"learned": 0.75, "scratch": 0.5}  # mean chance of the best block at the start


class Explorer:
    """Draws routes for the lanes of a step, and learns what they were worth.

    gate: to start from; train: indices of the examples that are learned from.
    """

    def __init__(
        self, objective: Objective, train: Ints, gate: Gate, hyper: Hyperparameters, seed: int
    ) -> None:
        self._objective, self._hyper, self._seed = objective, hyper, seed
        pooled = objective.pooled
        self._heat = temperature(gate.scores(pooled[train]), SURE[hyper.gate])
        found = differences(pooled[train])
        self._features = features(pooled, found)
        directions = (found * self._heat).astype(np.float32)  # so that amounts are per temperature
        self._learned = LearnedGate(gate, directions)
        self._pairs = np.repeat(np.arange(hyper.draws), hyper.queries // hyper.draws)  # → group
        self._batch: Ints = train[:0]
        self._scores: Doubles = np.empty(0)
        self._routes: Ints = np.empty(0, dtype=np.int64)

    @property
    def gate(self) -> Gate:
        """As it is now."""
        return self._learned.gate

    @property
    def directions(self) -> Floats:
        """In which it may move, (F, D + 1)."""
        return self._learned.directions

    def lanes(self, batch: Ints, step: int, blocks: Iterator[Floats]) -> Iterator[Floats]:
        """The lanes of a step group by group; while one is out, its routes hold for the batch."""
        self._batch, active = batch, self._objective.active
        self._scores = self.gate.scores(self._objective.pooled[batch]) / self._heat
        self._routes = drawn(self._scores, active, self._noise(step))
        groups, at = np.repeat(self._pairs, 2), 0
        for block in blocks:
            for part in _runs(groups[at : at + len(block)]):
                self._objective.route_as(batch, self._routes[groups[at + part.start]])
                yield block[part]
            at += len(block)

    def _noise(self, step: int) -> Doubles:
        """Gumbel noise (G, B, N); draw g is the stream (seed, step, g) of its own purpose."""
        size, draws = self._scores.shape, range(self._hyper.draws)
        uniform = [uniforms(self._seed, step, g, ROUTE, self._scores.size) for g in draws]
        return np.asarray(-np.log(-np.log(np.stack(uniform).reshape(-1, *size))))

    @property
    def served(self) -> Served:
        """Which blocks served each example in each pair of the step, (q, B, N)."""
        return Route.of(self._routes).serves(self._objective.blocks)[self._pairs]

    @property
    def usual(self) -> NDArray[np.bool_]:
        """Whether every route drawn for an example is the one that it has without chance, (B,)."""
        best = np.argsort(-self._scores, axis=1, kind="stable")[:, : self._objective.active]
        return np.asarray((np.sort(self._routes, -1) == np.sort(best, -1)).all((0, 2)))

    def scalars(self, losses: Floats) -> Floats:
        """The gate's part of a step's journal (N F,), of the losses (L, B) of all lanes."""
        groups = losses.astype(np.float64).reshape(self._hyper.draws, -1, len(self._batch))
        rewards = -groups.mean(1)
        by_score = pull(self._scores, self._routes, advantages(rewards))
        return (by_score.T @ self._features[self._batch]).astype(np.float32).ravel()

    def move(self, gradient: Floats, rate: float) -> None:
        """Step by what `scalars` found (N F,), at a step's learning rate."""
        self._learned.move(gradient, gate_pace(self._hyper, rate))

    def settle(self) -> None:
        """Route all examples by the gate as it is now, none by chance."""
        self._objective.route_by(self.gate)


def _runs(groups: Ints) -> Iterator[slice]:
    """Stretches of lanes that belong to one group."""
    ends = [*np.flatnonzero(np.diff(groups)) + 1, len(groups)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield slice(start, end)
