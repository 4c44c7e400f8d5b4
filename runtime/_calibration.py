"""Label calibration: one additive bias a choice, fitted from scores that exist anyway.

A base model prefers some label words whatever the text. That offset is most of the first gradient
and almost all of a batch's noise, so zeroth-order steps that had to learn it would see little else
(docs/decisions.md has the numbers). So it is fitted directly, as contextual calibration does
(2102.09690), and each step measures only what lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dsa_edge.runtime._engine import Floats, Ints

__all__ = [
    "ABSENT", "REMEMBERED", "Calibration", "central", "centred_slopes", "changes", "fit_bias",
    "forward", "left_out", "residuals",
]  # fmt: skip

Doubles = NDArray[np.float64]

RIDGE = 1.0  # prior weight, in examples: keeps a few examples of one label from a bias without end
NEWTON_STEPS = 30
REMEMBERED = 512  # most recent examples that the bias is fitted on
ABSENT = -1e4  # the log-score of a choice that an example does not offer: finite, and e to it is 0
LEAST = 3  # examples of the same blocks that can tell what moves them alike


class Calibration:
    """The bias (K,) of K choices, fitted on the most recent scores."""

    def __init__(self, choices: int) -> None:
        self.bias: Floats = np.zeros(choices, dtype=np.float32)
        self._scores = np.empty((0, choices), dtype=np.float32)
        self._answers = np.empty(0, dtype=np.int64)

    def observe(self, scores: Floats, answers: Ints) -> None:
        """Take in raw scores (B, K) of examples whose right choices are `answers` (B,)."""
        finite = np.isfinite(scores).all(1)
        self._scores = np.concatenate([self._scores, scores[finite]])[-REMEMBERED:]
        self._answers = np.concatenate([self._answers, answers[finite]])[-REMEMBERED:]
        self.bias = fit_bias(self._scores, self._answers)


def fit_bias(scores: Floats, answers: Ints) -> Floats:
    """The bias (K,), of mean 0, that makes scores (N, K) likeliest for the answers (N,).

    Maximum likelihood by Newton's method; the ridge makes it unique.
    """
    count, choices = scores.shape
    bias = np.zeros(choices)
    if not count:
        return bias.astype(np.float32)
    wanted = np.bincount(answers, minlength=choices)
    for _ in range(NEWTON_STEPS):
        p = softmax(scores + bias)
        gradient = p.sum(0) - wanted + RIDGE * bias
        hessian = np.diag(p.sum(0) + RIDGE) - p.T @ p
        step = np.linalg.solve(hessian, gradient)
        bias -= np.clip(step, -2, 2)  # far from the optimum a full step overshoots
        if np.abs(step).max() < 1e-6:
            break
    return (bias - bias.mean()).astype(np.float32)


def left_out(scores: Floats, answers: Ints, bias: Floats) -> Doubles:
    """Losses (N,) in nats, each with the bias that the other examples would have been given.

    scores: (N, K) that the bias (K,) was fitted on. One step of Newton's method from it takes an
    example out (approximate leave-one-out, 1801.10243). NaN where a score is not finite.
    """
    rows = np.arange(len(answers))
    p = softmax(scores + bias)
    known = np.isfinite(p).all(1)
    own = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]  # (N, K, K)
    others = own[known].sum(0) + RIDGE * np.eye(p.shape[1]) - own
    pull = p.copy()
    pull[rows, answers] -= 1
    moved = np.full(p.shape, np.nan)
    moved[known] = np.linalg.solve(others[known], pull[known, :, None])[..., 0]
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.log(softmax(scores + bias + moved)[rows, answers]))


def central(values: Doubles, epsilon: float) -> Doubles:
    """Slopes (q, …) from values (2q, …) of the lanes θ + εz_0, θ − εz_0, …"""
    return np.asarray((values[0::2] - values[1::2]) / (2 * epsilon))


def forward(values: Doubles, epsilon: float) -> Doubles:
    """Slopes (q, …) from values (q + 1, …) of the lanes θ, θ + εz_0, θ + εz_1, …"""
    return np.asarray((values[1:] - values[:1]) / epsilon)


def centred_slopes(
    scores: Floats,
    answers: Ints,
    epsilon: float,
    smoothing: float = 0.0,
    slopes_of: Callable[[Doubles, float], Doubles] = central,
    served: NDArray[np.bool_] | None = None,
) -> Floats:
    """Directional derivatives c (q,) of the calibrated loss, free of what the bias explains.

    The means of each example's own, `changes`.
    """
    slopes = changes(scores, answers, epsilon, smoothing, slopes_of, served).mean(-1)
    return np.where(np.isfinite(slopes), slopes, np.nan).astype(np.float32)


def changes(
    scores: Floats,
    answers: Ints,
    epsilon: float,
    smoothing: float = 0.0,
    slopes_of: Callable[[Doubles, float], Doubles] = central,
    served: NDArray[np.bool_] | None = None,
) -> Doubles:
    """Derivatives (q, B) of each example's calibrated loss, free of what the bias explains.

    scores: (L, B, K) calibrated log-scores of lanes, of which `slopes_of` makes slopes, such as
    `central` of pairs; answers: (B,); served: (B, N) by which blocks, where there are several.
    With residuals ρ = p − t of the lanes' mean prediction, c_jb = ρ_b · ∂s_b/∂z_j; the target
    t is 1 for the answer, of which `smoothing` is spread evenly over all choices.
    Fitting the bias makes ρ vanish on average; within a batch it does not, and that remainder times
    the direction's common effect on all examples is noise. Centring ρ over the batch removes it.
    NaN where a lane that it needs was not finite.
    """
    exact = scores.astype(np.float64)
    finite = np.asarray(np.isfinite(scores).all((1, 2)))
    with np.errstate(invalid="ignore"):
        change = slopes_of(exact, epsilon)  # (q, B, K)
        if not finite.any():
            return np.full(change.shape[:2], np.nan)
        return np.asarray((residuals(exact[finite], answers, smoothing, served) * change).sum(-1))


def residuals(
    scores: Doubles, answers: Ints, smoothing: float, served: NDArray[np.bool_] | None = None
) -> Doubles:
    """Mean prediction of lanes (L, B, K) less target, centred over what moves alike: (B, K).

    That are examples of the same choices; and of the same blocks, `served` (B, N), for a direction
    moves each block another way. Of too few with the same blocks the mean is that of all blocks.
    """
    offered = scores[0] > ABSENT / 2
    residual = softmax(scores).mean(0)
    residual[np.arange(len(answers)), answers] -= 1 - smoothing
    residual -= smoothing / offered.sum(1, keepdims=True) * offered
    centre = np.zeros_like(residual)
    for rows in _alike(offered, 2):
        centre[rows] = residual[rows].mean(0)
    for rows in _alike(np.hstack([offered, served]), LEAST) if served is not None else ():
        centre[rows] = residual[rows].mean(0)
    return np.asarray(residual - centre)


def _alike(marks: NDArray[np.bool_], least: int) -> list[NDArray[np.int64]]:
    """Groups of rows (B, …) that are the same, of as many rows at least."""
    if (marks == marks[:1]).all():
        groups = [np.arange(len(marks))]
    else:
        kinds = np.unique(marks, axis=0, return_inverse=True)[1].ravel()
        groups = [np.flatnonzero(kinds == kind) for kind in range(kinds.max() + 1)]
    return [group for group in groups if len(group) >= least]


def softmax(scores: NDArray[np.floating]) -> Doubles:
    """Probabilities over the last axis, in float64."""
    exact = scores.astype(np.float64)
    likelihood = np.exp(exact - exact.max(-1, keepdims=True))
    return np.asarray(likelihood / likelihood.sum(-1, keepdims=True))
