"""Is the radius of the perturbation one that losses can tell, and the learning rate a safe one?

Both are tried on one batch before the first step. Zeroth order is sensitive to them (MeZO's
issues tell of it), and a run that cannot work should not take minutes to say so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._optimizer import Hyperparameters, State, lanes, scalars
from dsa_edge.runtime._signed_sum import signed_sum

__all__ = ["checked"]

TRIES = 10  # radii, each a tenth of the one before or ten times it
HALVINGS = 8  # rates that are looked at: ½, ¼, … of the one given
AHEAD = 4  # steps in one direction that a rate must survive
WORSE = 1.0  # nats by which the batch may get worse
BLIND = 1e-5  # nats: differences below it are float32's rounding


def checked(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int
) -> tuple[Hyperparameters, tuple[str, ...]]:
    """The hyper-parameters, with a radius and a rate that work from θ (n,) on a batch.

    Returns them unchanged where they do, or where none was found; and a note on each change.
    """
    start = float(objective(batch, theta[None]).losses.mean())
    notes, tried, factor = [], hyper, 1.0
    for _ in range(TRIES):
        tried = replace(tried, epsilon=tried.epsilon * factor)
        losses = objective(batch, lanes(State(theta), seed, tried)).losses
        factor = _change(losses, start)
        if factor == 1:
            break
    else:
        return hyper, ()
    if tried.epsilon != hyper.epsilon:
        how = "too far" if tried.epsilon < hyper.epsilon else "not at all"
        notes.append(f"epsilon {hyper.epsilon:g} moved losses {how}: {tried.epsilon:g} was used")
    rate = _safe_rate(objective, batch, theta, tried, seed, losses, start)
    if rate != hyper.rate:
        notes.append(f"the rate {hyper.rate:g} made the loss worse at once: {rate:g} was used")
    return replace(tried, rate=rate), tuple(notes)


def _change(losses: Floats, start: float) -> float:
    """By what to change the radius, from the losses of its lanes (2q, B); 1 for one that works."""
    means = losses.astype(np.float64).mean(1)
    if not np.isfinite(means).all() or means.mean() > start + WORSE:
        return 0.1
    return 1.0 if np.abs(means[0::2] - means[1::2]).max() > BLIND else 10.0


def _safe_rate(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int,
    losses: Floats, start: float,
) -> float:  # fmt: skip
    """The first of the rates, each half the one before, after whose steps the loss is no worse."""
    gradient = signed_sum(scalars(losses, hyper), seed, 0, theta.size)
    rates = [hyper.rate / 2**i for i in range(HALVINGS)]
    # Adam's first steps are the rate long in every coordinate, and later ones shorter.
    moved = np.stack([theta - np.float32(AHEAD * rate) * np.sign(gradient) for rate in rates])
    means = objective(batch, moved).losses.astype(np.float64).mean(1)
    safe = [r for r, mean in zip(rates, means, strict=True) if mean <= start + WORSE]
    return safe[0] if safe else rates[-1]
