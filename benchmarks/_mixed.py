"""Exact gradients of the last block mixed with probes of the rest, for `exact.py` (idea N7).

What is measured is what a bundle could learn whose engine differentiates one layer only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

import numpy as np

from dsa_edge.manifest import Manifest
from dsa_edge.runtime import Hyperparameters, _trainer
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._exact import exact_gradient
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime.estimators import Space, make_estimator

__all__ = ["PARTS", "exact_in_part"]

# Directions that the other layers are probed along; none leaves them as they are.
PARTS = {"exact, last block alone": 0, "exact in the last block, rest probed": 8}


@contextmanager
def exact_in_part(manifest: Manifest, queries: int, seed: int) -> Iterator[None]:
    """Fits by `exact` see the gradient of the last layer's slots alone, and probes of the rest."""
    last = np.concatenate([
        np.full(slot.size, slot.name.startswith(f"layers.{manifest.n_layers - 1}."))
        for slot in manifest.slots
    ])  # fmt: skip
    hyper, steps = Hyperparameters(queries=max(queries, 1)), count()

    def part(
        objective: Objective, batch: Ints, theta: Floats, smoothing: float
    ) -> tuple[Floats, Floats, Floats | None]:
        gradient, losses, raw = exact_gradient(objective, batch, theta, smoothing)
        rest = np.zeros_like(theta)
        if queries:
            rest = _probed(objective, batch, theta, hyper, seed, next(steps))
        return np.where(last, gradient, rest).astype(np.float32), losses, raw

    with patch.object(_trainer, "exact_gradient", part):
        yield


def _probed(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int, step: int
) -> Floats:
    """The gradient (n,) that pairs along random signs estimate, as `antithetic` has it."""
    estimator = make_estimator(hyper, seed, Space(theta, objective.shapes))
    raw = [objective.choice_scores(batch, block) for block in estimator.blocks(theta, step)]
    scores = objective.calibrated(np.concatenate(raw))
    found = estimator.direction(estimator.from_scores(scores, objective.answers[batch]), step)
    return np.zeros_like(theta) if found is None else found
