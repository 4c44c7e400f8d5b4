"""What every estimator says and does: which lanes to run, what scalars they give, and the way back.

A step: `blocks` of lanes are run; `from_losses` or `from_scores` makes scalars of the results; they
are journalled; `direction` makes a gradient of them, in a fit and in a replay alike; `moved` takes
the optimizer's step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dsa_edge.manifest import Manifest
from dsa_edge.runtime._calibration import central, centred_slopes, changes
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters

__all__ = [
    "Doubles", "Estimator", "Pairs", "Probing", "Served", "Shapes", "Space", "batched",
    "slot_shapes",
]  # fmt: skip

Doubles = NDArray[np.float64]
Shapes = tuple[tuple[int, ...], ...]  # of the slots of an adapter, one after the other
Served = NDArray[np.bool_]  # (B, N) whether each of N blocks serves an example; (q, B, N) per query
BLOCK = 2**24  # bytes of lanes that are made at a time


@dataclass(frozen=True, eq=False)
class Space:
    """Where a run begins, and what its numbers are.

    start: the adapter (n,) before the first step. shapes: of its slots, one after the other; none
    is one vector. blocks: of each target, N; their slots take turns (`layout.py`).
    """

    start: Floats
    shapes: Shapes = ()
    blocks: int = 1

    def __post_init__(self) -> None:
        """Without shapes, all is one vector."""
        shapes = self.shapes or ((self.start.size,),)
        if sum(math.prod(shape) for shape in shapes) != self.start.size:
            raise ValueError(f"slots of shapes {shapes} in an adapter of {self.start.size} numbers")
        object.__setattr__(self, "shapes", shapes)

    @cached_property
    def block(self) -> Ints:
        """The block (n,) that each number belongs to."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return np.repeat(np.arange(len(sizes), dtype=np.int64) % self.blocks, sizes)

    @property
    def size(self) -> int:
        """Numbers in the adapter, n."""
        return self.start.size


def slot_shapes(manifest: Manifest) -> Shapes:
    """Shapes of the slots of a bundle's adapter."""
    return tuple(slot.shape for slot in manifest.slots)


class Estimator(Protocol):
    """Scalars of a step, and the way back from them to a gradient.

    A scalar that is NaN was lost.
    """

    @property
    def width(self) -> int:
        """Scalars of a step, which is what the journal holds."""
        ...

    @property
    def lanes(self) -> int:
        """Lanes that a step costs."""
        ...

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The gradient (n,) that scalars (width,) stand for; None where all were lost."""
        ...

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """θ (n,) after the optimizer's step."""
        ...


class Probing(Estimator, Protocol):
    """Gradients from losses of lanes alone."""

    def blocks(self, theta: Floats, step: int) -> Iterator[Floats]:
        """The lanes (L, n) of a step from θ (n,), as many at a time as memory and method allow."""
        ...

    def slopes(self, values: Doubles, epsilon: float) -> Doubles:
        """What values (L, …) of all lanes change by along each direction, (width, …)."""
        ...

    def from_losses(self, losses: Floats, served: Served | None = None) -> Floats:
        """Scalars (width,) from losses (L, B); served: by which blocks, where there are several."""
        ...

    def from_scores(self, scores: Floats, answers: Ints, served: Served | None = None) -> Floats:
        """Scalars (width,) from calibrated log-scores (L, B, K) and the answers (B,)."""
        ...


@dataclass(frozen=True, eq=False)
class Pairs:
    """Central differences along directions of its own: c_j = (L(θ + εz_j) − L(θ − εz_j)) / 2ε.

    g = mean_j c_j z'_j with `probed` z_j and `returned` z'_j, E[z' zᵀ] = I.

    An example's loss L_i hangs on the blocks that serve it alone. So of N blocks each has a slope
    of its own, to which the others' examples add nothing: with s_ji the slope of L_i along z_j,

        c_jb = (1/B) Σ_{i served by b} s_ji        g_b = mean_j c_jb z'_j of the numbers of block b

    Unbiased as before, for E[s_ji z'_jb] = ∂L_i/∂θ_b, which is 0 where b does not serve i. With one
    block active, E‖g − ∇‖² falls from n‖∇‖²/q to about Σ_b n_b‖∇_b‖²/q: N times less.
    """

    by_block: ClassVar[bool] = True  # whether blocks have scalars of their own

    hyper: Hyperparameters
    seed: int
    space: Space

    def __post_init__(self) -> None:
        """Refuse an adapter that an estimator cannot work on; most can on any."""

    @property
    def parts(self) -> int:
        """Scalars of a direction: one, or one for each block."""
        return self.space.blocks if self.by_block and self.hyper.slopes == "blocks" else 1

    @property
    def width(self) -> int:
        """Those of all directions, one direction after the other."""
        return self.hyper.queries * self.parts

    @property
    def lanes(self) -> int:
        """Two for a direction."""
        return 2 * self.hyper.queries

    def probed(self, step: int, query: int) -> Floats:
        """The direction z (n,) of a query."""
        raise NotImplementedError

    def returned(self, step: int, query: int) -> Floats:
        """What a scalar is multiplied with, z' (n,)."""
        return self.probed(step, query)

    def blocks(self, theta: Floats, step: int) -> Iterator[Floats]:
        """θ + εz_0, θ − εz_0, θ + εz_1, …"""
        return batched(self._rows(theta, step), theta.size)

    def _rows(self, theta: Floats, step: int) -> Iterator[Floats]:
        for query in range(self.hyper.queries):
            shift = np.float32(self.hyper.epsilon) * self.probed(step, query)
            yield theta + shift
            yield theta - shift

    def slopes(self, values: Doubles, epsilon: float) -> Doubles:
        """Central differences."""
        return central(values, epsilon)

    def from_losses(self, losses: Floats, served: Served | None = None) -> Floats:
        """Of the batch's mean loss, or of each block's part of it."""
        exact = losses.astype(np.float64)
        with np.errstate(invalid="ignore"):
            if self.parts == 1:
                slopes = self.slopes(exact.mean(1), self.hyper.epsilon)
            else:
                slopes = self._per_block(self.slopes(exact, self.hyper.epsilon), served)
        return self.scalars(np.where(np.isfinite(slopes), slopes, np.nan))

    def from_scores(self, scores: Floats, answers: Ints, served: Served | None = None) -> Floats:
        """Of the loss beside what the label biases explain."""
        how = self.hyper.epsilon, self.hyper.smoothing, self.slopes
        if self.parts == 1:
            return self.scalars(centred_slopes(scores, answers, *how, served))
        # Lanes of another route predict otherwise, so each group has residuals of its own.
        groups = np.split(scores, self.hyper.groups)
        routes = [served] * len(groups)
        if served is not None and served.ndim == 3:
            routes = [one[0] for one in np.split(served, len(groups))]
        each = zip(groups, routes, strict=True)
        found = [changes(group, answers, *how, route) for group, route in each]
        return self.scalars(self._per_block(np.concatenate(found), served))

    def _per_block(self, slopes: Doubles, served: Served | None) -> Doubles:
        """Scalars (width,) from each example's own slopes (q, B): the formula above."""
        if served is None:
            raise ValueError(f"slopes of {self.parts} blocks without a route")
        with np.errstate(invalid="ignore"):
            means = (slopes[..., None] * served).mean(1)  # (q, N)
        means[~np.isfinite(slopes).all(1)] = np.nan  # a pair counts as a whole or not at all
        return means.ravel()

    def scalars(self, slopes: Doubles | Floats) -> Floats:
        """What is journalled of slopes (width,)."""
        return slopes.astype(np.float32)

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The mean over the directions that were not lost."""
        table = scalars.reshape(-1, self.parts)
        usable = np.asarray(np.isfinite(table).all(1))
        if not usable.any():
            return None
        total = self.total(np.where(usable[:, None], table, np.float32(0)), step)
        return total / np.float32(usable.sum())

    def total(self, scalars: Floats, step: int) -> Floats:
        """Σ_j c_jb z'_j in float32, query by query, of scalars (q, parts)."""
        total = np.zeros(self.space.size, dtype=np.float32)
        for query in np.flatnonzero(scalars.any(1)):
            total += self._spread(scalars[query]) * self.returned(step, int(query))
        return total

    def _spread(self, scalars: Floats) -> Floats:
        """Each number's scalar (n,) out of one for each part, or the only one (1,)."""
        return scalars[self.space.block] if self.parts > 1 else scalars

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """θ − the step."""
        return theta - by


def batched(rows: Iterator[Floats], size: int, most: int | None = None) -> Iterator[Floats]:
    """Lanes (n,) as blocks (L, n): even numbers of them, at most `most` if it is given."""
    count = most or 2 * max(1, BLOCK // (8 * size))
    while block := list(islice(rows, count)):
        yield np.stack(block)
