"""Is the radius of the perturbation one that losses can tell, and the learning rate a safe one?

Both are tried on one batch before the first step. Zeroth order is sensitive to them (MeZO's
issues tell of it), and a run that cannot work should not take minutes to say so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._exact import exact_gradient
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, move
from dsa_edge.runtime.estimators import Exact, Probing

__all__ = ["checked"]

TRIES = 10  # radii, each a tenth of the one before or ten times it
HALVINGS = 8  # rates that are looked at, most: the one given, ½, ¼, … of it
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
    estimator = _start(objective, theta).estimator(seed, hyper)
    tried, notes = hyper, tuple[str, ...]()
    if isinstance(estimator, Exact):  # which has no radius
        gradient = exact_gradient(objective, batch, theta, hyper.smoothing)[0]
        slopes = estimator.scalars(gradient)
    else:
        found = _probed(objective, batch, theta, hyper, seed, start)
        if found is None:
            return hyper, ()
        tried, slopes = found
        if tried.epsilon != hyper.epsilon:
            how = "too far" if tried.epsilon < hyper.epsilon else "not at all"
            notes = (f"epsilon {hyper.epsilon:g} moved losses {how}: {tried.epsilon:g} was used",)
    rate = _safe_rate(objective, batch, theta, tried, seed, slopes, start)
    return replace(tried, rate=rate), (*notes, *_note(hyper.rate, rate))


def _probed(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int,
    start: float,
) -> tuple[Hyperparameters, Floats] | None:  # fmt: skip
    """Hyper-parameters with a radius that losses can tell, and the scalars there; None for none."""
    tried, factor = hyper, 1.0
    for _ in range(TRIES):
        tried = replace(tried, epsilon=tried.epsilon * factor)
        estimator = _start(objective, theta).estimator(seed, tried)
        assert not isinstance(estimator, Exact)
        losses = objective.losses(batch, estimator.blocks(theta, 0))
        factor = _change(estimator, losses, start)
        if factor == 1:
            return tried, estimator.from_losses(losses, objective.served(batch))
    return None


def _note(given: float, used: float) -> tuple[str, ...]:
    made = f"the rate {given:g} made the loss worse at once: {used:g} was used"
    return (made,) * (used != given)


def _start(objective: Objective, theta: Floats) -> State:
    return State(theta, shapes=objective.shapes, blocks=objective.blocks)


def _change(estimator: Probing, losses: Floats, start: float) -> float:
    """By what to change the radius, from the losses of its lanes (L, B); 1 for one that works."""
    means = losses.astype(np.float64).mean(1)
    if not np.isfinite(means).all() or means.mean() > start + WORSE:
        return 0.1
    apart = estimator.slopes(means, 0.5)  # over a distance of 1: the differences of pairs
    return 1.0 if np.abs(apart).max() > BLIND else 10.0


def _safe_rate(
    objective: Objective, batch: Ints, theta: Floats, hyper: Hyperparameters, seed: int,
    slopes: Floats, start: float,
) -> float:  # fmt: skip
    """The first of the rates, each half the one before, after whose steps the loss is no worse."""
    gradient = _start(objective, theta).estimator(seed, hyper).direction(slopes, 0)
    if gradient is None:
        return hyper.rate
    rates = [hyper.rate / 2**i for i in range(HALVINGS)]
    for rate in rates:  # one by one: the first is nearly always safe, and lanes cost
        moved = _ahead(_start(objective, theta), seed, hyper, gradient, Step(rate, slopes))
        mean = objective(batch, moved[None]).losses.astype(np.float64).mean()
        if mean <= start + WORSE:
            return rate
    return rates[-1]


def _ahead(state: State, seed: int, hyper: Hyperparameters, gradient: Floats, step: Step) -> Floats:
    """θ (n,) after a few steps by the same gradient."""
    for _ in range(AHEAD):
        move(state, seed, hyper, gradient, step)
    return state.theta
