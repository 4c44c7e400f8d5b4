"""The outer loop: rounds over seen users, then where each of them goes from the learned start.

It is handed the seen users alone: no unseen user can reach the start or its directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dsa_edge.exporters.training.meta._explore import Explorer, Tried
from dsa_edge.exporters.training.meta._fomaml import Fomaml
from dsa_edge.exporters.training.meta._gate import counted, first_gate, sampled
from dsa_edge.exporters.training.meta._inner import ADAPT, ROUND, ROUTES, Lots, adapted, drawn
from dsa_edge.exporters.training.meta._prompts import Prompts, Reader
from dsa_edge.exporters.training.meta._reptile import Reptile
from dsa_edge.exporters.training.meta._settings import MetaSettings
from dsa_edge.exporters.training.meta._state import Round, State
from dsa_edge.exporters.training.meta._users import User

__all__ = ["Learning"]

ORDER = 0  # stream of which users a round has
MOST_ADAPTED = 256  # users that directions are made of
MOST_BYTES = 2 << 30  # of users' prompts that are kept; those of others are run again


class Learning:
    """Learns a start from seen users; `state` says how far it is."""

    def __init__(self, reader: Reader, seen: Sequence[User], settings: MetaSettings) -> None:
        self._reader, self._seen, self._settings = reader, seen, settings
        phi = reader.host.model.start().to(reader.device)
        made = Reptile if settings.method == "reptile" else Fomaml
        self._rule: Reptile | Fomaml = made(phi.numel())
        self._prompts: dict[str, Prompts] = {}
        self._explorer: Explorer | None = None
        self.state = State(phi, self._rule.state)

    def resume(self, state: State) -> None:
        """Go on from a state."""
        self.state, self._rule.state = state, state.memory
        self._explorer = Explorer.read(state.policy) if state.policy else None

    def run(self, on_part: Callable[[Round | None], object]) -> State:
        """All that is left to do; on_part: called after every round, and every user adapted."""
        self._begin()
        for number in range(len(self.state.rounds), self._settings.rounds):
            self.state.rounds.append(self._round(number))
            self.state.memory = self._rule.state
            on_part(self.state.rounds[-1])
        self._count()
        for user in self.adapted[len(self.state.points) :]:
            self.state.points.append(self._points(user))
            on_part(None)
        return self.state

    def _begin(self) -> None:
        """Make the gate of several blocks, unless there is one."""
        spec = self._reader.host.model.adapter
        if spec.blocks > 1 and self.state.gate is None:
            pooled = sampled(self._reader, self._seen, self._settings)
            self.state.gate = first_gate(pooled, spec, self._settings.seed)
            if self._settings.gate == "learned":
                self._explorer = Explorer.of(self.state.gate, pooled)

    def _count(self) -> None:
        """Let a gate that learned say how many prompts each block serves now."""
        gate, settings = self.state.gate, self._settings
        if gate is not None and not gate.served:
            pooled = sampled(self._reader, self._seen, settings)
            self.state.gate = counted(gate, pooled, self._reader.host.model.adapter.active)

    @property
    def adapted(self) -> Sequence[User]:
        """The users that directions are made of."""
        return self._seen[: MOST_ADAPTED if self._settings.directions else 0]

    def _round(self, number: int) -> Round:
        users, phi = self._users_of(number), self.state.phi
        directions, losses = list[Tensor](), list[tuple[float, float]]()
        tried = list[Tried]()
        for user in users:
            prompts, settings = self.prompts(user), self._settings
            steps = settings.inner_steps
            lots = drawn(len(prompts), steps, settings, ROUND, number, user.key)
            found = adapted(prompts, phi, lots, settings.inner_rate)
            directions.append(self._rule.direction(prompts, lots, phi, found))
            losses.append((found.losses[0], found.losses[-1]))
            tried += self._tried(number, user, lots)
        self.state.phi = self._rule.moved(phi, directions, self._settings.beta(number))
        self._move_gate(number, tried)
        before, after = (float(np.mean(side)) for side in zip(*losses, strict=True))
        return Round(tuple(user.key for user in users), before, after)

    def _tried(self, number: int, user: User, lots: Lots) -> list[Tried]:
        """What drawn routes are worth to a user, where the gate learns."""
        if self._explorer is None:
            return []
        random = np.random.default_rng([self._settings.seed, ROUTES, number, int(user.key, 16)])
        active = self._reader.host.model.adapter.active
        given = self.prompts(user), lots.query, self.state.phi, active, random
        return [self._explorer.tried(*given)]

    def _move_gate(self, number: int, tried: Sequence[Tried]) -> None:
        if self._explorer is not None:
            self._explorer.move(tried, self._settings.gate_pace(number))
            self.state.gate, self.state.policy = self._explorer.gate, self._explorer.state

    def _users_of(self, number: int) -> list[User]:
        """The users of a round: shuffled passes over all of them."""
        count = min(self._settings.users_per_round, len(self._seen))
        places = range(number * count, (number + 1) * count)
        return [
            self._seen[self._order(at // len(self._seen))[at % len(self._seen)]] for at in places
        ]

    def _order(self, epoch: int) -> list[int]:
        random = np.random.default_rng([self._settings.seed, ORDER, epoch])
        return [int(at) for at in random.permutation(len(self._seen))]

    def _points(self, user: User) -> Tensor:
        """Where a user goes from the learned start: θ − φ (S, n) at several steps."""
        prompts, settings = self.prompts(user), self._settings
        steps = settings.adapt_steps
        marks = {
            max(1, round(steps * (i + 1) / settings.snapshots)) for i in range(settings.snapshots)
        }
        lots = drawn(len(prompts), steps, settings, ADAPT, 0, user.key)
        found = adapted(prompts, self.state.phi, lots, settings.inner_rate, sorted(marks))
        return found.points - self.state.phi

    def prompts(self, user: User) -> Prompts:
        """A user's examples, as many as the settings allow, run once and routed by the gate."""
        kept = self._prompts
        if user.key not in kept:
            while kept and sum(prompts.bytes for prompts in kept.values()) > MOST_BYTES:
                del kept[next(iter(kept))]  # the oldest: passes over users are shuffled
            kept[user.key] = self._reader.prompts(user.examples[: self._settings.examples])
        kept[user.key].route_by(self.state.gate)
        return kept[user.key]

    @property
    def points(self) -> np.ndarray:
        """All of θ − φ (K, n)."""
        stacked = torch.cat(self.state.points) if self.state.points else self.state.phi[None][:0]
        return stacked.cpu().numpy()
