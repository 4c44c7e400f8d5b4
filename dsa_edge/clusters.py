"""Gates that need no training: prompts that are alike share blocks.

Clusters of the prompts' hidden states are found by spherical k-means (Dhillon and Modha 2001, with
the seeds of Arthur and Vassilvitskii 2007) in the prompts' principal directions V:

    z = V (pooled − μ) / σ      score_i = c_i · z,  ‖c_i‖ = 1

Of which blocks score best, the length of z says nothing, so the scores are linear in the pooled
states. Three things that were measured on a language model's states (reviews, news and mails;
`docs/decisions.md`): a few numbers are hundreds of times the others, so each is divided by its own
deviation; means of short prompts vary more than those of long ones, so directions count and
distances do not; and in all directions a cluster of one odd prompt looks better than half a task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_edge.gate import Gate

__all__ = ["DIRECTIONS", "FEATURES", "alike", "clustered", "differences", "features", "scattered"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

DIRECTIONS = 16  # principal ones that prompts are compared in
FEATURES = DIRECTIONS + 1  # F: and what all prompts share
STARTS = 8  # of k-means; the tightest clusters are kept
ROUNDS = 100  # of a start at most; it usually takes about ten


def clustered(pooled: Floats, blocks: int, seed: int) -> Gate:
    """A gate of N blocks over prompts (E, D): block i serves the i-th cluster, the largest first.

    With fewer different prompts than blocks, the last blocks serve none.
    """
    states = pooled.astype(np.float64)
    mean, scale, directions = _principal(states)
    points = _unit(_unit((states - mean) * scale) @ directions.T)
    centres = _k_means(points, blocks, np.random.default_rng(seed))
    return _gate(centres @ directions * scale, mean)


def scattered(pooled: Floats, blocks: int, seed: int) -> Gate:
    """A gate of N blocks with centres anywhere in the directions of prompts (E, D)."""
    mean, scale, directions = _principal(pooled.astype(np.float64))
    random, size = np.random.default_rng(seed), (blocks, len(directions))
    length, turn = random.random(size), random.random(size)  # Box and Muller 1958
    centres = _unit(np.sqrt(-2 * np.log1p(-length)) * np.cos(2 * np.pi * turn))
    return _gate(centres @ directions * scale, mean)


def differences(pooled: Floats) -> Doubles:
    """Directions (F, D + 1) in which prompts (E, D) differ, and what all share.

    Rows are weights of the pooled state, and last a constant. Their products with the prompts vary
    alike, so that the squares of a prompt's add up to 1 on average; a row of zeros where prompts
    differ in fewer directions.
    """
    states = pooled.astype(np.float64)
    mean, scale, directions = _principal(states)
    rows = directions * scale
    spread = ((states - mean) @ rows.T).std(0)
    rows = rows[spread > 1e-6 * spread.max()] / spread[spread > 1e-6 * spread.max(), None]
    found = np.zeros((FEATURES, states.shape[1] + 1))
    found[: len(rows), :-1], found[: len(rows), -1] = rows, -(rows @ mean)
    found[-1, -1] = 1
    return found / np.sqrt(len(rows) + 1)


def features(pooled: Floats, directions: Doubles) -> Doubles:
    """What a gate's amounts of directions (F, D + 1) multiply, of pooled states (E, D): (E, F)."""
    return pooled.astype(np.float64) @ directions[:, :-1].T + directions[:, -1]


def _principal(states: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Mean (D,), scale (D,) and principal directions (p, D) of states (E, D), in that scale.

    Singular vectors have no sign of their own, and none that counts where there is only rounding:
    the largest number of each is positive, and p is at most the rank, so that they are the same
    whoever computes them.
    """
    mean, spread = states.mean(0), states.std(0)
    scale = np.where(spread > 1e-6 * spread.max(), 1 / np.where(spread > 0, spread, 1), 0)
    units = _unit((states - mean) * scale)
    _, values, rows = np.linalg.svd(units, full_matrices=False)
    rows = rows[: max(1, int((values > 1e-6 * values[0]).sum()))][:DIRECTIONS]
    most = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    return mean, scale, np.where(most < 0, -rows, rows)


def _gate(weight: Doubles, mean: Doubles) -> Gate:
    return Gate(weight.astype(np.float32), -(weight @ mean).astype(np.float32))


def _k_means(points: Doubles, clusters: int, random: np.random.Generator) -> Doubles:
    """Unit centres (N, p) of unit points (E, p), those of the largest clusters first."""
    found = [_lloyd(points, _spread_out(points, clusters, random)) for _ in range(STARTS)]
    centres = found[int(np.argmax([_cosines(points, each).max(1).sum() for each in found]))]
    sizes = np.bincount(_cosines(points, centres).argmax(1), minlength=clusters)
    return centres[np.argsort(-sizes, kind="stable")]


def _spread_out(points: Doubles, clusters: int, random: np.random.Generator) -> Doubles:
    """First centres: points drawn by their distance from those drawn before."""
    centres = points[random.integers(len(points))][None]
    while len(centres) < clusters:
        away = np.maximum(0, 1 - _cosines(points, centres).max(1))
        share = away / away.sum() if away.sum() > 0 else None  # all the same: any of them
        centres = np.concatenate([centres, points[random.choice(len(points), 1, p=share)]])
    return centres


def _lloyd(points: Doubles, centres: Doubles) -> Doubles:
    """Turn each centre to the mean of the points nearest to it, until none turns."""
    for _ in range(ROUNDS):
        nearest = _cosines(points, centres).argmax(1)
        sums = [points[nearest == i].sum(0) for i in range(len(centres))]
        turned = np.where(np.any(sums, 1, keepdims=True), _unit(np.stack(sums)), centres)
        if np.array_equal(turned, centres):
            break
        centres = turned
    return centres


def _cosines(points: Doubles, centres: Doubles) -> Doubles:
    """(E, N) of unit rows (E, p) and (N, p).

    Summed in one order wherever a centre lies, which a product of matrices is not: starts that
    found the same clusters must be equally tight.
    """
    return np.asarray((points[:, None, :] * centres).sum(-1))


def _unit(rows: Doubles) -> Doubles:
    """Rows of length 1; those of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))


def alike(prompts: list[Ints]) -> Ints:
    """For each prompt, the first one of the same tokens: these must not be told apart."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(ids.tobytes(), at) for at, ids in enumerate(prompts)])
