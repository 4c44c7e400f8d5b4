"""How the gate of a start learns: REINFORCE between the rounds that train its blocks.

For the users of a round, `DRAWS` routes are drawn for each query prompt from the gate's policy
(`dsa_edge/policy.py`). A route's reward is

    r = −loss − λ · active blocks

with the example's loss through it at the round's start φ, before any inner step. λ is not in the
code: `active` blocks serve every prompt, so its term is the same for all routes and cancels in the
leave-one-out baseline, whatever it is.

Blocks and gate learn on one schedule. The blocks move by β, the gate by plain steps whose rate
falls to zero as β does: routes settle while the blocks still can follow them. As long as blocks are
alike (at zero all are) routes cost the same, rewards say nothing, and the gate stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_edge.clusters import differences, features
from dsa_edge.exporters.training.meta._inner import Ints
from dsa_edge.exporters.training.meta._prompts import Prompts
from dsa_edge.gate import Gate
from dsa_edge.policy import LearnedGate, advantages, drawn, pull, temperature

__all__ = ["Explorer", "Tried"]

DRAWS = 4  # routes of a prompt
SURE = 0.75  # mean chance of the best block at the start, as on a device

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """One user's prompts: pooled (B, D), scores (B, N), routes (G, B, k), rewards (G, B)."""

    pooled: NDArray[np.float32]
    scores: Doubles
    routes: Ints
    rewards: Doubles


class Explorer:
    """Moves a gate by what drawn routes were worth; `state` is all that it remembers."""

    def __init__(self, learned: LearnedGate, heat: float) -> None:
        self._learned, self._heat = learned, heat

    @classmethod
    def of(cls, gate: Gate, pooled: NDArray[np.float32]) -> Explorer:
        """From a gate, in the directions in which prompts (E, D) differ."""
        heat = temperature(gate.scores(pooled), SURE)
        directions = (differences(pooled) * heat).astype(np.float32)
        return cls(LearnedGate(gate, directions), heat)

    @classmethod
    def read(cls, state: dict[str, Tensor]) -> Explorer:
        """From what an interrupted run left."""
        learned = LearnedGate(Gate.read(state["start"].numpy()), state["directions"].numpy())
        learned.amounts = state["amounts"].numpy()
        return cls(learned, float(state["heat"]))

    @property
    def state(self) -> dict[str, Tensor]:
        """Where the gate began, its directions and amounts, and the temperature."""
        learned = self._learned
        arrays = {
            "start": learned.start.table,
            "directions": learned.directions,
            "amounts": learned.amounts,
            "heat": np.array([self._heat]),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @property
    def gate(self) -> Gate:
        """As it is now."""
        return self._learned.gate

    @torch.no_grad()
    def tried(
        self, prompts: Prompts, batch: Ints, phi: Tensor, active: int, random: np.random.Generator
    ) -> Tried:
        """Draw routes for a user's batch, and run each; the prompts are then routed by the gate."""
        pooled = prompts.pooled[batch]
        scores = self.gate.scores(pooled) / self._heat
        routes = drawn(scores, active, random.gumbel(size=(DRAWS, *scores.shape)))
        losses = list[NDArray[np.float32]]()
        for blocks in routes:
            prompts.route_as(batch, blocks)
            losses.append(prompts.losses(phi, batch).cpu().numpy())
        prompts.route_by(self.gate)
        return Tried(pooled, scores, routes, -np.stack(losses).astype(np.float64))

    def move(self, tried: Sequence[Tried], pace: float) -> None:
        """One step by what all users of a round tried; the balance is of all of them together."""
        pooled, scores = (
            np.concatenate([getattr(one, name) for one in tried]) for name in ("pooled", "scores")
        )
        routes, rewards = (
            np.concatenate([getattr(one, name) for one in tried], 1)
            for name in ("routes", "rewards")
        )
        by_score = pull(scores, routes, advantages(rewards))
        directions = self._learned.directions.astype(np.float64) / self._heat
        gradient = by_score.T @ features(pooled, directions)
        self._learned.move(gradient.astype(np.float32), pace)
