"""Is the radius of the perturbation one that losses can tell, and the learning rate a safe one?

Both are tried on one batch before the first step. Zeroth order is sensitive to them (MeZO's
issues tell of it), and a run that cannot work should not take minutes to say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._optimizer import Hyperparameters, State, lanes, scalars
from dsa_edge.runtime._signed_sum import signed_sum

__all__ = ["checked"]

HALVINGS = 8  # tries to find a radius, and rates that are looked at: ½, ¼, … of the one given
AHEAD = 8  # steps in one direction that a rate must survive
WORSE = 0.7  # nats by which the batch may get worse
BLIND = 1e-5  # nats: differences below it are float32's rounding


def checked(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int
) -> tuple[Hyperparameters, tuple[str, ...]]:
    """The hyper-parameters, with a radius and a rate that work from θ (n,) on a batch.

    Returns them unchanged where they do, or where none was found; and a note on each change.
    """
    start = float(objective(batch, theta[None]).losses.mean())
    notes = []
    for tried in _radii(hyper):
        losses = objective(batch, lanes(State(theta), seed, tried)).losses
        fits = _fits(losses, start)
        if fits:
            break
    else:
        return hyper, ()
    if tried.epsilon != hyper.epsilon:
        why = "moved the loss too far or not at all"
        notes.append(f"epsilon {hyper.epsilon:g} {why}: {tried.epsilon:g} was used")
    rate = _safe_rate(objective, batch, theta, tried, seed, losses, start)
    if rate != hyper.rate:
        notes.append(f"the rate {hyper.rate:g} made the loss worse at once: {rate:g} was used")
    return replace(tried, rate=rate), tuple(notes)


def _radii(hyper: Hyperparameters) -> Iterator[Hyperparameters]:
    """The radius given, then smaller and larger ones in turn, by factors of 4."""
    yield hyper
    for power in range(1, HALVINGS + 1):
        yield replace(hyper, epsilon=hyper.epsilon / 4**power)
        yield replace(hyper, epsilon=hyper.epsilon * 4**power)


def _fits(losses: Floats, start: float) -> bool:
    """Whether lanes (2q, B) are finite, near the start, and tell directions apart."""
    means = losses.astype(np.float64).mean(1)
    if not np.isfinite(means).all() or means.mean() > start + WORSE:
        return False
    return bool(np.abs(means[0::2] - means[1::2]).max() > BLIND)


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
