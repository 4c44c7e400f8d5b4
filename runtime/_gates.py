"""Gates that need no training: prompts that are alike share blocks.

Findings: with three tasks mixed, clusters of the prompts' hidden states matched the tasks for 1,151
of 1,152 prompts, and served them as well as the true tasks did. The clusters are found by k-means
(Lloyd 1982, seeded as by Arthur and Vassilvitskii 2007) in the prompts' principal directions:

    z = P (pooled − μ) / σ      score_i = −‖z − c_i‖² + ‖z‖² = 2 c_i · z − ‖c_i‖²

which is linear in the pooled states, as a gate's scores are. Each number is divided by its own
deviation, for a few of a language model's are hundreds of times the others; and among hundreds of
directions of noise, a cluster of a single odd prompt would look better than any.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_edge.gate import Gate
from dsa_edge.runtime._engine import Floats, Ints

__all__ = ["alike", "clustered"]

Doubles = NDArray[np.float64]

DIRECTIONS = 16  # principal ones that prompts are compared in
STARTS = 8  # of k-means; the tightest clusters are kept
ROUNDS = 100  # of a start at most; it usually takes about ten


def clustered(pooled: Floats, blocks: int, seed: int) -> Gate:
    """A gate of N blocks over prompts (E, D): block i serves the i-th cluster, the largest first.

    With fewer different prompts than blocks, the last blocks serve none.
    """
    states = pooled.astype(np.float64)
    mean, spread = states.mean(0), states.std(0)
    scale = np.where(spread > 1e-6 * spread.max(), 1 / np.where(spread > 0, spread, 1), 0)
    standard = (states - mean) * scale
    directions = np.linalg.svd(standard, full_matrices=False)[2][:DIRECTIONS]  # (p, D)
    centres = _k_means(standard @ directions.T, blocks, np.random.default_rng(seed))
    weight = 2 * centres @ directions * scale
    bias = -(centres**2).sum(1) - weight @ mean
    return Gate(weight.astype(np.float32), bias.astype(np.float32))


def _k_means(points: Doubles, clusters: int, random: np.random.Generator) -> Doubles:
    """Centres (N, p) of points (E, p), those of the largest clusters first."""
    found = [_lloyd(points, _spread_out(points, clusters, random)) for _ in range(STARTS)]
    costs = [_distances(points, centres).min(1).sum() for centres in found]
    centres = found[int(np.argmin(costs))]
    sizes = np.bincount(_distances(points, centres).argmin(1), minlength=clusters)
    return centres[np.argsort(-sizes, kind="stable")]


def _spread_out(points: Doubles, clusters: int, random: np.random.Generator) -> Doubles:
    """First centres: points drawn by their squared distance from those drawn before."""
    centres = points[random.integers(len(points))][None]
    while len(centres) < clusters:
        away = _distances(points, centres).min(1)
        share = away / away.sum() if away.sum() > 0 else None  # all the same: any of them
        centres = np.concatenate([centres, points[random.choice(len(points), 1, p=share)]])
    return centres


def _lloyd(points: Doubles, centres: Doubles) -> Doubles:
    """Move each centre to the mean of the points nearest to it, until none moves."""
    for _ in range(ROUNDS):
        nearest = _distances(points, centres).argmin(1)
        moved = np.stack([_mean(points[nearest == i], old) for i, old in enumerate(centres)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _mean(points: Doubles, old: Doubles) -> Doubles:
    return np.asarray(points.mean(0)) if len(points) else old


def _distances(points: Doubles, centres: Doubles) -> Doubles:
    """Squared distances (E, N)."""
    return np.asarray(((points[:, None] - centres) ** 2).sum(-1))


def alike(prompts: list[Ints]) -> Ints:
    """For each prompt, the first one of the same tokens: these must not be told apart."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(ids.tobytes(), at) for at, ids in enumerate(prompts)])
