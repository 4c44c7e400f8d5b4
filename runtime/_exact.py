"""Exact gradients of the loss that a run minimizes, from the engine's own graphs of them."""

from __future__ import annotations

import numpy as np

from dsa_edge.runtime._calibration import residuals
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._objective import Objective

__all__ = ["exact_gradient"]


def exact_gradient(
    objective: Objective, batch: Ints, theta: Floats, smoothing: float
) -> tuple[Floats, Floats, Floats | None]:
    """The gradient (n,) of a batch's mean loss at θ (n,), its losses (B,), and its scores.

    With choices, scores (1, B, K) come without bias, and the gradient is of
    the loss beside what the label biases explain, as zeroth-order steps see it (`_calibration.py`).
    """
    if not objective.choices:
        losses, pulls = objective.losses_and_pulls(batch, theta)
        return objective.pulled(batch, theta, pulls), losses, None
    raw = objective.choice_scores(batch, theta[None])
    biased = objective.calibrated(raw).astype(np.float64)
    served = objective.served(batch)
    rows = residuals(biased, objective.answers[batch], smoothing, served) / len(batch)
    losses = objective.scored(batch, raw).losses[0]
    own = objective.own(batch, rows.astype(np.float32))
    return objective.pulled(batch, theta, own), losses, raw
