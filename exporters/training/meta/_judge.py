"""What a start is worth to users that nothing was learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dsa_edge.exporters.training.meta._inner import JUDGE, Lots, adapted, drawn
from dsa_edge.exporters.training.meta._prompts import Prompts, Reader
from dsa_edge.exporters.training.meta._settings import MetaSettings
from dsa_edge.exporters.training.meta._users import User
from dsa_edge.gate import Gate

__all__ = ["Judged", "judged"]

MOST = 64  # examples that judge a user


@dataclass(frozen=True)
class Judged:
    """Mean losses of unseen users in nats, on examples that no step saw.

    zero, start: without a step. zero_steps, start_steps: after the same few exact steps.
    users: how many; each user's own numbers are `rows`, hash → the four.
    """

    users: int
    zero: float
    zero_steps: float
    start: float
    start_steps: float
    rows: dict[str, tuple[float, float, float, float]]


def judged(
    reader: Reader, unseen: Sequence[User], settings: MetaSettings, start: Tensor,
    gate: Gate | None = None, on_user: Callable[[], object] = lambda: None,
) -> Judged:  # fmt: skip
    """Judge a start (n,) by users it was not learned from; those with too few examples do not.

    gate: of several blocks; it routes from zero as well.
    """
    zero = reader.host.model.start().to(start.device)
    rows = dict[str, tuple[float, float, float, float]]()
    for user in unseen:
        if len(user.examples) >= settings.least:
            prompts = reader.prompts(user.examples[: settings.examples])
            prompts.route_by(gate)
            query = max(settings.query, min(MOST, len(prompts) - settings.batch))
            steps = settings.inner_steps
            lots = drawn(len(prompts), steps, settings, JUDGE, 0, user.key, query)
            sides = [_sides(prompts, lots, at, settings) for at in (zero, start)]
            rows[user.key] = (*sides[0], *sides[1])
        on_user()
    means = np.array(list(rows.values())).mean(0).tolist() if rows else [float("nan")] * 4
    before, before_steps, after, after_steps = means
    return Judged(len(rows), before, before_steps, after, after_steps, rows)


def _sides(
    prompts: Prompts, lots: Lots, start: Tensor, settings: MetaSettings
) -> tuple[float, float]:
    """Loss at a start, and after a few steps from it."""
    found = adapted(prompts, start, lots, settings.inner_rate)
    support = lots.steps[0]
    before, after = (prompts.judged(at, support, lots.query) for at in (start, found.theta))
    return before, after
